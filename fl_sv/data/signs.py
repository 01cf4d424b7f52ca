"""Which decimal sign and which sign of thousands the numbers of a table have, or may have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_sv.config.columns import ANSWER
from fl_sv.data.cells import APOSTROPHES, BLANKS, is_mixed
from fl_sv.data.sniff import Remark

if TYPE_CHECKING:
    import polars as pl

POINT, COMMA = r"\.", ","


@dataclass(frozen=True)
class Example:
    """A cell that shows how numbers are written."""

    column: str
    row: int
    cell: str

    def __str__(self) -> str:
        return f"{self.cell!r} (column {self.column!r}, {{at}})"


def signs(numbers: "Mapping[str, pl.Series]", separator: str) -> list[Remark]:
    """The keys `decimal` and `thousands` of `data.csv`, as guesses or questions.

    numbers: the columns whose cells are like numbers, as texts. A sign is certain where a cell can
    be read in no other way: 1,5 and 1.234,5 and 1.234.567. What is like 3.750 may be two numbers.
    """
    comma = _first(numbers, _decimals(COMMA, POINT)) or _first(numbers, _groups(POINT, COMMA))
    point = _first(numbers, _decimals(POINT, COMMA)) or _first(numbers, _groups(COMMA, POINT))
    with_point, with_comma = (_first(numbers, _doubtful(sign)) for sign in (POINT, COMMA))
    if comma and point:
        said = f"which is the decimal sign? {comma} speaks for a comma, {point} for a point"
        return [Remark("decimal", ANSWER, said, comma.row)]
    if not (comma or point):
        if doubt := with_point or with_comma:
            return [_which(doubt)]
        return _others(numbers)
    if comma:
        remarks = [Remark("decimal", ",", f"as in {comma}", comma.row)]
        return remarks + _thousands(numbers, ".", with_point)
    assert point is not None
    mixed = (name for name, cells in numbers.items() if is_mixed(cells))
    if (name := next(mixed, None)) and with_point:
        doubt = _first({name: numbers[name]}, _doubtful(POINT))
        return [_which(doubt or with_point)]
    remarks = _thousands(numbers, ",", with_comma)
    if separator != "," or with_point:
        remarks.insert(0, Remark("decimal", ".", f"as in {point}", point.row))
    return remarks


def _which(doubt: Example) -> Remark:
    sign = "." if "." in doubt.cell else ","
    other = "," if sign == "." else "."
    said = (
        f"{doubt} may be {doubt.cell.replace(sign, '')} or {doubt.cell.replace(sign, '.')}. Give"
        f' "{other}" for the first, and add `thousands: "{sign}"`; give "{sign}" for the second'
    )
    return Remark("decimal", ANSWER, said, doubt.row)


def _thousands(
    numbers: "Mapping[str, pl.Series]", sign: str, doubt: Example | None
) -> list[Remark]:
    """The remark on thousands where the decimal sign is the other one."""
    pattern = POINT if sign == "." else COMMA
    other = COMMA if sign == "." else POINT
    if sure := _first(numbers, _groups(pattern, other)):
        return [Remark("thousands", sign, f"as in {sure}", sure.row)]
    if doubt:
        whole = doubt.cell.replace(sign, "")
        said = (
            f'{doubt} is {whole} if "{sign}" parts thousands: does it? Then write "{sign}"; if not,'
            " correct the cell and leave this line out"
        )
        return [Remark("thousands", ANSWER, said, doubt.row)]
    return _others(numbers)


def _others(numbers: "Mapping[str, pl.Series]") -> list[Remark]:
    """The remark on thousands that an apostrophe or a blank parts."""
    for sign, letters in (("'", f"[{APOSTROPHES}]"), (" ", f"[{BLANKS}]")):
        if found := _first(numbers, rf"^[+-]?[0-9]{{1,3}}(?:{letters}[0-9]{{3}})+"):
            return [Remark("thousands", sign, f"as in {found}", found.row)]
    return []


def _first(numbers: "Mapping[str, pl.Series]", pattern: str) -> Example | None:
    for name, cells in numbers.items():
        hits = cells.str.contains(pattern).fill_null(False)
        if hits.any():
            row = int(hits.arg_max() or 0)
            return Example(name, row, cells[row])
    return None


def _decimals(decimal: str, thousands: str) -> str:
    """A number with this decimal sign for certain."""
    groups = rf"[0-9]{{1,3}}(?:[{thousands}{APOSTROPHES}{BLANKS}][0-9]{{3}})+{decimal}[0-9]+"
    not_three = rf"[0-9]+{decimal}(?:[0-9]{{1,2}}|[0-9]{{4,}})"
    no_group = rf"(?:0[0-9]*|[0-9]{{4,}}){decimal}[0-9]+"
    return rf"^[+-]?(?:{groups}|{not_three}|{no_group}|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?$"


def _groups(thousands: str, decimal: str) -> str:
    """A number in which this sign parts thousands for certain."""
    first = r"^[+-]?[1-9][0-9]{0,2}"
    group = rf"(?:{thousands}[0-9]{{3}})"
    indian = rf"(?:{thousands}[0-9]{{2}})+{group}(?:{decimal}[0-9]+)?"
    return rf"{first}(?:{group}{{2,}}|{group}+{decimal}[0-9]+|{indian})$"


def _doubtful(sign: str) -> str:
    return rf"^[+-]?[1-9][0-9]{{0,2}}{sign}[0-9]{{3}}$"
