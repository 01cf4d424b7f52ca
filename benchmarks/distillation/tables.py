"""The results of benchmarks.distillation: means over seeds with intervals, and Markdown."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from benchmarks.common.markdown import table
from benchmarks.distillation.law import HOLDS

LEVEL = 0.9
PLACES = ("own", "shifted", "moved")  # distributions of the test rows
Row = Mapping[str, Any]
ALIGNED = 1e-4  # of the pot: smaller changes have no sign


def summary(found: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """What the tables and pictures show."""
    return {
        "law": _law(found["law"]),
        "alarms": _alarms(found["alarms"]),
        "transfer": _transfer(found["transfer"]),
        "classics": _classics(found["classics"]),
        "incentive": _incentive(found["incentive"]),
        "seeds": len({row["seed"] for row in found["law"]}),
    }


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and half the width of its t-interval at LEVEL; a single value has none."""
    mean, n = float(np.mean(values)), len(values)
    half = (
        float(student_t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
        if n > 1
        else float("inf")
    )
    return {"mean": mean, "half": half}


def _law(rows: Sequence[Row]) -> list[dict[str, Any]]:
    figures = ("r2", "spread", "spearman", "share_error", "law_error", "loss_grand", "teacher_loss")
    return [
        {
            "set": name,
            "weight": weight,
            "teacher_round": teacher_round,
            **{f: float(np.mean([row[f] for row in group])) for f in figures if f in group[0]},
            "holds": sum(row["r2"] >= HOLDS for row in group),
            "alarmed": sum(bool(row["alarms"]) for row in group),
        }
        for (name, weight, teacher_round), group in _grouped(
            rows, lambda row: (row["set"], row["weight"], row.get("teacher_round", 0))
        )
    ]


def _alarms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "spoilt": spoilt,
            "weight": weight,
            "runs": runs,
            **{
                f: float(np.mean([row[f] for row in group]))
                for f in ("r2", "law_error", "coverage", "width")
            },
            "codes": dict(
                sorted(Counter(code for row in group for code in set(row["alarms"])).items())
            ),
            "alarmed": sum(bool(row["alarms"]) for row in group),
            "games": len(group),
        }
        for (spoilt, weight, runs), group in _grouped(
            rows, lambda row: (row["spoilt"], row["weight"], row["runs"])
        )
    ]


def _transfer(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "teacher": teacher,
            "set": name,
            **{
                f: float(np.mean([row[f] for row in group]))
                for f in (
                    "own",
                    "shifted",
                    "moved",
                    "agreement",
                    *(f"teacher_{where}" for where in PLACES),
                )
            },
            "ahead": {
                where: interval([row[where] - row[f"teacher_{where}"] for row in group])
                for where in PLACES
            },
        }
        for (teacher, name), group in _grouped(rows, lambda row: (row["teacher"], row["set"]))
    ]


def _classics(rows: Sequence[Row]) -> dict[str, Any]:
    plain = [name for name in rows[0] if name not in ("seed", "few")]
    return {
        **{name: interval([row[name] for row in rows]) for name in plain},
        "assistant for teacher": interval(
            [row["tiny, assistant"] - row["tiny, teacher"] for row in rows]
        ),
        "teacher for labels": interval(
            [row["tiny, teacher"] - row["tiny, labels"] for row in rows]
        ),
        "few, labels": interval([row["few"]["labels"] for row in rows]),
        "few": {
            name: interval([row["few"][name] - row["few"]["labels"] for row in rows])
            for name in rows[0]["few"]
            if name != "labels"
        },
    }


def _incentive(rows: Sequence[Row]) -> dict[str, Any]:
    found = [
        {
            "spoilt": spoilt,
            "company": company,
            "kind": kind,
            "teacher": interval([row["teacher"] for row in group]),
            "change": {rule: _change(group, rule) for rule in group[0]["before"]},
        }
        for (spoilt, company, kind), group in _grouped(
            rows, lambda row: (row["spoilt"], row["company"], row["kind"])
        )
    ]
    rules = list(dict.fromkeys(rule for row in rows for rule in row["before"]))
    return {"changes": found, "aligned": {rule: _aligned(rows, rule) for rule in rules}}


def _change(rows: Sequence[Row], rule: str) -> dict[str, float]:
    """Of the company's own payment, in parts of what it is paid on average when it is honest."""
    honest = float(np.mean([row["before"][rule] for row in rows]))
    return interval([(row["after"][rule] - row["before"][rule]) / (honest or 1.0) for row in rows])


def _aligned(rows: Sequence[Row], rule: str) -> float:
    """Share of the cheats after which the payment went down where the teacher got worse, and up
    where it got better.
    """
    moved = [
        (row["after"][rule] - row["before"][rule], row["teacher"])
        for row in rows
        if rule in row["before"]
    ]
    signed = [(paid > 0) == (loss < 0) for paid, loss in moved if abs(paid) > ALIGNED]
    return float(np.mean(signed)) if signed else 1.0


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.items())


# --- Markdown -------------------------------------------------------------------------------------


def as_text(found: Mapping[str, Any]) -> str:
    """The whole result as Markdown: a table for each study, and a line with the effort."""
    summaries = found["summary"]
    parts = [
        _law_table(summaries["law"]),
        _alarms_table(summaries["alarms"]),
        _transfer_table(summaries["transfer"]),
        _classics_table(summaries["classics"]),
        *(_incentive_table(summaries["incentive"], spoilt) for spoilt in (False, True)),
        "\n".join(
            f"aligned with the teacher, {rule}: {share:.0%}"
            for rule, share in summaries["incentive"]["aligned"].items()
        ),
        (
            f"{summaries['seeds']} seeds, {found['seconds']:.0f} s, {found['core_seconds']:.0f} s"
            f" of one core. ± is the {LEVEL:.0%} interval."
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _law_table(rows: Sequence[Row]) -> str:
    head = ["students", "weight", "teacher after round", "R2", "law holds", "spread", "Spearman"]
    head += ["error of shares", "error of the law's values, %", "games with alarms"]
    return table(
        head,
        [
            [
                row["set"],
                f"{row['weight']:g}",
                str(row["teacher_round"] or ""),
                f"{row['r2']:.2f}",
                str(row["holds"]),
                f"{row['spread']:.2f}",
                f"{row['spearman']:.2f}",
                f"{row['share_error']:.2f}",
                f"{100 * row['law_error']:.1f}",
                str(row["alarmed"]),
            ]
            for row in rows
        ],
    )


def _alarms_table(rows: Sequence[Row]) -> str:
    head = ["wrong labels", "weight", "large runs", "R2", "games with alarms", "codes"]
    head += ["error of the law's values, %", "intervals that cover, %"]
    head += ["their width, % of the gain"]
    return table(
        head,
        [
            [
                "yes" if row["spoilt"] else "no",
                f"{row['weight']:g}",
                row["runs"],
                f"{row['r2']:.2f}",
                f"{row['alarmed']} of {row['games']}",
                ", ".join(f"{code} {count}" for code, count in row["codes"].items()),
                f"{100 * row['law_error']:.1f}",
                f"{100 * row['coverage']:.0f}",
                f"{100 * row['width']:.1f}",
            ]
            for row in rows
        ],
    )


def _transfer_table(rows: Sequence[Row]) -> str:
    head = ["teacher", "transfer set"]
    for title in ("accuracy, %", "shifted classes, %", "moved rows, %"):
        head += [title, "ahead of the teacher"]
    lines = []
    for row in rows:
        line = [row["teacher"], row["set"]]
        for where in PLACES:
            line += [f"{100 * row[where]:.1f}", _percent(row["ahead"][where])]
        lines.append([*line, f"{100 * row['agreement']:.1f}"])
    return table([*head, "agreement, %"], lines)


def _classics_table(classics: Mapping[str, Any]) -> str:
    whole = [
        [name, _percent(value, sign=" for " in name)]
        for name, value in classics.items()
        if name != "few"
    ]
    few = [[f"few, {name} - labels", _percent(value)] for name, value in classics["few"].items()]
    return table(["classic", "%"], whole + few)


def _incentive_table(incentive: Mapping[str, Any], spoilt: bool) -> str:
    changes = [row for row in incentive["changes"] if row["spoilt"] == spoilt]
    if not changes:
        return ""
    rules = list(changes[0]["change"])
    title = "One company has wrong labels." if spoilt else "All data are sound."
    lines = [
        [
            row["company"],
            row["kind"],
            f"{row['teacher']['mean']:+.3f}",
            *(_percent(row["change"][rule]) for rule in rules),
        ]
        for row in changes
    ]
    whole = table(["company", "does instead", "teacher's loss", *rules], lines)
    return f"{title} Change of the company's own payment, %.\n\n{whole}"


def _percent(value: Mapping[str, float], sign: bool = True) -> str:
    mean = f"{100 * value['mean']:+.1f}" if sign else f"{100 * value['mean']:.1f}"
    return mean if np.isinf(value["half"]) else f"{mean} ± {100 * value['half']:.1f}"
