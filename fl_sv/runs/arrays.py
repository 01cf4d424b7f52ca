"""The arrays of the journal: small ones are bytes in its cells, large ones files beside it.

SQLite takes no cell of a gigabyte, and needs several copies of a large one. A file is whole and on
the disk before the transaction that names it. Files that no cell names any more go after the
transaction, or with the next one where a crash came between. So every file that a cell names is
there.
"""

import io
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from fl_sv.machine import LARGE_BYTES

NAME = re.compile(r"[0-9a-f]{32}\.npy")
# What is in a cell: an array, or the name of its file.
Cell = bytes | str


class ArrayFiles:
    """The files of the large arrays, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cell(self, array: NDArray[Any]) -> Cell:
        """What stands for the array in the journal. Raises OSError when its file is not written."""
        if array.nbytes <= LARGE_BYTES:
            return blob(array)
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{uuid4().hex}.npy"
        with path.open("xb") as file:
            head = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(file, head)
            file.write(np.ascontiguousarray(array).data.cast("B"))
            file.flush()
            os.fsync(file.fileno())
        _sync(self._folder)
        return path.name

    def array(self, cell: Cell) -> NDArray[Any]:
        """The array of a cell; a large one is a read-only map of its file.

        Raises ValueError, TypeError, EOFError or OSError when it cannot be read.
        """
        found: NDArray[Any]
        if isinstance(cell, bytes):
            found = np.load(io.BytesIO(cell), allow_pickle=False)
        elif NAME.fullmatch(cell):
            found = np.load(self._folder / cell, mmap_mode="r", allow_pickle=False)
        else:
            raise ValueError(f"{cell!r} is no name of one of its files")
        return found

    def keep_only(self, cells: Collection[str]) -> None:
        """Removes all files but those of these cells."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if path.name not in cells:
                path.unlink()


def blob(array: NDArray[Any]) -> bytes:
    """The array as bytes, in NumPy's .npy format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _sync(folder: Path) -> None:
    """Makes sure that a new name in the folder is on the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
