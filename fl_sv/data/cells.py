"""Numbers in the cells of a table: decimal signs, thousands, and cells that may mean two numbers.

`3.750` is three and three quarters where the decimal sign is a point, and 3,750 where it is a
comma. A table that does not say which is read with a point, unless something in it speaks against.
"""

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.columns import Csv
from fl_sv.data.faults import BadCells

if TYPE_CHECKING:
    import polars as pl

APOSTROPHES = "'\u2019"
BLANKS = "\u00a0\u202f\u2009 "  # that part thousands
GROUPED = r"^[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+$"  # 3.750, 1.234.567
COMMA = r"^[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+),[0-9]+$"  # 1,5 and 1.234,5
MINUS = "\u2212-"  # the first is the sign of typesetters
_DIGITS = rf"(?:[0-9][0-9.,{APOSTROPHES}{BLANKS}]*(?:[eE][+-]?[0-9]+)?|[.,][0-9]+)"
BEHIND, BRACKETS = rf"{_DIGITS}[{MINUS}]", rf"\({_DIGITS}\)"
LIKE_A_NUMBER = re.compile(rf"[+{MINUS}]?{_DIGITS}|{BEHIND}|{BRACKETS}")
UNITS = re.compile(r"[%‰°]|[$€£¥₹]|\b(?:EUR|USD|GBP|CHF|kg|g|km|m|cm|mm|l)\b\.?$")
RULING = re.compile(rf"[=+_{MINUS}]{{3,}}")
NOTHING = {
    "n/a", "na", "n.a.", "n. a.", "n.v.", "n/v", "#n/a", "#nv", "#n/v", "<na>", "nan", "null",
    "(null)", "none", "nil", "-", "--", "---", "–", "—", ".", "?", "*", "k.a.", "k. a.", "k.a",
    "keine angabe", "entfällt", "(leer)", "(blank)", "unknown", "unbekannt", "missing",
    "#wert!", "#value!", "#div/0!", "#bezug!", "#ref!", "#name?", "#zahl!", "#num!", "#null!",
}  # fmt: skip


def stripped(frame: "pl.DataFrame", csv: Csv) -> "pl.DataFrame":
    """The frame without blanks around its texts, null where a text means an empty cell.

    Texts are composed (NFC): a letter and its accent are one letter, however a file holds them.
    """
    import polars as pl

    frame = frame.with_columns(pl.selectors.string().str.strip_chars())
    of_text = pl.selectors.string()
    lengths = (
        frame.select(of_text.str.len_bytes().sum()),
        frame.select(of_text.str.len_chars().sum()),
    )
    n_bytes, n_letters = (each.row(0) if each.width else () for each in lengths)
    foreign = [
        frame[name].str.normalize("NFC")
        for name, long, short in zip(lengths[0].columns, n_bytes, n_letters, strict=True)
        if long != short
    ]
    frame = frame.with_columns(foreign)
    if not csv.empty:
        return frame
    texts = frame.select(pl.selectors.string())
    return frame.with_columns(
        column.set(column.is_in(csv.empty).fill_null(False), None) for column in texts
    )


def numbers(frame: "pl.DataFrame", csv: Csv) -> NDArray[np.float64]:
    """The cells (rows, columns) as numbers, NaN where a cell is empty or none.

    frame: columns of numbers, truth values, and texts without blanks around them.
    """
    import polars as pl

    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    if csv.decimal == "," or csv.thousands is not None or csv.minus != "before":
        frame = frame.with_columns(_with_point(frame[name], csv) for name in texts)
    found: NDArray[np.float64] = frame.cast(pl.Float64, strict=False).to_numpy()
    read = {*texts}
    for j in np.flatnonzero(np.isnan(found).any(axis=0)).tolist():
        if (name := frame.columns[j]) in read:
            plain = frame[name].str.replace("^\u2212", "-")
            if not plain.equals(frame[name]):
                found = found if found.flags.writeable else found.copy()
                found[:, j] = plain.cast(pl.Float64, strict=False).to_numpy()
    return found


def without_unit(cells: "pl.Series", unit: str | None) -> "pl.Series":
    """The cells without their unit, which stands on either side of a number; null without it."""
    import polars as pl

    if unit is None or cells.dtype != pl.String:
        return cells
    sign = re.escape(unit)
    before = rf"^([+({MINUS}]?)[{BLANKS}]*{sign}[{BLANKS}]*"
    after = rf"[{BLANKS}]*{sign}([){MINUS}]?)$"
    bare = cells.str.replace(before, "${1}")
    bare = bare.zip_with(bare != cells, cells.str.replace(after, "${1}"))
    return bare.set((bare == cells).fill_null(False), None)


def without_sign(cells: "pl.Series") -> "pl.Series":
    """The cells without a minus, however it is written."""
    return cells.str.replace(rf"^[{MINUS}]|[{MINUS}]$", "").str.replace(r"^\((.*)\)$", "${1}")


def _with_point(cells: "pl.Series", csv: Csv) -> "pl.Series":
    """The cells with a decimal point, a minus before and no signs of thousands; null where none."""
    if csv.minus != "before":
        behind = BEHIND if csv.minus == "after" else BRACKETS
        is_below = cells.str.contains(f"^(?:{behind})$").fill_null(False)
        cells = cells.zip_with(~is_below, "-" + without_sign(cells))
    cells = cells.str.replace("^\u2212", "-")
    point, whole = re.escape(csv.decimal or "."), "[0-9]+"
    plain = cells
    if csv.thousands is not None:
        part = {" ": f"[{BLANKS}]", "'": f"[{APOSTROPHES}]"}.get(
            csv.thousands, re.escape(csv.thousands)
        )
        in_threes = rf"[1-9][0-9]{{0,2}}(?:{part}[0-9]{{3}})+"
        in_twos = rf"[1-9][0-9]?(?:{part}[0-9]{{2}})+{part}[0-9]{{3}}"  # as in India: 1,23,456
        whole = rf"(?:{in_threes}|{in_twos}|[0-9]+)"
        plain = plain.str.replace_all(part, "")
    pattern = rf"^[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$"
    plain = plain.str.replace(csv.decimal or ".", ".", literal=True)
    return plain.set(~cells.str.contains(pattern).fill_null(False), None)


def ambiguous(frame: "pl.DataFrame", found: NDArray[np.float64], csv: Csv) -> list[BadCells]:
    """Cells that were read with a decimal point and look as if their points parted thousands.

    found: (rows, columns) what `numbers` made of them.

    They are refused in a table that speaks for it: another separator than a comma, a number with a
    decimal comma, or a column such as 850 and 3.750, as neither decimals of a fixed number nor the
    shortest ones would be written. A `decimal` in the config answers the question.
    """
    import polars as pl

    texts = [j for j, dtype in enumerate(frame.dtypes) if dtype == pl.String]
    if csv.decimal is not None or csv.thousands is not None or not texts:
        return []
    # Most columns of real decimals have one of four digits: none of their cells is looked at.
    short = [j for j in texts if _has_short_decimals(found[:, j])]
    in_groups = frame[:, short].select(pl.all().str.contains(GROUPED).any()).row(0) if short else ()
    suspects = [j for j, holds in zip(short, in_groups, strict=True) if holds]
    if not suspects:
        return []
    elsewhere = csv.separator != "," or any(
        frame[:, j].str.contains(COMMA).any() for j in texts if np.isnan(found[:, j]).any()
    )
    bad = []
    for j in suspects:
        cells = frame[:, j]
        if elsewhere or is_mixed(cells):
            rows = np.flatnonzero(cells.str.contains(GROUPED).fill_null(False).to_numpy())
            bad.append(BadCells(frame.columns[j], rows, cells.__getitem__, _two_numbers))
    return bad


def _has_short_decimals(column: NDArray[np.float64]) -> bool:
    """Whether no number of the column (rows,) has more than three decimals."""
    thousandths = column[np.isfinite(column)] * 1000
    rest = np.abs(thousandths - np.round(thousandths))
    return bool((rest <= 1e-9 * np.abs(thousandths)).all())


def is_mixed(cells: "pl.Series") -> bool:
    """Whether whole numbers below 1,000 stand beside groups of three digits that end in 0."""
    cells = cells.filter(cells != "")
    with_point = cells.filter(cells.str.contains(".", literal=True))
    without = cells.filter(~cells.str.contains(".", literal=True))
    return bool(
        len(without)
        and with_point.str.contains(GROUPED).all()
        and with_point.str.ends_with("0").any()
        and without.str.contains(r"^[+-]?[0-9]{1,3}$").all()
    )


def _two_numbers(cell: str) -> str:
    whole = cell.replace(".", "")
    return (
        f', which is {whole} where a point parts thousands: state `data: {{csv: {{decimal: ",",'
        ' thousands: "."}}` if it does, and `{decimal: "."}` if it is the decimal sign'
    )


def advice(cell: str, csv: Csv) -> str:
    """What to do about a cell that is no number; it continues the sentence that quotes the cell."""
    if not cell:
        return ""
    if cell.casefold() in NOTHING:
        return (
            f": if it means an empty cell, give `data.csv.empty: [{cell!r}]` and a `missing` in"
            " `data.columns`"
        )
    if UNITS.search(cell):
        return (
            ": give its unit in `data.columns`, such as `{kind: numeric, unit: EUR}`, or write the"
            " number alone"
        )
    if RULING.fullmatch(cell):
        return ": it is a ruling and no row; remove the line"
    for minus, form in (("after", BEHIND), ("brackets", BRACKETS)):
        if csv.minus != minus and re.fullmatch(form, cell):
            return f": if it is a number below zero, give `data.csv.minus: {minus}`"
    is_plain = csv.decimal is None and csv.thousands is None
    if is_plain and re.fullmatch(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}", cell):
        whole, decimal = cell.replace(",", ""), cell.replace(",", ".")
        return (
            f": it is {whole} where a comma parts thousands, and {decimal} where it is the decimal"
            ' sign: give `data.csv.thousands: ","` or `data.csv.decimal: ","`'
        )
    if re.fullmatch(COMMA[1:-1], cell) and csv.decimal != ",":
        signs = 'decimal: ","'
        if "." in cell:
            signs += ', thousands: "."'
        return f": if its comma is the decimal sign, give `data: {{csv: {{{signs}}}}}`"
    if csv.thousands is None and re.fullmatch(
        rf"[+-]?[0-9]{{1,3}}(?:([.,{APOSTROPHES}{BLANKS}])[0-9]{{3}})+(?:[.,][0-9]*)?", cell
    ):
        sign = next(letter for letter in cell if letter in f".,{APOSTROPHES}{BLANKS}")
        sign = "'" if sign in APOSTROPHES else " " if sign in BLANKS else sign
        return f": if {sign!r} parts thousands in it, give `data.csv.thousands: {sign!r}`"
    return ""
