"""The form of a file with the numbers of a model, read once and not held.

The format is safetensors': the length of a header in 8 bytes, the header as JSON (type, shape and
place of each tensor), and the bytes of all tensors one after the other. The package of that name
reads whole tensors into memory; here what is hashed is what is looked at, piece by piece.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from typing import Any, BinaryIO

import numpy as np

MOST_HEADER = 10_000_000  # bytes: about 100,000 tensors
MOST_AXES = 64  # of a tensor, as torch allows
PIECE = 1 << 24  # bytes that are in memory at a time
# Bytes of a number of each type, by its name in the format.
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "C64": 8,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
REAL = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


@dataclass(frozen=True)
class TensorFile:
    """What a file with the numbers of a model is.

    sha256: of its bytes, as hex digits.
    fault: why it is no file of the format; empty where it is one.
    counts: how many numbers each tensor has, by name. types: their types.
    not_finite: the tensors with a NaN or infinite number.
    """

    sha256: str
    fault: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    not_finite: tuple[str, ...] = ()


class _NotTheFormatError(Exception):
    """The file is not of the format. Its text is the fault."""


def read_tensors(file: BinaryIO) -> TensorFile:
    """Reads a file to its end. Raises OSError."""
    digest = sha256()

    def take(n_bytes: int) -> bytes:
        piece = file.read(n_bytes)
        digest.update(piece)
        if len(piece) < n_bytes:
            raise _NotTheFormatError("it ends too early")
        return piece

    def pieces(n_bytes: int) -> Iterator[bytes]:
        while n_bytes:
            piece = take(min(n_bytes, PIECE))
            n_bytes -= len(piece)
            yield piece

    counts: dict[str, int] = {}
    types: dict[str, str] = {}
    bad: dict[str, None] = {}
    fault = ""
    try:
        length = int.from_bytes(take(8), "little")
        for name, kind, count in _tensors(take(min(length, MOST_HEADER))):
            counts[name], types[name] = count, kind
            for piece in pieces(count * SIZES[kind]):
                if kind in REAL and not np.isfinite(np.frombuffer(piece, REAL[kind])).all():
                    bad[name] = None
    except _NotTheFormatError as error:
        fault = str(error)
    while rest := file.read(PIECE):
        digest.update(rest)
        fault = fault or "it goes on behind its last tensor"
    return TensorFile(digest.hexdigest(), fault, counts, types, tuple(bad))


def _tensors(header: bytes) -> Iterator[tuple[str, str, int]]:
    """Name, type and count of numbers of each tensor, in the order of their bytes."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _NotTheFormatError("its header has a name twice")
        return dict(pairs)

    try:
        entries = json.loads(header.decode(), object_pairs_hook=once)
        entries.pop("__metadata__", None)
        placed = sorted((entry["data_offsets"], name) for name, entry in entries.items())
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise _NotTheFormatError("its header is none") from None
    end = 0
    for place, name in placed:
        entry = entries[name]
        kind, shape = entry.get("dtype"), entry.get("shape")
        whole = (
            isinstance(shape, list)
            and len(shape) <= MOST_AXES
            and all(type(n) is int and 0 <= n < 2**48 for n in shape)
        )
        if kind not in SIZES or not whole or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _NotTheFormatError(f"its header is wrong about {name[:80]!r}")
        count = prod(shape)
        if place != [end, end + count * SIZES[kind]]:
            raise _NotTheFormatError(f"the bytes of {name[:80]!r} are not where they should be")
        end = place[1]
        yield name, kind, count
