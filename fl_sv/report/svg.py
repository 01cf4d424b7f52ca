"""Matplotlib figures as SVG inside the page, in its colours and typeface, with stable bytes.

A picture is drawn twice: wide for paper and screens, narrow for phones. The style sheet shows one
of them. Colours are placeholders that become variables of the style sheet, so that a picture
follows the page into dark mode.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER, BLUE, ORANGE = (
    "#0000a1",
    "#0000a2",
    "#0000a3",
    "#0000a4",
    "#0000a5",
    "#0000a6",
)
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
}

WIDE, NARROW = 720, 340  # CSS pixels; one unit of the SVG is one pixel at full width
_UNITS_PER_INCH = 72

_STYLE: dict[Any, Any] = {  # the type of its keys differs between versions of matplotlib
    "svg.fonttype": "none",  # text stays text: searchable, and set in the page's typeface
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "font.size": 12,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}

Draw = Callable[[Figure, int], None]  # (figure, its width in pixels)


@dataclass(frozen=True)
class Picture:
    """One picture in both widths, and a description for readers who cannot see it."""

    wide: str
    narrow: str
    description: str


def picture(key: str, height: dict[int, int], draw: Draw, description: str) -> Picture:
    """A picture by `draw` at both widths. key: unique on the page; height: pixels by width."""
    return Picture(
        wide=_svg(f"{key}-wide", WIDE, height[WIDE], draw),
        narrow=_svg(f"{key}-narrow", NARROW, height[NARROW], draw),
        description=description,
    )


def _svg(key: str, width: int, height: int, draw: Draw) -> str:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # independent of the user's matplotlibrc
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": key})
        figure = Figure(
            figsize=(width / _UNITS_PER_INCH, height / _UNITS_PER_INCH),
            dpi=_UNITS_PER_INCH,
            layout="constrained",
        )
        FigureCanvasSVG(figure)  # it measures texts
        draw(figure, width)
        _lay_out(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _embedded(text.getvalue(), key)


def _lay_out(figure: Figure) -> None:
    """Once: `savefig` would draw the whole figure for nothing else."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    figure.set_layout_engine(None)


def _embedded(svg: str, key: str) -> str:
    """The drawing without the parts that only a file needs; its ids are unique on the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    svg = re.sub(r"<svg[^>]*>", f'<svg {box[0]} aria-hidden="true">', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", svg
    )
    svg = re.sub(
        r"(url\(#|xlink:href=\"#)", lambda found: found[1].replace("xlink:", "") + key + "-", svg
    )
    for placeholder, variable in _VARIABLES.items():
        svg = svg.replace(placeholder, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
