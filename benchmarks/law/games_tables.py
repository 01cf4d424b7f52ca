"""The result of benchmarks.games as means by kind of data, and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common.markdown import table
from benchmarks.law.alarm_curves import by_law, shares
from benchmarks.law.truth import LAWS

RULES = (
    *LAWS,
    "small_mapped",
    "log_line",
    "averaged_difference",
    "mean_of_two",
    "one_brute_force",
)
ALL = "all"
Rows = Sequence[Mapping[str, Any]]


def summary(rows: Rows) -> dict[str, Any]:
    """`kinds` and `alarms` of the result.

    rows: results of `benchmarks.law.games.measure`.
    """
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    found = {kind: of_kind([row for row in rows if row["kind"] == kind]) for kind in kinds}
    flips = {few: [flip for row in rows for flip in row["flips"][few]] for few in rows[0]["flips"]}
    return {
        "kinds": found | {ALL: of_kind(rows)},
        "alarms": {law: shares(cases) for law, cases in by_law(rows, LAWS).items()},
        "flips": {few: float(np.mean(each)) if each else None for few, each in flips.items()},
    }


def of_kind(rows: Rows) -> dict[str, Any]:
    """Means over games; `ratio` is the median over games of the error over one brute force's."""
    errors = {name: [row["errors"][name] for row in rows] for name in rows[0]["errors"]}
    brute = np.array(errors["one_brute_force"])
    return {
        "games": len(rows),
        "errors": {name: float(np.mean(each)) for name, each in errors.items()},
        "ratio": {name: float(np.median(np.array(each) / brute)) for name, each in errors.items()},
        "noise_floor": float(np.mean([row["noise_floor"] for row in rows])),
        "coverage": {
            law: float(np.mean([row["by_law"][law]["coverage"] for row in rows])) for law in LAWS
        },
        "shared_errors": {
            name: float(np.mean([row["shared"]["errors"][name] for row in rows]))
            for name in rows[0]["shared"]["errors"]
        },
        "shared_coverage": {
            law: float(np.mean([row["shared"]["coverage"][law] for row in rows])) for law in LAWS
        },
    }


def as_text(found: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    kinds = found["kinds"]
    parts = [
        table(
            ["as a user has it: error, %", *RULES, "noise floor"],
            [
                [row["game"], *_percents(row["errors"], RULES), f"{100 * row['noise_floor']:.1f}"]
                for row in found["games"]
            ],
        ),
        table(
            ["the same by kind of data", *RULES, "noise floor"],
            [
                [
                    f"{name} ({kind['games']})",
                    *_percents(kind["errors"], RULES),
                    f"{100 * kind['noise_floor']:.1f}",
                ]
                for name, kind in kinds.items()
            ],
        ),
        table(
            ["median of the error over that of one brute force", *RULES],
            [
                [name, *(f"{kind['ratio'][rule]:.2f}" for rule in RULES)]
                for name, kind in kinds.items()
            ],
        ),
        table(
            ["coverage of 90 % intervals", *LAWS, *(f"{law}, shared" for law in LAWS)],
            [
                [
                    name,
                    *(f"{kind['coverage'][law]:.2f}" for law in LAWS),
                    *(f"{kind['shared_coverage'][law]:.2f}" for law in LAWS),
                ]
                for name, kind in kinds.items()
            ],
        ),
        table(
            ["law and truth share their trainings: error, %", *RULES[:-1]],
            [[name, *_percents(kind["shared_errors"], RULES[:-1])] for name, kind in kinds.items()],
        ),
        _alarms(found["alarms"]),
        "Labels that flip: "
        + "; ".join(
            f"{_percent(share)} % where the truth has {few} trainings"
            for few, share in found["flips"].items()
        )
        + ".",
        f"{found['seconds']:.0f} s.",
    ]
    return "\n\n".join(parts)


def _alarms(alarms: Mapping[str, Any]) -> str:
    """What fires on good and on bad cases, and what separates them."""
    lines = [
        [
            law,
            f"{of['good']}, {of['bad']} of {of['cases']}",
            _percent(of["alarmed_good"]),
            _percent(of["alarmed_bad"]),
            _percent(of["silent"]),
            _by_code(of["codes"]["good"]),
            _by_code(of["codes"]["bad"]),
        ]
        for law, of in alarms.items()
    ]
    head = ["alarms", "good, bad cases", "on good, %", "on bad, %", "silent failures, %"]
    names = dict.fromkeys(name for of in alarms.values() for name in of["areas"])
    areas = [
        [
            name,
            *(f"{of['areas'][name]:.2f}" if name in of["areas"] else "" for of in alarms.values()),
        ]
        for name in names
    ]
    return "\n\n".join(
        [
            table([*head, "codes on good, %", "on bad, %"], lines),
            table(["area under the curve", *alarms], areas),
        ]
    )


def _percents(errors: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{100 * errors[name]:.1f}" for name in names]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _by_code(codes: Mapping[str, float]) -> str:
    return ", ".join(f"{code} {100 * share:.0f}" for code, share in codes.items()) or "none"
