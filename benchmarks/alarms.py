"""Do the law's alarms find what breaks it, and only that?

    python -m benchmarks.alarms [--json]

Printed by violation (law/alarms.py): the share of games with any alarm by known large runs (none,
singletons, singletons and leave-one-outs), the codes with the singletons, and the error of the
law's values. The case `none` is the rate of false alarms, which may be one in ten.
"""

import argparse
import json
from typing import Any

from benchmarks.common.markdown import table
from benchmarks.law.alarms import CASES, RUNS, measure


def as_text(rows: list[dict[str, Any]]) -> str:
    """The result as Markdown, in percent."""
    head = [
        "violation",
        *(f"alarm in {name}, %" for name in RUNS),
        "codes in law_n, %",
        "error of law_n, %",
    ]
    lines = []
    for row in rows:
        codes = ", ".join(f"{code} {100 * share:.0f}" for code, share in row["codes"].items())
        shares = [f"{100 * row['alarmed'][name]:.0f}" for name in RUNS]
        lines.append([row["case"], *shares, codes, f"{100 * row['error']:.1f}"])
    return table(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Which defects break a law, and which alarms find them."
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    options = parser.parse_args()
    rows = [measure(case) for case in CASES]
    print(json.dumps({"cases": rows}) if options.json else as_text(rows))


if __name__ == "__main__":
    main()
