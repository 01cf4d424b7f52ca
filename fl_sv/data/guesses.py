"""What one column of a table seems to mean: a guess with its reason, or a question."""

import re
from typing import TYPE_CHECKING, Any

from fl_sv.config.columns import ANSWER, Boolean
from fl_sv.data.cells import (
    BLANKS,
    LIKE_A_NUMBER,
    NOTHING,
    RULING,
    UNITS,
    without_sign,
    without_unit,
)
from fl_sv.data.dates import date_form
from fl_sv.data.sniff import Remark
from fl_sv.errors import listed

if TYPE_CHECKING:
    import polars as pl

MOST_LISTED = 100  # categories and classes that are written out
# Names of columns whose numbers count nothing.
CODES = re.compile(
    r"(?:^|[^a-z])(?:id|key|nr|no|num|number|nummer|code|plz|zip|zipcode|postcode|postal"
    r"|postleitzahl|tel|phone|telefon|fax|konto|account|iban|isbn|ean|gtin|sku)(?:$|[^a-z])"
)
MISSING = {
    "numeric": "refuse, mean, median or indicator",
    "category": "refuse or category",
    "ordinal": "refuse, median or indicator",
    "boolean": "refuse, mean, indicator or unticked, which is no",
    "date": "refuse, median or indicator",
}
TICKS = ("x", "✓", "✔", "☑", "1", "ja", "j", "yes", "y", "true", "wahr")
# A sign on either side of a number, a currency's letters before it, or any word after it.
UNIT = re.compile(
    rf"(?P<before>[%‰°]|[$€£¥₹]|EUR|USD|GBP|CHF)?[{BLANKS}]*(?:{LIKE_A_NUMBER.pattern})"
    rf"(?:[{BLANKS}]*(?P<after>[%‰°$€£¥₹]|°C|kg|g|t|km|m|cm|mm|l|ml|h|s|ms|EUR|USD|GBP|CHF)"
    rf"|[{BLANKS}]+(?P<word>[^\W\d_][^\d{BLANKS}]{{0,14}}))?"
)
YES, NO = (tuple(Boolean(kind="boolean").model_dump()[key]) for key in ("yes", "no"))


def text_column(cells: "pl.Series") -> Remark:
    """What a column of texts means that is no target. cells: without blanks around them."""
    name, held = cells.name, held_in(cells)
    words = held.unique(maintain_order=True)
    kind, said, example = _kind(name, held, words, has_gaps=len(held) < len(cells))
    row = None if example is None else int((cells == example).arg_max() or 0)
    value: dict[str, Any] = {"kind": kind} if isinstance(kind, str) else kind
    n_empty = len(cells) - len(held)
    options = MISSING.get(value["kind"])
    if n_empty and value["kind"] != "ignore" and len(words):
        first = int((cells.is_null() | _is_nothing(cells)).fill_null(True).arg_max() or 0)
        value = {**value, "missing": ANSWER}
        asked = options or "refuse, or as the kind allows"
        where = ""
        if row is None:
            where, row = ", the first in {at}", first
        gap = f"{n_empty:,} cells are empty or say so{where}. What is an empty cell: {asked}?"
        said = joined(said, gap)
    return Remark(name, value if len(value) > 1 else value["kind"], said, row)


def joined(said: str, more: str) -> str:
    """Two remarks as one."""
    if said.endswith("?"):
        return f"{said} {more[:1].upper()}{more[1:]}"
    return f"{said}; {more}" if said else more


def held_in(cells: "pl.Series") -> "pl.Series":
    """The cells that hold something: no empty one, none such as N/A."""
    return cells.filter(is_held(cells))


def is_held(cells: "pl.Series") -> "pl.Series":
    """Which cells hold something."""
    return ~_is_nothing(cells.cast(str)).fill_null(True)


def _is_nothing(cells: "pl.Series") -> "pl.Series":
    return cells.str.to_lowercase().is_in(["", *NOTHING])


def like_numbers(words: "pl.Series") -> "pl.Series":
    """Which words are like numbers, by whatever sign."""
    return words.str.contains(f"^(?:{LIKE_A_NUMBER.pattern})$")


def _kind(
    name: str, held: "pl.Series", words: "pl.Series", *, has_gaps: bool
) -> tuple[str | dict[str, Any], str, str | None]:
    """The kind, what is said of it, and the cell that the sentence names."""
    if not len(words):
        return ANSWER, "every cell is empty. ignore it?", None
    if len(words) == 1 and words[0].lower() in TICKS and len(held) > 1 and has_gaps:
        return {"kind": "boolean", "yes": [words[0]]}, f"every filled cell is {words[0]!r}", None
    if len(words) == 1:
        return ANSWER, f"every cell is {words[0][:40]!r}. ignore it, or what does it mean?", None
    lower = {*words.head(100).str.to_lowercase()}
    is_number = like_numbers(words)
    if len(words) <= 100 and not is_number.any() and lower <= {*YES, *NO}:
        return "boolean", f"the words are {listed(sorted(lower))}", None
    if form := date_form(words):
        parts = ["year", "month", "weekday"] + (["hour"] if words.str.contains(":").any() else [])
        value = {"kind": "date", "format": form[0], "parts": parts}
        said = form[1] or f"dates such as {words[0]!r}"
        return value, joined(said, "choose the parts"), None
    if is_number.all():
        return _number(name, held, words)
    if unit := unit_of(words):
        said = f"every cell has the unit {unit!r}, as in {words[0]!r}, which is read without it"
        return {"kind": "numeric", "unit": unit}, said, None
    with_unit = [word for word in words if _has_unit(word)]
    if with_unit:
        said = (
            f"{with_unit[0][:40]!r} ({{at}}) has a unit, and not every cell has the same. Write"
            " all in one; or is it a category, or to be left out (ignore)?"
        )
        return ANSWER, said, with_unit[0]
    if is_number.any():
        text, number = words.filter(~is_number)[0], words.filter(is_number)[0]
        if RULING.fullmatch(text):
            return ANSWER, f"{text[:40]!r} ({{at}}) is a ruling. Remove the line; infer again", text
        said = (
            f"numbers such as {number[:40]!r} beside texts such as {text[:40]!r} ({{at}}). Correct"
            " the cells, or give the text in `csv.empty`; or is it a category, or `ignore`?"
        )
        return ANSWER, said, text
    return _words(held, words)


def unit_of(words: "pl.Series") -> str | None:
    """The unit that stands beside a number in every cell; None where there is none."""
    found = UNIT.fullmatch(without_sign(words.head(1))[0]) if len(words) else None
    unit = next((each for each in found.groupdict().values() if each), None) if found else None
    if unit is None or not like_numbers(without_unit(words, unit).fill_null("")).all():
        return None
    return unit


def _has_unit(cell: str) -> bool:
    return any(map(str.isdigit, cell)) and UNITS.search(cell) is not None


def _number(
    name: str, held: "pl.Series", words: "pl.Series"
) -> tuple[str | dict[str, Any], str, str | None]:
    ask = "Is it a quantity (numeric), a category, or to be left out (ignore)?"
    zeros = words.filter(words.str.contains(r"^0[0-9]"))
    zeros = zeros.filter(zeros.str.contains(r"^[0-9]+$"))
    if len(zeros):
        return ANSWER, f"{zeros[0]!r} ({{at}}) begins with a zero, as codes do. {ask}", zeros[0]
    if not words.str.contains(r"^[0-9]+$").all():
        return "numeric", "", None
    if CODES.search(name.casefold()):
        return ANSWER, f"whole numbers under a name as codes have. {ask}", None
    numbers = words.cast(int, strict=False)
    if len(words) == len(held) and len(words) > 2 and numbers.is_sorted():
        return ANSWER, f"every row has its own number, in ascending order, as ids do. {ask}", None
    if words.str.len_chars().n_unique() == 1 and len(words[0]) > 4:
        return ANSWER, f"all numbers have {len(words[0])} digits, as codes have. {ask}", None
    return "numeric", "", None


def _words(held: "pl.Series", words: "pl.Series") -> tuple[str | dict[str, Any], str, str | None]:
    if len(words) > max(20, len(held) // 2) or len(words) == len(held) > 3:
        said = (
            f"{len(words):,} different texts in {len(held):,} rows, such as {words[0][:40]!r}. Is"
            " it a category, an id or free text (ignore), or does it name the owner (leave it out)?"
        )
        return ANSWER, said, None
    alike = words.str.to_lowercase()
    if alike.n_unique() < len(words):
        twice = alike.filter(alike.is_duplicated())[0]
        pair = " and ".join(repr(word[:40]) for word in words.filter(alike == twice))
        said = f"{pair} differ in capital letters alone. Spell them in one way; category or ignore?"
        return ANSWER, said, words.filter(alike == twice)[-1]
    if len(words) > MOST_LISTED:
        said = (
            f"{len(words):,} words; they are not listed, so companies learn those of the operator's"
            " rows. With `rare: 10` those of fewer rows share a feature"
        )
        return "category", said, None
    said = "words; with an order among them: {kind: ordinal, order: [...]}"
    return {"kind": "category", "categories": sorted(words)}, said, None


def target_column(cells: "pl.Series") -> list[Remark]:
    """What is predicted: keys of the section `data`, the one of the column under its name."""
    name, held = cells.name, held_in(cells)
    words = held.unique(maintain_order=True)
    if len(held) < len(cells) or not len(words):
        row = int(_is_nothing(cells).fill_null(True).arg_max() or 0)
        n_empty = len(cells) - len(held)
        said = f"{n_empty:,} rows have no target, the first in {{at}}. Remove them and infer again"
        return [Remark("target", ANSWER, said, row)]
    if unit := unit_of(words):
        said = f"every cell of column {name!r} has the unit {unit!r}"
        return [
            Remark("task", "regression", said),
            Remark(name, {"kind": "numeric", "unit": unit}),
        ]
    if not like_numbers(words).all():
        if len(words) > MOST_LISTED:
            said = f"{len(words):,} different texts in column {name!r}. Which column is predicted?"
            return [Remark("target", ANSWER, said)]
        value = {"kind": "label", "classes": sorted(words)}
        return [Remark(name, value, "the classes 0, 1, ... in this order")]
    if not words.str.contains(r"^[0-9]+$").all() or len(words) > MOST_LISTED:
        said = f"column {name!r} has {len(words):,} different numbers"
        return [Remark("task", "regression", said), Remark(name, "numeric")]
    if {*words.cast(int)} == {*range(len(words))}:
        return [Remark("task", "classification", f"column {name!r} has the classes 0, 1, ...")]
    said = (
        f"column {name!r} has {len(words)} whole numbers, which are not 0, 1, ...: classification"
        " or regression? (For regression write `numeric` for the column)"
    )
    value = {"kind": "label", "classes": sorted(words)}
    return [Remark("task", ANSWER, said), Remark(name, value, "")]
