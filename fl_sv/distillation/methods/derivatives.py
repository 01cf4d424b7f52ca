"""Sobolev training (Czarnecki et al. 2017): a student matches the teacher's derivatives, too.

    order 1      ||y_s - y_t||^2 + w ||J_s - J_t||_F^2
    stochastic   ||y_s - y_t||^2 + w ||J_s' v - J_t' v||^2,  v a random unit vector of outputs

J is the Jacobian over the input. The mean of the stochastic term over v is ||J_s - J_t||_F^2 / K.
Student and teacher are functions of a batch that treat each row by itself. The derivatives are
functions of the student's parameters and carry their gradient.

Shapes: B rows of a batch, K outputs; `*D` stands for the axes of one row.
"""

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from fl_sv.distillation.checks import count, labels, number, reals, same_shape
from fl_sv.distillation.gradients import pullback
from fl_sv.distillation.transfer import Function
from fl_sv.errors import InputError


def sobolev(
    student_fn: Function,
    teacher_fn: Function,
    x: Tensor,
    *,
    weight: float = 1.0,
    directions: Tensor | None = None,
) -> Tensor:
    """(B,) Sobolev loss of order 1 at x (B, *D).

    directions: v (B, K) for the stochastic form, None for the full Jacobian. Raises InputError for
    bad input, or outputs that are not (B, K) or differ in shape.
    """
    weight = number(weight, "weight", 0)
    (y_s, pull_s), (y_t, pull_t) = _values(student_fn, teacher_fn, x)
    value_B = ((y_s - y_t.detach()) ** 2).sum(1)
    if weight == 0:
        return value_B
    if directions is not None:
        v_BK = _directions(directions, y_s)
        return value_B + weight * _squares(pull_s(v_BK), pull_t(v_BK).detach())
    # One unit vector for each output, the same for all rows, gives the Jacobian: (K, B, *D).
    basis = torch.eye(y_s.shape[1], dtype=y_s.dtype, device=y_s.device)[:, None].expand(
        -1, len(y_s), -1
    )
    jacobian_s, jacobian_t = vmap(pull_s)(basis), vmap(pull_t)(basis).detach()
    return value_B + weight * _squares(jacobian_s.transpose(0, 1), jacobian_t.transpose(0, 1))


def second_order(
    student_fn: Function,
    teacher_fn: Function,
    x: Tensor,
    directions: Tensor,
    input_directions: Tensor,
) -> Tensor:
    """(B,) ||H_s u - H_t u||^2: the term that order 2 adds to `sobolev`.

    H is the Hessian over x of <y, v>. directions: v (B, K); input_directions: u (B, *D). Raises
    InputError for bad input.
    """
    x = reals(x, "x", "*")
    u = reals(input_directions, "input_directions", "*").to(x)
    same_shape(x, u, "x and input_directions")
    (y_s, _), _ = _values(student_fn, teacher_fn, x)
    v_BK = _directions(directions, y_s)

    def product(fn: Function) -> Tensor:
        # H is symmetric, so pulling u back through the gradient gives H u. (The forward mode of
        # torch 2.13 warns.)
        return pullback(lambda points: pullback(fn, points)[1](v_BK), x)[1](u)

    return _squares(product(student_fn), product(teacher_fn).detach())


def jacobian_matching(
    student_fn: Function, teacher_fn: Function, x: Tensor, targets: Tensor
) -> Tensor:
    """(B,) mean squared difference of the unit gradients of the target's logit over the input.

    x: (B, *D); targets: (B,). This is the form for classification (Srinivas and Fleuret 2018): the
    gradients of student and teacher are scaled to length 1. Raises InputError for bad input.
    """
    (y_s, pull_s), (_, pull_t) = _values(student_fn, teacher_fn, x)
    target_B = labels(targets, *y_s.shape)
    chosen_BK = (torch.arange(y_s.shape[1], device=y_s.device) == target_B[:, None]).to(y_s)
    unit_s, unit_t = (
        functional.normalize(pull(chosen_BK).flatten(1), dim=1) for pull in (pull_s, pull_t)
    )
    return ((unit_s - unit_t.detach()) ** 2).mean(1)


def unit_directions(
    rows: int, outputs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(rows, outputs) vectors, uniform on the unit sphere of the outputs.

    Draw them once for all students that are to be compared.
    """
    shape = (count(rows, "rows"), count(outputs, "outputs"))
    return functional.normalize(torch.randn(shape, generator=generator, dtype=dtype), dim=1)


Pulled = tuple[Tensor, Function]


def _values(student_fn: Function, teacher_fn: Function, x: Tensor) -> tuple[Pulled, Pulled]:
    """For both models: outputs (B, K), and the function from v (B, K) to a gradient (B, *D)."""
    x = reals(x, "x", "*")
    student, teacher = pullback(student_fn, x), pullback(teacher_fn, x)
    y_s = reals(student[0], "the student's output", "BK")
    y_t = reals(teacher[0], "the teacher's output", "BK")
    same_shape(y_s, y_t, "outputs of student and teacher")
    if len(y_s) != len(x):
        raise InputError(
            f"{len(x)} rows of x give {len(y_s)} rows of outputs; there must be one a row."
        )
    return student, teacher


def _directions(directions: Tensor, y_BK: Tensor) -> Tensor:
    v_BK = reals(directions, "directions", "BK").to(y_BK)
    same_shape(v_BK, y_BK, "directions and outputs")
    return v_BK


def _squares(first: Tensor, second: Tensor) -> Tensor:
    """(B,) squared distance of rows."""
    return ((first - second) ** 2).flatten(1).sum(1)
