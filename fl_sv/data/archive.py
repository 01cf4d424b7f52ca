"""The arrays of an .npz archive. Nothing is unpacked before its size is known and sensible."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.machine import free_memory

# An archive of a few kilobytes can hold terabytes of zeros. Rows of real data shrink far less, but
# for indicator columns and masks: 60,000 rows of 500 indicators are 0.3 MB as Parquet, 240 MB here.
MAX_GROWTH, ALWAYS_ALLOWED = 200, 500_000_000  # times; bytes, unpacked within two seconds
MAX_ARRAYS = 1000  # every one of them is opened


def read_arrays(path: str) -> dict[str, NDArray[Any]]:
    """The arrays by name. Raises InputError for what would not fit, other errors for damage."""
    with zipfile.ZipFile(path) as archive:
        if (n_arrays := len(archive.infolist())) > MAX_ARRAYS:
            raise InputError(
                f"{path}: {n_arrays:,} arrays; at most {MAX_ARRAYS:,} are read. Give x, y and the"
                " column of the owner, one row of the array for each row of the data."
            )
        names = Counter(member.filename.removesuffix(".npy") for member in archive.infolist())
        if twice := [name for name, count in names.items() if count > 1]:
            raise InputError(f"{path}: the array {twice[0]!r} is there twice. Remove one.")
        require_growth(path, sum(member.file_size for member in archive.infolist()))
        for member in archive.infolist():
            _require_whole(archive, member, path)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


SAVEZ = "If its rows are real, write them with numpy.savez."
ON_DISK = (
    "Write its rows to x.npy and y.npy in a folder and give the folder: they then stay on disk"
    " (docs/guide.md, Data larger than memory)."
)
# What reading takes beside the rows: scaled ones, and what a check makes of them.
COPIES, ASKED_FROM = 2, 100_000_000  # times; bytes


def require_growth(path: str, n_bytes: int, advice: str = SAVEZ) -> None:
    """Raises InputError when a file, or a folder, would take far more memory than it has bytes."""
    size = _size(Path(path))
    if n_bytes > max(ALWAYS_ALLOWED, MAX_GROWTH * size):
        raise InputError(
            f"{path} has {size:,} bytes and would take {n_bytes:,} in memory, more than"
            f" {MAX_GROWTH} times as many. {advice}"
        )
    require_room(path, n_bytes)


def require_room(path: str, n_bytes: int) -> None:
    """Raises InputError when so many bytes of rows, and what is made of them, find no room."""
    if COPIES * n_bytes < ASKED_FROM or COPIES * n_bytes <= (free := free_memory()):
        return
    advice = ON_DISK
    if path.endswith(".npz"):
        folder = Path(path).with_suffix("")
        advice = (
            f"Unpack it, `unzip {path} -d {folder}`, and give the folder `{folder}/`: its arrays"
            " then stay on disk."
        )
    raise InputError(
        f"{path} would take {COPIES * n_bytes / 1e9:,.1f} GB of memory, {n_bytes / 1e9:,.1f} GB for"
        f" its rows and as much for what is made of them; {free / 1e9:,.1f} GB are free. {advice}"
    )


def _size(path: Path) -> int:
    """Bytes of a file, or of all files right in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _require_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str) -> None:
    """Raises InputError when an array's header promises more or less than the archive holds."""
    with archive.open(member) as file:
        if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            return  # no array; it becomes bytes, which are refused as such
    with archive.open(member) as file:
        read = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}
        version, _ = npy.read_magic(file)
        if version not in read:
            return
        shape, _, dtype = read[version](file)
        held = member.file_size - file.tell()
    if not dtype.hasobject and int(np.prod(shape, dtype=object)) * dtype.itemsize != held:
        raise InputError(
            f"{path}: the header of {member.filename} says shape {shape} of {dtype}, and the"
            f" archive holds {held:,} bytes of it. Write it with numpy.savez."
        )
