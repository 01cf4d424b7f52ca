"""The result of benchmarks.peers as Markdown, a row for each peer's method."""

import re
from collections.abc import Callable
from typing import Any

from benchmarks.common.markdown import table
from benchmarks.peers.compare import PEERS
from benchmarks.peers.federation import COMPANIES

Row = dict[str, Any]

CHECKS = {"sums_up": "sum", "null_player": "null", "symmetric": "twins", "repeatable": "repeat"}
ROUNDING = 1e-6  # smaller errors are shown as 0


def show(result: dict[str, Any]) -> None:
    """Prints every table of the result below its title."""
    print(f"{result['date']}, {result['machine']}, {result['seconds']:.0f} s")
    rows = result["peers"]
    compared = {row["peer"] for row in rows if row["error_of_ours"] is not None}
    fewer = compared - set(PEERS[0].shapley)
    sampled = [row for row in rows if row["peer"] in fewer]
    digits = [row for row in rows if row["game"].startswith("digits")]
    for title, text in (
        (
            "error, %, and which checks fail: sum, null company, twins, repeated call",
            matrix(rows, "game", error_cell),
        ),
        (
            "error, %, and that of estimate_shapley with as many coalitions",
            matrix(sampled, "game", beside_ours),
        ),
        (
            "seconds, and how many coalitions were asked for",
            matrix(digits, "game", effort),
        ),
        (
            "what a mistake in the diminishing game leads to",
            matrix(result["mistakes"], "mistake", mistake_cell),
        ),
        ("the same federated run", federated_table(result["federations"])),
        ("versions, and who is not compared", versions_table(result)),
    ):
        print(f"\n{title}\n\n{text}")


def matrix(rows: list[Row], column: str, cell: Callable[[Row], str]) -> str:
    """A row for each peer, in the order of `rows`, and a column for every value of `column`."""
    cells = {(row["peer"], row[column]): cell(row) for row in rows}
    columns = list(dict.fromkeys(row[column] for row in rows))
    names = dict.fromkeys(row["peer"] for row in rows)
    return table(
        ["peer", *columns], [[name, *(cells[name, value] for value in columns)] for name in names]
    )


def federated_table(rows: list[Row]) -> str:
    """Values, error and loss of each way through the same federated run."""
    head = ["peer", "utility", *COMPANIES]
    head += ["error, %", "repeats", "seconds", "loss of everybody's model"]
    lines = []
    for row in rows:
        values = [f"{value:.4f}" for value in row["values"]]
        repeats = "yes" if row["values"] == row["second_call"] else "**no**"
        seconds, loss = f"{row['seconds']:.2g}", f"{row['grand_loss']:.4f}"
        lines.append(
            [row["peer"], row["utility"], *values, percent(row["error"]), repeats, seconds, loss]
        )
    return table(head, lines)


def versions_table(result: dict[str, Any]) -> str:
    """The version of each peer that answered, and the reason of each that did not."""
    versions = {re.split("[, ]", row["peer"])[0]: row["version"] for row in result["peers"]}
    reasons = [(row["peer"], row["reason"]) for row in result["failures"]]
    return table(["peer", "version, or the reason"], [*versions.items(), *reasons])


def error_cell(row: Row) -> str:
    """An error in percent, or the reason why there is none; failed checks in bold."""
    if row["error"] is None:
        return str(row["note"]).split(":")[0]
    failed = [word for check, word in CHECKS.items() if row[check] is False]
    return " ".join([percent(row["error"]), *([f"**{', '.join(failed)}**"] if failed else [])])


def beside_ours(row: Row) -> str:
    """The error of a peer and of `estimate_shapley` for as many coalitions."""
    if row["error_of_ours"] is None:
        return ""
    return f"{percent(row['error'])}, ours {percent(row['error_of_ours'])}"


def effort(row: Row) -> str:
    """Seconds, and how many coalitions the peer looked up."""
    return "" if row["seconds"] is None else f"{row['seconds']:.2g} s, {row['evaluations']}"


def mistake_cell(mistake: dict[str, str]) -> str:
    """What a mistake leads to: numbers without a warning in bold, an error by its kind alone."""
    if mistake["outcome"] == "error":
        return mistake["detail"].split(":")[0]
    return f"**{mistake['detail']}**" if mistake["outcome"] == "numbers" else mistake["outcome"]


def percent(error: float) -> str:
    """An error in percent; 0 where it is rounding."""
    return f"{100 * error:.3g}" if error > ROUNDING else "0"
