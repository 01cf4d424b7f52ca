"""The picture of benchmarks.truth: our law against brute force, and the errors of all methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.pictures import save


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Writes the picture of a whole result."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _values(left, found)
    _errors(right, found["mean"])
    save(figure, path)


def _values(axes: Axes, found: Mapping[str, Any]) -> None:
    """Every company of every game: law_n with its interval over the measured value, in shares of
    the improvement.
    """
    for task in dict.fromkeys(row["task"] for row in found["tasks"]):
        rows = [row for row in found["tasks"] if row["task"] == task]
        total = [sum(row["truth"]) for row in rows]
        truth = np.concatenate(
            [np.divide(row["truth"], t) for row, t in zip(rows, total, strict=True)]
        )
        bands = [
            np.divide(row["by_law"]["law_n"]["values"], t)
            for row, t in zip(rows, total, strict=True)
        ]
        low, value, high = np.concatenate(bands, axis=1)
        axes.errorbar(
            truth,
            value,
            [value - low, high - value],
            fmt="o",
            markersize=3,
            linewidth=0.8,
            label=task,
        )
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    axes.set(xlabel="measured share of the improvement", ylabel="by law_n, with its 90 % interval")
    axes.legend(fontsize="small")


def _errors(axes: Axes, mean: Mapping[str, Any]) -> None:
    """Mean error by rule, the best on top."""
    errors = dict(
        sorted(
            {**mean["errors"], "noise floor": mean["noise_floor"]}.items(),
            key=lambda item: -item[1],
        )
    )
    colours = ["tab:blue" if name.startswith("law_") else "silver" for name in errors]
    bars = axes.barh(list(errors), [100 * error for error in errors.values()], color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize="small")
    axes.set(xscale="log", xlabel="mean relative L2 error of the values, % (log scale)")
    axes.set_xlim(right=300 * max(errors.values()))  # room for the numbers
