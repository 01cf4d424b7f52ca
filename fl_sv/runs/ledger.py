"""The ledger: an append-only chain of signed lines over everything that a payout rests on.

Each line is a JSON object with the sha256 of the line before it and an Ed25519 signature of the
rest of the line. A command appends one section: `open` (who, when, with which software), records,
and `close` with the number of lines and the hashes of the run's files. The last line of a whole
ledger is therefore always a `close`.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_sv.errors import VerificationError
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import LEDGER
from fl_sv.runs.keys import is_signature, raw

OPEN, CLOSE = "open", "close"
GENESIS = "0" * 64  # what the first line names as the hash before it
_FIELDS = {"number", "section", "kind", "body", "previous", "signature"}


@dataclass(frozen=True)
class Record:
    """One line of the ledger."""

    number: int  # from 1
    section: int  # from 1
    kind: str
    body: dict[str, Any]
    digest: str  # sha256 of the line's text


def append_section(
    run: RunDirectory,
    key: Ed25519PrivateKey,
    command: str,
    software: dict[str, str],
    records: Sequence[tuple[str, dict[str, Any]]],
    files: Sequence[str],
) -> None:
    """Adds a section with `records` (kind, body), closed over the hashes of `files`, in one step."""
    before = read_ledger(run) if run.finished else []
    opening = {
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": software,
        "public_key": b64encode(raw(key.public_key())).decode(),
    }
    hashes = {name: file_hash(run, name) for name in files}
    closing = {"lines": len(before) + len(records) + 2, "files": hashes}
    section = before[-1].section + 1 if before else 1
    previous = before[-1].digest if before else GENESIS
    text = run.read_text(LEDGER) if before else ""
    for number, (kind, body) in enumerate(
        [(OPEN, opening), *records, (CLOSE, closing)], start=len(before) + 1
    ):
        line = _signed(key, number, section, kind, body, previous)
        previous = _digest(line)
        text += line + "\n"
    run.write_text(LEDGER, text)


def read_ledger(run: RunDirectory) -> list[Record]:
    """The ledger of a run. Raises VerificationError when it is missing, empty or not whole."""
    try:
        data = run.file(LEDGER).read_bytes()
    except OSError as error:
        raise VerificationError(f"{LEDGER} cannot be read: {error.strerror}.") from None
    records = read_records(data.decode("ascii", errors="replace"))
    if not records:
        raise VerificationError(f"{LEDGER} is empty.")
    return records


def read_records(text: str) -> list[Record]:
    """The lines of a ledger whose chain and signatures are whole.

    Raises VerificationError that names the first line that is not.
    """
    records: list[Record] = []
    public = b""
    *lines, rest = text.split("\n")
    for number, line in enumerate(lines, start=1):
        where = f"{LEDGER}, line {number}"
        entry = _parse(line, where)
        kind, body = entry["kind"], entry["body"]
        if kind == OPEN:
            public = _decode(body.get("public_key"), where)
        signature = _decode(entry.pop("signature"), where)
        if not is_signature(public, signature, canonical(entry)):
            raise VerificationError(
                f"{where}: the signature is not the signer's; the line was changed."
            )
        if not _follows(entry, records[-1] if records else None):
            raise VerificationError(
                f"{where}: it does not follow from the line before; a line was changed, moved or"
                " removed."
            )
        records.append(Record(number, entry["section"], kind, body, _digest(line)))
    if rest or (records and records[-1].kind != CLOSE):
        raise VerificationError(
            f"{LEDGER} ends after line {len(records)} without a close; lines were cut off."
        )
    return records


def signers(records: Sequence[Record]) -> list[bytes]:
    """The public key of each section, in order."""
    return [b64decode(record.body["public_key"]) for record in records if record.kind == OPEN]


def newest(records: Sequence[Record], kind: str) -> Record:
    """The last record of a kind. Raises VerificationError when there is none."""
    for record in reversed(records):
        if record.kind == kind:
            return record
    raise VerificationError(f"{LEDGER} holds no {kind!r} record.")


def file_hash(run: RunDirectory, name: str) -> str:
    """sha256 of a file of the run as hex digits. Raises VerificationError when it is not there."""
    try:
        return hashlib.sha256(run.file(name).read_bytes()).hexdigest()
    except OSError as error:
        raise VerificationError(f"{name} cannot be read: {error.strerror}.") from None


def canonical(body: dict[str, Any]) -> bytes:
    """The one text of a JSON object that is signed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _signed(
    key: Ed25519PrivateKey,
    number: int,
    section: int,
    kind: str,
    body: dict[str, Any],
    previous: str,
) -> str:
    entry = {"number": number, "section": section, "kind": kind, "body": body, "previous": previous}
    entry["signature"] = b64encode(key.sign(canonical(entry))).decode()
    return _text(entry)


def _text(entry: dict[str, Any]) -> str:
    """The line of an entry, without its end."""
    return json.dumps(entry, sort_keys=True, allow_nan=False)


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _parse(line: str, where: str) -> dict[str, Any]:
    """The entry of a line that is written exactly as `_signed` writes it."""
    try:
        entry = json.loads(line)
        is_as_written = isinstance(entry, dict) and _text(entry) == line
    except (ValueError, RecursionError):
        is_as_written = False
    if not is_as_written or set(entry) != _FIELDS or not isinstance(entry["body"], dict):
        raise VerificationError(
            f"{where}: it is not written as a ledger's line; the line was changed."
        )
    parsed: dict[str, Any] = entry
    return parsed


def _follows(entry: dict[str, Any], before: Record | None) -> bool:
    """Whether the line continues the chain, and its section opens and closes where it should."""
    opens = before is None or before.kind == CLOSE
    number, section, digest = (
        (before.number, before.section, before.digest) if before else (0, 0, GENESIS)
    )
    return (
        (entry["kind"] == OPEN) == opens
        and (entry["number"], entry["section"], entry["previous"])
        == (number + 1, section + opens, digest)
        and (entry["kind"] != CLOSE or entry["body"].get("lines") == number + 1)
    )


def _decode(text: Any, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise VerificationError(
            f"{where}: a key or signature is not base64; the line was changed."
        ) from None
