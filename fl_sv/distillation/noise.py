"""The noisy teacher (Sau and Balasubramanian 2016): noise on the teacher's logits regularises.

    multiplicative   t' = t (1 + mask sigma xi)     as published
    additive         t' = t + mask sigma xi         another reading of "noise added to the logits"

with xi ~ N(0, 1) for each logit or one for each row, and a mask that is 1 for a row with the given
probability. With a squared error the expected gradient is that of the clean teacher, so the noise
is variance and no bias.

Shapes: B rows of a batch, K classes.
"""

from typing import get_args

import torch
from torch import Tensor

from fl_sv.config.students import NoiseGranularity, NoiseMode, NoisyTeacherOptions
from fl_sv.distillation.checks import number, reals
from fl_sv.errors import InputError, suggestion

DEFAULT = NoisyTeacherOptions()


def perturb(
    teacher_logits: Tensor,
    *,
    sigma: float,
    mode: NoiseMode = DEFAULT.mode,
    granularity: NoiseGranularity = DEFAULT.granularity,
    probability: float = DEFAULT.probability,
    noise: Tensor | None = None,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The teacher's logits with noise, t' (B, K), for use with any loss.

    noise: xi, (B, K) or (B, 1); give the same numbers to all models that are to be compared.
    mask: (B, 1), 1 where a row gets noise.
    generator: draws what is not given, the noise first; None: torch's global one, which a training
        seeds. It draws on the CPU, so that all devices get the same numbers.

    Raises InputError for a negative sigma, a probability outside 0..1, an unknown mode or
    granularity, or draws of another shape.
    """
    check_noise(sigma, mode, granularity, probability)
    t_BK = reals(teacher_logits, "teacher_logits", "BK")
    rows, classes = t_BK.shape
    if noise is None:
        columns = classes if granularity == "per_logit" else 1
        noise = torch.randn(rows, columns, generator=generator, dtype=t_BK.dtype)
    if mask is None:
        mask = torch.rand(rows, 1, generator=generator, dtype=t_BK.dtype) < probability
    step_BK = (
        sigma
        * _draws(mask, "mask", rows, 1).to(t_BK)
        * _draws(noise, "noise", rows, classes).to(t_BK)
    )
    return t_BK * (1 + step_BK) if mode == "multiplicative" else t_BK + step_BK


def check_noise(sigma: float, mode: str, granularity: str, probability: float) -> None:
    """Raises InputError for options that `perturb` refuses."""
    number(sigma, "sigma", 0)
    number(probability, "probability", 0, 1)
    for name, value, allowed in (
        ("mode", mode, get_args(NoiseMode)),
        ("granularity", granularity, get_args(NoiseGranularity)),
    ):
        if value not in allowed:
            raise InputError(f"{name} is {value!r}. {suggestion(str(value), allowed)}")


def _draws(value: Tensor, name: str, rows: int, columns: int) -> Tensor:
    draws = reals(value.double() if isinstance(value, Tensor) else value, name, "BK")
    if draws.shape[0] != rows or draws.shape[1] not in (1, columns):
        allowed = f"({rows}, 1)" if columns == 1 else f"({rows}, {columns}) or ({rows}, 1)"
        raise InputError(f"{name} has shape {tuple(draws.shape)}; it must be {allowed}.")
    return draws
