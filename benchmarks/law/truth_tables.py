"""The result of benchmarks.truth as means over games, and as Markdown."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.common.markdown import table

TARGETS = {"law_0": 0.08, "law_n": 0.048, "law_2n": 0.04}
BEATEN = (
    "by_size",
    "leave_one_out",
    "leave_one_out_scaled",
    "gtg",
    "large_only",
    "large_only_auto",
)  # by a factor of three, is the aim
JUDGED = ("coverage", "spearman", "alarmed")


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over games.

    rows: results of `benchmarks.law.truth.measure`. Returns errors, the median ratio
    to one brute force, coverage, rank correlation and alarms of each law, and by which factor its
    error is smaller than those of BEATEN.
    """
    error = {
        name: float(np.mean([row["errors"][name] for row in rows]))
        for name in rows[0]["errors"]
        if all(name in row["errors"] for row in rows)
    }
    judged_by = {
        law: {what: float(np.mean([row["by_law"][law][what] for row in rows])) for what in JUDGED}
        for law in TARGETS
    }
    return {
        "errors": error,
        "noise_floor": float(np.mean([row["noise_floor"] for row in rows])),
        "ratio": {
            law: float(
                np.median([row["errors"][law] / row["errors"]["one_brute_force"] for row in rows])
            )
            for law in TARGETS
        },
        "by_law": judged_by,
        "times_better": {
            law: {
                name: error[beaten_by(name, law)] / error[law]
                for name in BEATEN
                if beaten_by(name, law) in error
            }
            for law in TARGETS
        },
    }


def beaten_by(name: str, law: str) -> str:
    """The baseline of `law`; a regression on only large runs gets the law's own runs.

    >>> beaten_by("large_only", "law_n")
    'large_only_n'
    """
    return f"{name}_{law.removeprefix('law_')}" if name.startswith("large_only") else name


def as_text(found: Mapping[str, Any]) -> str:
    """The result as Markdown: errors in percent by task, means over its seeds."""
    tasks = list(dict.fromkeys(row["task"] for row in found["tasks"]))
    columns = [summary([row for row in found["tasks"] if row["task"] == task]) for task in tasks]
    columns.append(found["mean"])
    rows = [
        [name, *(f"{100 * column['errors'][name]:.1f}" for column in columns)]
        for name in found["mean"]["errors"]
    ]
    rows.append(["noise floor", *(f"{100 * column['noise_floor']:.1f}" for column in columns)])
    rows += [
        [f"{law} over one brute force, median", *(f"{each['ratio'][law]:.2f}" for each in columns)]
        for law in TARGETS
    ]
    rows += [
        [f"{what} of {law}", *(f"{column['by_law'][law][what]:.3f}" for column in columns)]
        for law, what in product(TARGETS, JUDGED[:2])
    ]
    rows += [
        [
            f"alarms of {law}, %",
            *(f"{100 * each['by_law'][law]['alarmed']:.0f}" for each in columns),
        ]
        for law in TARGETS
    ]
    parts = [table(["error of the values, %", *tasks, "mean"], rows)]
    parts += [_factors_sentence(law, found["mean"]["times_better"][law]) for law in TARGETS]
    parts.append(f"{found['seconds']:.0f} s, {found['core_seconds']:.0f} s of one core.")
    return "\n\n".join(parts)


def _factors_sentence(law: str, factors: Mapping[str, float]) -> str:
    times = ", ".join(f"{name} {factor:.1f}" for name, factor in factors.items())
    return f"{law} (aim {100 * TARGETS[law]:g} %) is better by these factors: {times}."
