"""WHAT A MESSAGE MAY HOLD: a row for each field of each instruction and each reply.

Server and company check what they receive by the same rows, before they use anything of it. A
record or field without a row is refused, and so is a message that lacks one. Of an array the bytes
are judged, and what Flower declares of it must agree with them.

The library imports no Flower: a record is known by the name of its class.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.names import HANDLE, MOST_LETTERS
from fl_sv.errors import listed
from fl_sv.flower import wire

# --- bounds --------------------------------------------------------------------------------------

# Parameters of a model lie in -MOST_PARAMETER to MOST_PARAMETER. Scaled features reach 1e4, and
# sums of float32 squares must stay far from infinity. A training that is sound stays far below.
MOST_PARAMETER = 1e6
MOST_LOSS = 1e12
MOST_EXAMPLES = 10**9
MOST_SECONDS = 1e7  # faults.timeout_seconds goes up to 1e6
MOST_ROUNDS = 100_000  # as training.rounds
MOST_CHARACTERS = 1 << 26  # of a text in JSON
MOST_REASON = 2000  # characters of the sentence in which a company says why it failed
SHOWN = 40  # characters of a text that an error message quotes
DIVERGED = (
    "; if its data are sound, its training diverged, and a new run needs a lower learning rate"
)

# --- kinds of fields -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`; 1.0 and true are none."""

    low: int
    high: int

    def check(self, value: object) -> None:
        """Raises ValueError for anything else."""
        if type(value) is not int or not self.low <= value <= self.high:
            allowed = f"a whole number from {self.low:,} to {self.high:,}"
            raise ValueError(f"is {_quoted(value)}; allowed is {allowed}")


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`.

    advice: how a message goes on, if it does.
    """

    low: float
    high: float
    advice: str = ""

    def check(self, value: object) -> None:
        """Raises ValueError for anything else, NaN and infinity too."""
        if type(value) not in (int, float) or not self.low <= value <= self.high:  # type: ignore[operator]
            allowed = f"a number from {self.low:g} to {self.high:g}{self.advice}"
            raise ValueError(f"is {_quoted(value)}; allowed is {allowed}")


@dataclass(frozen=True)
class Text:
    """A text of at most `most` characters, all of which match the pattern.

    what: the kind of text, for messages. may_be_missing: whether a record may do without it.
    """

    what: str
    most: int
    pattern: re.Pattern[str] | None = None
    may_be_missing: bool = False

    def check(self, value: object) -> None:
        """Raises ValueError for anything else."""
        if (
            type(value) is not str
            or len(value) > self.most
            or (self.pattern is not None and not self.pattern.fullmatch(value))
        ):
            raise ValueError(f"is {_quoted(value)}; allowed is {self.what}")


@dataclass(frozen=True)
class Binary:
    """From 1 to `most` bytes."""

    most: int

    def check(self, value: object) -> None:
        """Raises ValueError for anything else."""
        if type(value) is not bytes or not 1 <= len(value) <= self.most:
            raise ValueError(f"is {_quoted(value)}; allowed are 1 to {self.most} bytes")


@dataclass(frozen=True)
class Arrays:
    """Parameters by model and replicate: arrays with these axes, none of them empty."""

    axes: tuple[str, ...]
    single: bool = False  # exactly one


Field = Whole | Real | Text | Binary
Fields = Mapping[str, Field]
# The fields of every record of a message, by the record's name.
Schema = Mapping[str, Fields | Arrays]

# --- the table -----------------------------------------------------------------------------------

HASH = Text("64 hexadecimal digits", 64, re.compile("[0-9a-f]{64}"))
NONCE = Text("32 hexadecimal digits", 32, re.compile("[0-9a-f]{32}"))
TYPE = Text("a message type", 64, re.compile(r"[a-z_.]+"))
A_COMPANY = Text("a company's name", MOST_LETTERS, re.compile(HANDLE))
# A model, a learning rate where one is tried, and a replicate; -1 is that of the trials.
KEY = re.compile(r"[\w.-]{1,400}(?:@[0-9.e+-]{1,30})?/(?:-1|0|[1-9][0-9]{0,3})")
EXAMPLES, SECONDS = Whole(1, MOST_EXAMPLES), Real(0, MOST_SECONDS)
LOSS = Real(0, MOST_LOSS, DIVERGED)
MODEL, MODELS = Arrays(("parameters",), single=True), Arrays(("parameters",))
STACKS = Arrays(("models", "parameters"))
BRIEFING: Fields = {
    # A simulated node has no name before it registers.
    wire.COMPANY: Text("a company's name", MOST_LETTERS, re.compile(f"(?:{HANDLE})?")),
    wire.ROUND: Whole(0, MOST_ROUNDS),
    wire.RUN_CONFIG: Text("a config in JSON", MOST_CHARACTERS),
    wire.SCALING: Text("a scaling in JSON", MOST_CHARACTERS),
    wire.RATES: Text("learning rates in JSON", MOST_CHARACTERS, may_be_missing=True),
}
TRAINED: Fields = {wire.NUM_EXAMPLES: EXAMPLES, wire.SECONDS: SECONDS}

INSTRUCTIONS: Mapping[str, Schema] = {
    wire.REGISTER: {wire.CONFIG: BRIEFING},
    wire.TEACHER: {wire.ARRAYS: MODEL, wire.CONFIG: BRIEFING},
    wire.SINGLETON: {wire.ARRAYS: MODELS, wire.CONFIG: BRIEFING},
    wire.COALITIONS: {wire.ARRAYS: STACKS, wire.CONFIG: BRIEFING},
    wire.TEACHER_LOGITS: {wire.ARRAYS: MODEL, wire.CONFIG: BRIEFING},
    wire.EVALUATE: {wire.ARRAYS: MODEL, wire.CONFIG: BRIEFING},
}
REPLIES: Mapping[str, Schema] = {
    wire.REGISTER: {
        wire.CONFIG: {
            wire.COMPANY: A_COMPANY,
            wire.FINGERPRINT: HASH,
            wire.LIBRARY: HASH,
            wire.BASES: HASH,
        },
        wire.METRICS: {wire.NUM_EXAMPLES: EXAMPLES},
    },
    wire.TEACHER: {wire.ARRAYS: MODEL, wire.METRICS: {**TRAINED, wire.TRAIN_LOSS: LOSS}},
    wire.SINGLETON: {wire.ARRAYS: MODELS, wire.METRICS: TRAINED},
    wire.COALITIONS: {wire.ARRAYS: STACKS, wire.METRICS: TRAINED},
    wire.TEACHER_LOGITS: {wire.METRICS: TRAINED},
    wire.EVALUATE: {wire.METRICS: {wire.NUM_EXAMPLES: EXAMPLES, wire.LOSS: LOSS}},
}
# In place of any reply of a federation, from a company that could not answer.
FAILURE: Schema = {wire.FAILURE: {wire.REASON: Text("a sentence", MOST_REASON)}}
# Of every message of a federation, besides the above; see signing.py. Ed25519 and ECDSA over any
# curve that Flower takes have signatures of at most 139 bytes.
SIGNATURE = Binary(139)
INSTRUCTION_ENVELOPE: Fields = {
    "run": Whole(0, (1 << 64) - 1),
    "contract": HASH,
    "recipient": A_COMPANY,
    "type": TYPE,
    "round": Whole(0, MOST_ROUNDS),
    "nonce": NONCE,
    "expires": Whole(0, 1 << 40),
    "digest": HASH,
    "signature": SIGNATURE,
}
REPLY_ENVELOPE: Fields = {
    "nonce": NONCE,
    "sender": A_COMPANY,
    "type": TYPE,
    "digest": HASH,
    "signature": SIGNATURE,
}
# The class of Flower's that a record must have.
CLASSES = {
    wire.ARRAYS: "ArrayRecord",
    wire.CONFIG: "ConfigRecord",
    wire.METRICS: "MetricRecord",
    wire.ENVELOPE: "ConfigRecord",
    wire.FAILURE: "ConfigRecord",
}

# --- the checks ----------------------------------------------------------------------------------

Records = Mapping[str, Mapping[str, Any]]
# The shape of every array, by key.
Shapes = Mapping[str, tuple[int, ...]]


def check_instruction(message_type: str, content: Records) -> None:
    """Raises ValueError unless a company may read this instruction.

    How many parameters a model has is known once the config is read: see `check_shapes`.
    """
    if message_type not in INSTRUCTIONS:
        raise ValueError(f"there is no instruction {_quoted(message_type)}")
    _check(INSTRUCTIONS[message_type], content)


def check_reply(
    message_type: str,
    content: Records,
    shapes: Shapes | None = None,
    dtype: str = "",
    *,
    may_diverge: bool = False,
) -> None:
    """Raises ValueError unless this is a usable reply to an instruction of that type.

    shapes, dtype: of the arrays that were sent, and so of those that come back.
    may_diverge: whether parameters may be anything, as where a learning rate is tried.
    """
    _check(REPLIES[message_type], content, may_diverge=may_diverge)
    if wire.ARRAYS in content:
        check_shapes(content[wire.ARRAYS], shapes or {}, dtype)


def check_failure(content: Records) -> None:
    """Raises ValueError unless a company says by this reply that it could not answer."""
    _check(FAILURE, content)


def check_record(name: str, record: Mapping[str, Any], fields: Fields) -> None:
    """Raises ValueError unless a record has its class, and the fields that its rows allow."""
    _check_class(name, record)
    needed = [key for key, field in fields.items() if not _may_be_missing(field)]
    _check_names(f"fields of {name!r}", record, fields, needed)
    for key in record:
        try:
            fields[key].check(record[key])
        except ValueError as error:
            raise ValueError(f"{key!r} {error}") from None


def check_shapes(record: Mapping[str, Any], shapes: Shapes, dtype: str) -> None:
    """Raises ValueError unless a record that was checked holds exactly these arrays."""
    if set(record) != set(shapes):
        raise ValueError(
            f"the models are {_names(record)}; {listed(sorted(shapes))} were to be there"
        )
    for key, shape in shapes.items():
        found = wire.layout(record[key].data)
        if found.shape != tuple(shape) or found.dtype != dtype:
            raise ValueError(
                f"model {key} is {found.dtype} of shape {found.shape}; it has to be {dtype} of"
                f" shape {tuple(shape)}"
            )


def is_bounded(array: NDArray[Any]) -> bool:
    """Whether all parameters are numbers from -MOST_PARAMETER to MOST_PARAMETER; NaN is none."""
    return bool(array.min() >= -MOST_PARAMETER and array.max() <= MOST_PARAMETER)


def unbounded(record: Mapping[str, Any]) -> list[str]:
    """The keys of the arrays of a record that was checked, some of whose numbers lie beyond."""
    return [key for key, array in record.items() if not is_bounded(wire.unpacked(array.data))]


def _check(schema: Schema, content: Records, *, may_diverge: bool = False) -> None:
    _check_names("records", content, schema, schema)
    for name, fields in schema.items():
        if isinstance(fields, Arrays):
            _check_arrays(name, content[name], fields, may_diverge=may_diverge)
        else:
            check_record(name, content[name], fields)


def _check_class(name: str, record: object) -> None:
    if type(record).__name__ != CLASSES[name]:
        raise ValueError(f"the record {name!r} is no {CLASSES[name]}")


def _check_names(
    what: str, found: Iterable[str], allowed: Iterable[str], needed: Iterable[str]
) -> None:
    """Raises ValueError for a name that is not allowed, and for one that is needed and lacks."""
    names = set(found)
    if names.difference(allowed) or not names.issuperset(needed):
        raise ValueError(f"the {what} are {_names(names)}; there have to be {_names(needed)}")


def _check_arrays(name: str, record: Mapping[str, Any], rule: Arrays, *, may_diverge: bool) -> None:
    _check_class(name, record)
    if not record or (rule.single and len(record) > 1):
        most = "one model" if rule.single else "at least one model"
        raise ValueError(f"it holds {len(record):,} models; it has to be {most}")
    for key, array in record.items():
        if not KEY.fullmatch(key):
            raise ValueError(f"{_quoted(key)} is no name of a model and replicate")
        try:
            _check_array(array, rule, may_diverge=may_diverge)
        except ValueError as error:
            raise ValueError(f"model {key} {error}") from None


def _check_array(array: Any, rule: Arrays, *, may_diverge: bool) -> None:
    """Raises ValueError unless bytes, declaration, axes and numbers are as they have to be."""
    dtype, shape, _ = wire.layout(array.data)
    declared = (array.stype, array.dtype, tuple(array.shape))
    if declared != ("numpy.ndarray", dtype, shape):
        raise ValueError(
            f"is declared as {_quoted(array.dtype)} of shape {_quoted(array.shape)}; its bytes hold"
            f" {dtype} of shape {shape}"
        )
    if len(shape) != len(rule.axes) or 0 in shape:
        raise ValueError(f"has the shape {shape}; the axes have to be {' and '.join(rule.axes)}")
    if may_diverge or is_bounded(numbers := wire.unpacked(array.data)):
        return
    finite = numbers[np.isfinite(numbers)]
    if finite.size < numbers.size:
        raise ValueError(f"has NaN or infinite parameters{DIVERGED}")
    worst = float(finite[np.abs(finite).argmax()])
    raise ValueError(
        f"has the parameter {worst:.3g}; allowed is -{MOST_PARAMETER:g} to"
        f" {MOST_PARAMETER:g}{DIVERGED}"
    )


def _may_be_missing(field: Field) -> bool:
    return isinstance(field, Text) and field.may_be_missing


def _names(names: Iterable[str]) -> str:
    """The names in a message: few, short, and safe to show."""
    return listed(sorted(_quoted(name) for name in names)) or "none"


def _quoted(value: object) -> str:
    """A value in a message: short, and safe to show."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}...")
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 64):
        return repr(value)
    if isinstance(value, tuple | list) and len(value) <= 8:
        return f"({', '.join(map(_quoted, value))})"
    return f"a {type(value).__name__}"
