"""Marks of SVG pictures, written by hand: positions in percent, sizes in pixels.

A picture is as wide as its place on the page and never scaled: text keeps its size, and lines stay
thin. Colours are classes of the style sheet, so that a picture follows the page into dark mode.
Every text is escaped here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from fl_sv.text import isolated, shown

MARGIN = 2.0  # percent left free at both ends of a scale


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` as percentages of a width, or of a height (`upward`)."""

    low: float
    high: float
    upward: bool = False
    margin: float = MARGIN

    @classmethod
    def over(cls, *numbers: float, upward: bool = False, margin: float = MARGIN) -> "Scale":
        """A scale that holds all of these numbers."""
        return cls(min(numbers), max(numbers), upward, margin)

    def at(self, number: float) -> float:
        """The place of a number in percent."""
        length = self.high - self.low
        part = (number - self.low) / length if length else 0.5
        if self.upward:
            part = 1 - part
        return self.margin + (100 - 2 * self.margin) * part


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; an underscore at the end of an attribute is dropped, others become hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(isolated(shown(_text(value))))}"'
        for key, value in attributes.items()
    )
    inner = Markup("").join(
        child if isinstance(child, Markup) else escape(isolated(shown(child))) for child in children
    )
    return Markup(f"<{name}{written}>{inner}</{name}>")


def picture(height: int, marks: Iterable[Markup], description: str) -> Markup:
    """A picture as wide as its place, of this height in pixels. description: for who hears it."""
    return tag(
        "svg", *marks, class_="picture", width="100%", height=height, role="img",
        aria_label=description,
    )  # fmt: skip


def bar(start: float, end: float, kind: str, tip: str, top: int = 4, height: int = 16) -> Markup:
    """A bar between two places in percent. tip: what it says when it is pointed at."""
    left, width = min(start, end), abs(end - start)
    return tag(
        "rect", *_tip(tip), class_=kind, x=_percent(left), width=_percent(width), y=top,
        height=height,
    )  # fmt: skip


def column(start: float, width: float, foot: float, head: float, kind: str, tip: str) -> Markup:
    """An upright bar between two heights in percent."""
    return tag(
        "rect", *_tip(tip), class_=kind, x=_percent(start), width=_percent(width),
        y=_percent(min(foot, head)), height=_percent(abs(head - foot)),
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A line between two places in percent."""
    return tag(
        "line", class_=kind, x1=_percent(x1), y1=_percent(y1), x2=_percent(x2), y2=_percent(y2)
    )


def upright(x: float, kind: str) -> Markup:
    """A line from top to bottom."""
    return line(x, 0, x, 100, kind)


def whisker(low: float, high: float) -> Markup:
    """A line from low to high with an end at both, at half height."""
    ends = (line(x, 32, x, 68, "whisker") for x in (low, high))
    return Markup("").join([line(low, 50, high, 50, "whisker"), *ends])


def symbol(x: float, y: float, kind: str, tip: str = "") -> Markup:
    """A symbol at a place in percent: a dot, or a diamond."""
    shape = "M0-6 6 0 0 6-6 0Z" if kind == "diamond" else "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z"
    if kind == "point":
        shape = "M-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0Z"
    path = tag("path", *_tip(tip), class_=kind, d=shape)
    return tag("svg", path, x=_percent(x), y=_percent(y), overflow="visible")


def label(
    x: float, y: float, text: str, anchor: str = "start", lower: int = 4, right: int = 0
) -> Markup:
    """A text at a place in percent, some pixels lower and further to the right."""
    return tag("text", text, x=_percent(x), y=_percent(y), dx=right, dy=lower, text_anchor=anchor)


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Lines from each point to the next."""
    return Markup("").join(line(*one, *other, kind) for one, other in pairwise(points))


def _tip(text: str) -> list[Markup]:
    return [tag("title", text)] if text else []


def _percent(number: float) -> str:
    return f"{number:.2f}%"


def _text(value: object) -> str:
    return value if isinstance(value, str) else f"{value}"
