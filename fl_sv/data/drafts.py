"""Proposals of `fl-sv data infer` for folders and texts, and what all proposals have in common."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import DATA_FILES, spreadsheet_hint
from fl_sv.config.columns import ANSWER, Csv, unanswered
from fl_sv.config.dialect import yaml_line
from fl_sv.data.csv_file import Lines, read_csv
from fl_sv.data.documents import NAME_IN_FOLDER, files_below
from fl_sv.data.faults import Places
from fl_sv.data.files import read_frame, readable
from fl_sv.data.folders import ARRAY
from fl_sv.data.guesses import target_column
from fl_sv.data.images import FILE, LIST
from fl_sv.data.sniff import Remark, sniffed
from fl_sv.errors import InputError, listed, suggestion
from fl_sv.text import one_line

if TYPE_CHECKING:
    import polars as pl

TEXTS = (".txt", ".jsonl")
OWNERS = (
    "who owns which rows? {kind: column, column: NAME} where a column says it (and no line of it"
    " below `columns`), {kind: iid} for a trial, no `partition` with `source: own`"
)


def draft_of_folder(
    path: str, entries: Sequence[Path], target: str | None, owner: str | None
) -> str | None:
    """The proposal for a folder of arrays, images or texts; None for one of tables."""
    names = {each.name for each in entries}
    first = (next(files_below(each), each) for each in entries)
    if any(each.name.endswith(TEXTS) for each in first):
        return draft_of_texts(path, owner or NAME_IN_FOLDER)
    if ARRAY in names:
        others = sorted(Path(name).stem for name in names - {ARRAY, "y.npy"})
        said = "arrays have no columns, so nothing need be described"
        return _draft(path, [Remark("source", path, said)], owner, others)
    if LIST in names:
        return _of_image_list(path, target, owner)
    if not any(each.is_dir() for each in entries):
        return None
    folders = sorted(each.name for each in entries if each.is_dir())
    remarks = [Remark("source", path)]
    if not all(name.isdecimal() for name in folders):
        label = {target or "target": {"kind": "label", "classes": folders}}
        remarks.append(Remark("target", target or "target"))
        remarks.append(Remark("columns", label, "the classes 0, 1, ... in this order"))
    return _draft(path, remarks, owner)


def _of_image_list(path: str, target: str | None, owner: str | None) -> str:
    """The proposal for images that images.csv lists."""
    file = f"{path}{LIST}"
    with readable(file):
        csv, written = sniffed(file)
        frame, _ = read_csv(file, csv)
    others = [name for name in frame.columns if name not in (FILE, owner)]
    for name in filter(None, (target, owner)):
        if name not in frame.columns:
            raise InputError(f"{file} has no column {name!r}. {suggestion(name, frame.columns)}")
    known = target or ("target" if "target" in others else None)
    remarks = [Remark("source", path)]
    if known is None:
        said = f"which column of {LIST} is predicted? {yaml_line(others)}"
        return _draft(path, [*remarks, Remark("target", ANSWER, said)], owner, [], written)
    remarks.append(Remark("target", known))
    for found in target_column(frame[known].fill_null("").str.strip_chars()):
        kind = replace(found, key="columns", value={found.key: found.value})
        remarks.append(kind if found.key == known else found)
    return _draft(path, [r for r in remarks if r.row is None], owner, [], written)


def draft_of_texts(path: str, owner: str | None) -> str:
    """The proposal for a file or folder of texts."""
    asked = "where is the tokenizer.json of the package tokenizers?"
    remarks = [
        Remark("source", path),
        Remark("task", "next_token", "texts"),
        Remark("text", {"tokenizer": ANSWER}, asked),
    ]
    return _draft(path, remarks, owner)


def _draft(
    path: str,
    remarks: Sequence[Remark],
    owner: str | None,
    columns: Sequence[str] = (),
    csv: Sequence[Remark] = (),
) -> str:
    """A whole proposal. columns: those that may name the owner."""
    said = OWNERS + (f"; other arrays: {listed(columns)}" if columns else "")
    whose = Remark("partition", {"kind": "column", "column": owner} if owner else ANSWER, said)
    if owner:
        whose = replace(whose, said="")
    everything = [*remarks, *csv, whose]
    n_questions = sum(len(unanswered(remark.value)) for remark in everything)
    lines = [*heading(path, "", n_questions), "data:", *block(remarks, {}, 2)]
    if csv:
        lines += ["  csv:", *block(csv, {}, 4)]
    return "\n".join([*lines, *block([whose], {}, 2)]) + "\n"


# --- several tables -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Joined:
    """Where the rows of several files stand. starts: the number of each one's first row."""

    places_of: Sequence[Places]
    starts: NDArray[np.int64]

    def places(self, rows: Iterable[int]) -> list[str]:
        return [self(row) for row in rows]

    def __call__(self, row: int) -> str:
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.places_of[part](row - int(self.starts[part]))


def read_tables(
    path: str, files: Sequence[str]
) -> tuple[Csv, list[Remark], "pl.DataFrame", Places]:
    """How the files of a table are written, what must be said of it, its cells, and their places.

    path: of the file, or of the folder of several. Raises InputError where they differ.
    """
    import polars as pl

    if strangers := [file for file in files if not file.endswith(DATA_FILES)]:
        raise InputError(
            f"{listed(strangers, 5)} is no data file: its name must end in"
            f" {', '.join(DATA_FILES)}{spreadsheet_hint(strangers[0])}."
        )
    if not files or any(file.endswith(".npz") for file in files):
        raise InputError(f"{path}: an .npz archive has no columns; it needs no description.")
    found = []
    for file in files:
        with readable(file):
            csv, remarks = sniffed(file) if file.endswith(".csv") else (None, [])
            frame, places = read_frame(file, csv or Csv())
            if csv and isinstance(places, Lines) and places.n_empty:
                said = f"lines without a filled cell: {places.n_empty:,}"
                remarks.append(Remark("empty_lines", "skip", said))
                csv = csv.model_copy(update={"empty_lines": "skip"})
                frame, places = read_frame(file, csv)
        found.append((file, csv, remarks, frame, places))
    known = [each for each in found if each[1] is not None]
    for (one, csv, *_), (other, others, *_) in pairwise(known):
        if csv != others:
            raise InputError(
                f"{one} and {other} are written in two ways: {csv} and {others}. `data.csv` holds"
                " for all files of a run; save them in one way."
            )
    first = found[0][3]
    for file, _, _, frame, _ in found[1:]:
        if {*frame.columns} != {*first.columns}:
            differing = sorted({*frame.columns} ^ {*first.columns})
            raise InputError(
                f"{path}: all files have to hold the same columns; {found[0][0]} and {file} differ"
                f" in {listed(differing, 5)}."
            )
    frame = first
    if len(found) > 1:
        parts = [each[3].select(first.columns) for each in found]
        frame = pl.concat(parts, how="vertical_relaxed")
    starts = np.cumsum([0, *(len(each[3]) for each in found[:-1])])
    places = found[0][4] if len(found) == 1 else _Joined([each[4] for each in found], starts)
    csv, remarks = (known[0][1] or Csv(), known[0][2]) if known else (Csv(), [])
    return csv, [*remarks], frame.with_columns(pl.selectors.string().str.strip_chars()), places


# --- as text --------------------------------------------------------------------------------------


def heading(path: str, rows: str, n_questions: int) -> Iterator[str]:
    """The comments above a proposal."""
    yield f"# Proposed by `fl-sv data infer` for {one_line(path)}{f': {rows}' if rows else ''}."
    yield (
        f"# Questions: {n_questions}. Write your answer in place of {ANSWER}; no run takes a config"
        " that still holds one."
        if n_questions
        else "# Nothing had to be asked. Read what was guessed."
    )


def block(remarks: Sequence[Remark], at: dict[int, str], indent: int) -> Iterator[str]:
    """Lines of YAML, each below what is said of it. at: the place of each row that is named."""
    blank = " " * indent
    for remark in remarks:
        said = remark.said.replace("{at}", "" if remark.row is None else at[remark.row])
        if unanswered(remark.value):
            yield f"{blank}# QUESTION: {one_line(said)}"
        elif said:
            yield f"{blank}# guessed: {one_line(said)}"
        yield f"{blank}{yaml_line(remark.key)}: {yaml_line(remark.value)}"
