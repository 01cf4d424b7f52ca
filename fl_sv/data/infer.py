"""`fl-sv data infer`: a proposal of what a file's columns mean, with what was guessed.

What may mean two things is asked, never guessed: the proposal then holds a mark below the question
that no config may hold.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.columns import ANSWER, Csv, unanswered
from fl_sv.config.dialect import yaml_line
from fl_sv.data.cells import BEHIND, BRACKETS, NOTHING, without_sign, without_unit
from fl_sv.data.drafts import (
    OWNERS,
    TEXTS,
    block,
    draft_of_folder,
    draft_of_texts,
    heading,
    read_tables,
)
from fl_sv.data.faults import Places
from fl_sv.data.folders import data_entries
from fl_sv.data.guesses import (
    held_in,
    is_held,
    joined,
    like_numbers,
    target_column,
    text_column,
    unit_of,
)
from fl_sv.data.signs import signs
from fl_sv.data.sniff import Remark
from fl_sv.errors import InputError, suggestion
from fl_sv.text import one_line

if TYPE_CHECKING:
    import polars as pl


MOST_OWNERS = 50  # that a comment names
MOST_COLUMNS = 1000  # a person is to read every one of them


def proposal(path: str, target: str | None = None, owner: str | None = None) -> str:
    """The section `data` of a config for this file or folder, as YAML with comments.

    target: the column to predict; without it the column `target`, or a question.
    owner: the column that names the owner of each row, if the file is shared.

    Raises InputError when the file is no table, or has no such column.
    """
    files = [Path(path)]
    if Path(path).is_dir():
        path = f"{path.rstrip('/')}/"
        files = data_entries(path)
        if draft := draft_of_folder(path, files, target, owner):
            return draft
    elif path.endswith(TEXTS):
        return draft_of_texts(path, owner)
    csv, remarks, frame, places = read_tables(path, [*map(str, files)])
    _require_columns(path, frame, target, owner)
    known = target or ("target" if "target" in frame.columns else None)
    top = [Remark("source", path), Remark("target", known)]
    columns: list[Remark] = []
    kept = np.arange(len(frame))
    if known is None:
        top[1] = Remark("target", ANSWER, f"which column is predicted? {_names(frame)}")
    else:
        found = _target(frame[known])
        columns = [remark for remark in found if remark.key == known and remark.row is None]
        others = [remark for remark in found if remark not in columns]
        top = [r for r in top if r.key not in {remark.key for remark in others}] + others
        if any(remark.row is not None for remark in others):  # a total, say, says nothing of others
            kept = np.flatnonzero(is_held(frame[known]).to_numpy())
    rows = frame[kept]
    described = {c.name: _nameless(_column(c), csv) for c in rows if c.name not in (known, owner)}
    target_remark = {remark.key: remark for remark in columns}
    texts = rows.select(_texts_of(rows)).drop(owner or "", strict=False)
    remarks += [_at(kept, each) for each in (*_signs(texts, csv), *_nothing(texts, csv))]
    columns = [
        target_remark[name] if name in target_remark else _at(kept, described[name])
        for name in frame.columns
        if name in target_remark or name in described
    ]
    return "\n".join(_lines(path, frame, top, remarks, columns, owner, places)) + "\n"


def _at(kept: NDArray[np.int64], remark: Remark) -> Remark:
    """The remark with the number that its row has among all rows."""
    return remark if remark.row is None else replace(remark, row=int(kept[remark.row]))


def _require_columns(
    path: str, frame: "pl.DataFrame", target: str | None, owner: str | None
) -> None:
    if frame.is_empty():
        raise InputError(f"{path} has no rows below its header. Give at least one.")
    if frame.width > MOST_COLUMNS:
        raise InputError(
            f"{path} has {frame.width:,} columns; a proposal is made for at most"
            f" {MOST_COLUMNS:,}. Columns of plain numbers need none: describe the others."
        )
    for name in filter(None, (target, owner)):
        if name not in frame.columns:
            raise InputError(f"{path} has no column {name!r}. {suggestion(name, frame.columns)}")


def _texts_of(frame: "pl.DataFrame") -> list[str]:
    import polars as pl

    return [name for name, dtype in frame.schema.items() if dtype == pl.String]


def _names(frame: "pl.DataFrame") -> str:
    return yaml_line(frame.columns[:50])


def _target(cells: "pl.Series") -> list[Remark]:
    import polars as pl

    if cells.dtype.is_float():
        return [Remark("task", "regression", f"column {cells.name!r} has decimals")]
    return target_column(cells.cast(pl.String).fill_null(""))


def _column(cells: "pl.Series") -> Remark:
    """What a column that is no target means. A .parquet file has types, which say it."""
    import polars as pl

    if isinstance(cells.dtype, pl.Date | pl.Datetime):
        value: dict[str, Any] = {"kind": "date", "parts": ["year", "month", "weekday"]}
        return _with_gaps(cells, value, "choose the parts", "refuse, median or indicator")
    if cells.dtype.is_float() or cells.dtype == pl.Boolean:
        kind = "boolean" if cells.dtype == pl.Boolean else "numeric"
        options = "refuse, mean, median or indicator" if kind == "numeric" else "refuse or mean"
        empty = cells.fill_nan(None) if cells.dtype.is_float() else cells
        return _with_gaps(empty, {"kind": kind}, "", options)
    if cells.dtype.is_integer() or cells.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return text_column(cells.cast(pl.String).fill_null(""))
    return Remark(cells.name, ANSWER, f"the type {cells.dtype} has no kind. ignore it?")


def _nameless(remark: Remark, csv: Csv) -> Remark:
    """The remark, which says so where the header has no name for the column."""
    if remark.key and not (csv.header and re.fullmatch("column_[0-9]+", remark.key)):
        return remark
    return replace(remark, said=joined("the header has no name for it", remark.said))


def _with_gaps(cells: "pl.Series", value: dict[str, Any], said: str, options: str) -> Remark:
    """A typed column, with the question what its empty cells are."""
    if not (n_empty := cells.null_count()):
        return Remark(cells.name, value if len(value) > 1 else value["kind"], said)
    gap = f"{n_empty:,} cells are empty, the first in {{at}}. What is an empty cell: {options}?"
    row = int(cells.is_null().arg_max() or 0)
    return Remark(cells.name, {**value, "missing": ANSWER}, gap, row)


def _signs(texts: "pl.DataFrame", csv: Csv) -> list[Remark]:
    """The remarks on decimal signs and thousands of all columns that hold numbers."""
    numbers: dict[str, pl.Series] = {}
    minus: dict[str, tuple[str, int]] = {}
    for cells in texts:
        words = held_in(cells).unique()
        unit = unit_of(words)
        plain = cells if unit is None else without_unit(cells, unit)
        is_number = like_numbers(words if unit is None else without_unit(words, unit))
        if len(words) and is_number.sum() * 2 > len(words):
            numbers[cells.name] = without_sign(plain)
            for form, written in (("after", BEHIND), ("brackets", BRACKETS)):
                holds = plain.str.contains(f"^(?:{written})$").fill_null(False)
                if holds.any():
                    minus.setdefault(form, (cells.name, int(holds.arg_max() or 0)))
    return [*signs(numbers, csv.separator), *_minus(minus, texts)]


def _minus(found: dict[str, tuple[str, int]], texts: "pl.DataFrame") -> list[Remark]:
    """The remark on how numbers below zero are written, where no minus stands before them."""
    if not found:
        return []
    shown = [f"{texts[name][row]!r} (column {name!r}, {{at}})" for name, row in found.values()]
    row = next(iter(found.values()))[1]
    if len(found) == 1:
        return [Remark("minus", next(iter(found)), f"as in {shown[0]}, a number below zero", row)]
    said = f"is a number below zero written as in {shown[0]}? Other cells have brackets: spell all"
    return [Remark("minus", ANSWER, said + " in one way", row)]


def _nothing(texts: "pl.DataFrame", csv: Csv) -> list[Remark]:
    """The question which texts mean an empty cell, where there are such texts."""
    found: dict[str, tuple[int, str, int]] = {}
    for cells in texts:
        is_text = cells.str.to_lowercase().is_in(sorted(NOTHING)).fill_null(False)
        for word in cells.filter(is_text).unique(maintain_order=True):
            row = int((cells == word).arg_max() or 0)
            found.setdefault(word, (row, cells.name, int((cells == word).sum())))
    if not found:
        return []
    shown = ", ".join(
        f"{word!r} ({count:,} in column {name!r})" for word, (_, name, count) in found.items()
    )
    said = f"which of these texts mean an empty cell? {shown}; the first stands in {{at}}. For all"
    said += f" of them: {yaml_line([*found])}"
    return [Remark("empty", ANSWER, said, next(iter(found.values()))[0])]


# --- as text --------------------------------------------------------------------------------------


def _owners(column: "pl.Series") -> str:
    """The comment that names the owners, which the config lists."""
    names = sorted({str(each).strip() for each in column.drop_nulls().to_list()} - {""})
    shown = yaml_line(names[:MOST_OWNERS])
    more = f" and {len(names) - MOST_OWNERS:,} more" * (len(names) > MOST_OWNERS)
    return f"# The owners, for `companies`: {one_line(shown)}{more}."


def _lines(
    path: str,
    frame: "pl.DataFrame",
    top: Sequence[Remark],
    csv: Sequence[Remark],
    columns: Sequence[Remark],
    owner: str | None,
    places: Places,
) -> Iterator[str]:
    everything = [*top, *csv, *columns]
    rows = [remark.row for remark in everything if remark.row is not None]
    place_of = dict(zip(rows, places.places(rows), strict=True))
    at = {
        row: place.removeprefix(f"{path}, ").removeprefix(path) for row, place in place_of.items()
    }
    n_questions = sum(len(unanswered(remark.value)) for remark in everything) + (owner is None)
    yield from heading(path, f"{len(frame):,} rows", n_questions)
    if owner is not None:
        yield _owners(frame[owner])
    yield "data:"
    yield from block(top, at, 2)
    if csv:
        yield "  csv:"
        yield from block(csv, at, 4)
    if columns:
        yield "  columns:"
        yield from block(columns, at, 4)
    whose = Remark("partition", {"kind": "column", "column": owner}, "" if owner else OWNERS)
    yield from block([whose if owner else replace(whose, value=ANSWER)], at, 2)
