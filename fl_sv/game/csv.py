"""Reads CSV tables, and a game from a table `coalition,utility` of 2**N rows."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sv.csv_text import csv_records
from fl_sv.errors import InputError, listed
from fl_sv.files import AnyFile
from fl_sv.numbers import decimal_number, whole_number

COLUMNS = ("coalition", "utility")
MAX_COMPANIES = 24


def read_table(
    path: AnyFile, columns: tuple[str, ...], *, others: bool = False
) -> Iterator[tuple[dict[str, str], str]]:
    """Each row of a CSV file by column, with its place for messages: "FILE, line 3".

    columns: those that the file must have, in this order.
    others: whether it may have further columns, and any order.

    Raises InputError when the file cannot be read, lacks a column or has others that it must not
    have, or when a row has more or fewer cells than columns.
    """
    try:
        records = csv_records(path)
        _, found = next(records, (1, []))
        alike = [name.strip().casefold() for name in found]
        if twice := [name for name in columns if alike.count(name) > 1]:
            raise InputError(f"{path}: the column {twice[0]!r} is there twice. Remove one.")
        if not (set(columns) <= set(found) if others else [*columns] == found):
            raise InputError(
                f"{path}: the columns are {','.join(found)[:100]!r}; expected {','.join(columns)}."
            )
        for line, record in records:
            if not record:
                continue
            where = f"{path}, line {line}"
            if len(record) != len(found):
                raise InputError(
                    f"{where}: the row has more or fewer cells than the {len(found)} columns."
                )
            yield dict(zip(found, record, strict=True)), where
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Give a CSV table.") from None


class Lines:
    """A file for csv.writer that keeps nothing: `writerow` returns the line."""

    def write(self, line: str) -> str:
        return line


def read_game(path: Path) -> NDArray[np.float64]:
    """(2**N,) utilities by bitmask, from a file `coalition,utility`.

    Raises InputError that names the line, or the coalitions that are missing.
    """
    utilities: dict[int, float] = {}
    for row, where in read_table(path, COLUMNS, others=True):
        coalition, utility = _read_row(row, where)
        if coalition in utilities:
            raise InputError(f"{where}: coalition {coalition} is listed twice.")
        utilities[coalition] = utility
    return _complete(utilities, path)


def _read_row(row: dict[str, str], where: str) -> tuple[int, float]:
    try:
        coalition = whole_number(row["coalition"])
    except ValueError:
        raise InputError(
            f"{where}: the coalition is {row['coalition']!r}; it must be a whole number (a"
            " bitmask) in plain decimal digits."
        ) from None
    if not 0 <= coalition < 1 << MAX_COMPANIES:
        raise InputError(
            f"{where}: coalition {coalition} is out of range; a table has at most {MAX_COMPANIES}"
            " companies."
        )
    try:
        utility = decimal_number(row["utility"])
    except ValueError:
        raise InputError(
            f"{where}: the utility of coalition {coalition} is {row['utility']!r}, not a number."
        ) from None
    if not math.isfinite(utility):
        raise InputError(
            f"{where}: the utility of coalition {coalition} is {utility}; it must be finite."
        )
    return coalition, utility


def _complete(utilities: dict[int, float], path: Path) -> NDArray[np.float64]:
    if len(utilities) < 2:
        raise InputError(
            f"{path} has {len(utilities)} rows; a table has 2**N, for N companies, the empty"
            " coalition too."
        )
    n_companies = max(utilities).bit_length()
    missing = [coalition for coalition in range(1 << n_companies) if coalition not in utilities]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {1 << n_companies} coalitions of {n_companies} companies"
            f" are missing: {listed(missing)}. Values need all of them."
        )
    return np.array([utilities[coalition] for coalition in range(len(utilities))])
