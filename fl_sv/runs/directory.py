"""The run directory: its lock, and files that are written whole or not at all."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from fl_sv.config import Config, dump_config, parse_config
from fl_sv.config.keys import unchangeable
from fl_sv.errors import InputError, RunError
from fl_sv.files import AnyFile, read_bytes, read_text, replace_whole
from fl_sv.runs.files import CONFIG, LEDGER, LOCK, part
from fl_sv.runs.keys import owner_key

Content = TypeVar("Content", str, bytes)


class RunFiles(ABC):
    """The files of a run, to be read."""

    path: Path

    @abstractmethod
    def file(self, name: str) -> AnyFile:
        """One of the run's files, there or not."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the file is there."""

    @property
    def config(self) -> Config:
        """The config of the run. Raises InputError when it is missing or damaged."""
        return parse_config(self.read_text(CONFIG), str(self.file(CONFIG)))

    def read_text(self, name: str) -> str:
        """A text file of the run. Raises InputError when it is not there or not text."""
        return self._read(name, read_text)

    def read_bytes(self, name: str) -> bytes:
        """A file of the run. Raises InputError when it is not there."""
        return self._read(name, read_bytes)

    def _read(self, name: str, read: Callable[[AnyFile], Content]) -> Content:
        try:
            return read(self.file(name))
        except FileNotFoundError:
            raise InputError(
                f"{self.path} holds no {name}; it is not a finished run. Give the folder that"
                " `fl-sv run --out` wrote."
            ) from None
        except OSError as error:
            raise InputError(f"{self.file(name)} cannot be read: {error.strerror}.") from None


@dataclass(frozen=True)
class RunDirectory(RunFiles):
    """The folder of a run."""

    path: Path

    def file(self, name: str) -> Path:
        """The path of one of the run's files, there or not."""
        return self.path / name

    def has(self, name: str) -> bool:
        """Whether something lies there under this name."""
        return os.path.lexists(self.file(name))

    @property
    def finished(self) -> bool:
        """Whether the ledger is there, which is written last, in one piece."""
        return self.has(LEDGER)

    def write_text(self, name: str, text: str) -> None:
        """As `write_bytes`, in UTF-8."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replaces a file in one step: after a crash the old or the new one is there, and whole.

        Raises RunError when it cannot be written, for example on a full disk; no part of it stays.
        """
        self._write(name, [data])

    def write_lines(self, name: str, lines: Iterable[str]) -> None:
        """As `write_text`, line by line; each has its own end. There may be millions of them."""
        self._write(name, (line.encode("utf-8") for line in lines))

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.writelines(parts)

        self.write_by(name, write)

    def write_by(self, name: str, write: Callable[[Path], None]) -> None:
        """As `write_bytes`, by a function that writes a file at the path that it is given."""
        try:
            replace_whole(self.file(name), write, self.file(part(name)))
        except OSError as error:
            raise RunError(
                f"{self.file(name)} cannot be written: {error.strerror or error}. Correct that and"
                " repeat the command (`run` with --resume); what is finished is kept."
            ) from error


def existing(path: Path) -> RunDirectory:
    """The run directory at `path`. Raises InputError when there is no folder."""
    if not _is_folder(path):
        raise InputError(
            f"There is no run directory {path}. Give the folder that `fl-sv run --out` wrote."
        )
    return RunDirectory(path)


@contextmanager
def writing(path: Path) -> Iterator[RunDirectory]:
    """The finished run at `path`, locked against other writers until the block ends.

    Raises InputError when there is no finished run, or another process writes it.
    """
    run = existing(path)
    if not run.finished:
        raise InputError(
            f"{path} is not a finished run; finish it with `fl-sv run CONFIG --out DIR --resume`."
        )
    with _locked(run):
        yield run


@contextmanager
def _locked(run: RunDirectory) -> Iterator[None]:
    """Holds the run's lock. The operating system releases it when the process ends."""
    path = run.path
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"{path} is being written by another process; wait for it to end."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        yield
    finally:
        lock.release()


def check_destination(path: Path, config: Config, *, resume: bool) -> None:
    """Raises InputError when a run of `config` cannot begin or continue in `path`.

    A run begins in a folder that is missing or empty. With `resume` it continues in a folder with a
    run of the same config, unless another process writes there.
    """
    _check_content(path, config, resume=resume)
    if _occupied(path):
        with _locked(RunDirectory(path)):
            pass


def _check_content(path: Path, config: Config, *, resume: bool) -> None:
    try:
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    except OSError as error:
        raise InputError(f"--out {path} cannot be made: {error.strerror}.") from None
    if path == nearest and not path.is_dir():
        raise InputError(f"--out {path} is a file; give a new or empty folder.")
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(
            f"--out {path} cannot be made: {nearest} is not a folder that you may write."
        )
    if not _occupied(path):
        return
    if not resume:
        raise InputError(
            f"--out {path} is not empty. Give a new folder, or continue the run in it with"
            " --resume."
        )
    run = RunDirectory(path)
    if not run.file(CONFIG).exists():
        raise InputError(
            f"--out {path} is not empty and holds no run to resume. Give a new folder."
        )
    _require_same_config(run, config)


@contextmanager
def start_or_resume(path: Path, config: Config, *, resume: bool) -> Iterator[RunDirectory]:
    """The run directory of a run that begins or continues, locked against other writers.

    Raises InputError as `check_destination` does. It also raises InputError when the owner's key
    cannot be used: the key signs at the very end, which would be late for that error.
    """
    check_destination(path, config, resume=resume)
    owner_key()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {path} cannot be made: {error.strerror}. Give a folder that you may write."
        ) from None
    run = RunDirectory(path)
    with _locked(run):
        _check_content(path, config, resume=resume)  # another process may have begun in between
        if not run.finished:
            run.write_text(CONFIG, dump_config(config))
        yield run


def _occupied(path: Path) -> bool:
    """Whether the folder holds more than the traces of a run that was killed before it began."""
    return path.is_dir() and any(entry.name not in (LOCK, part(CONFIG)) for entry in path.iterdir())


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long
        return False


def _require_same_config(run: RunDirectory, config: Config) -> None:
    before, now = (unchangeable(each, "resume") for each in (run.config, config))
    if before != now:
        where, was, is_now = first_difference(before, now)
        raise InputError(
            f"{run.path} was begun with another config: {where} was {was!r} and is {is_now!r}. "
            "Resume with the first config, or give a new folder."
        )


def first_difference(before: object, now: object, where: str = "") -> tuple[str, object, object]:
    """The first key in which two nested mappings differ: its path, and both values.

    >>> first_difference({"training": {"rounds": 2}}, {"training": {"rounds": 3}})
    ('training.rounds', 2, 3)
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if before.get(key) != now.get(key):
                return first_difference(
                    before.get(key), now.get(key), f"{where}.{key}" if where else str(key)
                )
    return where, before, now


def path_of(given: str | Path, name: str) -> Path:
    """A path. Raises InputError that names the argument when it is none."""
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"{name} is a {type(given).__name__}; allowed is the path of a file.")
    return Path(given)
