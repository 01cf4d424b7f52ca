"""Losses by name: the distance of a student's logits from a teacher's, one number a row.

    loss("hinton", temperature=4, alpha=0.9)(student_logits, teacher_logits, targets)

All are functions of logits only. The mean over rows is the batch's loss; sums over classes stay
sums. Every soft loss has the factor T^2, which keeps the gradient's size when the temperature
changes. The teacher never gets a gradient.

All losses are safe in float32 and under `torch.func.vmap` and `grad`: they subtract only logarithms
of probabilities, and nothing is selected by its value.

Shapes: B rows of a batch, K classes. s, t are student and teacher logits, p_z = softmax(z / T).
"""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fl_sv.config.students import (
    TEMPERATURE,
    DkdOptions,
    NoiseGranularity,
    NoiseMode,
    NoisyTeacherOptions,
    SmoothL1Options,
)
from fl_sv.distillation.checks import batch, check_temperature, needed, number, reals
from fl_sv.distillation.noise import check_noise, perturb
from fl_sv.errors import InputError, suggestion
from fl_sv.plugins import resolve


class Loss(Protocol):
    """A loss of each row: student (B, K), teacher (B, K), targets (B,) or None -> (B,)."""

    def __call__(
        self, student_logits: Tensor, teacher_logits: Tensor, targets: Tensor | None = None
    ) -> Tensor: ...


Rows = Callable[[Tensor, Tensor, Tensor | None], Tensor]

# The defaults of the config are those of the library.
DKD, SMOOTH_L1, NOISY = DkdOptions(), SmoothL1Options(), NoisyTeacherOptions()


def loss(name: str, **options: Any) -> Loss:
    """The loss of that name, with its options; or a user's own, `package.module:factory`.

    A factory takes the options. It returns a function of checked student logits (B, K), teacher
    logits (B, K) without gradient, and targets (B,) or None; the function returns (B,).

    Raises InputError for an unknown name, or an unknown or bad option. The loss itself raises it
    for bad logits or targets.

    >>> squared = loss("logit_l2")
    >>> squared(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    factory = _factory(name)
    _check_options(name, factory, options)
    rows: Rows = factory(**options)

    def loss_of_rows(
        student_logits: Tensor, teacher_logits: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        s_BK, t_BK, targets_B = batch(student_logits, teacher_logits, targets)
        loss_B = rows(s_BK, t_BK, targets_B)
        if loss_B.shape != (len(s_BK),):
            raise InputError(
                f"the loss {name} returned shape {tuple(loss_B.shape)}; it must be ({len(s_BK)},)."
            )
        return loss_B

    return loss_of_rows


def objective(distance: Loss, weight: float) -> Loss:
    """What a student minimises: (1 - weight) CE(s, y) + weight distance.

    Targets may be None when the weight is 1. Raises InputError for a weight outside 0..1.
    """
    weight = number(weight, "weight", 0, 1)

    def loss_of_rows(
        student_logits: Tensor, teacher_logits: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        s_BK, t_BK, target_B = batch(student_logits, teacher_logits, targets)
        soft_B = distance(s_BK, t_BK, target_B)
        if weight == 1:
            return soft_B
        return (1 - weight) * hard_ce(
            s_BK, needed(target_B, f"an objective of weight {weight}")
        ) + weight * soft_B

    return loss_of_rows


# --- the formulas ---------------------------------------------------------------------------------


def hard_ce(logits_BK: Tensor, target_B: Tensor) -> Tensor:
    """Cross-entropy with the target class (B,), in nats."""
    # Not F.cross_entropy: there the class -100 costs nothing, here it is an error.
    return -logits_BK.log_softmax(1).gather(1, target_B[:, None])[:, 0]


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of distributions, in nats, over the last axis, from the logarithms of both."""
    # Not F.kl_div: it has no batching rule, warns under vmap and took 4 times as long there (256
    # models, 1 core, torch 2.13, 2026-11). The sum of q - p is zero: with it the rounding of the
    # logarithms cancels to first order (5 times less in float32 at T = 100), and equal logits have
    # a gradient of exactly zero.
    p, q = log_p.exp(), log_q.exp()
    return (p * (log_p - log_q) + (q - p)).sum(-1)


def soft_kl(logits_BK: Tensor, log_target_BK: Tensor, temperature: float) -> Tensor:
    """T^2 KL(target || p_s) of each row (B,), from the logarithm of the target probabilities."""
    return temperature**2 * kl(log_target_BK, (logits_BK / temperature).log_softmax(-1))


def hinton(*, temperature: float = TEMPERATURE, alpha: float = 0.9) -> Rows:
    """(1 - alpha) CE(s, y) + alpha T^2 KL(p_t || p_s) (Hinton, Vinyals and Dean 2015).

    With alpha = 1 it needs no targets.
    """
    temperature, alpha = check_temperature(temperature), number(alpha, "alpha", 0, 1)

    def rows(s_BK: Tensor, t_BK: Tensor, target_B: Tensor | None) -> Tensor:
        soft_B = soft_kl(s_BK, (t_BK / temperature).log_softmax(1), temperature)
        if alpha == 1:
            return soft_B
        return (1 - alpha) * hard_ce(
            s_BK, needed(target_B, f"hinton with alpha={alpha}")
        ) + alpha * soft_B

    return rows


def cross_entropy(*, temperature: float = 1.0) -> Rows:
    """T^2 H(p_t, p_s) = -T^2 sum p_t log p_s: T^2 KL plus T^2 times the teacher's entropy.

    It needs no targets.
    """
    temperature = check_temperature(temperature)

    def rows(s_BK: Tensor, t_BK: Tensor, target_B: Tensor | None) -> Tensor:
        return -(temperature**2) * (
            (t_BK / temperature).softmax(1) * (s_BK / temperature).log_softmax(1)
        ).sum(1)

    return rows


def dkd(
    *,
    temperature: float = TEMPERATURE,
    alpha: float = DKD.alpha,
    beta: float | Tensor = DKD.beta,
) -> Rows:
    """T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s)): decoupled distillation (Zhao et al. 2022),
    without its CE.

    b = (p_y, 1 - p_y) is target against the rest, q the softmax over only the rest. beta: a
    number, or (B,) one a row; alpha = 1 and beta = 1 - p_t,y make it T^2 KL(p_t || p_s). The
    published schedule CE + min(epoch / 20, 1) dkd is the caller's."""
    temperature, alpha = check_temperature(temperature), number(alpha, "alpha", 0)
    beta_B = reals(beta, "beta", "B") if isinstance(beta, Tensor | list | tuple) else None
    one_beta = number(beta, "beta", 0) if beta_B is None else 0.0

    def rows(s_BK: Tensor, t_BK: Tensor, target_B: Tensor | None) -> Tensor:
        target_B = needed(target_B, "dkd")
        if s_BK.shape[1] < 2:
            raise InputError(
                "dkd parts the target class from the others, and there is only one class."
            )
        if beta_B is not None and len(beta_B) != len(s_BK):
            raise InputError(
                f"beta has {len(beta_B)} entries for {len(s_BK)} rows; give one number, or one a"
                " row."
            )
        is_target_BK = torch.arange(s_BK.shape[1], device=s_BK.device) == target_B[:, None]
        student_binary, student_rest_BK = _decoupled(s_BK / temperature, target_B, is_target_BK)
        teacher_binary, teacher_rest_BK = _decoupled(t_BK / temperature, target_B, is_target_BK)
        # Zero where the target stands, before anything is multiplied: 0 * inf would be NaN in the
        # gradient.
        difference_BK = torch.where(is_target_BK, 0, teacher_rest_BK - student_rest_BK)
        qt_BK = (t_BK / temperature).masked_fill(is_target_BK, -torch.inf).softmax(1)
        rest_kl_B = (qt_BK * difference_BK).sum(1)
        weight = one_beta if beta_B is None else beta_B.to(s_BK)
        return temperature**2 * (alpha * kl(teacher_binary, student_binary) + weight * rest_kl_B)

    return rows


def _decoupled(z_BK: Tensor, target_B: Tensor, is_target_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of (p_y, 1 - p_y) as (B, 2), and of q (B, K), undefined at the target."""
    rest_B = z_BK.masked_fill(is_target_BK, -torch.inf).logsumexp(1)
    log_binary = torch.stack([z_BK.gather(1, target_B[:, None])[:, 0], rest_B], 1)
    return log_binary - z_BK.logsumexp(1, keepdim=True), z_BK - rest_B[:, None]


def logit_l2() -> Rows:
    """1/2 ||s - t||^2, summed over classes (Ba and Caruana 2014). A shift of all logits of a row
    changes it.
    """
    return lambda s_BK, t_BK, target_B: ((s_BK - t_BK) ** 2).sum(1) / 2


def smooth_l1(*, beta: float = SMOOTH_L1.beta) -> Rows:
    """Mean over classes of d^2 / (2 beta) where |d| < beta, else |d| - beta/2, d = s - t; beta = 0
    is |d|.
    """
    beta = number(beta, "beta", 0)
    return lambda s_BK, t_BK, target_B: functional.smooth_l1_loss(
        s_BK, t_BK, reduction="none", beta=beta
    ).mean(1)


def noisy_teacher(
    *,
    sigma: float = NOISY.sigma,
    mode: NoiseMode = NOISY.mode,
    granularity: NoiseGranularity = NOISY.granularity,
    probability: float = NOISY.probability,
    noise: Tensor | None = None,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Rows:
    """logit_l2 against the disturbed teacher t' of `perturb` (Sau and Balasubramanian 2016), which
    has the options.
    """
    check_noise(sigma, mode, granularity, probability)
    squared = logit_l2()

    def rows(s_BK: Tensor, t_BK: Tensor, target_B: Tensor | None) -> Tensor:
        disturbed_BK = perturb(
            t_BK,
            sigma=sigma,
            mode=mode,
            granularity=granularity,
            probability=probability,
            noise=noise,
            mask=mask,
            generator=generator,
        )
        return squared(s_BK, disturbed_BK, target_B)

    return rows


LOSSES: dict[str, Callable[..., Rows]] = {
    make.__name__: make for make in (hinton, dkd, cross_entropy, logit_l2, smooth_l1, noisy_teacher)
}


def _factory(name: str) -> Callable[..., Rows]:
    if not isinstance(name, str):
        raise InputError(f"the name of a loss is text, not {name!r}. {suggestion('', LOSSES)}")
    if ":" in name:
        factory: Callable[..., Rows] = resolve(name, "loss")
        if not callable(factory):
            raise InputError(
                f"loss: {name} is a {type(factory).__name__}; it must be a function that makes a"
                " loss."
            )
        return factory
    if name not in LOSSES:
        raise InputError(
            f"there is no loss {name!r}. {suggestion(name, LOSSES)} Your own:"
            " package.module:factory."
        )
    return LOSSES[name]


def _check_options(name: str, factory: Callable[..., Rows], options: dict[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            hint = suggestion(option, parameters) if parameters else "It has none."
            raise InputError(f"the loss {name} has no option {option!r}. {hint}")
