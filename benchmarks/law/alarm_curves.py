"""Do the alarms separate what is sound from what is off? Labels, curves and shares.

A case is a law with one choice of trainings in one game. It is good when it is no worse than
training every coalition once, and bad when it is clearly worse; what lies between counts as
neither.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Case = Mapping[str, Any]

GOOD, BAD, BETWEEN = "good", "bad", "between"
NO_WORSE = 1.1  # times the error of one brute force
CLEARLY, TIMES = 0.1, 1.5  # points more than one brute force, and times as much
TINY = 1e-6

POOLED = "all three"  # the cases of all our laws together


def _figure(name: str, sign: float = 1.0) -> Callable[[Case], float]:
    return lambda case: sign * _or_nan(case["figures"].get(name))


def _or_nan(figure: float | None) -> float:
    return np.nan if figure is None else float(figure)


def _width_over_noise(case: Case) -> float:
    """How much less sure the law is than one training of every coalition would be."""
    noise = _or_nan(case["figures"].get("D6 error_of_one_training"))
    return float(case["width"] / max(noise, TINY))


# What an alarm could look at: the higher, the worse; NaN where a law does not have it. Figures are
# those of law.json.
STATISTICS: dict[str, Callable[[Case], float]] = {
    "width of the intervals": lambda case: float(case["width"]),
    "width over the error of one training": _width_over_noise,
    "distance to the averaged difference": lambda case: _or_nan(case["distance"]),
    "D1: p of the worst outlier": _figure("D1 p_value", -1.0),
    "D2: rank correlation": _figure("D2 spearman", -1.0),
    "D3: disagreement of the laws": _figure("D3 disagreement"),
    "D6: error of one training": _figure("D6 error_of_one_training"),
}


def by_law(rows: Sequence[Mapping[str, Any]], laws: Sequence[str]) -> dict[str, list[Case]]:
    """The cases of each of our laws, and of all of them.

    rows: results of `benchmarks.law.games.measure`.
    """
    cases = [case for row in rows for case in row["cases"]]
    found = {law: [case for case in cases if case["law"] == law] for law in laws}
    return found | {POOLED: cases}


def label(error: float, brute_error: float) -> str:
    """good, bad or between.

    error: of the law. brute_error: of one training of every coalition.

    >>> label(0.11, 0.10), label(0.13, 0.10), label(0.21, 0.10)
    ('good', 'between', 'bad')
    """
    if error <= NO_WORSE * brute_error:
        return GOOD
    if error > brute_error + CLEARLY and error > TIMES * brute_error:
        return BAD
    return BETWEEN


def shares(cases: Sequence[Case]) -> dict[str, Any]:
    """How often alarms fire on good and on bad cases, and how many failures are silent.

    `silent` is the share of all cases that are bad without an alarm.
    """
    of = {name: [case for case in cases if case["label"] == name] for name in (GOOD, BAD)}
    return {
        "cases": len(cases),
        "good": len(of[GOOD]),
        "bad": len(of[BAD]),
        "alarmed_good": _share(bool(case["alarms"]) for case in of[GOOD]),
        "alarmed_bad": _share(bool(case["alarms"]) for case in of[BAD]),
        "silent": _share(case["label"] == BAD and not case["alarms"] for case in cases),
        "codes": {name: _codes(of[name]) for name in (GOOD, BAD)},
        "areas": {
            name: area
            for name, statistic in STATISTICS.items()
            if (area := area_under(curve(cases, statistic))) is not None
        },
    }


def curve(
    cases: Sequence[Case], statistic: Callable[[Case], float]
) -> tuple[Floats, Floats] | None:
    """(alarms on good cases, alarms on bad ones) for every threshold, both from 0 to 1.

    None where one of the two kinds is missing, or the statistic is unknown in a case.
    """
    known = [(statistic(case), case["label"]) for case in cases if case["label"] != BETWEEN]
    found = np.array([value for value, _ in known])
    is_bad = np.array([name == BAD for _, name in known], dtype=bool)
    if not is_bad.any() or is_bad.all() or np.isnan(found).any():
        return None
    thresholds = np.append(np.inf, np.unique(found)[::-1])
    fires = found[None, :] >= thresholds[:, None]
    return fires[:, ~is_bad].mean(axis=1), fires[:, is_bad].mean(axis=1)


def area_under(found: tuple[Floats, Floats] | None) -> float | None:
    """The area under a curve: 1 separates perfectly, 0.5 not at all.

    >>> area_under((np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])))
    1.0
    """
    if found is None:
        return None
    good, bad = found
    return float(np.sum(np.diff(good) * (bad[1:] + bad[:-1]) / 2))


def _share(fired: Iterable[bool]) -> float | None:
    """The share of True; None of nothing."""
    counted = list(fired)
    return sum(counted) / len(counted) if counted else None


def _codes(cases: Sequence[Case]) -> dict[str, float]:
    counted = Counter(code for case in cases for code in set(case["alarms"]))
    return {code: count / len(cases) for code, count in sorted(counted.items())}
