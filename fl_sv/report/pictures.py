"""The report's three pictures: payouts with intervals, the law, and the teacher's curve.

Shapes: C coalitions of the design.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from fl_sv.payment.settlement import TeacherLoss
from fl_sv.report.splits import Splits
from fl_sv.report.svg import BLUE, GRID, INK, MUTED, NARROW, ORANGE, PAPER, WIDE, Picture, picture

MOST_POINTS = 512  # coalitions drawn; a thousand would only be a cloud, and a heavy page
MOST_NAMED = 24  # large runs named beside the picture
_ROW = 46  # pixels for one company


class LargeRun(NamedTuple):
    """A coalition on which the large model was measured."""

    name: str
    small_loss: float
    large_loss: float


@dataclass(frozen=True)
class LawPoints:
    """What the picture of the law shows: losses of the small and the large model by coalition."""

    small_C: NDArray[np.float64]
    predicted_C: NDArray[np.float64]
    low_C: NDArray[np.float64]
    high_C: NDArray[np.float64]
    large_runs: tuple[LargeRun, ...]


def payout_picture(
    split: Splits,
    intervals: Mapping[str, tuple[int, int]],
    labels: Mapping[str, str],
    decimals: int,
    currency: str,
) -> Picture:
    """A bar for each company's payout with its interval, and marks for the two simple splits.

    labels: every amount as people read it.
    """

    def draw(figure: Figure, width: int) -> None:
        axes, unit = figure.subplots(), 10**decimals
        axes.spines["bottom"].set_visible(False)
        for row, (name, cents) in enumerate(split.paid.items()):
            low, high = intervals[name]
            axes.barh(row, cents / unit, height=0.34, color=BLUE)
            axes.plot(
                [low / unit, high / unit], [row, row], color=INK, lw=1.6, marker="|", ms=8, mew=1.6
            )
            axes.plot(
                split.equal[name] / unit,
                row,
                marker="D",
                ms=6,
                mfc=PAPER,
                mec=ORANGE,
                mew=1.6,
                ls="",
            )
            axes.plot(
                split.by_size[name] / unit,
                row,
                marker="s",
                ms=6,
                mfc=ORANGE,
                mec=PAPER,
                mew=0.8,
                ls="",
            )
            _write_above(axes, row, name, 0, weight="bold", ha="left")
            _write_above(axes, row, labels[name], 1, weight="normal", ha="right")
        axes.axvline(0, color=MUTED, lw=1)
        axes.set(ylim=(len(split.paid) - 0.5, -0.75), yticks=[], xlabel=f"payout, {currency}")
        axes.xaxis.set_major_locator(
            MaxNLocator(6 if width == WIDE else 3, steps=[1, 2, 2.5, 5, 10])
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda amount, _: f"{amount:,.10g}"))

    rows = len(split.paid)
    amounts = "; ".join(f"{name} {labels[name]}" for name in split.paid)
    return picture(
        "payouts",
        {WIDE: 52 + _ROW * rows, NARROW: 52 + _ROW * rows},
        draw,
        f"Bars of the payouts: {amounts}. The table below holds the same amounts and both ends of"
        " every line.",
    )


def law_picture(points: LawPoints, unit: str) -> Picture:
    """Small loss against large loss: predicted coalitions, and the large runs by name."""
    drawn = drawn_coalitions(points.small_C)
    large_runs = points.large_runs
    named = (
        sorted(large_runs, key=lambda large_run: -large_run.large_loss)
        if len(large_runs) <= MOST_NAMED
        else []
    )

    def draw(figure: Figure, width: int) -> None:
        axes = figure.subplots()
        x = points.small_C[drawn]
        axes.vlines(x, points.low_C[drawn], points.high_C[drawn], color=BLUE, lw=1, alpha=0.22)
        axes.scatter(x, points.predicted_C[drawn], s=11, color=BLUE, lw=0)
        axes.scatter(
            [large_run.small_loss for large_run in large_runs],
            [large_run.large_loss for large_run in large_runs],
            s=52,
            marker="D",
            color=ORANGE,
            edgecolor=PAPER,
            lw=1,
            zorder=3,
        )
        axes.set(xlabel=f"small model's loss, {unit}", ylabel=f"large model's loss, {unit}")
        axes.margins(0.05)
        _name_beside(axes, named, width)

    measured = "; ".join(
        f"{large_run.name} {large_run.large_loss:.4f}" for large_run in large_runs[:MOST_NAMED]
    )
    return picture(
        "law",
        {WIDE: 430, NARROW: 400},
        draw,
        f"Points: the large model's loss against the small model's, for {len(drawn)} predicted and"
        f" {len(large_runs)} measured coalitions. Measured losses of the large model in {unit}:"
        f" {measured}.",
    )


def curve_picture(curve: Sequence[TeacherLoss], unit: str) -> Picture:
    """The deployed teacher's loss by round, and its accuracy where there is one."""
    rounds = [point.number for point in curve]
    panels = [("validation loss, " + unit, [point.loss for point in curve], "{:.3f}")]
    accuracy = [point.accuracy for point in curve if point.accuracy is not None]
    if len(accuracy) == len(curve):
        panels.append(("classified rightly, %", [100 * share for share in accuracy], "{:.1f} %"))

    def draw(figure: Figure, width: int) -> None:
        side_by_side = width == WIDE
        grid = figure.subplots(
            1 if side_by_side else len(panels), len(panels) if side_by_side else 1, squeeze=False
        )
        for axes, (label, heights, text) in zip(grid.flat, panels, strict=True):
            axes.plot(rounds, heights, color=BLUE, lw=2, marker="o", ms=3.5)
            axes.plot(rounds[-1], heights[-1], color=ORANGE, marker="D", ms=7, mec=PAPER)
            rising = heights[-1] > heights[0]
            axes.annotate(
                text.format(heights[-1]), (rounds[-1], heights[-1]), (0, -14 if rising else 9),
                textcoords="offset points", ha="right", va="top" if rising else "bottom",
                weight="bold",
            )  # fmt: skip
            axes.set(xlabel="round", ylabel=label)
            axes.set_ylim(bottom=min(0.0, *heights))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    first, last = curve[0], curve[-1]
    return picture(
        "curve",
        {WIDE: 260, NARROW: 220 * len(panels)},
        draw,
        f"Curve: the teacher's validation loss in {unit} by round, from {first.loss:.4f} untrained"
        f" to {last.loss:.4f} after round {last.number}.",
    )


def drawn_coalitions(small_C: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions of at most MOST_POINTS coalitions, evenly spread in the order of the small loss.

    Both ends are included.
    """
    order_C = np.argsort(small_C, kind="stable")
    if len(order_C) <= MOST_POINTS:
        return order_C
    return order_C[np.linspace(0, len(order_C) - 1, MOST_POINTS).round().astype(np.intp)]


def _write_above(
    axes: Axes, row: int, text: str, at: float, weight: str, ha: Literal["left", "right"]
) -> None:
    """Text above a bar, at the left (0) or right (1) end of the axes."""
    axes.annotate(
        text, (at, row), (0, 13), xycoords=("axes fraction", "data"), textcoords="offset points",
        va="baseline", ha=ha, weight=weight, bbox={"fc": PAPER, "ec": "none", "pad": 1},
    )  # fmt: skip


def _name_beside(axes: Axes, points: Sequence[LargeRun], width: int) -> None:
    """Names to the right of the axes, highest point first, each with a thin line to its point."""
    low, high = axes.get_ylim()
    at = spread([(high - y) / (high - low) for *_, y in points], gap=0.052)
    most = 22 if width == WIDE else 13
    for (name, x, y), position in zip(points, at, strict=True):
        axes.annotate(
            name if len(name) <= most else name[: most - 1] + "…", (x, y), (1.015, 1 - position),
            textcoords="axes fraction", va="center", ha="left", size=11,
            arrowprops={
                "arrowstyle": "-", "color": GRID, "lw": 1, "shrinkA": 1, "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )  # fmt: skip


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Ascending positions in [0, 1], moved apart by at least `gap` and kept inside.

    Where there are too many for the gap, it is as large as fits.
    """
    gap = min(gap, 1 / max(1, len(positions) - 1))
    placed: list[float] = []
    for position in positions:
        placed.append(max(position, placed[-1] + gap) if placed else position)
    limit = 1.0
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed
