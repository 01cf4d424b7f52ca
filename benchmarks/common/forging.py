"""What the owner of the key can do to a finished run: change its files, and sign them again.

All of it happens in memory; `verified_files` reads what comes out.
"""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_sv.config import Config, parse_config
from fl_sv.errors import InputError
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.held import HeldRun
from fl_sv.runs.keys import raw
from fl_sv.runs.ledger import LedgerLine, ledger_of, parse_ledger, signed_section, tables_head
from fl_sv.runs.records import LedgerRecord, OpenRecord, ReportRecord
from fl_sv.runs.tensors import read_tensors
from fl_sv.runs.verify import Verification, verified_files

Body = dict[str, Any]
Data = Mapping[str, bytes]


@dataclass
class Section:
    """One command's section of a ledger, to be signed.

    lines: kind and body of each, without the first and the last.
    hashes: of the files, where the close is to hold others than theirs.
    as_it_is: whether a report is signed with the hashes that it has.
    """

    opening: OpenRecord
    lines: list[tuple[str, Body]]
    hashes: dict[str, str] = field(default_factory=dict)
    as_it_is: bool = False

    @property
    def command(self) -> str:
        """The command that wrote it."""
        return self.opening.command


def sections_of(data: Data) -> list[Section]:
    """The sections of a run's ledger."""
    lines = ledger_of(data[files.LEDGER])
    found = []
    for _, section in groupby(lines, key=lambda line: line.section):
        opening, *others, _ = section
        records = [(line.kind, dict(line.body)) for line in others]
        found.append(Section(opening.read(OpenRecord), records))
    return found


def signed_again(
    data: Data, key: Ed25519PrivateKey, sections: Sequence[Section] | None = None
) -> dict[str, bytes]:
    """The files with a new ledger, in which every hash and signature is right.

    sections: those of the ledger; by default the ones that are there. A report that is among them
    is signed as the page about the tables before it.
    """
    text, lines = "", list[LedgerLine]()
    public = b64encode(raw(key.public_key())).decode()
    hashes = {name: sha256(data[name]).hexdigest() for name in files.SEALED if name in data}
    for section in sections_of(data) if sections is None else sections:
        opening = section.opening.model_copy(update={"public_key": public})
        records = [
            _record(kind, body if section.as_it_is else _about(kind, body, data, lines))
            for kind, body in section.lines
        ]
        text += signed_section(lines, key, opening, records, hashes | section.hashes)
        lines = parse_ledger(text)
    return {**data, files.LEDGER: text.encode()}


def bytes_of(run: RunDirectory) -> dict[str, bytes]:
    """The bytes of a finished run's files."""
    known = files.files_of(run.config)
    return {f.name: run.file(f.name).read_bytes() for f in known if f.read and run.has(f.name)}


def verified_bytes(data: Data) -> Verification:
    """The run of these files. Raises VerificationError as `fl-sv verify` does."""
    known = files.files_of(_signed_config(data))
    of_model = {file.name for file in known if file.tensors} & {*data}
    tensors = {name: read_tensors(io.BytesIO(data[name])) for name in of_model}
    others = {name: content for name, content in data.items() if name not in of_model}
    return verified_files(HeldRun(Path("run"), others, {}, (), known, tensors))


def _signed_config(data: Data) -> Config | None:
    try:
        return parse_config(data[files.CONFIG].decode(), files.CONFIG)
    except (KeyError, UnicodeDecodeError, InputError):
        return None


def _about(kind: str, body: Body, data: Data, lines: Sequence[LedgerLine]) -> Body:
    if kind != ReportRecord.KIND or not lines:
        return body
    digest = sha256(data.get(files.REPORT, b"")).hexdigest()
    return body | {"sha256": digest, "head": tables_head(lines).digest}


def _record(kind: str, body: Body) -> LedgerRecord:
    """A record with any content."""
    made = type("AnyRecord", (LedgerRecord,), {"KIND": kind, "body": lambda _: body})
    return made()  # type: ignore[no-any-return]
