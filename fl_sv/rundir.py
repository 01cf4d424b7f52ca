"""The run directory: who may write it, what it holds, and how files get into it whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fl_sv.config import Config, dump_config, parse_config
from fl_sv.errors import InputError

CONFIG = "config.yaml"
UTILITIES = "utilities.csv"
COMPANIES = "companies.csv"
TEACHER = "teacher.csv"
LAW = "law.json"
VALUATION = "valuation.json"
VALIDATION = "validation.npz"
PAYOUTS = "payouts.csv"
COST = "cost.json"
LEDGER = "ledger.jsonl"
REPORT = "report.html"
JOURNAL = "journal.sqlite"
_LOCK = ".lock"


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder."""

    path: Path

    def file(self, name: str) -> Path:
        return self.path / name

    @property
    def finished(self) -> bool:
        """The ledger is written last, in one piece."""
        return self.file(LEDGER).exists()

    @property
    def config(self) -> Config:
        return parse_config(self.read_text(CONFIG), str(self.file(CONFIG)))

    def read_text(self, name: str) -> str:
        """A file of the run. Raises InputError when it is not there or not text."""
        try:
            return self.file(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(
                f"{self.path} holds no {name}; it is not a finished run. Give the folder that `fl-sv run --out` wrote."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.file(name)} cannot be read: {error}.") from None

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replaces a file in one step: a reader, or a crash, finds the old one or the new one."""
        temporary = self.file(f".{name}.part")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.file(name))


@contextmanager
def writing(path: Path) -> Iterator[RunDirectory]:
    """The existing run directory, locked against other writers for the duration of the block.

    The lock is the operating system's and dies with its holder. Raises InputError when somebody else holds it.
    """
    if not path.is_dir():
        raise InputError(f"There is no run directory {path}. Give the folder that `fl-sv run --out` wrote.")
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"{path} is being written by another process; wait for it to end.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        yield RunDirectory(path)
    finally:
        lock.release()


def check_destination(path: Path, config: Config, *, resume: bool) -> None:
    """Raises InputError when a run cannot begin in `path`, or go on there with `resume`; changes nothing.

    A folder that is missing or empty is begun in; one with a run of the same config can be resumed.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"--out {path} is a file; give a new or empty folder.")
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"--out {path} cannot be made: {nearest} is not a folder that you may write.")
    if not _occupied(path):
        return
    if not resume:
        raise InputError(f"--out {path} is not empty. Give a new folder, or go on with the run in it by --resume.")
    run = RunDirectory(path)
    if not run.file(CONFIG).exists():
        raise InputError(f"--out {path} is not empty and holds no run to resume. Give a new folder.")
    _require_same_config(run, config)


@contextmanager
def start_or_resume(path: Path, config: Config, *, resume: bool) -> Iterator[RunDirectory]:
    """The run directory of a run that begins, or goes on with `resume`. Raises what `check_destination` does."""
    check_destination(path, config, resume=resume)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {path} cannot be made: {error.strerror}. Give a folder that you may write.") from None
    with writing(path) as run:
        check_destination(path, config, resume=resume)  # another process may have begun in between
        if not run.file(CONFIG).exists():
            run.write_text(CONFIG, dump_config(config))
        yield run


def _occupied(path: Path) -> bool:
    return path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir())


def _require_same_config(run: RunDirectory, config: Config) -> None:
    before, now = run.config.model_dump(), config.model_dump()
    if before == now:
        return
    where, was, is_now = _first_difference(before, now)
    raise InputError(
        f"{run.path} was begun with another config: {where} was {was!r} and is {is_now!r}. "
        "Resume with the config it was begun with, or give a new folder."
    )


def _first_difference(before: object, now: object, where: str = "") -> tuple[str, object, object]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if before.get(key) != now.get(key):
                return _first_difference(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
    return where, before, now
