"""Large replies on disk: the parameters that a company sent wait in a file until they are averaged.

The file has no name. It is gone when nobody needs the reply any more, and when the process ends,
however it ends.
"""

import tempfile
from collections.abc import Callable
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from pathlib import Path
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from fl_sv.errors import RunError
from fl_sv.flower import wire
from fl_sv.machine import LARGE_BYTES

# The numbers `start` to `stop` of an array in row order.
Reader = Callable[[int, int], NDArray[np.floating]]
Record = TypeVar("Record", ArrayRecord, ConfigRecord, MetricRecord)


class SpooledArray(Array):
    """An array whose bytes are in a file, for whoever takes an Array; `data` reads them all."""

    def __init__(self, array: Array, folder: Path | None) -> None:
        self.dtype, self.shape, self.stype = array.dtype, array.shape, array.stype
        self._layout = wire.layout(array.data)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(array.data)
            file.flush()
            self._file = mmap(file.fileno(), 0, access=ACCESS_READ)

    @property
    def data(self) -> bytes:  # type: ignore[override]
        return self._file[:]

    def numbers(self) -> NDArray[np.floating]:
        """The array, of which the system keeps in memory what was read and fits."""
        layout = self._layout
        return np.frombuffer(self._file, layout.numpy, offset=layout.offset).reshape(layout.shape)

    def part(self, start: int, stop: int) -> NDArray[np.floating]:
        """The numbers `start` to `stop` in row order, of which nothing else stays in memory."""
        numbers = self.numbers().reshape(-1)[start:stop].copy()
        self._file.madvise(MADV_DONTNEED)
        return numbers


def spool(content: RecordDict, folder: Path | None) -> None:
    """Moves the arrays of a checked reply to disk, if they are large.

    folder: where there is space; without one the system's folder for such files.

    Raises RunError when they cannot be written.
    """
    for record in records(content, ArrayRecord):
        if sum(len(array.data) for array in record.values()) <= LARGE_BYTES:
            continue
        try:
            for key, array in [*record.items()]:
                record[key] = SpooledArray(array, folder)
        except OSError as error:
            raise RunError(
                f"A company's reply cannot be written to {folder or tempfile.gettempdir()}:"
                f" {error.strerror}. Make sure that the disk has space for a reply of every company"
                " and can be written, and continue with --resume."
            ) from error


def records(content: RecordDict, kind: type[Record]) -> list[Record]:
    """The records of a kind in a message.

    Flower's own `content.array_records` refers to itself. It would keep the message and its arrays
    in memory until the next search for garbage.
    """
    return [record for record in content.values() if isinstance(record, kind)]


def reader(array: Array) -> Reader:
    """Reads parts of an array, of which a spooled one has no other in memory."""
    if isinstance(array, SpooledArray):
        return array.part
    numbers = wire.unpacked(array.data).reshape(-1)
    return lambda start, stop: numbers[start:stop]
