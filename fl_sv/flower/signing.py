"""WHO WROTE A MESSAGE: the operator signs every instruction, a company every reply.

Flower 1.41 signs no content, and delivers what any registered node sends in another's name. So each
message of a federation carries an envelope: a ConfigRecord that says from whom and for what it is,
with a digest of all its other records, and a signature of that. It is verified before anything of
the message is read.

The operator signs with the Ed25519 key of `fl_sv.runs.keys`, a company with the elliptic-curve key
that was registered for it. Both keys sign other things as well. What is signed here begins with a
name of its own, so that none of it can be taken for anything else.

The library imports no Flower: records are mappings, known by the names of their classes.
"""

import hashlib
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fl_sv.flower import schema, wire

# By how many seconds a company's clock may be ahead of the operator's, at most.
SKEW_SECONDS = 300
SIGNATURE = "signature"  # the field of an envelope that the others do not contain
_ECDSA = ec.ECDSA(hashes.SHA384())

Records = Mapping[str, Mapping[str, Any]]
Sign = Callable[[bytes], bytes]


class Unsigned(ValueError):
    """Nobody is known to have written this message: nothing of it may be used or believed."""


# --- what is signed ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instruction:
    """What the operator signs of an instruction."""

    run: int  # Flower's run
    contract: str  # see contract.py
    recipient: str  # the company
    type: str  # of the message
    round: int
    nonce: str  # 128 random bits: no two instructions have the same
    expires: int  # seconds since 1970
    digest: str  # of all records but the envelope

    title = b"fl-sv instruction 1"
    rows = schema.INSTRUCTION_ENVELOPE

    def has_not_expired(self, now: float) -> bool:
        """Whether it may be followed; now: by the company's clock, in seconds since 1970."""
        return now <= self.expires + SKEW_SECONDS


@dataclass(frozen=True)
class Reply:
    """What a company signs of its reply."""

    nonce: str  # of the instruction
    sender: str  # the company
    type: str  # of the message
    digest: str  # of all records but the envelope

    title = b"fl-sv reply 1"
    rows = schema.REPLY_ENVELOPE


Letter = Instruction | Reply


def statement(letter: Letter) -> bytes:
    """The bytes that are signed: a name of their own, then every field with its name."""
    parts = [_part(letter.title), *_mapping(asdict(letter))]
    return b"".join(parts)


def envelope(letter: Letter, sign: Sign) -> dict[str, Any]:
    """The fields of the record that goes with the message."""
    return {**asdict(letter), SIGNATURE: sign(statement(letter))}


def company_signer(key: ec.EllipticCurvePrivateKey) -> Sign:
    """Signs as a company does."""
    return lambda data: key.sign(data, _ECDSA)


def new_nonce() -> str:
    """128 random bits, as hex digits."""
    return secrets.token_hex(16)


# --- verification --------------------------------------------------------------------------------


def open_instruction(
    content: Records, operator: Ed25519PublicKey, *, run: int, recipient: str, message_type: str
) -> Instruction:
    """The envelope of an instruction, once it is shown that the operator wrote it, and to whom.

    operator: his public key. run, recipient, message_type: as the company knows them itself.

    Raises Unsigned. Whether it came in time and for the first time is not looked at.
    """
    found, signature = _opened(Instruction, content)
    assert isinstance(found, Instruction)
    try:
        operator.verify(signature, statement(found))
    except InvalidSignature:
        raise Unsigned("its signature is not the operator's") from None
    if found.recipient != recipient:
        raise Unsigned(f"it is for {found.recipient}, and this is the node of {recipient}")
    if found.run != run:
        raise Unsigned("it was written for another run")
    _require_same(found, content, message_type)
    return found


def open_reply(
    content: Records, key: ec.EllipticCurvePublicKey, *, nonce: str, sender: str, message_type: str
) -> Reply:
    """The envelope of a reply, once it is shown that the company wrote it, and as answer to what.

    key: the one that the operator registered for the company. nonce: of the instruction.

    Raises Unsigned.
    """
    found, signature = _opened(Reply, content)
    assert isinstance(found, Reply)
    try:
        key.verify(signature, statement(found), _ECDSA)
    except InvalidSignature:
        raise Unsigned("its signature is not by the registered key") from None
    if found.sender != sender:
        raise Unsigned(f"it was signed in the name of {found.sender}")
    if found.nonce != nonce:
        raise Unsigned("it answers another instruction")
    _require_same(found, content, message_type)
    return found


def _opened(kind: type[Letter], content: Records) -> tuple[Letter, bytes]:
    """The letter in the envelope, whose fields are as its rows allow, and its signature."""
    if wire.ENVELOPE not in content:
        raise Unsigned("it is not signed")
    record = content[wire.ENVELOPE]
    try:
        schema.check_record(wire.ENVELOPE, record, kind.rows)
    except ValueError as error:
        raise Unsigned(f"its envelope is none: {error}") from None
    letter: Letter = kind(**{field.name: record[field.name] for field in fields(kind)})
    return letter, record[SIGNATURE]


def _require_same(letter: Letter, content: Records, message_type: str) -> None:
    """Raises Unsigned unless type and records of the message are those that were signed."""
    if letter.type != message_type:
        raise Unsigned(f"it was signed as {letter.type!r}")
    if letter.digest != digest(content):
        raise Unsigned("its records are not those that were signed")


# --- the digest ----------------------------------------------------------------------------------


def digest(content: Records) -> str:
    """sha256 of all records of a message but its envelope, as hex digits.

    Names, classes, keys, types and bytes count, the order of records and keys does not: Flower does
    not keep it. Each part stands behind its length, so no two contents have the same parts.

    Raises Unsigned where something is of a type that no message has.
    """
    sha = hashlib.sha256()
    names = sorted(name for name in content if name != wire.ENVELOPE)
    sha.update(_count(len(names)))
    for name in names:
        record = content[name]
        sha.update(_part(name.encode()) + _part(type(record).__name__.encode()))
        for part in _mapping(record):
            sha.update(part)
    return sha.hexdigest()


def _mapping(record: Mapping[str, Any]) -> Iterator[bytes]:
    yield _count(len(record))
    for key in sorted(record):
        yield _part(key.encode())
        yield from _value(record[key])


def _value(value: Any) -> Iterator[bytes]:
    """A letter for the type, then the value. Whoever joins the parts copies the arrays."""
    if isinstance(value, bool):
        yield b"t" if value else b"f"
    elif isinstance(value, int):
        yield b"i" + _part(str(value).encode())
    elif isinstance(value, float):
        yield b"d" + struct.pack(">d", value)
    elif isinstance(value, str):
        yield b"s" + _part(value.encode())
    elif isinstance(value, bytes):
        yield b"b" + _count(len(value))
        yield value
    elif isinstance(value, list | tuple):
        yield b"l" + _count(len(value))
        for entry in value:
            yield from _value(entry)
    elif hasattr(value, "stype"):  # an Array of Flower's
        yield b"a"
        yield from _value([value.stype, value.dtype, value.shape, value.data])
    else:
        raise Unsigned(f"it holds a {type(value).__name__}, which no message does")


def _part(data: bytes) -> bytes:
    return _count(len(data)) + data


def _count(number: int) -> bytes:
    return number.to_bytes(8, "big")
