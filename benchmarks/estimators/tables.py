"""The result of benchmarks.estimators as Markdown."""

from typing import Any

from benchmarks.common.markdown import table
from benchmarks.estimators.games import FEDERATED, LARGE, OTHER

EXACT = 1e-6  # smaller errors are rounding


def show(result: dict[str, Any]) -> None:
    """Prints seconds of the exact functions, a table for each budget, and the promises."""
    print(f"{result['date']}, {result['machine']}, {result['seconds']:.0f} s\n")
    rows = [
        [name, f"{entry['seconds']:.3f}", f"{entry['peak_mib']:.1f}"]
        for name, entry in result["exact"].items()
    ]
    print(table(["exact", "seconds", "MiB beside the table"], rows))
    for budget in sorted({entry["budget"] for entry in result["estimates"]}):
        of_budget = [entry for entry in result["estimates"] if entry["budget"] == budget]
        print(f"\n{budget} coalitions, error in %\n\n{errors_table(of_budget)}")
    print(f"\n{promises_table(result['targets'])}")


def errors_table(estimates: list[dict[str, Any]]) -> str:
    """Errors for one budget in percent, a column a family, the smallest of each in bold."""
    entries = {(entry["family"], entry["method"]): entry for entry in estimates}
    families = [name for name in [*FEDERATED, *OTHER, *LARGE] if (name, "auto") in entries]
    best = {
        name: max(EXACT, min(e["error"] for (family, _), e in entries.items() if family == name))
        for name in families
    }
    methods = sorted({method for _, method in entries}, key=lambda m: (m != "auto", m))
    rows = [
        [method, *(percent(entries.get((name, method)), best[name]) for name in families)]
        for method in methods
    ]
    ours = [entries[name, "auto"] for name in families]
    rows.append(["coverage of `auto`", *(f"{entry['coverage']:.3f}" for entry in ours)])
    rows.append(["on so many games", *(str(entry["games_of_coverage"]) for entry in ours)])
    return table(["method", *families], rows)


def promises_table(targets: list[dict[str, Any]]) -> str:
    """What is promised of the recommended method, and whether it was met."""
    rows = [
        [
            f"{entry['family']}, {entry['budget']} coalitions",
            f"{100 * entry['error']:.2f}",
            f"{100 * entry['target']:.0f}",
            "met" if entry["met"] else "NOT MET",
        ]
        for entry in targets
    ]
    return table(["promise", "error, %", "at most", ""], rows)


def percent(entry: dict[str, Any] | None, best: float) -> str:
    """An error in percent, in bold when it is the smallest; empty where nothing was measured."""
    if entry is None:
        return ""
    error = entry["error"] if entry["error"] > EXACT else 0.0
    text = f"{100 * error:.3g}" if error < 10 else ">1000"
    return f"**{text}**" if error <= best else text
