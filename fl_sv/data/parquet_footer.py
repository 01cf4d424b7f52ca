"""How many values a Parquet file holds, from its footer, before any of them is unpacked.

A row may be a list, and a few bytes a list of a billion equal numbers. The footer is a struct of
Thrift's compact protocol (https://github.com/apache/parquet-format).
"""

from io import BytesIO
from pathlib import Path
from typing import Any

MAGIC = b"PAR1"
MOST_FOOTER = 64 << 20  # bytes
MOST_DEPTH = 20
# The places of fields: FileMetaData.row_groups, RowGroup.columns, ColumnChunk.meta_data, and
# ColumnMetaData.num_values.
ROW_GROUPS, COLUMNS, META_DATA, NUM_VALUES = 4, 1, 3, 5


def n_values(path: str) -> int:
    """Values of all columns, those inside lists counted one by one.

    Raises ValueError where the footer cannot be read, OSError where the file cannot.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != MAGIC or not 0 < length <= min(size - 8, MOST_FOOTER):
            raise ValueError("it has no footer of Parquet")
        file.seek(size - 8 - length)
        footer = _struct(BytesIO(file.read(length)), 0)
    try:
        return sum(
            chunk[META_DATA][NUM_VALUES] for group in footer[ROW_GROUPS] for chunk in group[COLUMNS]
        )
    except (KeyError, TypeError):
        raise ValueError("its footer names no columns") from None


def _struct(data: BytesIO, depth: int) -> dict[int, Any]:
    """The fields of a struct by their number."""
    fields, number = {}, 0
    while header := _byte(data):
        step, kind = header >> 4, header & 15
        number = number + step if step else _zigzag(data)
        # A truth value is in its header.
        fields[number] = kind == 1 if kind in (1, 2) else _value(data, kind, depth)
    return fields


def _value(data: BytesIO, kind: int, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise ValueError("its footer is too deep")
    match kind:
        case 1 | 2 | 3:  # in a list a truth value has a byte
            return _byte(data)
        case 4 | 5 | 6:
            return _zigzag(data)
        case 7:
            return data.read(8)
        case 8:
            return data.read(_varint(data))
        case 9 | 10:
            header = _byte(data)
            count = header >> 4 if header >> 4 < 15 else _varint(data)
            if count > MOST_FOOTER:
                raise ValueError("its footer is damaged")
            return [_value(data, header & 15, depth + 1) for _ in range(count)]
        case 12:
            return _struct(data, depth + 1)
    raise ValueError("its footer is damaged")


def _byte(data: BytesIO) -> int:
    found = data.read(1)
    if not found:
        raise ValueError("its footer ends early")
    return found[0]


def _varint(data: BytesIO) -> int:
    number = shift = 0
    while True:
        byte = _byte(data)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
        if (shift := shift + 7) > 63:
            raise ValueError("its footer is damaged")


def _zigzag(data: BytesIO) -> int:
    number = _varint(data)
    return (number >> 1) ^ -(number & 1)
