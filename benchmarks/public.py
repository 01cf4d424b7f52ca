"""The law's idea on published tables of language models, whose mixtures nobody here trained.

    python -m benchmarks.public [--json]

A table has the losses of the same mixtures at small sizes and a large one, by domain of text
(benchmarks/data/public). `rows` has for each table, choice of sizes and number of large runs that
are known (1, 2, 5 and 9) the error of the losses of the large size on all other mixtures: relative
L2 of the centred losses, the mean over domains. The known ones are chosen by their small losses
alone, far from each other; figures are means over ten choices.

`law`        every small size a law, blended, and a Gaussian process on the mixtures' weights
             (law/mixture_law.py)
`ratio`      the small losses times one ratio, by domain
`power`      the line of log on log through the known runs; with one run the same as `ratio`
`ladder`     the step from the smaller to the larger small size carried on by log size, times one
             ratio; with two small sizes only
`best_line`  the straight line that knows all large losses: no rule that is a line can be better
`small`      the small losses as they are

`with_known` is the law's error on all mixtures, the known ones put in.
"""

import argparse
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.markdown import table as markdown
from benchmarks.law.mixture_law import chosen_runs, predict
from benchmarks.law.mixture_rules import best_line, ladder, power, ratio, small_losses
from benchmarks.law.mixtures import Mixtures, all_tables

Floats = NDArray[np.float64]

KNOWN = (1, 2, 5, 9)
CHOICES = 10
RULES = {
    "law": predict,
    "power": power,
    "ratio": ratio,
    "ladder": ladder,
    "best_line": best_line,
    "small": small_losses,
}


def centred_error(predicted: Floats, true: Floats) -> float:
    """Relative L2 error of the centred losses, (mixtures, domains), the mean over domains."""
    missed = (predicted - predicted.mean(axis=0)) - (true - true.mean(axis=0))
    size = np.linalg.norm(true - true.mean(axis=0), axis=0)
    return float(np.mean(np.linalg.norm(missed, axis=0) / size))


def measure(table: Mixtures, count: int) -> dict[str, Any]:
    """The errors of all rules with so many known runs, means over the choices."""
    # From the most ordinary mixture to the most special one.
    small = np.log(table.small[:, -1])
    special = np.linalg.norm((small - small.mean(axis=0)) / small.std(axis=0), axis=1)
    starts = np.argsort(special)[np.linspace(0, len(special) - 1, CHOICES).astype(int)]
    errors: dict[str, list[float]] = {name: [] for name in RULES}
    with_known = []
    for first in starts.tolist():
        runs = chosen_runs(table, count, first)
        others = np.setdiff1d(np.arange(len(table.large)), runs)
        for name, rule in RULES.items():
            predicted = rule(table, runs)
            if predicted is not None:
                errors[name].append(centred_error(predicted[others], table.large[others]))
        predicted = predict(table, runs)
        predicted[runs] = table.large[runs]
        with_known.append(centred_error(predicted, table.large))
    return {
        "table": table.title,
        "known": count,
        "errors": {name: float(np.mean(each)) for name, each in errors.items() if each},
        "with_known": float(np.mean(with_known)),
    }


def as_text(rows: Iterable[dict[str, Any]]) -> str:
    """The result as Markdown."""
    lines = [
        [
            row["table"],
            str(row["known"]),
            *(f"{row['errors'][name]:.3f}" if name in row["errors"] else "" for name in RULES),
            f"{row['with_known']:.3f}",
        ]
        for row in rows
    ]
    return markdown(["table (mixtures)", "known runs", *RULES, "with_known"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The law on published tables of mixtures.")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    options = parser.parse_args()
    rows = [measure(table, count) for table in all_tables() for count in KNOWN]
    print(json.dumps({"rows": rows}) if options.json else as_text(rows))


if __name__ == "__main__":
    main()
