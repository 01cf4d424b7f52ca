"""How often the intervals of values hold: with few validation rows, and with samples that stop.

    python -m benchmarks.intervals [--full] [--json]

Without options about two minutes on two cores, with --full some twenty.
"""

import argparse
import json
import time
from datetime import date
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.common.machine import machine_text
from benchmarks.common.markdown import table
from benchmarks.intervals.rows import ROWS, coverage_of_few_rows
from benchmarks.intervals.stopping import coverage_of_stopping


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="more games, and more draws of each")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    started = time.perf_counter()
    with threadpool_limits(1):
        result = {
            "rows": coverage_of_few_rows(*((4, 150) if options.full else (1, 50))),
            "stopping": coverage_of_stopping(*((10, 10) if options.full else (2, 5))),
        }
    head = {
        "date": date.today().isoformat(),
        "machine": machine_text(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if options.json:
        print(json.dumps(head | result))
        return
    print(f"{head['date']}, {head['machine']}, {head['seconds']:.0f} s\n")
    print(f"{rows_table(result['rows'])}\n\n{stopping_table(result['stopping'])}")


def rows_table(found: list[dict[str, Any]]) -> str:
    """Coverage, a column for each number of validation rows."""
    coverage = {(row["semivalue"], row["rule"], row["rows"]): row["coverage"] for row in found}
    kinds = dict.fromkeys((semivalue, rule) for semivalue, rule, _ in coverage)
    return table(
        ["semivalue", "interval", *(f"{n_rows} rows" for n_rows in ROWS)],
        [[*kind, *(f"{coverage[*kind, n_rows]:.3f}" for n_rows in ROWS)] for kind in kinds],
    )


def stopping_table(found: list[dict[str, Any]]) -> str:
    """Coverage of samples that stop, beside that of samples of the same sizes, fixed before."""
    return table(
        ["game", "coalitions at the stop", "fixed before", "stopped", "and wider", "factor needed"],
        [
            [
                row["family"],
                f"{row['evaluations']:.0f}",
                f"{row['fixed']:.3f}",
                f"{row['stopped']:.3f}",
                f"{row['widened']:.3f}",
                f"{row['factor']:.2f}",
            ]
            for row in found
        ],
    )


if __name__ == "__main__":
    main()
