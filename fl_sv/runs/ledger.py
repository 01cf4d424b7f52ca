"""The ledger: an append-only chain of signed lines about everything that decides the payouts.

A line is a JSON object. It holds a record, the sha256 of the line before it, and an Ed25519
signature of the rest of the line. A command appends one section: the record `open` (who, when, with
which software), its own records, and the record `close` with the number of lines and the hashes of
the run's files. So the last line of a complete ledger is always a `close`.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_sv.errors import VerificationError
from fl_sv.files import read_own, require_own, sha256
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import LEDGER, UNKNOWN
from fl_sv.runs.keys import is_signature, raw
from fl_sv.runs.records import REPORT_COMMAND, CloseRecord, LedgerRecord, OpenRecord

GENESIS = "0" * 64  # what the first line names as the hash before it
_FIELDS = {"number", "section", "kind", "body", "previous", "signature"}
AnyRecord = TypeVar("AnyRecord", bound=LedgerRecord)


@dataclass(frozen=True)
class LedgerLine:
    """One line of the ledger."""

    number: int  # from 1
    section: int  # from 1
    kind: str
    body: dict[str, Any]
    digest: str  # sha256 of the line's text

    @property
    def where(self) -> str:
        """How messages name the line."""
        return f"{LEDGER}, line {self.number}"

    def read(self, record: type[AnyRecord]) -> AnyRecord:
        """The line's record. Raises VerificationError when it is none of this kind."""
        return record.from_body(self.body, self.where)


def append_section(
    run: RunDirectory,
    key: Ed25519PrivateKey,
    command: str,
    software: dict[str, str],
    records: Sequence[LedgerRecord],
    files: Sequence[str],
) -> None:
    """Adds a section with the records, closed over the hashes of `files`, in one step.

    Raises VerificationError when the ledger so far is not whole.
    """
    before = run.read_text(LEDGER) if run.finished else ""
    lines = read_ledger(run) if run.finished else []
    hashes = {name: file_hash(run, name) for name in files}
    opening = OpenRecord(
        command=command,
        time=_time_after(lines),
        software=software,
        public_key=b64encode(raw(key.public_key())).decode(),
    )
    run.write_text(LEDGER, before + signed_section(lines, key, opening, records, hashes))


def signed_section(
    before: Sequence[LedgerLine],
    key: Ed25519PrivateKey,
    opening: OpenRecord,
    records: Sequence[LedgerRecord],
    hashes: dict[str, str],
) -> str:
    """The text of the section that follows these lines.

    hashes: sha256 of the run's files, by name.
    """
    closing = CloseRecord(lines=len(before) + len(records) + 2, files=hashes)
    section = before[-1].section + 1 if before else 1
    previous = before[-1].digest if before else GENESIS
    text = ""
    for number, record in enumerate([opening, *records, closing], start=len(before) + 1):
        line = _signed(key, number, section, record, previous)
        previous = _digest(line)
        text += line + "\n"
    return text


def _time_after(lines: Sequence[LedgerLine]) -> str:
    """Now, and not before the newest section: a clock may have been set back."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return max(now, newest(lines, OpenRecord).time) if lines else now


def read_ledger(run: RunDirectory) -> list[LedgerLine]:
    """The ledger of a run. Raises VerificationError when it is missing, empty or not whole."""
    try:
        data = read_own(run.file(LEDGER), UNKNOWN)
    except OSError as error:
        raise VerificationError(f"{LEDGER} cannot be read: {error.strerror}.") from None
    return ledger_of(data)


def ledger_of(data: bytes) -> list[LedgerLine]:
    """The lines of a ledger that was read. Raises VerificationError as `read_ledger` does."""
    lines = parse_ledger(data.decode("ascii", errors="replace"))
    if not lines:
        raise VerificationError(f"{LEDGER} is empty.")
    return lines


def parse_ledger(text: str) -> list[LedgerLine]:
    """The lines of a ledger whose chain and signatures are whole.

    Raises VerificationError that names the first line that is not.
    """
    lines: list[LedgerLine] = []
    public = b""
    *texts, rest = text.split("\n")
    for number, line_text in enumerate(texts, start=1):
        where = f"{LEDGER}, line {number}"
        entry = _parse(line_text, where)
        signature = _decode(entry.pop("signature"), where)
        line = LedgerLine(
            number, entry["section"], entry["kind"], entry["body"], _digest(line_text)
        )
        if line.kind == OpenRecord.KIND:
            public = line.read(OpenRecord).signer
        if not is_signature(public, signature, canonical(entry)):
            raise VerificationError(
                f"{where}: the signature is not the signer's; the line was changed."
            )
        if not _follows(entry, lines[-1] if lines else None):
            raise VerificationError(
                f"{where}: it does not follow from the line before; a line was changed, moved or"
                " removed."
            )
        if line.kind == CloseRecord.KIND and line.read(CloseRecord).lines != number:
            raise VerificationError(
                f"{where}: it does not close {number} lines; a line was added or removed."
            )
        lines.append(line)
    if rest or (lines and lines[-1].kind != CloseRecord.KIND):
        raise VerificationError(
            f"{LEDGER} ends after line {len(lines)} without a close; lines were cut off."
        )
    return lines


def records_of(lines: Sequence[LedgerLine], record: type[AnyRecord]) -> list[AnyRecord]:
    """All records of a kind, in order. Raises VerificationError for a line that is damaged."""
    return [line.read(record) for line in lines if line.kind == record.KIND]


def newest(lines: Sequence[LedgerLine], record: type[AnyRecord]) -> AnyRecord:
    """The last record of a kind. Raises VerificationError when there is none, or it is damaged."""
    for line in reversed(lines):
        if line.kind == record.KIND:
            return line.read(record)
    raise VerificationError(f"{LEDGER} holds no record of the kind {record.KIND}.")


def tables_head(lines: Sequence[LedgerLine]) -> LedgerLine:
    """The close of the newest section about tables: the line that the report quotes."""
    commands = {line.section: line.read(OpenRecord).command for line in lines if _opens(line)}
    closes = [line for line in lines if line.kind == CloseRecord.KIND]
    return next(
        (close for close in reversed(closes) if commands[close.section] != REPORT_COMMAND),
        closes[-1],
    )


def file_hash(run: RunDirectory, name: str) -> str:
    """sha256 of a file of the run as hex digits. Raises VerificationError when it is not there.

    The file lies in the directory itself: what a link names may change without a trace.
    """
    try:
        require_own(run.file(name))
        return sha256(run.file(name))
    except OSError as error:
        raise VerificationError(f"{name} cannot be read: {error.strerror}.") from None


def _opens(line: LedgerLine) -> bool:
    return line.kind == OpenRecord.KIND


def canonical(body: dict[str, Any]) -> bytes:
    """The one text of a JSON object that is signed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _signed(
    key: Ed25519PrivateKey, number: int, section: int, record: LedgerRecord, previous: str
) -> str:
    entry = {
        "number": number,
        "section": section,
        "kind": record.KIND,
        "body": record.body(),
        "previous": previous,
    }
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


def _follows(entry: dict[str, Any], before: LedgerLine | None) -> bool:
    """Whether the line continues the chain, and its section opens and closes where it should."""
    opens = before is None or before.kind == CloseRecord.KIND
    number, section, digest = (
        (before.number, before.section, before.digest) if before else (0, 0, GENESIS)
    )
    expected = {"number": number + 1, "section": section + opens, "previous": digest}
    # As texts: to Python `true` and 1.0 are equal to 1.
    found = canonical({key: entry[key] for key in expected})
    return (entry["kind"] == OpenRecord.KIND) == opens and found == canonical(expected)


def _decode(text: Any, where: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (TypeError, ValueError):
        data = b""
    if b64encode(data).decode() != text:  # several texts have the same bytes; one is written
        raise VerificationError(
            f"{where}: the signature is not base64 as it is written; the line was changed."
        )
    return data
