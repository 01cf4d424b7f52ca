"""The result of benchmarks.audit: rows by attack, company and task, and the same as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.audit.attacks import ATTACKS, HARMLESS
from benchmarks.audit.tasks import APART, SECOND, SMALLEST
from benchmarks.common.markdown import table
from fl_sv.audit.lines import LIMITS, AuditLine

Played = Mapping[str, Any]
BEFORE, AFTER = "before", "after"


def summary(played: Iterable[Played]) -> dict[str, Any]:
    """Rows as docs/attacks.md shows them, and the honest games."""
    known = {(p["task"], p["rules"], p["attack"], p["company"], p["seed"]): p for p in played}
    tasks = sorted({task for task, *_ in known})
    rows = [
        row
        for task in tasks
        for attack in ATTACKS
        for company in (SECOND, SMALLEST)
        if (row := _row(known, task, attack, company))
    ]
    return {
        "attacks": rows,
        "honest": [_honest(known, task, rules) for task in tasks for rules in (BEFORE, AFTER)],
        "compared": [
            _compared(known, task, rules)
            for task, rules in dict.fromkeys((task, rules) for task, rules, *_ in known)
            if rules not in (BEFORE, AFTER) or task in APART
        ],
    }


def _compared(known: Mapping[Any, Played], task: str, rules: str) -> dict[str, Any]:
    """Honest pay in the order of the companies, accuracy, and mean gains by attack and company."""
    runs = [
        played
        for (of, by, attack, company, _), played in known.items()
        if (of, by, attack, company) == (task, rules, "honest", "4")
    ]
    gains = {
        attack: {
            company: float(np.mean([_gain(h, p, ATTACKS[attack].group(company)) for h, p in pairs]))
            for company in (SECOND, SMALLEST)
            if (pairs := _pairs(known, task, rules, attack, company))
        }
        for attack in ATTACKS
    }
    pay = np.array([list(run["shares"].values()) for run in runs])
    return {
        "task": task,
        "rules": rules,
        "seeds": len(runs),
        "pay": pay.mean(axis=0).tolist(),
        "pay_range": [pay.min(axis=0).tolist(), pay.max(axis=0).tolist()],
        "accuracy": float(np.mean([run["accuracy"] for run in runs])),
        "findings": sum(bool(findings(run)) for run in runs),
        "alarms": sum(bool(run["alarms"]) for run in runs),
        "gains": {attack: by_company for attack, by_company in gains.items() if by_company},
    }


def _row(known: Mapping[Any, Played], task: str, attack: str, company: str) -> dict[str, Any]:
    before, after = (_pairs(known, task, rules, attack, company) for rules in (BEFORE, AFTER))
    if not after:
        return {}
    group = ATTACKS[attack].group(company)
    gains = [_gain(honest, played, group) for honest, played in after]
    detected = float(np.mean([_detected(honest, played, group) for honest, played in after]))
    gain = float(np.mean(gains))
    return {
        "task": task,
        "attack": attack,
        "company": "second largest" if company == SECOND else "smallest",
        "gain": gain,
        "interval": _interval(gains),
        "gain_before": float(np.mean([_gain(h, p, group) for h, p in before])) if before else None,
        "detected": detected,
        "named": float(np.mean([_named(played, group) for _, played in after])),
        "false_alarms": _honest(known, task, AFTER)["false_alarms"],
        "unseen": gain * (1 - detected),
        "seeds": len(after),
        "seeds_before": len(before),
    }


def _pairs(
    known: Mapping[Any, Played], task: str, rules: str, attack: str, company: str
) -> list[tuple[Played, Played]]:
    """The honest run and the attacked one of each seed that has both."""
    honest = str(ATTACKS[attack].n_companies)
    seeds = sorted({seed for *_, seed in known})
    pairs = [
        (
            known.get((task, rules, "honest", honest, seed)),
            known.get((task, rules, attack, company, seed)),
        )
        for seed in seeds
    ]
    return [(one, other) for one, other in pairs if one and other]


def _gain(honest: Played, played: Played, group: Sequence[str]) -> float:
    """The change of what the group is paid; an honest company that is paid nothing counts as one
    that is paid a hundredth of the pot.
    """
    paid, before = (sum(run["shares"].get(c, 0.0) for c in group) for run in (played, honest))
    return float((paid - before) / max(before, 0.01))


def _interval(gains: Sequence[float]) -> list[float] | None:
    """The mean's 90 % interval by Student's t."""
    if len(gains) < 2:
        return None
    half = student.ppf(0.95, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains))
    return [float(np.mean(gains) - half), float(np.mean(gains) + half)]


def findings(played: Played) -> list[AuditLine]:
    """The audit's findings, by today's limits; none where companies take steps by their rows."""
    if played.get("rules") == BEFORE:
        return []
    lines = [AuditLine(*line) for line in played["audit"] if line[0] in LIMITS]
    return [line for line in lines if line.is_finding]


def _detected(honest: Played, played: Played, group: Sequence[str]) -> bool:
    return _named(played, group) or bool({*played["alarms"]} - {*honest["alarms"]})


def _named(played: Played, group: Sequence[str]) -> bool:
    return any({line.company, line.other} & {*group} for line in findings(played))


def _honest(known: Mapping[Any, Played], task: str, rules: str) -> dict[str, Any]:
    """Honest runs, those with rows in another order too."""
    runs = [
        p
        for (of, by, attack, _, _), p in known.items()
        if of == task and by == rules and attack in ("honest", HARMLESS)
    ]
    alarmed = [bool(findings(run)) or bool(run["alarms"]) for run in runs]
    return {
        "task": task,
        "rules": rules,
        "runs": len(runs),
        "false_alarms": float(np.mean(alarmed)) if runs else None,
        "audit_alone": float(np.mean([bool(findings(run)) for run in runs])) if runs else None,
        "accuracy": float(np.mean([run["accuracy"] for run in runs])) if runs else None,
        "loss": float(np.mean([run["loss"] for run in runs])) if runs else None,
    }


def as_text(found: Mapping[str, Any]) -> str:
    """The result as Markdown, in percent: a table of attacks for each task, and the honest runs."""
    head = [
        "attack",
        "company",
        "gain before",
        "after",
        "90 % interval",
        "detected",
        "named",
        "unseen",
        "seeds",
    ]
    tasks = dict.fromkeys(row["task"] for row in found["attacks"])
    attacks = {
        task: [_cells(row) for row in found["attacks"] if row["task"] == task] for task in tasks
    }
    honest = [
        [
            each["task"],
            each["rules"],
            str(each["runs"]),
            *(f"{100 * each[key]:.1f}" for key in ("false_alarms", "audit_alone", "accuracy")),
            f"{each['loss']:.3f}",
        ]
        for each in found["honest"]
        if each["runs"]
    ]
    names = [
        "task",
        "rules",
        "honest runs",
        "any alarm or line, %",
        "audit line, %",
        "accuracy, %",
        "loss",
    ]
    parts = [f"**{task}**\n\n{table(head, lines)}" for task, lines in attacks.items()]
    if honest:
        parts.append(table(names, honest))
    if found["compared"]:
        parts.append(_comparison(found["compared"]))
    return "\n\n".join(parts)


def _comparison(compared: Sequence[Mapping[str, Any]]) -> str:
    """Rules beside each other: second largest and smallest company, separated by a comma."""
    attacks = [name for name in ATTACKS if any(name in each["gains"] for each in compared)]
    head = [
        "task",
        "rules",
        "seeds",
        "honest pay, %",
        "accuracy, %",
        "findings",
        "alarms",
        *attacks,
    ]
    lines = [
        [
            each["task"],
            each["rules"],
            str(each["seeds"]),
            ", ".join(f"{100 * share:.0f}" for share in each["pay"]),
            f"{100 * each['accuracy']:.1f}",
            str(each["findings"]),
            str(each["alarms"]),
            *(", ".join(map(_percent, each["gains"].get(name, {}).values())) for name in attacks),
        ]
        for each in compared
    ]
    return table(head, lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["attack"],
        row["company"],
        _percent(row["gain_before"]),
        _percent(row["gain"]),
        "" if row["interval"] is None else " to ".join(map(_percent, row["interval"])),
        f"{100 * row['detected']:.0f}",
        f"{100 * row['named']:.0f}",
        _percent(row["unseen"]),
        str(row["seeds"]),
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.0f}"
