"""CSV text, record by record: long cells, and a quote that never closes is named."""

import csv
import errno
import io
from collections.abc import Iterator
from pathlib import Path

from fl_sv.files import AnyFile, opened

MOST_LETTERS = 1 << 22  # of a cell; what a column may hold is checked later
csv.field_size_limit(MOST_LETTERS)
QUOTE = b'"'
CHUNK = 1 << 24  # bytes


def csv_records(
    source: AnyFile, separator: str = ",", encoding: str = "utf-8-sig", skip: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line on which it begins, from 1. A blank line is a record without cells.

    skip: lines at the beginning that are none.

    Every fault is an OSError whose `strerror` ends the sentence "FILE cannot be read: ...".
    """
    binary = opened(source)
    line = 1 + skip
    try:
        with io.TextIOWrapper(binary, encoding=encoding, newline="") as file:
            for _ in range(skip):
                file.readline()
            reader = csv.reader(file, strict=True, delimiter=separator)
            for record in reader:
                yield line, record
                line = skip + reader.line_num + 1
    except UnicodeError:  # utf-16 without its mark raises the parent of UnicodeDecodeError
        name = encoding.removesuffix("-sig").upper()
        fault = f"it is no CSV text: it holds bytes that are not {name}; save it as UTF-8"
        raise OSError(errno.EILSEQ, fault) from None
    except csv.Error as error:
        fault = str(error)
        if fault == "unexpected end of data":
            fault = "a quote opens and never closes; close it, or double a quote inside a cell"
        if "field limit" in fault:
            fault = f"a cell has more than {MOST_LETTERS:,} letters; does its quote never close?"
        raise OSError(errno.EILSEQ, f"line {line}: {fault}") from None


def quotes_are_paired(source: Path | io.BytesIO) -> bool:
    """Whether a text has an even number of quotes, as every one has whose quotes all close."""
    if isinstance(source, io.BytesIO):
        return source.getvalue().count(QUOTE) % 2 == 0
    n_quotes = 0
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            n_quotes += chunk.count(QUOTE)
    return n_quotes % 2 == 0
