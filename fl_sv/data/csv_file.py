"""The cells of a .csv file as text, and the line on which each of its rows begins."""

import codecs
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

ROW = "__row_of_the_file__"


@dataclass(frozen=True, eq=False)
class Lines:
    """Where the rows of a file stand.

    rows: (rows,) the number of each row among the records below the header, blank ones counted.
    """

    path: str
    csv: Csv
    rows: NDArray[np.integer]

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

    Blank lines are no rows. Raises InputError or OSError when the file is no such table.
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
    if any("\r" in name for name in frame.columns):
        raise InputError(
            f"{path}: the lines end in a carriage return alone. Save it with the line ends of Unix"
            " or Windows."
        )
    if not csv.header:  # releases of polars count from 0 or from 1
        header = [f"column_{number + 1}" for number in range(frame.width)]
    if len(header) == frame.width:  # polars leaves the doubled quotes in a name
        frame.columns = header
    frame = frame.with_row_index(ROW)
    if frame.select(pl.all_horizontal(pl.exclude(ROW).is_null()).any()).item():
        frame = frame.filter(~pl.col(ROW).is_in(_blank_rows(path, csv)))
    return frame.drop(ROW), Lines(path, csv, frame[ROW].to_numpy())


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
    doubles = [name for name, count in Counter(header).items() if count > 1]
    if doubles and csv.header:
        raise InputError(
            f"{path}: the header names the column {doubles[0]!r} twice. Give every column its"
            " own name."
        )
    return header


def records(path: str, csv: Csv) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line on which it begins. Raises OSError."""
    encoding = "utf-8-sig" if csv.encoding == "utf-8" else csv.encoding
    try:
        yield from csv_records(Path(path), csv.letter, encoding)
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
    """What polars reads: the file itself, or its text in UTF-8."""
    if csv.encoding == "utf-8":
        return Path(path)
    decoder, text = codecs.getincrementaldecoder(csv.encoding)(), io.BytesIO()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            text.write(decoder.decode(chunk).encode())
    text.write(decoder.decode(b"", final=True).encode())
    text.seek(0)
    return text


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
