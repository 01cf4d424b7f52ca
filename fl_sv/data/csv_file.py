"""The cells of a .csv file as text, and the line on which each of its rows begins."""

import errno
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.columns import Csv
from fl_sv.csv_text import CHUNK, csv_records, quotes_are_paired
from fl_sv.errors import InputError

if TYPE_CHECKING:
    import polars as pl

MOST_COLUMNS = 100_000
ROW = "__row_of_the_file__"


@dataclass(frozen=True, eq=False)
class Lines:
    """Where the rows of a file stand.

    rows: (rows,) the number of each row among the records below the header, blank ones counted.
    n_empty: rows without a filled cell.
    """

    path: str
    csv: Csv
    rows: NDArray[np.integer]
    n_empty: int = 0

    def places(self, rows: Iterable[int]) -> list[str]:
        """The place of each of these rows, such as "sales.csv, line 5".

        It reads the file again, once, and only messages need it.
        """
        wanted = [int(self.rows[row]) for row in rows]
        missing, line_of = {*wanted}, {}
        for number, (line, _) in enumerate(_below_header(self.path, self.csv)):
            if number in missing:
                line_of[number] = line
                missing.discard(number)
                if not missing:
                    break
        return [f"{self.path}, line {line_of[number]}" for number in wanted]

    def __call__(self, row: int) -> str:
        return self.places([row])[0]


def read_csv(path: str, csv: Csv, fewest: int = 2) -> tuple["pl.DataFrame", Lines]:
    """The cells as text, one column for each of the header, and where the rows stand.

    fewest: columns that the header must have, 1 or 2.

    Blank lines are no rows, and a column without a name and without a filled cell is none. Raises
    InputError or OSError when the file is no such table.
    """
    import polars as pl

    header = _header(path, csv, fewest)
    try:
        source = _in_utf8(path, csv)
        if not quotes_are_paired(source):
            unpaired = "a quote has no second one; close it, or double it"
            raise InputError(_fault(path, csv, len(header), unpaired))
        # Read as text, so that a message shows a wrong cell as its owner wrote it.
        frame = pl.read_csv(
            source, infer_schema=False, glob=False, separator=csv.letter, has_header=csv.header
        )
    except (pl.exceptions.PolarsError, UnicodeError) as error:
        raise InputError(_fault(path, csv, len(header), str(error).splitlines()[0])) from None
    if not csv.header:  # releases of polars count from 0 or from 1
        header = [f"column_{number + 1}" for number in range(frame.width)]
    if len(header) == frame.width:  # polars leaves the doubled quotes in a name
        frame.columns = header
    frame = frame.with_row_index(ROW)
    is_empty = pl.all_horizontal(pl.exclude(ROW).fill_null("") == "")
    empty = np.flatnonzero(frame.select(is_empty).to_series().to_numpy())
    gone = [] if not len(empty) or csv.empty_lines == "skip" else _blank_rows(path, csv)
    if csv.empty_lines == "skip":
        gone = frame[ROW].to_numpy()[empty].tolist()
    kept = frame.filter(~pl.col(ROW).is_in(gone)) if gone else frame
    rows = kept[ROW].to_numpy()
    nameless = [name for name in header if isinstance(name, Nameless)]
    nothing = [name for name in nameless if (kept[name].fill_null("") == "").all()]
    n_empty = len(empty) - (len(frame) - len(kept))
    return kept.drop(ROW, *nothing), Lines(path, csv, rows, n_empty)


class Nameless(str):
    """What a column is called whose header has no name: by its place where there are several."""


def _header(path: str, csv: Csv, fewest: int) -> list[str]:
    header = next((record for _, record in records(path, csv) if record), None)
    if header is None:
        raise InputError(
            f"{path} is empty. Give a header line with the columns' names and at least one row."
        )
    if len(header) < fewest:
        raise InputError(
            f"{path}: the header has the single column {header[0][:60]!r}. Give the target and at"
            f" least one feature, separated by {_sign(csv)}. {_other_separator(header[0], csv)}"
        )
    if len(header) > MOST_COLUMNS:
        raise InputError(
            f"{path}: the header has {len(header):,} columns; a .csv file may have"
            f" {MOST_COLUMNS:,}. Give an .npz archive."
        )
    header = [name.strip() for name in header]
    several = header.count("") > 1
    header = [
        name or Nameless(f"column_{place}" * several) for place, name in enumerate(header, start=1)
    ]
    doubles = [name for name, count in Counter(header).items() if count > 1]
    if doubles and csv.header:
        raise InputError(
            f"{path}: the header names the column {str(doubles[0])!r} twice. Give every column"
            " its own name; if the header is further down, `data.csv.skip` counts the lines above."
        )
    return header


def records(path: str, csv: Csv) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line on which it begins. Raises OSError."""
    encoding = "utf-8-sig" if csv.encoding == "utf-8" else csv.encoding
    try:
        yield from csv_records(Path(path), csv.letter, encoding, csv.skip)
    except OSError as error:
        if error.errno != errno.EILSEQ or "bytes that are not" not in str(error.strerror):
            raise
        advice = "or name the file's own encoding in `data.csv.encoding`"
        raise OSError(errno.EILSEQ, f"{error.strerror}, {advice}") from None


def _sign(csv: Csv) -> str:
    return {",": "commas", ";": "semicolons", "tab": "tabs", "|": "bars"}[csv.separator]


def _other_separator(header: str, csv: Csv) -> str:
    """The advice where another sign would part the header; empty where none would."""
    for sign, name in ((";", '";"'), ("\t", "tab"), ("|", '"|"'), (",", '","')):
        if sign in header and sign != csv.letter:
            return (
                f"For this file give `data: {{csv: {{separator: {name}}}}}`;"
                " `fl-sv data infer FILE` proposes what else it needs."
            )
    return "`fl-sv data infer FILE` proposes how to read it."


def _in_utf8(path: str, csv: Csv) -> Path | io.BytesIO:
    """What polars reads: the file itself, or the text of its table in UTF-8."""
    encoding = "utf-8-sig" if csv.encoding == "utf-8" else csv.encoding
    old = has_old_line_ends(path)
    if csv.encoding == "utf-8" and not csv.skip and not old:
        return Path(path)
    text = io.BytesIO()
    with Path(path).open(encoding=encoding, newline=None if old else "") as file:
        for _ in range(csv.skip):
            file.readline()
        while chunk := file.read(CHUNK):
            text.write(chunk.encode())
    text.seek(0)
    return text


def has_old_line_ends(path: str) -> bool:
    """Whether the lines end in a carriage return alone, as Excel's "CSV (Macintosh)" has them."""
    with Path(path).open("rb") as file:
        start = file.read(1 << 16).replace(b"\0", b"")
    return b"\r" in start and b"\n" not in start


def _below_header(path: str, csv: Csv) -> Iterator[tuple[int, list[str]]]:
    found = records(path, csv)
    if csv.header:
        next(record for _, record in found if record)
    return found


def _fault(path: str, csv: Csv, width: int, report: str) -> str:
    """The message for a file that polars refused, or whose quotes are not paired.

    The standard library's slower reader finds the line; without one the message is `report`.
    Raises OSError where that reader finds what is wrong.
    """
    for line, record in records(path, csv):
        if len(record) > width:
            return (
                f"{path}, line {line}: {len(record)} cells where the header has"
                f" {width} columns. Give every row one cell a column, separated by {_sign(csv)}."
            )
    return f"{path} cannot be read as CSV: {report}."


def _blank_rows(path: str, csv: Csv) -> list[int]:
    """The rows (from 0) that are blank lines. A line of commas alone is a row of empty cells."""
    return [row for row, (_, record) in enumerate(_below_header(path, csv)) if not record]
