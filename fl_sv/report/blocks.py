"""What a section of the page is made of. The template has one macro for each of these."""

from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

FITS = 50  # characters in a row of a heat map on a phone


@dataclass(frozen=True)
class Text:
    """Sentences: a paragraph each, or the items of a list."""

    kind: ClassVar[str] = "text"

    sentences: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True)
class Command:
    """A command to type."""

    kind: ClassVar[str] = "command"

    line: str


@dataclass(frozen=True)
class Terms:
    """Words with their explanations. long: whether they are hashes, which need a line each."""

    kind: ClassVar[str] = "terms"

    entries: tuple[tuple[str, str], ...]
    long: bool = False


@dataclass(frozen=True)
class PageTable:
    """A table: the first column names the row, the others hold numbers or text."""

    kind: ClassVar[str] = "table"

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[str, ...] = ()
    source: str = ""  # the files that the numbers come from
    text_columns: bool = False  # whether the other columns hold text


@dataclass(frozen=True)
class Cell:
    """A picture in a row of a chart, and its number as text."""

    picture: Markup
    text: str = ""


@dataclass(frozen=True)
class Chart:
    """Small pictures in rows, a row for each company. `table` holds the same in words."""

    kind: ClassVar[str] = "chart"

    description: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    table: PageTable
    key: tuple[tuple[str, str], ...] = ()  # (mark, meaning)


@dataclass(frozen=True)
class Drawing:
    """One or more pictures side by side. `table` holds the same in words."""

    kind: ClassVar[str] = "drawing"

    pictures: tuple[tuple[str, Markup], ...]  # (heading, picture)
    table: PageTable
    key: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class HeatMap:
    """A table whose cells are coloured by their number.

    tones: for each cell from -5 to 5; 0 has no colour. names: of the columns, in full.
    """

    kind: ClassVar[str] = "heat"

    table: PageTable
    tones: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    key: tuple[tuple[str, str], ...] = ()

    @property
    def wide(self) -> bool:
        """Whether a phone shows colours without numbers."""
        texts = [len(cell) for row in self.table.rows for cell in row[1:]]
        return (len(self.table.head) - 1) * max(texts) > FITS


@dataclass(frozen=True)
class Flow:
    """Boxes with arrows from each to the next: (title, text)."""

    kind: ClassVar[str] = "flow"

    boxes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """An alarm, or a check that was not made: what is wrong, what it means and what to do."""

    sentence: str
    question: str  # what the check examines, as a sentence
    meaning: str = ""
    action: str = ""


@dataclass(frozen=True)
class Findings:
    """Alarms and checks, each with what it means and what to do."""

    kind: ClassVar[str] = "findings"

    items: tuple[Finding, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    kind: ClassVar[str] = "folded"

    summary: str
    blocks: tuple["Block", ...]


Block = Text | Command | Terms | PageTable | Chart | Drawing | HeatMap | Flow | Findings | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading."""

    key: str  # its id on the page
    title: str
    blocks: tuple[Block, ...]
