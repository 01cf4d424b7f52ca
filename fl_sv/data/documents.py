"""Documents of texts, and whose they are: a .txt, .jsonl or .parquet file, or a folder of them.

A document is a part of a .txt file between blank lines, a line of a .jsonl, or a row of a .parquet.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fl_sv.config.base import FOLDER, TEXT_FILES
from fl_sv.config.columns import Csv
from fl_sv.data.files import read_frame, readable
from fl_sv.errors import InputError, listed, suggestion
from fl_sv.files import read_text

BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
# The owner's column of a folder of texts: the name of what lies in it, a folder or a file.
NAME_IN_FOLDER = "folder"


@dataclass(frozen=True)
class Document:
    """A text with its owner, and where it stands, for messages."""

    text: str
    owner: str
    place: str


def read_documents(path: str, column: str, owner: str | None = None) -> list[Document]:
    """The documents of a file, or of all files in a folder in the order of their names.

    column: the key or column that holds the text.
    owner: the key or column that names the owner. In a folder `folder` names what lies in it: of
        `texts/Ash/one.txt` and of `texts/Ash.txt` that is `Ash`.

    Raises InputError when there is no document, or an empty one.
    """
    if path.endswith(FOLDER) or Path(path).is_dir():
        documents = [*_of_folder(Path(path), column, owner)]
    else:
        documents = [*_of_file(path, column, owner)]
    if not documents:
        raise InputError(f"{path} holds no text. Give at least one document.")
    if empty := next((each for each in documents if not each.text.strip()), None):
        raise InputError(f"{empty.place}: the text is empty. Remove it.")
    return documents


def _of_folder(folder: Path, column: str, owner: str | None) -> Iterator[Document]:
    """The documents of a folder; hidden files do not count."""
    for entry in _entries(folder):
        by_name = owner == NAME_IN_FOLDER
        name = unicodedata.normalize("NFC", entry.name if entry.is_dir() else entry.stem)
        for file in files_below(entry):
            if not file.name.endswith(TEXT_FILES):
                raise InputError(
                    f"{file} is no text: in a folder of texts every name must end in"
                    f" {', '.join(TEXT_FILES)}. Move it away."
                )
            for each in _of_file(str(file), column, None if by_name else owner):
                yield replace(each, owner=name) if by_name else each


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except FileNotFoundError:
        raise InputError(f"The folder {folder} does not exist.") from None
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from None


def files_below(entry: Path) -> Iterator[Path]:
    """A file itself, or all files in a folder and its folders, without hidden ones."""
    if entry.is_dir() and not entry.is_symlink():
        for each in _entries(entry):
            yield from files_below(each)
    else:
        yield entry


def _of_file(path: str, column: str, owner: str | None) -> Iterator[Document]:
    with readable(path, TEXT_FILES):
        if path.endswith(".parquet"):
            yield from _of_parquet(path, column, owner)
        elif path.endswith(".jsonl"):
            yield from _of_lines(path, _text_of(path), column, owner)
        else:
            yield from _of_text(path, _text_of(path), owner)


def _text_of(path: str) -> str:
    return read_text(Path(path)).removeprefix("\ufeff")


def _of_text(path: str, content: str, owner: str | None) -> Iterator[Document]:
    if owner is not None:
        raise InputError(
            f"{path}: a .txt names no owners (`data.partition.column`: {owner!r}). Give a folder"
            f" with a folder or a .txt for each company (`column: {NAME_IN_FOLDER}`), a .jsonl or"
            " .parquet file, or each company a .txt of its own (`source: own`)."
        )
    parts = BLANK_LINES.split(content.replace("\r\n", "\n").strip())
    for number, part in enumerate(filter(str.strip, parts), 1):
        yield Document(part, "", f"{path}, document {number}")


def _of_lines(path: str, content: str, column: str, owner: str | None) -> Iterator[Document]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{place} is no JSON object. Write one on every line.") from None
        if not isinstance(record, dict):
            raise InputError(f"{place} is no JSON object. Write one on every line.")
        text = _entry(record, column, place, "data.text.column")
        name = "" if owner is None else _entry(record, owner, place, "data.partition.column")
        yield Document(text, name, place)


def _entry(record: dict[str, Any], key: str, place: str, where: str) -> str:
    if key not in record:
        raise InputError(f"{place} has no {key!r} ({where}). {suggestion(key, [*record])}")
    if not isinstance(record[key], str):
        raise InputError(f"{place}: {key!r} ({where}) is no text; give a string.")
    found: str = record[key]
    return found


def _of_parquet(path: str, column: str, owner: str | None) -> Iterator[Document]:
    import polars as pl

    frame, _ = read_frame(path, Csv())
    wanted = [(column, "data.text.column")]
    wanted += [] if owner is None else [(owner, "data.partition.column")]
    for name, where in wanted:
        if name not in frame.columns:
            raise InputError(
                f"{path} has no column {name!r} ({where}). {suggestion(name, frame.columns)}"
            )
        if frame[name].dtype not in (pl.String, pl.Categorical, pl.Enum):
            raise InputError(
                f"{path}, column {name!r} ({where}): the type {frame[name].dtype} is no text. There"
                f" are {listed(frame.columns)}."
            )
        if count := frame[name].null_count():
            raise InputError(f"{path}, column {name!r}: {count} cells are empty. Remove the rows.")
    owners = [""] * len(frame) if owner is None else frame[owner].cast(pl.String).to_list()
    for number, (text, name) in enumerate(zip(frame[column].cast(pl.String), owners, strict=True)):
        yield Document(text, name, f"{path}, row {number + 1}")
