"""`fl-sv data infer`: a proposal of what a file's columns mean, with what was guessed.

What may mean two things is asked, never guessed: the proposal then holds a mark below the question
that no config may hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fl_sv.config.columns import ANSWER, Csv, unanswered
from fl_sv.config.dialect import yaml_line
from fl_sv.data.cells import NOTHING
from fl_sv.data.faults import Places
from fl_sv.data.files import read_frame, readable
from fl_sv.data.guesses import held_in, like_numbers, target_column, text_column
from fl_sv.data.signs import signs
from fl_sv.data.sniff import Remark, sniffed
from fl_sv.errors import InputError, suggestion
from fl_sv.text import one_line

if TYPE_CHECKING:
    import polars as pl


MOST_COLUMNS = 1000  # a person is to read every one of them
OWNERS = (
    "who owns which rows? {kind: column, column: NAME} where a column says it (and no line of it"
    " below `columns`), {kind: iid} for a trial, no `partition` with `source: own`"
)


def proposal(path: str, target: str | None = None, owner: str | None = None) -> str:
    """The section `data` of a config for this file, as YAML with comments.

    target: the column to predict; without it the column `target`, or a question.
    owner: the column that names the owner of each row, if the file is shared.

    Raises InputError when the file is no table, or has no such column.
    """
    import polars as pl

    if path.endswith(".npz"):
        raise InputError(f"{path}: an .npz archive has no columns; it needs no description.")
    with readable(path):
        csv, remarks = sniffed(path) if path.endswith(".csv") else (Csv(), [])
        frame, places = read_frame(path, csv)
        if frame.is_empty():
            raise InputError(f"{path} has no rows below its header. Give at least one.")
        if frame.width > MOST_COLUMNS:
            raise InputError(
                f"{path} has {frame.width:,} columns; a proposal is made for at most"
                f" {MOST_COLUMNS:,}. Columns of plain numbers need none: describe the others."
            )
        for name in filter(None, (target, owner)):
            if name not in frame.columns:
                raise InputError(
                    f"{path} has no column {name!r}. {suggestion(name, frame.columns)}"
                )
        frame = frame.with_columns(pl.selectors.string().str.strip_chars())
        known = target or ("target" if "target" in frame.columns else None)
        top = [Remark("source", path), Remark("target", known)]
        if known is None:
            top[1] = Remark("target", ANSWER, f"which column is predicted? {_names(frame)}")
        columns = []
        for cells in frame:
            if cells.name == known:
                found = _target(cells)
                columns += [remark for remark in found if remark.key == known]
                replaced = [remark for remark in found if remark.key != known]
                top = [r for r in top if r.key not in {remark.key for remark in replaced}]
                top += replaced
            elif cells.name != owner:
                columns.append(_column(cells))
        feature_texts = frame.select(pl.selectors.string()).drop(owner or "", strict=False)
        remarks += [*_signs(feature_texts, csv), *_nothing(feature_texts, csv)]
        return "\n".join(_lines(path, frame, top, remarks, columns, owner, places)) + "\n"


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


def _with_gaps(cells: "pl.Series", value: dict[str, Any], said: str, options: str) -> Remark:
    """A typed column, with the question what its empty cells are."""
    if not (n_empty := cells.null_count()):
        return Remark(cells.name, value if len(value) > 1 else value["kind"], said)
    gap = f"{n_empty:,} cells are empty, the first in {{at}}. What is an empty cell: {options}?"
    row = int(cells.is_null().arg_max() or 0)
    return Remark(cells.name, {**value, "missing": ANSWER}, gap, row)


def _signs(texts: "pl.DataFrame", csv: Csv) -> list[Remark]:
    """The remarks on decimal signs and thousands of all columns that hold numbers."""
    numbers = {}
    for cells in texts:
        words = held_in(cells).unique()
        is_number = like_numbers(words)
        if len(words) and is_number.sum() * 2 > len(words):
            numbers[cells.name] = cells
    return signs(numbers, csv.separator)


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
    at = {row: place.removeprefix(f"{path}, ") for row, place in place_of.items()}
    n_questions = sum(len(unanswered(remark.value)) for remark in everything) + (owner is None)
    yield f"# Proposed by `fl-sv data infer` for {one_line(path)}: {len(frame):,} rows."
    yield (
        f"# Questions: {n_questions}. Write your answer in place of {ANSWER}; no run takes a config"
        " that still holds one."
        if n_questions
        else "# Nothing had to be asked. Read what was guessed."
    )
    yield "data:"
    yield from _block(top, at, 2)
    if csv:
        yield "  csv:"
        yield from _block(csv, at, 4)
    if columns:
        yield "  columns:"
        yield from _block(columns, at, 4)
    whose = Remark("partition", {"kind": "column", "column": owner}, "" if owner else OWNERS)
    yield from _block([whose if owner else replace(whose, value=ANSWER)], at, 2)


def _block(remarks: Sequence[Remark], at: dict[int, str], indent: int) -> Iterator[str]:
    blank = " " * indent
    for remark in remarks:
        said = remark.said.replace("{at}", "" if remark.row is None else at[remark.row])
        if unanswered(remark.value):
            yield f"{blank}# QUESTION: {one_line(said)}"
        elif said:
            yield f"{blank}# guessed: {one_line(said)}"
        yield f"{blank}{yaml_line(remark.key)}: {yaml_line(remark.value)}"
