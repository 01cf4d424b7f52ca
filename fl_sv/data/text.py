"""Texts as rows of tokens (`task: next_token`): documents, what is held out, and windows.

The tokenizer adds the special tokens that its own file asks for. Windows follow each other without
overlap: the targets of a row are its tokens one place later. Documents are held out whole, so no
validation row shares a document with a company.

Shapes: `(rows, places)`, the tokens of a row.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.text import Text
from fl_sv.data.dataset import IGNORED
from fl_sv.data.documents import Document, read_documents
from fl_sv.data.inputs import Input
from fl_sv.data.raw import RawRows
from fl_sv.errors import InputError
from fl_sv.files import read_bytes

MOST_TOKENIZER = 500_000_000  # bytes


def read_texts(
    path: str, text: Text, owner: str | None = None, fraction: float | None = None
) -> RawRows:
    """The rows of the texts in a .txt, .jsonl or .parquet file, or in a folder of such files.

    owner: the key or column that names a document's owner, as `read_documents` takes it.
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
