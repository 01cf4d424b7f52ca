"""Tables in Markdown, as the benchmarks print them."""

from collections.abc import Iterable, Sequence


def row(cells: Sequence[str]) -> str:
    """One line of a table.

    >>> row(["equal", "12.5"])
    '| equal | 12.5 |'
    """
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A whole table: its head, the rule below it, and its rows."""
    return "\n".join(map(row, [head, ["---"] * len(head), *rows]))
