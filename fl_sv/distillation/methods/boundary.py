"""Boundary-supporting samples (Heo et al. 2019): rows moved to the teacher's decision boundary.

A base row is one that teacher and student both classify correctly. It is moved until the teacher
finds the target class as likely as the class at the start. There the student learns where the
boundary runs. The loss on such rows is cross-entropy with the teacher at T = 3 without T^2:
`loss("cross_entropy", temperature=3)` divided by 9.

Shapes: B rows of a batch, K classes; `*D` stands for the axes of one row.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fl_sv.distillation.checks import batch, count, holds_any, labels, needed, number, reals
from fl_sv.distillation.gradients import pullback
from fl_sv.errors import InputError


def bss(
    teacher_fn: Callable[[Tensor], Tensor],
    x: Tensor,
    target_class: Tensor,
    *,
    alpha: float = 0.3,
    eps: float = 1e-4,
    steps: int = 10,
    clip: float | None = 2.5,
    squared_norm: bool = False,
) -> Tensor:
    """x (B, *D), moved towards the teacher's boundary with target_class (B,).

    Let b be the class predicted at the start, k the target, and g the gradient over x of f_k - f_b.
    Each step does x += alpha (f_b - f_k + eps) g / ||g|| for rows still predicted as b, and clips x
    to +-clip (None: no clipping).

    squared_norm: divide by ||g||^2 instead. That is a Newton step: with alpha = 1 it takes a linear
    teacher over the boundary at once. ||g|| is that of the authors' code.

    teacher_fn treats each row by itself. Raises InputError for bad input, or a target that is
    already the predicted class.
    """
    alpha, eps, steps = (
        number(alpha, "alpha", 0, above=True),
        number(eps, "eps", 0),
        count(steps, "steps"),
    )
    limit = torch.inf if clip is None else number(clip, "clip", 0, above=True)
    x = reals(x, "x", "*").detach()
    f_BK = reals(teacher_fn(x), "the teacher's output", "BK")
    target_B = labels(target_class, len(f_BK), f_BK.shape[1], "target_class")
    base_B = f_BK.argmax(1)
    if holds_any(target_B == base_B):
        raise InputError(
            "target_class is what the teacher predicts already for a row; give every row another"
            " class."
        )
    classes = torch.arange(f_BK.shape[1], device=x.device)
    towards_BK = (classes == target_B[:, None]).to(x) - (classes == base_B[:, None]).to(x)
    for _ in range(steps):
        f_BK, pull = pullback(teacher_fn, x)
        step = _step(pull(towards_BK), -(f_BK * towards_BK).sum(1) + eps, squared_norm)
        still = (f_BK.argmax(1) == base_B).reshape(-1, *[1] * (x.ndim - 1))
        x = torch.where(still, x + alpha * step, x).clamp(-limit, limit)
    return x.detach()


def _step(gradient: Tensor, gap_B: Tensor, squared_norm: bool) -> Tensor:
    """gap g / ||g||, or gap g / ||g||^2, for each row; 0 where the gradient g (B, *D) is 0."""
    norm_B = gradient.flatten(1).norm(dim=1)
    divisor_B = norm_B**2 if squared_norm else norm_B
    length_B = torch.where(divisor_B > 0, gap_B / divisor_B, 0)
    step: Tensor = length_B.reshape(-1, *[1] * (gradient.ndim - 1)) * gradient
    return step


def base_scores(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """(eligible (B,), score (B,)) of each row as a base row.

    eligible: both models predict its target. score: how much they differ on it, the sum over the
    classes other than y of (softmax(t) - softmax(s))^2. Raises InputError for bad input.
    """
    s_BK, t_BK, target_B = batch(student_logits, teacher_logits, targets)
    target_B = needed(target_B, "base_scores")
    eligible_B = (s_BK.argmax(1) == target_B) & (t_BK.argmax(1) == target_B)
    is_target_BK = torch.arange(s_BK.shape[1], device=s_BK.device) == target_B[:, None]
    square_BK = (t_BK.softmax(1) - s_BK.softmax(1)) ** 2
    return eligible_B, square_BK.masked_fill(is_target_BK, 0).sum(1)


def base_rows(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, size: int = 64
) -> Tensor:
    """Indices of the at most `size` eligible rows with the largest scores, largest first."""
    eligible_B, score_B = base_scores(student_logits, teacher_logits, targets)
    order_B = score_B.argsort(descending=True, stable=True)
    return order_B[eligible_B[order_B]][: count(size, "size")]


def draw_targets(teacher_logits: Tensor, uniform: Tensor) -> Tensor:
    """(B,) target classes, drawn by the teacher's probabilities without the predicted class.

    uniform: (B,) numbers in 0..1. The other classes stand in descending probability; the first
    whose cumulated probability reaches that fraction of their sum is taken. Raises InputError for
    bad input or a single class.
    """
    t_BK, u_B = reals(teacher_logits, "teacher_logits", "BK"), reals(uniform, "uniform", "B")
    if len(u_B) != len(t_BK) or holds_any((u_B < 0) | (u_B > 1)):
        raise InputError(
            f"uniform has shape {tuple(u_B.shape)}; it must hold {len(t_BK)} numbers in 0..1."
        )
    if t_BK.shape[1] < 2:
        raise InputError("the teacher knows one class only, so there is no other to move to.")
    order_BK = t_BK.argsort(dim=1, descending=True, stable=True)
    others_BK = t_BK.softmax(1).gather(1, order_BK)[:, 1:].cumsum(1)
    enough_BK = others_BK >= u_B.to(t_BK)[:, None] * others_BK[:, -1:]
    first_B = enough_BK.to(torch.int8).argmax(1)
    return order_BK.gather(1, first_B[:, None] + 1)[:, 0]


def bss_weights(epoch: int, epochs: int) -> tuple[float, float]:
    """(weight of distillation, weight of the boundary samples) in an epoch e of E, as published.

    They are max(3 (1 - e/E), 0) + 1 and max(2 (1 - 4e/(3E)), 0).

    >>> bss_weights(0, 90)
    (4.0, 2.0)
    """
    done = number(epoch, "epoch", 0) / count(epochs, "epochs")
    return max(3 * (1 - done), 0.0) + 1, max(2 * (1 - 4 * done / 3), 0.0)
