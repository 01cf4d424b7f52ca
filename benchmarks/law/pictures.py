"""The pictures of benchmarks.truth (our law against brute force, the errors of all methods) and of
benchmarks.games (what separates sound cases from others).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS
from matplotlib.figure import Figure

from benchmarks.common.pictures import save
from benchmarks.law.alarm_curves import STATISTICS, by_law, curve, shares
from benchmarks.law.truth import LAWS


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Writes the picture of a whole result."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _values(left, found)
    _errors(right, found["mean"])
    save(figure, path)


def _values(axes: Axes, found: Mapping[str, Any]) -> None:
    """Every company of every game, in shares of the improvement: law_n with its interval over the
    value by the trainings that law_n was not given.
    """
    for task in dict.fromkeys(row["task"] for row in found["tasks"]):
        shown = [row["first"] for row in found["tasks"] if row["task"] == task]
        truth = np.concatenate([np.divide(game["truth"], sum(game["truth"])) for game in shown])
        bands = [np.divide(game["law_n"], sum(game["law_n"][1])) for game in shown]
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
    axes.set(
        xlabel="share of the improvement by the other trainings",
        ylabel="by law_n from one training a run, with its 90 % interval",
    )
    axes.legend(fontsize="small")


def _errors(axes: Axes, mean: Mapping[str, Any]) -> None:
    """Mean error by rule, the best on top."""
    errors = dict(
        sorted(
            {**mean["errors"], "noise floor": mean["noise_floor"]}.items(),
            key=lambda item: -item[1],
        )
    )
    colours = [
        "tab:blue"
        if name.startswith("law_")
        else "tab:orange"
        if name in ("one_brute_force", "noise floor")
        else "silver"
        for name in errors
    ]
    bars = axes.barh(list(errors), [100 * error for error in errors.values()], color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize="small")
    axes.set(xscale="log", xlabel="mean relative L2 error of the values, % (log scale)")
    axes.set_xlim(right=300 * max(errors.values()))  # room for the numbers


def draw_alarms(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The curves of what alarms look at, a plot for each of our laws; the cross is any alarm.

    rows: results of `benchmarks.law.games.measure`.
    """
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    of_law = by_law(rows, LAWS)
    colours = dict(zip(STATISTICS, TABLEAU_COLORS, strict=False))
    for axes, (law, cases) in zip(figure.subplots(1, len(of_law)), of_law.items(), strict=True):
        for name, statistic in STATISTICS.items():
            found = curve(cases, statistic)
            if found is not None:
                axes.step(*found, where="post", linewidth=1.2, color=colours[name], label=name)
        fired = shares(cases)
        if None not in (fired["alarmed_good"], fired["alarmed_bad"]):
            axes.plot(fired["alarmed_good"], fired["alarmed_bad"], "kx", label="alarms as they are")
        axes.plot([0.25], [0.85], "o", color="grey", markersize=4, label="aim")
        axes.axline((0, 0), slope=1, color="grey", linewidth=0.8)
        axes.set(
            title=f"{law}: {fired['good']} good, {fired['bad']} bad of {fired['cases']}",
            xlabel="alarm on good cases",
            ylabel="alarm on bad cases",
        )
    named = {
        name: line
        for axes in figure.axes
        for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=5)
    save(figure, path)
