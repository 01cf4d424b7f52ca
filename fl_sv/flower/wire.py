"""The names in the messages between server and companies, and how arrays lie in their bytes.

The library imports no Flower. `clients`, `server` and `strategies` put these names into Flower's
messages, records and node configs.
"""

import io
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# --- message types --------------------------------------------------------------------------------

# The company's name, number of examples, fingerprint and library.
REGISTER = "query.register"
# One round of the large model; the default action, which every Flower Strategy sends.
TEACHER = "train"
# All rounds of the large model on one company's rows: the large run of a singleton.
SINGLETON = "train.singleton"
# One round of the small models of a wave, or of the large model in a wave of large runs.
COALITIONS = "train.coalitions"
# The finished teacher's logits on the company's rows; they stay in the state of its node.
TEACHER_LOGITS = "query.teacher_logits"
# The loss of a model on the company's rows.
EVALUATE = "evaluate"

# --- records of a message -------------------------------------------------------------------------

ARRAYS = "arrays"  # ArrayRecord: parameters, by model and replicate
CONFIG = "config"  # ConfigRecord: the briefing
METRICS = "metrics"  # MetricRecord: counts and seconds
ENVELOPE = "envelope"  # ConfigRecord: who wrote the message, and his signature; see signing.py
FAILURE = "failure"  # ConfigRecord: in a reply in place of all others, why there are none

# --- keys of a record -----------------------------------------------------------------------------

COMPANY = "company"
RUN_CONFIG = "run-config"  # the resolved config as JSON; companies never open the config file
SCALING = "scaling"  # the task, and the operator's scaling of features and targets, as JSON
ROUND = "server-round"  # Flower's name
NUM_EXAMPLES = "num-examples"  # Flower's name
TRAIN_LOSS = "train_loss"  # Flower's name (QFedAvg)
SECONDS = "seconds"
LOSS = "loss"
RATES = "learning-rates"  # those that the run chooses or tries, by model, as JSON
FINGERPRINT = "fingerprint"
LIBRARY = "library"
BASES = "bases"
REASON = "reason"

# --- a node's own state and config ----------------------------------------------------------------

LOGITS = "teacher-logits"  # record and array in the state; they never travel
PARTITION = "partition-id"  # Flower's name: the number of the company that a simulated node plays
DATA_PATH = "data-path"  # the node's own data file
BASES_PATH = "bases-path"  # the folder of the node's own pretrained bases; in the kit by default
KIT = "kit"  # the folder in which the company joined; only a node without one is simulated
STATE = "state"  # the folder in which the node keeps what it has answered; in the kit by default


def candidate(model: str, learning_rate: float) -> str:
    """What a model is called in messages while it trains at a learning rate that is tried."""
    return f"{model}@{learning_rate!r}"


def stack_key(model: str, replicate: int) -> str:
    """The name of the array that holds a model's parameters for one replicate."""
    return f"{model}/{replicate}"


def is_candidate(name: str) -> bool:
    """Whether it is the name of a `candidate`: no model's own name holds the sign."""
    return "@" in name


def model_of(name: str) -> str:
    """The model that a name in messages means.

    >>> model_of(candidate("mlp-16", 0.2)), model_of("mlp-16")
    ('mlp-16', 'mlp-16')
    """
    return name.partition("@")[0]


def parse_stack_key(key: str) -> tuple[str, int]:
    """The model and the replicate of a `stack_key`.

    >>> parse_stack_key(stack_key("mlp-16", 2))
    ('mlp-16', 2)
    """
    model, _, replicate = key.rpartition("/")
    return model, int(replicate)


# --- arrays in bytes -----------------------------------------------------------------------------

# NumPy's .npy format, version 1.0, as np.save writes an array of float32 or float64 in row order.
_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = r"(?:0|[1-9][0-9]{0,11})"
_HEADER = re.compile(
    rf"\{{'descr': '<(f4|f8)', 'fortran_order': False,"
    rf" 'shape': \(({_LENGTH},|{_LENGTH}(?:, {_LENGTH})+)\), \}} *\n".encode()
)


class Layout(NamedTuple):
    """What the bytes of an array say of it; the numbers begin at `offset`."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def numpy(self) -> np.dtype[np.floating]:
        """The type of the numbers, in the order of their bytes."""
        return np.dtype(self.dtype).newbyteorder("<")


def layout(data: bytes) -> Layout:
    """The layout of the array in the bytes of a Flower Array.

    Raises ValueError unless the bytes are exactly one array of float32 or float64 in row order.
    """
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(data[start - 2 : start], "little")
    found = _HEADER.fullmatch(data, start, end) if data.startswith(_MAGIC) else None
    if found is None or end > len(data):
        head = data[start : min(end, start + 80)].decode("ascii", "backslashreplace").strip()
        raise ValueError(
            f"is no array of float32 or float64 in row order; its bytes begin with {head!r}"
        )
    size = int(found[1][1:])
    shape = tuple(int(length) for length in found[2].split(b",") if length)
    if math.prod(shape) * size != len(data) - end:
        raise ValueError(
            f"has {len(data) - end:,} bytes of numbers; its shape {shape} needs"
            f" {math.prod(shape) * size:,}"
        )
    return Layout(f"float{8 * size}", shape, end)


def unpacked(data: bytes) -> NDArray[np.floating]:
    """The array in the bytes of a Flower Array, as a read-only view of them.

    Flower's own reading copies them twice. Raises ValueError as `layout` does.
    """
    found = layout(data)
    array: NDArray[np.floating] = np.frombuffer(data, found.numpy, offset=found.offset)
    return array.reshape(found.shape)


def packed(parts: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: str) -> bytes:
    """The bytes of an array whose numbers in row order are these parts, one after the other.

    dtype: numpy's name of float32 or float64. Besides the result only a part is in memory.

    >>> unpacked(packed([np.zeros(2), np.ones(1)], (3, 1), "float32")).tolist()
    [[0.0], [0.0], [1.0]]
    """
    order = np.dtype(dtype).newbyteorder("<")
    head = {"descr": order.str, "fortran_order": False, "shape": shape}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, head)
    for part in parts:
        buffer.write(np.ascontiguousarray(part, order).data)
    return buffer.getvalue()
