"""A utility table from anywhere: a CSV file with the columns `coalition,utility` and a row for each of 2**N coalitions."""

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed

COLUMNS = ("coalition", "utility")
MAX_COMPANIES = 24


def read_game(path: Path) -> NDArray[np.float64]:
    """(2**N,) utilities by bitmask.

    Raises InputError that names the line, or the coalitions that are missing.
    """
    utilities: dict[int, float] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise InputError(
                    f"{path}: the columns are {','.join(reader.fieldnames or ()) or 'none'}; "
                    f"a table needs {','.join(COLUMNS)}."
                )
            for row in reader:
                coalition, utility = _read_row(row, f"{path}, line {reader.line_num}")
                if coalition in utilities:
                    raise InputError(f"{path}, line {reader.line_num}: coalition {coalition} stands twice.")
                utilities[coalition] = utility
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Give a CSV table of utilities.") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} is no CSV text. Give a table with the columns {','.join(COLUMNS)}.") from None
    return _complete(utilities, path)


def _read_row(row: dict[str, str], where: str) -> tuple[int, float]:
    try:
        coalition = int(row["coalition"])
    except (TypeError, ValueError):
        raise InputError(f"{where}: the coalition is {row['coalition']!r}; it must be a whole number (a bitmask).") from None
    if not 0 <= coalition < 1 << MAX_COMPANIES:
        raise InputError(f"{where}: coalition {coalition} is out of range; a table has at most {MAX_COMPANIES} companies.")
    try:
        utility = float(row["utility"])
    except (TypeError, ValueError):
        raise InputError(f"{where}: the utility of coalition {coalition} is {row['utility']!r}, not a number.") from None
    if not math.isfinite(utility):
        raise InputError(f"{where}: the utility of coalition {coalition} is {utility}; it must be finite.")
    return coalition, utility


def _complete(utilities: dict[int, float], path: Path) -> NDArray[np.float64]:
    if len(utilities) < 2:
        raise InputError(f"{path} has {len(utilities)} rows; a table has 2**N, for N companies, the empty coalition too.")
    n_companies = max(utilities).bit_length()
    missing = [coalition for coalition in range(1 << n_companies) if coalition not in utilities]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {1 << n_companies} coalitions of {n_companies} companies are missing: "
            f"{listed(missing)}. Values need all of them."
        )
    return np.array([utilities[coalition] for coalition in range(len(utilities))])
