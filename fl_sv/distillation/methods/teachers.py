"""Several teachers at once: their common prediction, and a student's distance from it.

Shapes: B rows of a batch, K classes; several teachers' logits are (teachers, B, K).
"""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from fl_sv.distillation.checks import check_temperature, holds_any, reals, same_shape
from fl_sv.distillation.losses import soft_kl
from fl_sv.errors import InputError, suggestion

Combine = Literal["logits", "probs", "losses"]


def multi_teacher(
    student_logits: Tensor,
    teachers: Tensor,
    *,
    weights: Sequence[float] | Tensor | None = None,
    temperature: float = 1.0,
    combine: Combine = "logits",
) -> Tensor:
    """(B,) T^2 KL(target || p_s) of a student and several teachers (FedDF: Lin et al. 2020).

    student_logits: (B, K); teachers: (teachers, B, K).
    weights: (teachers,), at least 0 with sum 1; None for equal ones.
    combine: what is averaged. "logits": the target is softmax(sum w t / T), a geometric mean;
        "probs": the target is sum w softmax(t / T); "losses": sum w KL, whose gradient is that of
        "probs".

    Raises InputError for bad options or shapes.
    """
    if combine not in get_args(Combine):
        raise InputError(f"combine is {combine!r}. {suggestion(str(combine), get_args(Combine))}")
    temperature = check_temperature(temperature)
    s_BK = reals(student_logits, "student_logits", "BK")
    teacher_logits = reals(teachers, "teachers", "PBK").detach().to(s_BK.dtype)
    same_shape(s_BK, teacher_logits[0], "student and teacher logits")
    weight_of_teacher = _weights(weights, teacher_logits)[:, None, None]
    if combine == "logits":
        return soft_kl(
            s_BK,
            ((weight_of_teacher * teacher_logits).sum(0) / temperature).log_softmax(1),
            temperature,
        )
    log_p = (teacher_logits / temperature).log_softmax(2)
    if combine == "probs":
        return soft_kl(s_BK, (weight_of_teacher.log() + log_p).logsumexp(0), temperature)
    return (weight_of_teacher[:, :, 0] * soft_kl(s_BK, log_p, temperature)).sum(0)


def entropy_reduction(teachers: Tensor, temperature: float = 0.1) -> Tensor:
    """(B, K) softmax(mean of the teachers' probabilities / T): sharper than their mean.

    It is the aggregation of DS-FL (Itahara et al. 2021). teachers: logits (teachers, B, K). Raises
    InputError for bad input.
    """
    temperature = check_temperature(temperature)
    return (reals(teachers, "teachers", "PBK").softmax(2).mean(0) / temperature).softmax(1)


def _weights(weights: Sequence[float] | Tensor | None, teacher_logits: Tensor) -> Tensor:
    """(teachers,) weights, checked; equal ones for None."""
    n_teachers = len(teacher_logits)
    if weights is None:
        return teacher_logits.new_full((n_teachers,), 1 / n_teachers)
    checked_weights = reals(weights, "weights", "P").to(teacher_logits)
    if len(checked_weights) != n_teachers:
        raise InputError(
            f"weights has {len(checked_weights)} entries for {n_teachers} teachers; give each"
            " teacher one."
        )
    if holds_any(checked_weights < 0) or holds_any((checked_weights.sum() - 1).abs() > 1e-5):
        raise InputError("weights must be at least 0 and sum to 1; divide them by their sum.")
    return checked_weights
