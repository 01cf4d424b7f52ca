"""Checks of arguments, in one place: the modules with formulas hold nothing but formulas.

Shapes are always checked. Numbers are checked only where they can be read. Inside `torch.func.vmap`
a tensor stands for a whole stack and has no numbers of its own; there the caller checks a batch
once, when it makes it. Any other array or list is read as float64.

Shapes: B rows of a batch, K classes; axes of other arrays are named by the caller.
"""

import math
import sys
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from fl_sv.errors import InputError


def reals(value: object, name: str, axes: str) -> Tensor:
    """`value` as a floating-point tensor.

    axes: one letter for each axis that it must have, "BK" for rows and classes; "*" allows any.
    Raises InputError when it holds no real numbers, has other axes, is empty, or holds NaN or
    infinity.
    """
    tensor = _tensor(value, name)
    if not tensor.is_floating_point():
        raise InputError(f"{name} holds {tensor.dtype}; floating-point numbers are needed.")
    if axes != "*" and tensor.ndim != len(axes):
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be ({', '.join(axes)}).")
    if tensor.numel() == 0:
        raise InputError(f"{name} is empty: its shape is {tuple(tensor.shape)}.")
    if readable(tensor) and not torch.isfinite(tensor).all():
        raise InputError(f"{name} holds NaN or infinity; every number must be finite.")
    return tensor


def same_shape(first: Tensor, second: Tensor, names: str) -> None:
    """Raises InputError unless both tensors have one shape; `names`: "x and directions"."""
    if first.shape != second.shape:
        raise InputError(
            f"{names} have shapes {tuple(first.shape)} and {tuple(second.shape)}; they must be"
            " equal."
        )


def labels(value: object, n_rows: int, n_classes: int | None, name: str = "targets") -> Tensor:
    """`value` as int64 (B,) class labels.

    n_classes: K, labels are 0..K-1; None where K is unknown. Raises InputError for anything else.
    """
    allowed = "0 and above" if n_classes is None else f"0 to {n_classes - 1}"
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(_array(value, name))
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"{name} holds {tensor.dtype}; class labels are whole numbers, {allowed}.")
    if tensor.shape != (n_rows,):
        raise InputError(
            f"{name} has shape {tuple(tensor.shape)}; it must be ({n_rows},), one class a row."
        )
    outside = tensor < 0 if n_classes is None else (tensor < 0) | (tensor >= n_classes)
    if holds_any(outside):
        raise InputError(
            f"{name} holds the class {int(tensor[outside][0])}; the classes are {allowed}."
        )
    return tensor.long()


def batch(
    student_logits: object, teacher_logits: object, targets: object
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A checked batch: student logits (B, K), teacher logits (B, K), targets (B,) or None.

    The teacher's logits come back in the student's precision and without gradient. Raises
    InputError for wrong shapes, numbers that are not finite, or labels that are no classes.
    """
    s_BK = reals(student_logits, "student_logits", "BK")
    t_BK = reals(teacher_logits, "teacher_logits", "BK").detach().to(s_BK.dtype)
    same_shape(s_BK, t_BK, "student_logits and teacher_logits")
    return s_BK, t_BK, None if targets is None else labels(targets, *s_BK.shape)


def needed(targets_B: Tensor | None, who: str) -> Tensor:
    """The targets (B,). Raises InputError when there are none; `who`: the loss that needs them."""
    if targets_B is None:
        raise InputError(
            f"{who} needs a target class for every row, and the rows have none. Use a labelled"
            " transfer set, let the teacher label it (`labelled_by`), or choose a loss without"
            " targets, such as hinton with alpha=1."
        )
    return targets_B


def number(
    value: object, name: str, low: float = -math.inf, high: float = math.inf, *, above: bool = False
) -> float:
    """A finite number between `low` and `high`; `above` excludes `low` itself.

    Raises InputError for any other value.
    """
    is_number = isinstance(value, int | float | np.floating | np.integer) and not isinstance(
        value, bool
    )
    if not is_number or not abs(value) <= sys.float_info.max:  # type: ignore[arg-type]
        raise InputError(f"{name} is {value!r}; a finite number is needed.")
    value = float(value)  # type: ignore[arg-type]
    if not low <= value <= high or (above and value == low):
        limits = f"above {low:g}" if above else f"at least {low:g}"
        raise InputError(
            f"{name} is {value}; it must be"
            f" {limits}{f' and at most {high:g}' if high < math.inf else ''}."
        )
    return value


def check_temperature(temperature: object) -> float:
    """A temperature between 1e-6 and 1e6: its square is a number in float32.

    Raises InputError for any other value.
    """
    return number(temperature, "temperature", 1e-6, 1e6)


def count(value: object, name: str, low: int = 1) -> int:
    """A whole number of at least `low`. Raises InputError for any other value."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{name} is {value!r}; a whole number of at least {low} is needed.")
    return int(value)


def readable(tensor: Tensor) -> bool:
    """Whether decisions may depend on the tensor's numbers: not inside `torch.func.vmap`."""
    try:
        # One number is enough: a look at all of them costs as much as a loss.
        bool(tensor.reshape(-1)[:1].any())
    except RuntimeError:  # how vmap refuses
        return False
    return True


def holds_any(condition: Tensor) -> bool:
    """Whether the condition holds anywhere, as far as its numbers are `readable`."""
    return readable(condition) and bool(condition.any())


def _tensor(value: object, name: str) -> Tensor:
    return (
        value
        if isinstance(value, Tensor)
        else torch.as_tensor(_array(value, name).astype(np.float64))
    )


def _array(value: object, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} is {value!r:.60}; numbers are needed, best as a torch.Tensor.")
    return array
