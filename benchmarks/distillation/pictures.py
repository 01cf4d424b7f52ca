"""Pictures of benchmarks.distillation, one for each study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.pictures import save
from benchmarks.distillation.law import HOLDS

Summary = Mapping[str, Any]


def draw(summary: Summary, folder: Path) -> None:
    """Writes the pictures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, width, panel in (
        ("law", 11, _law),
        ("transfer", 11, _transfer),
        ("few", 6, _few),
        ("incentive", 12, _incentive),
    ):
        figure = Figure(figsize=(width, 4.5), layout="constrained")
        panel(figure, summary)
        save(figure, folder / f"distillation_{name}.svg")


def _law(figure: Figure, summary: Summary) -> None:
    """By weight, for the best teacher: how well students predict the large losses, and how far the
    values are off.
    """
    rows = summary["law"]
    (plain,) = [row for row in rows if row["set"] == "plain"]
    best = max(row["teacher_round"] for row in rows)
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row["set"] for row in rows if row["set"] != "plain"):
        line = [plain, *(r for r in rows if r["set"] == name and r["teacher_round"] == best)]
        weights = [row["weight"] for row in line]
        left.plot(weights, [row["r2"] for row in line], "o-", label=name)
        right.plot(weights, [100 * row["law_error"] for row in line], "o-", label=name)
    left.axhline(HOLDS, color="grey", linewidth=0.8, linestyle="--")
    left.set(
        xlabel="weight of the teacher's logits",
        ylabel="leave-one-out R2, small to large",
        ylim=(min(0, left.get_ylim()[0]), 1),
    )
    right.set(
        xlabel="weight of the teacher's logits",
        ylabel="error of the law's values, %",
        ylim=(0, None),
    )
    left.legend(title="transfer set", fontsize="small")


def _transfer(figure: Figure, summary: Summary) -> None:
    """Accuracy by transfer set, on own and on moved rows; the teacher's as a line."""
    for axes, teacher in zip(
        figure.subplots(1, 2, sharey=True), ("sound", "careless"), strict=True
    ):
        rows = [row for row in summary["transfer"] if row["teacher"] == teacher]
        place = np.arange(len(rows))
        for shift, where, colour in ((-0.2, "own", "tab:blue"), (0.2, "moved", "tab:orange")):
            label = {"own": "own distribution", "moved": "moved by a pixel"}[where]
            axes.bar(
                place + shift, [100 * row[where] for row in rows], 0.4, color=colour, label=label
            )
            axes.axhline(
                100 * rows[0][f"teacher_{where}"], color=colour, linestyle="--", linewidth=1
            )
        axes.set_xticks(place, [row["set"] for row in rows], rotation=45, ha="right")
        axes.set(title=f"{teacher} teacher (dashed)", ylabel="accuracy, %")
    axes.legend(fontsize="small")


def _few(figure: Figure, summary: Summary) -> None:
    """What each method adds to a student on few rows."""
    few = dict(sorted(summary["classics"]["few"].items(), key=lambda item: item[1]["mean"]))
    axes = figure.subplots()
    half = [100 * value["half"] if np.isfinite(value["half"]) else 0 for value in few.values()]
    axes.errorbar(
        [100 * value["mean"] for value in few.values()], list(few), xerr=half, fmt="o", capsize=3
    )
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set(xlabel="points of accuracy on 3 % of the rows, 90 % interval")


def _incentive(figure: Figure, summary: Summary) -> None:
    """Change of a cheating company's payment under both kinds of pot."""
    changes = summary["incentive"]["changes"]
    federations = [
        spoilt for spoilt in (False, True) if any(row["spoilt"] == spoilt for row in changes)
    ]
    kinds = list(dict.fromkeys(row["kind"] for row in changes))
    every = figure.subplots(1, 2 * len(federations), sharey=True, squeeze=False)[0]
    panels = [(spoilt, rule) for spoilt in federations for rule in ("performance", "fixed")]
    for axes, (spoilt, rule) in zip(every, panels, strict=True):
        _dots(axes, [row for row in changes if row["spoilt"] == spoilt], rule, kinds)
        axes.set_title(
            f"{rule} pot, {'one careless' if spoilt else 'sound data'}", fontsize="medium"
        )
    every[0].legend(fontsize="x-small")


def _dots(axes: Axes, rows: list[Mapping[str, Any]], rule: str, kinds: list[str]) -> None:
    companies = list(dict.fromkeys(row["company"] for row in rows))
    for k, kind in enumerate(kinds):
        found = [row["change"][rule] for row in rows if row["kind"] == kind]
        half = [100 * value["half"] if np.isfinite(value["half"]) else 0 for value in found]
        place = np.arange(len(companies)) + (k - len(kinds) / 2) * 0.14
        axes.errorbar(
            [100 * value["mean"] for value in found],
            place,
            xerr=half,
            fmt="o",
            markersize=4,
            label=kind,
        )
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(companies)), companies)
    axes.set(xlabel="change of its payment, %")
