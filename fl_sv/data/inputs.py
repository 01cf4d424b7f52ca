"""What a module is given for a row, where it is not one array of real numbers (`data.inputs`).

Every row is one array all the same, so that rows are divided, held out and hashed in one way: the
named arrays are packed side by side, and unpacked where a module is called
(`fl_sv.training.models.ModelSpec.inputs`).

Shapes: `(rows, ...)` has one entry for each row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed

# Beside real numbers whole ones are kept in float32, which has all of them up to here.
MOST_BESIDE_REALS = 1 << 24


@dataclass(frozen=True)
class Input:
    """One array that a module is given.

    name: the key in the mapping; empty where the module takes this array alone.
    shape: of a row. whole: whether its numbers are whole and stay so, as ids and masks do.
    """

    name: str
    shape: tuple[int, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.name or 'x'} {self.shape} of {'whole' if self.whole else 'real'} numbers"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Input":
        """The input in a message. Raises ValueError, KeyError or TypeError unless it is one."""
        name, shape, whole = fields["name"], tuple(fields["shape"]), fields["whole"]
        sizes_are_sound = all(type(size) is int and size > 0 for size in shape)
        if type(name) is not str or type(whole) is not bool or not sizes_are_sound:
            raise ValueError(f"{str(fields)[:100]!r} is no input")
        return cls(name, shape, whole)


def as_ids(x: NDArray[Any], origin: str) -> tuple[NDArray[np.int64], tuple[Input, ...]]:
    """The rows as whole numbers. Raises InputError where one is not whole."""
    bad = np.argwhere(x != np.floor(x))
    if len(bad):
        at = ", ".join(map(str, bad[0]))
        raise InputError(
            f"{origin}: x[{at}] is {x[tuple(bad[0])]} ({len(bad):,} such cells); with `data.inputs:"
            " ids` every number is whole."
        )
    return x.astype(np.int64), (Input("", x.shape[1:], whole=True),)


def packed(
    arrays: Mapping[str, NDArray[Any]], names: Sequence[str], origin: str
) -> tuple[NDArray[Any], tuple[Input, ...]]:
    """The named arrays side by side (rows, numbers), and how to tell them apart.

    An array is whole where its type is: integers and truth values stay what they are.

    Raises InputError when one of them is missing or does not fit.
    """
    if missing := [name for name in names if name not in arrays]:
        raise InputError(
            f"{origin} has no array {missing[0]!r} (data.inputs); it has"
            f" {listed(sorted(arrays)) or 'none'}. Only an .npz archive and a module:function hold"
            " named arrays."
        )
    parts = [np.asarray(arrays[name]) for name in names]
    for name, part in zip(names, parts, strict=True):
        if part.ndim < 1 or part.size == 0 or len(part) != len(parts[0]):
            raise InputError(
                f"{origin}: {name} has shape {part.shape} and {names[0]} {parts[0].shape}; every"
                " input has as many rows, and no dimension of 0."
            )
        if part.dtype.kind not in "biuf":
            raise InputError(f"{origin}: {name} holds {part.dtype}; it must hold real numbers.")
    inputs = tuple(
        Input(name, part.shape[1:], whole=part.dtype.kind != "f")
        for name, part in zip(names, parts, strict=True)
    )
    flat = [part.reshape(len(part), -1) for part in parts]
    if all(each.whole for each in inputs):
        return np.concatenate(flat, axis=1).astype(np.int64), inputs
    for each, part in zip(inputs, flat, strict=True):
        if each.whole and np.abs(part.astype(np.float64)).max() > MOST_BESIDE_REALS:
            raise InputError(
                f"{origin}: {each.name} reaches {np.abs(part).max():,}; beside inputs of real"
                f" numbers, whole ones go up to {MOST_BESIDE_REALS:,}. Give them alone, or number"
                " them anew."
            )
    return np.concatenate([part.astype(np.float64) for part in flat], axis=1), inputs
