"""Texts as rows of tokens (`task: next_token`): documents, what is held out, and windows.

A document is a part of a .txt file between blank lines, a line of a .jsonl, or a row of a .parquet.
The tokenizer adds the special tokens that its own file asks for. Windows follow each other without
overlap: the targets of a row are its tokens one place later. Documents are held out whole, so no
validation row shares a document with a company.

Shapes: `(rows, places)`, the tokens of a row.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import TEXT_FILES
from fl_sv.config.columns import Csv
from fl_sv.config.text import Text
from fl_sv.data.dataset import IGNORED
from fl_sv.data.files import read_frame, readable
from fl_sv.data.inputs import Input
from fl_sv.data.raw import RawRows
from fl_sv.errors import InputError, listed, suggestion
from fl_sv.files import read_bytes, read_text

BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
MOST_TOKENIZER = 500_000_000  # bytes


@dataclass(frozen=True)
class Document:
    """A text with its owner, and where it stands, for messages."""

    text: str
    owner: str
    place: str


def read_texts(
    path: str, text: Text, owner: str | None = None, fraction: float | None = None
) -> RawRows:
    """The rows of the texts in a .txt, .jsonl or .parquet file.

    owner: the key or column that names a document's owner.
    fraction: share of each owner's documents that is held out; None where nothing is.

    Raises InputError when the file or the tokenizer cannot be read, or there is no text.
    """
    documents = read_documents(path, text.column, owner)
    tokenizer, digest, n_tokens = read_tokenizer(text.tokenizer)
    encoded = tokenizer.encode_batch([each.text for each in documents])
    tokens = [np.array(each.ids, dtype=np.int64) for each in encoded]
    held = held_out_documents(documents, fraction)
    # Streams of tokens that may share a row: those of one owner, on one side of the hold-out.
    streams: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, (each, is_held) in enumerate(zip(documents, held, strict=True)):
        streams[(each.owner, is_held, *([] if text.packed else [number]))].append(number)
    x, y, owners, mask, places = [], [], [], [], []
    for (name, is_held, *_), members in streams.items():
        rows = windows(np.concatenate([tokens[number] for number in members]), text.places)
        for start, (inputs, targets) in enumerate(rows):
            x.append(inputs)
            y.append(targets)
            owners.append(name)
            mask.append(is_held)
            places.append(f"{documents[members[0]].place}, window {start + 1}")
    if not x:
        raise InputError(f"{path}: no document has two tokens, so there is nothing to predict.")
    return RawRows(
        x=np.array(x),
        y=np.array(y),
        origin=path,
        place=places.__getitem__,
        target="the next tokens",
        columns={} if owner is None else {owner: np.array(owners, dtype=np.str_)},
        inputs=(Input("", (text.places,), whole=True),),
        held_out=None if fraction is None else np.array(mask),
        tokenizer=digest,
        n_classes=n_tokens,
    )


def windows(
    tokens: NDArray[np.int64], places: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Inputs and targets (places,) of each window; places after the last token are IGNORED.

    >>> [(x.tolist(), y.tolist()) for x, y in windows(np.arange(4), 2)]
    [([0, 1], [1, 2]), ([2, 0], [3, -100])]
    """
    for start in range(0, len(tokens) - 1, places):
        known = tokens[start : start + places + 1]
        inputs, targets = np.zeros(places, np.int64), np.full(places, IGNORED)
        inputs[: len(known) - 1], targets[: len(known) - 1] = known[:-1], known[1:]
        yield inputs, targets


def held_out_documents(documents: Sequence[Document], fraction: float | None) -> list[bool]:
    """Which documents are held out: that share of each owner's, rounded up, but not the last one.

    The hash of a text decides. So equal texts are on one side, and the order changes nothing.
    """
    if fraction is None:
        return [False] * len(documents)
    of_owner: dict[str, set[str]] = defaultdict(set)
    for each in documents:
        of_owner[each.owner].add(each.text)
    held = set()
    for texts in of_owner.values():
        by_hash = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())
        held.update(by_hash[: min(math.ceil(fraction * len(by_hash)), len(by_hash) - 1)])
    return [each.text in held for each in documents]


def read_tokenizer(path: str) -> tuple[Any, str, int]:
    """A tokenizer, the sha256 of its file, and the number of its tokens.

    Raises InputError when it cannot be read.
    """
    if find_spec("tokenizers") is None:
        raise InputError(
            "data.text: texts need the package tokenizers; install it with `pip install"
            " 'fl-sv[lm]'`."
        )
    from tokenizers import Tokenizer

    try:
        content = read_bytes(Path(path), MOST_TOKENIZER)
        tokenizer = Tokenizer.from_buffer(content)
    except OSError as error:
        raise InputError(
            f"data.text.tokenizer: {path} cannot be read: {error.strerror or error}. Give a"
            " tokenizer.json."
        ) from None
    except Exception as error:  # the package's Rust part raises this
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"data.text.tokenizer: {path} is no tokenizer.json: {reason}.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    return tokenizer, hashlib.sha256(content).hexdigest(), max(ids, default=0) + 1


def read_documents(path: str, column: str, owner: str | None = None) -> list[Document]:
    """The documents of a file. Raises InputError when it has none, or an empty one."""
    with readable(path, TEXT_FILES):
        if path.endswith(".parquet"):
            documents = [*_of_parquet(path, column, owner)]
        elif path.endswith(".jsonl"):
            documents = [*_of_lines(path, _text_of(path), column, owner)]
        else:
            documents = [*_of_text(path, _text_of(path), owner)]
    if not documents:
        raise InputError(f"{path} holds no text. Give at least one document.")
    if empty := next((each for each in documents if not each.text.strip()), None):
        raise InputError(f"{empty.place}: the text is empty. Remove it.")
    return documents


def _text_of(path: str) -> str:
    return read_text(Path(path)).removeprefix("\ufeff")


def _of_text(path: str, content: str, owner: str | None) -> Iterator[Document]:
    if owner is not None:
        raise InputError(
            f"{path}: a .txt names no owners (`data.partition.column`). Give a .jsonl or .parquet"
            " file, or each company a .txt of its own (`source: own`)."
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
