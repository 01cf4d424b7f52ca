"""Rows that stay on disk: arrays that are mapped into memory, and what is made of them.

The system reads the pages of a mapped array when they are used, and drops them when memory is
needed elsewhere. So what is made of such rows goes into a mapped file as well, which has no name
and ends with the process, and is computed a block of rows at a time.

Shapes: `(rows, ...)` has one entry for each row.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from fl_sv.errors import InputError, listed
from fl_sv.files import require_regular
from fl_sv.text import one_line

SUFFIX = ".npy"
BLOCK_BYTES = 32 << 20  # that are computed at a time, in float64


def mapped_arrays(folder: Path, entries: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """The arrays in a folder of x.npy, y.npy and others by name; x is mapped, the others are read.

    entries: what the folder holds.

    Raises InputError that names each file that is no such array.
    """
    faults = [f"{each.name}: no .npy file" for each in entries if each.suffix != SUFFIX]
    arrays: dict[str, NDArray[Any]] = {}
    for each in entries:
        if each.suffix != SUFFIX:
            continue
        try:
            require_regular(each)
            array = npy.open_memmap(each, mode="r")
            arrays[each.stem] = array if each.stem == "x" else np.array(array)
        except OSError as error:
            faults.append(f"{each.name}: {error.strerror or error}")
        except Exception as error:  # of numpy: a header may be wrong in many ways
            faults.append(f"{each.name}: {one_line(str(error))[:200].rstrip('.')}")
    if faults:
        raise InputError(
            f"The folder {folder} cannot be read as arrays: {listed(faults, 5)}. Beside x{SUFFIX}"
            f" lie y{SUFFIX} and a file for each other column, as numpy.save writes them, and"
            " nothing else."
        )
    return arrays


def empty_like_rows(source: NDArray[Any], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A new array for what is made of `source`: mapped where that is, else in memory.

    Raises InputError when the folder of temporary files has no room for it.
    """
    if not isinstance(source, np.memmap):
        return np.empty(shape, dtype)
    n_bytes = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile() as file:
        try:
            if hasattr(os, "posix_fallocate"):  # room now, not a crash while it is written
                os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            raise InputError(
                f"Rows that are prepared for training take {n_bytes / 1e9:,.1f} GB in"
                f" {tempfile.gettempdir()}: {error.strerror}. Make room, or name another folder in"
                " the environment variable TMPDIR."
            ) from None
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def blocks(rows: NDArray[Any]) -> Iterator[slice]:
    """The rows of an array in pieces that are small enough to be computed at a time."""
    of_a_row = 8 * max(1, rows.size // max(1, len(rows)))
    step = max(1, BLOCK_BYTES // of_a_row)
    for first in range(0, len(rows), step):
        yield slice(first, first + step)


def column_groups(columns: NDArray[Any]) -> Iterator[slice]:
    """The columns of (rows, columns) in groups, whose numbers are computed at a time."""
    width = max(2, 8 * BLOCK_BYTES // (8 * max(1, len(columns))))
    for first in range(0, columns.shape[1], width):
        yield slice(first, first + width)


def taken(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """A copy of the given rows in that order, mapped where the array is."""
    if not isinstance(array, np.memmap):
        return array[rows]
    copy = empty_like_rows(array, (len(rows), *array.shape[1:]), array.dtype)
    for block in blocks(copy):
        copy[block] = array[rows[block]]
    return copy


def converted(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """The array in another type, mapped where it is; itself where it has that type."""
    if array.dtype == dtype or not isinstance(array, np.memmap):
        return array.astype(dtype, copy=False)
    copy = empty_like_rows(array, array.shape, dtype)
    for block in blocks(copy):
        copy[block] = array[block]
    return copy


def not_finite(array: NDArray[Any]) -> tuple[int, tuple[int, ...]]:
    """How many numbers of (rows, ...) are not finite, and the place of the first; () for none."""
    count, first = 0, ()
    for block in blocks(array):
        bad = np.argwhere(~np.isfinite(array[block]))
        if len(bad) and not count:
            row, *others = map(int, bad[0])
            first = (block.start + row, *others)
        count += len(bad)
    return count, first
