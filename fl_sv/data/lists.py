"""Tables of Arrow: files as Hugging Face's `datasets` saves them, and columns of lists."""

import re
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from fl_sv.data.archive import require_growth, require_room
from fl_sv.data.csv_file import MOST_COLUMNS
from fl_sv.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl

ARROW_FILE = b"ARROW1"  # how a file begins that is no stream
# How a buffer begins that LZ4 or Zstandard packed.
PACKED = re.compile(rb"\x04\x22\x4d\x18[\x40-\x7f][\x40\x50\x60\x70]|\x28\xb5\x2f\xfd[\s\S]")
ANEW = "If its rows are real, write it without compression."


def read_arrow(path: str) -> "pl.DataFrame":
    """The columns of an Arrow file or stream. Raises InputError or OSError when it is damaged."""
    import polars as pl

    data = _bounded_bytes(path)
    read = pl.read_ipc if data.startswith(ARROW_FILE) else pl.read_ipc_stream
    try:
        frame = read(data)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(
            f"{path} is not a readable Arrow file: {str(error).splitlines()[0]}."
        ) from None
    require_growth(path, frame.height * frame.width * 8, ANEW)
    return frame


def _bounded_bytes(path: str) -> bytes:
    """The bytes of the file, once it is known that what they unpack to finds room.

    Eight bytes before a packed buffer say how long it is, and both begin at a multiple of eight.
    """
    require_room(path, Path(path).stat().st_size)
    data = Path(path).read_bytes()
    unpacked = sum(
        int.from_bytes(data[found.start() - 8 : found.start()], "little")
        for found in PACKED.finditer(data)
        if found.start() % 8 == 0
    )
    require_growth(path, unpacked, ANEW)
    return data


def without_lists(
    frame: "pl.DataFrame", path: str, whole: Collection[str | None] = ()
) -> "pl.DataFrame":
    """The frame with a column for each place of a list: `pixels` becomes `pixels.0`, `pixels.1`.

    Lists of lists become `grid.0.0`, `grid.0.1`, ... whole: columns that stay as they are.

    Raises InputError where the lists of a column
    differ in length, or one of them is missing.
    """
    import polars as pl

    made: list[pl.Series] = []
    waiting = [_stored(frame[name]) for name in frame.columns][::-1]
    while waiting:
        column = waiting.pop()
        if column.name in whole or not isinstance(column.dtype, pl.List | pl.Array):
            made.append(column)
            continue
        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        lengths = column.list.len().unique().sort().to_list()
        if len(lengths) != 1 or None in lengths:
            found = listed(["a missing one" if each is None else each for each in lengths], 5)
            raise InputError(
                f"{path}, column {column.name!r}: all lists need one length; found {found}. Pad or"
                " cut them, or give an .npz archive."
            )
        if len(made) + len(waiting) + lengths[0] > MOST_COLUMNS:
            raise InputError(
                f"{path}, column {column.name!r}: lists of {lengths[0]:,} numbers make more than"
                f" {MOST_COLUMNS:,} columns. Give an .npz archive."
            )
        waiting += [
            column.list.get(place).alias(f"{column.name}.{place}")
            for place in reversed(range(lengths[0]))
        ]
    return pl.DataFrame(made)


def _stored(column: "pl.Series") -> "pl.Series":
    """The column as it is stored, where another package gave its type a name."""
    extension = getattr(__import__("polars"), "Extension", None)
    is_one = extension is not None and isinstance(column.dtype, extension)
    return column.ext.storage() if is_one else column


def grid(features: Sequence[str]) -> tuple[int, ...] | None:
    """The shape of a row whose features are the places of one column of lists of lists, in order.

    Lists in lists in lists are channels, lines and pixels; with two levels there is one channel.
    None where there are other features, or lists of one level.

    >>> grid(["image.0.0", "image.0.1", "image.1.0", "image.1.1"])
    (1, 2, 2)
    """
    found = [re.fullmatch(r"(.+?)((?:\.[0-9]+){2,3})", name) for name in features]
    if not found or None in found or len({each[1] for each in found if each}) > 1:
        return None
    places = [tuple(map(int, each[2][1:].split("."))) for each in found if each]
    if len({*map(len, places)}) > 1:
        return None
    shape = tuple(place + 1 for place in places[-1])
    if places != [*product(*map(range, shape))]:
        return None
    return shape if len(shape) == 3 else (1, *shape)
