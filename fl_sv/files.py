"""Reads files that others wrote: regular ones, of a size that fits. Writes files, whole or not.

A pipe may never end and a device has no end, so they are refused before they are opened. Every
fault is an OSError whose `strerror` ends the sentence "FILE cannot be read: ...".
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 2_000_000_000  # of a file that is read at once
_KINDS = (
    (stat.S_ISLNK, "it is a link; give the file itself"),
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a pipe; give a file"),
    (stat.S_ISSOCK, "it is a socket; give a file"),
    (stat.S_ISCHR, "it is a device; give a file"),
    (stat.S_ISBLK, "it is a device; give a file"),
)


@dataclass(frozen=True)
class HeldFile:
    """A file that was read already. It may stand where a path does."""

    name: str  # for messages
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


AnyFile = Path | HeldFile


def opened(file: AnyFile) -> BinaryIO:
    """A regular file, to be read. Raises OSError."""
    if isinstance(file, HeldFile):
        return BytesIO(file.data)
    require_regular(file)
    return file.open("rb")


def open_own(path: Path, at_most: int) -> BinaryIO:
    """A regular file that lies there itself, and is no link, to be read. Raises OSError.

    What was looked at is what is read, even where somebody exchanges the file in between.
    """
    _require_kind(path.lstat(), at_most)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _require_kind(os.fstat(descriptor), at_most)
    except OSError:
        file.close()
        raise
    return file


def read_own(path: Path, at_most: int) -> bytes:
    """The bytes of such a file. Raises OSError."""
    with open_own(path, at_most) as file:
        return file.read(at_most)


def require_own(path: Path) -> None:
    """Raises OSError when there is no regular file at the path itself; a link is none."""
    _require_kind(path.lstat(), None)


def require_regular(path: Path, at_most: int | None = None) -> None:
    """Raises OSError when the path leads to anything but a regular file of at most so many bytes.

    FileNotFoundError where there is nothing.
    """
    try:
        found = path.stat()
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None
    _require_kind(found, at_most)


def _require_kind(found: os.stat_result, at_most: int | None) -> None:
    for is_kind, what in _KINDS:
        if is_kind(found.st_mode):
            kind = IsADirectoryError if is_kind is stat.S_ISDIR else OSError
            raise kind(errno.EISDIR if kind is IsADirectoryError else errno.EINVAL, what)
    if at_most is not None and found.st_size > at_most:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes; at most {at_most:,} are read")


def read_bytes(file: AnyFile, at_most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file. Raises OSError."""
    if isinstance(file, HeldFile):
        return file.data
    require_regular(file, at_most)
    return file.read_bytes()


def read_text(file: AnyFile, at_most: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8. Raises OSError, also for bytes that are no such text."""
    try:
        return read_bytes(file, at_most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OSError(
            errno.EILSEQ, f"it is not a text file: byte {error.start} is not UTF-8"
        ) from None


def sha256(path: Path) -> str:
    """sha256 of a regular file as hex digits. Raises OSError."""
    require_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_whole(path: Path, write: Callable[[Path], None], temporary: Path | None = None) -> None:
    """Replaces a file in one step: after a crash the old or the new one is there, and whole.

    write: writes a new file at the path that it is given.
    temporary: that path, in the same folder.

    Raises OSError when it cannot be written; no part of it stays.
    """
    temporary = temporary or path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
