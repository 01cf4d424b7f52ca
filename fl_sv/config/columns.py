"""The keys `data.csv` and `data.columns`: how a table is written, and what its columns mean."""

import re
import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fl_sv.config.base import Frozen, many

# A proposal of `fl-sv data infer` has it where a person must decide.
ANSWER = "<answer>"
MOST_CATEGORIES = 1000  # of a column: each of them is a feature


def unanswered(content: Any, place: str = "") -> list[str]:
    """The places of the open questions in the content of a section, such as `csv.decimal`."""
    if content == ANSWER:
        return [place]
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        return []
    return [
        found
        for key, value in content.items()
        for found in unanswered(value, f"{place}.{key}" if place else str(key))
    ]


def _text(value: Any) -> Any:
    """A whole number as text: cells are compared as text, and `[1, 2]` is clear enough.

    A text is composed (NFC), as cells are.
    """
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Cell = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=1000)]


class Csv(Frozen):
    """How the texts of the run's tables are written."""

    separator: Literal[",", ";", "|", "tab"] = Field(
        ",", description="what parts the cells of a line"
    )
    decimal: Literal[".", ","] | None = Field(
        None,
        description=(
            "the decimal sign; a point by default, but then a cell such as 3.750 is refused where"
            " it may mean thousands"
        ),
    )
    thousands: Literal[".", ",", "'", " "] | None = Field(
        None, description="what parts groups of three digits; nothing by default"
    )
    encoding: Literal[
        "utf-8", "utf-16", "cp1252", "latin-1", "iso-8859-15", "cp1250", "cp1251", "cp850",
        "mac-roman",
    ] = Field("utf-8", description="how letters are stored as bytes")  # fmt: skip
    header: bool = Field(
        True,
        description=(
            "whether the first line names the columns; otherwise they are column_1, column_2, ..."
        ),
    )
    skip: int = Field(
        0, ge=0, le=1000, description="lines above the header that are no part of the table"
    )
    empty_lines: Literal["refuse", "skip"] = Field(
        "refuse",
        description="what a line without a filled cell is, such as `;;;`: an error, or no row",
    )
    minus: Literal["before", "after", "brackets"] = Field(
        "before", description="how a number below zero is written: -5, 5- or (5)"
    )
    empty: Annotated[
        tuple[Cell, ...], many("texts that mean an empty cell, such as N/A", max_length=100)
    ] = ()

    @property
    def letter(self) -> str:
        """The separator as it stands in the file."""
        return "\t" if self.separator == "tab" else self.separator

    @model_validator(mode="after")
    def _two_signs(self) -> Self:
        if self.thousands is not None and self.thousands == (self.decimal or "."):
            raise ValueError(
                f"thousands and decimal are both {self.thousands!r}; give two signs, such as"
                " {decimal: ',', thousands: '.'}"
            )
        return self


class Numeric(Frozen):
    """A quantity: one feature, or with `missing: indicator` two."""

    kind: Literal["numeric"]
    unit: Annotated[str, Field(min_length=1, max_length=20)] | None = Field(
        None,
        description=(
            "what stands beside the number in every cell, such as % or EUR; 12 % is read as 12"
        ),
    )
    missing: Literal["refuse", "mean", "median", "indicator"] = Field(
        "refuse",
        description=(
            "what an empty cell is: an error, the mean or median of the operator's rows, or their"
            " mean and a feature of its own that says so"
        ),
    )


class Category(Frozen):
    """One of several words without an order: a feature for each of them."""

    kind: Literal["category"]
    categories: Annotated[
        tuple[Cell, ...],
        many(
            "the words; without them those of the operator's rows, which companies then learn",
            max_length=MOST_CATEGORIES,
        ),
    ] = ()
    rare: int | None = Field(
        None,
        ge=2,
        le=10**9,
        description=(
            "words that fewer of the operator's rows hold share one feature, and so do words that"
            " no row of his holds"
        ),
    )
    missing: Literal["refuse", "category"] = Field(
        "refuse", description="what an empty cell is: an error, or a category of its own"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        require_words("categories", self.categories)
        if self.categories and self.rare is not None:
            raise ValueError(
                "rare: the categories are listed, so none is counted; give one of both"
            )
        return self


class Ordinal(Frozen):
    """One of several words with an order: its place in the order, from 0, is the feature."""

    kind: Literal["ordinal"]
    order: Annotated[
        tuple[Cell, ...],
        many("the words in their order", min_length=2, max_length=MOST_CATEGORIES),
    ]
    missing: Literal["refuse", "median", "indicator"] = Field(
        "refuse",
        description=(
            "what an empty cell is: an error, the median of the operator's rows, or that and a"
            " feature of its own that says so"
        ),
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        require_words("order", self.order)
        return self


class Boolean(Frozen):
    """Yes or no: 1 or 0."""

    kind: Literal["boolean"]
    yes: Annotated[
        tuple[Cell, ...], many("what means yes, in small or capital letters", min_length=1)
    ] = (
        "true", "yes", "y", "t", "1", "ja", "j", "wahr", "oui", "vrai", "sí", "sì", "si",
        "verdadero", "vero", "waar", "tak", "on",
    )  # fmt: skip
    no: Annotated[
        tuple[Cell, ...], many("what means no, in small or capital letters", min_length=1)
    ] = (
        "false", "no", "n", "f", "0", "nein", "falsch", "non", "faux", "falso", "nee", "onwaar",
        "nie", "off",
    )  # fmt: skip
    missing: Literal["refuse", "mean", "indicator", "unticked"] = Field(
        "refuse",
        description=(
            "what an empty cell is: an error, the share of yes in the operator's rows, that and a"
            " feature of its own that says so, or `unticked`: no"
        ),
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        require_words("yes and no", [word.casefold() for word in (*self.yes, *self.no)])
        return self


DATE_SIGNS = ("%d", "%m", "%b", "%Y", "%y", "%H", "%M", "%S")
DatePart = Literal["year", "month", "day", "weekday", "hour", "minute", "days"]


class Date(Frozen):
    """A date, or a moment: a feature for each of the chosen parts."""

    kind: Literal["date"]
    format: str = Field(
        "%Y-%m-%d",
        max_length=50,
        description=(
            "how it is written: %d day, %m month, %b its name (English, German, French, Spanish or"
            " Italian), %Y or %y year, %H hour, %M minute, %S second, and"
            " the signs between them, such as %d.%m.%Y; dates of a .parquet file need none"
        ),
    )
    parts: Annotated[
        tuple[DatePart, ...],
        many(
            "which features: year, month (1 to 12), day (of the month), weekday (1 is Monday),"
            " hour, minute, days (since 1970-01-01)",
            min_length=1,
        ),
    ]
    missing: Literal["refuse", "median", "indicator"] = Field(
        "refuse",
        description=(
            "what an empty cell is: an error, the median of each part in the operator's rows, or"
            " that and a feature of its own that says so"
        ),
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        require_words("parts", self.parts)
        signs = re.findall(r"%.?", self.format)
        if unknown := [sign for sign in signs if sign not in DATE_SIGNS]:
            raise ValueError(
                f"format: {unknown[0]} is no sign of a date; allowed are {', '.join(DATE_SIGNS)}"
            )
        years = signs.count("%Y") + signs.count("%y")
        months = signs.count("%m") + signs.count("%b")
        if (years, months, signs.count("%d")) != (1, 1, 1) or len(set(signs)) < len(signs):
            raise ValueError(
                f"format: {self.format!r} must have the day, the month and the year once each, such"
                " as %d.%m.%Y"
            )
        clock = [sign for sign in ("%H", "%M", "%S") if sign in signs]
        if clock != ["%H", "%M", "%S"][: len(clock)] or clock == ["%H"]:
            raise ValueError(
                f"format: {self.format!r} has a part of a time; give %H:%M or %H:%M:%S"
            )
        return self


class Label(Frozen):
    """The target of a classification as text: its class is its place in the list, from 0."""

    kind: Literal["label"]
    classes: Annotated[
        tuple[Cell, ...],
        many("the texts of the classes 0, 1, ...", min_length=2, max_length=100_000),
    ]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        require_words("classes", self.classes)
        return self


class Ignore(Frozen):
    """No feature."""

    kind: Literal["ignore"]


Column = Numeric | Category | Ordinal | Boolean | Date | Label | Ignore


def _with_kind(value: Any) -> Any:
    """`weight: numeric` for `weight: {kind: numeric}`."""
    return {"kind": value} if isinstance(value, str) else value


Described = Annotated[Annotated[Column, Field(discriminator="kind")], BeforeValidator(_with_kind)]


def require_words(where: str, words: "tuple[str, ...] | list[str]") -> None:
    """Raises ValueError for a word that is there twice, or that no cell can equal."""
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{where}: {word[:40]!r} is there twice")
        if word != word.strip():
            raise ValueError(
                f"{where}: {word[:40]!r} has blanks at an end, and cells are read without"
            )
        seen.add(word)
