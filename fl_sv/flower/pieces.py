"""Arrays come in pieces, and a message may name the same piece very often: is there room for that?

Flower 1.41 puts the pieces together before anything of a message can be verified. 755 bytes and a
piece of 5 MB became an array of a gigabyte, and could as well become one of terabytes.
"""

import json
from typing import Any

from fl_sv.machine import LARGE_BYTES, free_memory

COPIES = 2  # that Flower holds at a time while it puts an array together


def bound_arrays(array_class: Any) -> None:
    """From now on Flower reads no array that does not fit into memory. array_class: its Array.

    An array of zeros is honest and names one piece often, so that only the memory is a bound. What
    is refused is a ValueError, as for every other array that cannot be read.
    """
    if "bounded" in vars(array_class):
        return
    inflate = array_class.inflate

    def within_memory(cls: Any, content: bytes, children: Any = None) -> Any:
        _require_room(content, children or {})
        return inflate(content, children)

    array_class.inflate = classmethod(within_memory)
    array_class.bounded = True


def _require_room(content: bytes, children: dict[str, Any]) -> None:
    """Raises ValueError unless an array has room in memory.

    content: a head, a zero byte, and JSON. children: its pieces.
    """
    _, _, body = content.partition(b"\0")
    pieces = json.loads(body)["arraychunk_ids"]
    n_bytes = len(pieces) * max((len(piece.data) for piece in children.values()), default=0)
    if n_bytes > LARGE_BYTES and COPIES * n_bytes > free_memory():
        raise ValueError(f"an array of {n_bytes:,} bytes has no room in memory")
