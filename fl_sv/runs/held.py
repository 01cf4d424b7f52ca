"""The bytes of a run directory, read once: what is hashed is what is parsed.

Nothing is opened but the regular files that `fl_sv.runs.files` tells to read, and each of them only
up to the size that the signed config allows.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fl_sv.config import Config, parse_config
from fl_sv.config.load import MAX_BYTES as MAX_CONFIG
from fl_sv.errors import FlsvError, InputError, VerificationError
from fl_sv.files import HeldFile, open_own, read_own, require_regular
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, RunFiles
from fl_sv.runs.files import RunFile
from fl_sv.runs.ledger import LedgerLine, ledger_of, newest
from fl_sv.runs.records import CloseRecord
from fl_sv.runs.tensors import TensorFile, read_tensors

MAX_STRANGERS = 100  # that are named


@dataclass(frozen=True)
class HeldRun(RunFiles):
    """The files of a run as they were read.

    path: where they were read, for messages.
    data: the bytes of each file, by name.
    faults: why a file was not read, by name.
    strangers: a sentence about each thing that does not belong into a run directory.
    known: what belongs into it.
    tensors: what each file with the numbers of a model is, by name. The numbers are not held.
    """

    path: Path
    data: Mapping[str, bytes]
    faults: Mapping[str, str]
    strangers: tuple[str, ...]
    known: tuple[RunFile, ...]
    tensors: Mapping[str, TensorFile]

    def file(self, name: str) -> HeldFile:
        """One of the files. Raises InputError when it is missing."""
        if name not in self.data:
            raise InputError(f"{name} cannot be read: {self.faults.get(name, 'it is missing')}.")
        return HeldFile(name, self.data[name])

    def has(self, name: str) -> bool:
        """Whether the file was there, readable or not."""
        return self.was_read(name) or name in self.faults

    def was_read(self, name: str) -> bool:
        """Whether the file was there and could be read."""
        return name in self.data or name in self.tensors

    def ledger(self) -> list[LedgerLine]:
        """The lines of the ledger. Raises VerificationError when they are not whole."""
        if files.LEDGER not in self.data:
            reason = self.faults.get(files.LEDGER, "it is missing")
            raise VerificationError(f"{files.LEDGER} cannot be read: {reason}.")
        return ledger_of(self.data[files.LEDGER])

    def digest(self, name: str) -> str:
        """sha256 of a file as hex digits."""
        if name in self.tensors:
            return self.tensors[name].sha256
        return sha256(self.data[name]).hexdigest()


def hold(run: RunDirectory) -> HeldRun:
    """Reads a run directory. Nothing in it makes this wait, or takes more than its own size."""
    data: dict[str, bytes] = {}
    faults: dict[str, str] = {}
    tensors: dict[str, TensorFile] = {}

    def take(name: str, at_most: int, *, of_model: bool = False) -> None:
        try:
            if of_model:
                with open_own(run.file(name), at_most) as file:
                    tensors[name] = read_tensors(file)
            else:
                data[name] = read_own(run.file(name), at_most)
        except FileNotFoundError:
            pass
        except OSError as error:
            faults[name] = str(error.strerror)

    take(files.LEDGER, files.UNKNOWN)
    take(files.CONFIG, MAX_CONFIG)
    config = _signed_config(data)
    known = files.files_of(config)
    for file in known:
        if file.read and file.name not in (files.LEDGER, files.CONFIG):
            at_most = file.at_most(config) if config else files.UNKNOWN
            take(file.name, at_most, of_model=file.tensors)
    return HeldRun(run.path, data, faults, tuple(_strangers(run.path, known)), known, tensors)


def require_fitting(run: RunDirectory) -> None:
    """Raises InputError where a table is no regular file, or larger than the run's config allows.

    Models are not looked at: whoever loads one does that.
    """
    config = run.config
    for file in files.files_of(config):
        if file.hashed and not file.tensors:
            try:
                require_regular(run.file(file.name), file.at_most(config))
            except FileNotFoundError:
                pass  # whoever needs it says so
            except OSError as error:
                raise InputError(
                    f"{run.file(file.name)} cannot be read: {error.strerror}."
                ) from None


def _signed_config(data: Mapping[str, bytes]) -> Config | None:
    """The config that the ledger's owner signed; None where there is none."""
    try:
        signed = newest(ledger_of(data[files.LEDGER]), CloseRecord).files[files.CONFIG]
        if sha256(data[files.CONFIG]).hexdigest() == signed:
            return parse_config(data[files.CONFIG].decode(), files.CONFIG)
    except (FlsvError, KeyError, UnicodeDecodeError):
        pass
    return None


def _strangers(folder: Path, known: Sequence[RunFile]) -> Iterator[str]:
    found, by_name = 0, {file.name: file for file in known}
    left_over = {files.part(name) for name in by_name}
    with os.scandir(folder) as entries:
        for entry in entries:
            file = by_name.get(entry.name)
            if file is not None and file.read:
                continue  # whoever reads it looks at its kind
            kind = _kind(entry)
            due = "folder" if file is not None and file.folder else "file"
            if kind == due and (file is not None or entry.name in left_over):
                continue
            found += 1
            if found <= MAX_STRANGERS:
                what = f"({kind}) is no file of a run" if file is None else f"is a {kind}"
                yield f"{ascii(entry.name)[1:-1]} {what}; take it out of the directory"
    if found > MAX_STRANGERS:
        yield f"and {found - MAX_STRANGERS} more things lie there that belong to no run"


def _kind(entry: os.DirEntry[str]) -> str:
    mode = entry.stat(follow_symlinks=False).st_mode
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "folder",
        stat.S_IFLNK: "link",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(mode), "device")
