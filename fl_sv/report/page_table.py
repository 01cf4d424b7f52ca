"""A table of the page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PageTable:
    """A table of the page: the first column names the row, the others hold numbers or text."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[str, ...] = ()
    source: str = ""  # the files that the numbers come from
    text_columns: bool = False  # whether the other columns hold text
