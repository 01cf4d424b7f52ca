"""Rows by inversion: gradient descent on the input until the teacher predicts the wanted class.

DeepInversion (Yin et al. 2020) keeps such rows natural by the statistics of the teacher's BatchNorm
layers. The models here have none. The moments of the rows take their place: mean and variance,
measured on real rows.

Shapes: B rows, K classes; `*D` stands for the axes of one row.
"""

import torch
from torch import Tensor

from fl_sv.distillation.checks import (
    batch,
    check_temperature,
    count,
    labels,
    number,
    reals,
    same_shape,
)
from fl_sv.distillation.losses import hard_ce
from fl_sv.distillation.transfer import Function, TransferSet, outputs_on


def inverted(
    teacher_fn: Function,
    start: Tensor,
    targets: Tensor,
    *,
    moments: tuple[Tensor, Tensor] | None = None,
    student_fn: Function | None = None,
    steps: int = 200,
    learning_rate: float = 0.1,
    norm_weight: float = 1e-3,
    moment_weight: float = 10.0,
    student_weight: float = 1.0,
) -> TransferSet:
    """The transfer set that Adam finds from `start` (B, *D), labelled with its targets (B,).

    Minimised over x: mean CE(t(x), y) + norm_weight mean ||x||^2, plus

    - moment_weight `moment_distance` to `moments`, (mean (*D), variance (*D)), where given;
    - student_weight `agreement` with `student_fn`, where given: it favours rows on which student
      and teacher differ.

    Take balanced targets: `arange(rows) % K`. Raises InputError for bad input, or rows that the
    teacher cannot take.
    """
    x = reals(start, "start", "*").detach().clone().requires_grad_(True)
    logits_BK = outputs_on(teacher_fn, TransferSet("start", x.detach()), "teacher")
    target_B = labels(targets, *logits_BK.shape)
    norm_weight, moment_weight = (
        number(norm_weight, "norm_weight", 0),
        number(moment_weight, "moment_weight", 0),
    )
    optimiser = torch.optim.Adam([x], lr=number(learning_rate, "learning_rate", 0, above=True))
    for _ in range(count(steps, "steps")):
        t_BK = teacher_fn(x)
        cost = hard_ce(t_BK, target_B).mean() + norm_weight * (x**2).sum() / len(x)
        if moments is not None:
            mean, variance = (reals(moment, "a moment", "*").to(x).flatten() for moment in moments)
            cost = cost + moment_weight * moment_distance(x.flatten(1), mean, variance)
        if student_fn is not None:
            cost = cost + number(student_weight, "student_weight", 0) * agreement(
                student_fn(x), t_BK
            )
        # Not backward(): it would also write the gradients of the models' parameters.
        (x.grad,) = torch.autograd.grad(cost, [x])
        optimiser.step()
    return TransferSet("inverted", x.detach(), target_B)


def moment_distance(features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """||mean of the rows - mean|| + ||their biased variance - variance||, a number.

    It is DeepInversion's R_feature. features: (B, F features). mean, variance: (F,); in a net with
    BatchNorm its running statistics. Raises InputError for bad input.
    """
    checked, wanted_mean, wanted_variance = (
        reals(features, "features", "BF"),
        reals(mean, "mean", "F"),
        reals(variance, "variance", "F"),
    )
    same_shape(checked[0], wanted_mean, "a row of features and the mean")
    same_shape(wanted_mean, wanted_variance, "mean and variance")
    distance: Tensor = (checked.mean(0) - wanted_mean).norm() + (
        checked.var(0, unbiased=False) - wanted_variance
    ).norm()
    return distance


def agreement(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 3.0) -> Tensor:
    """1 - JS of student and teacher logits (B, K), a number in 0..1; low where they differ.

    It is a term of adaptive DeepInversion. As published, probabilities are clipped to 0.01..0.99
    and KL runs from the mixture. Both models pass gradients on. Raises InputError for bad input.
    """
    temperature = check_temperature(temperature)
    batch(student_logits, teacher_logits, None)
    p, q = (student_logits / temperature).softmax(1), (teacher_logits / temperature).softmax(1)
    p, q, mixture = (distribution.clamp(0.01, 0.99) for distribution in (p, q, (p + q) / 2))
    # Clipped rows are no longer distributions. The plain sums are as published.
    js_B = (mixture * (2 * mixture.log() - p.log() - q.log())).sum(1) / 2
    return 1 - js_B.mean().clamp(0, 1)
