"""What peers make of the same utilities, of mistakes in them, and of the same federated run.

    python -m benchmarks.peers [--json] [--patience 30]

Every peer is installed once, into a virtual environment in $FL_SV_HOME/peers (default ~/.fl-sv),
which needs a package index; a peer that asks for a newer Python gets the first one on the PATH. A
peer that cannot be installed or run is listed with the reason. Each method is called twice; the
seconds are those of the faster call. Error is the relative L2 distance from what the method claims
to give: Shapley values by definition, or leave-one-outs."""

import argparse
import json
import math
import os
import platform
import re
import time
from collections.abc import Callable
from datetime import date
from typing import Any

from benchmarks.peers.environments import NotCompared, Peer, ask
from benchmarks.peers.federation import COMPANIES, same_run
from benchmarks.peers.games import Game, games
from benchmarks.peers.judge import judged, outcome
from benchmarks.sweep.measure import quietly
from fl_sv.machine import use_threads

HPL = Peer(
    "federatedhplearning",
    {"federatedhplearning": "by_default", "federatedhplearning, all orders": "all_orders"},
    {"federatedhplearning LOO": "leave_one_out"},
)
PEERS = (
    Peer("fl_sv", {"fl-sv": "exact", "fl-sv, half": "estimate"}, {"fl-sv LOO": "leave_one_out"}),
    Peer("svfl", {"svfl": "shapley"}, {}),
    HPL,
    Peer(
        "fedml",
        {"fedml MR": "mr", "fedml GTG": "gtg", "fedml GTG, patched": "gtg_patched"},
        {"fedml LOO": "leave_one_out", "fedml LOO, patched": "leave_one_out_patched"},
    ),
    Peer("shapiq", {"shapiq, exact": "exact", "shapiq KernelSHAP, half": "kernelshap"}, {}),
    Peer(
        "rizemind",
        {"rizemind": "utility_as_score", "rizemind, paid by default": "paid_by_default"},
        {},
        python=(3, 12),
    ),
)
LEFT_OUT = {
    "nvflare FedCE": (
        "takes no utilities: clients report a cosine and a score of the model without them"
    ),
    "mplc": "pins tensorflow 2.5.1, which needs Python 3.9 or older",
    "flwr-contributions, SPACE, FLCE, SVBench, Flirds, ShapleyFL": (
        "repositories only, in no package index"
    ),
}
CHECKS = {"sums_up": "sum", "null_player": "null", "symmetric": "twins", "repeatable": "repeat"}
ROUNDING = 1e-6
MISTAKES: dict[str, tuple[int, float | None]] = {
    "NaN: second company alone": (0b00010, math.nan),
    "NaN: everybody": (0b11111, math.nan),
    "missing: second company alone": (0b00010, None),
    "missing: everybody": (0b11111, None),
}
"""Coalition of the diminishing game whose utility is a mistake, and what stands there."""


def compared(
    peer: Peer, tables: list[Game], patience: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of one peer for every table and for every mistake. Raises NotCompared."""
    methods = [
        (name, method, of)
        for of in ("shapley", "leave_one_out")
        for name, method in getattr(peer, of).items()
    ]
    asked = [(*method, game) for game in tables for method in methods]
    wrong = [(*method, mistake) for mistake in MISTAKES for method in methods]
    jobs = [
        {"method": method, "utilities": game.utility_C.tolist()} for _, method, _, game in asked
    ]
    jobs += [
        {"method": method, "utilities": mistaken(tables[1], mistake)}
        for _, method, _, mistake in wrong
    ]
    answer = ask(peer, jobs, patience)
    answers, version = answer["jobs"], answer["version"]
    rows = [
        {"peer": name, "version": version} | judged(game, found, of)
        for (name, _, of, game), found in zip(asked, answers[: len(asked)], strict=True)
    ]
    mistakes = [
        {"peer": name, "version": version, "mistake": mistake}
        | outcome(found, MISTAKES[mistake][0])
        for (name, _, _, mistake), found in zip(wrong, answers[len(asked) :], strict=True)
    ]
    return rows, mistakes


def mistaken(game: Game, mistake: str) -> list[float | None]:
    utilities: list[float | None] = game.utility_C.tolist()
    coalition, utility = MISTAKES[mistake]
    utilities[coalition] = utility
    return utilities


def measure(patience: float) -> dict[str, Any]:
    use_threads(1)
    started = time.perf_counter()
    tables = games()
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        ),
        "peers": [],
        "mistakes": [],
        "federations": [],
        "failures": [{"peer": name, "reason": reason} for name, reason in LEFT_OUT.items()],
    }
    for peer in PEERS:
        try:
            rows, mistakes = compared(peer, tables, patience)
            result["peers"] += rows
            result["mistakes"] += mistakes
            if peer is HPL:
                result["federations"] = same_run(peer, patience)
        except NotCompared as error:
            result["failures"].append({"peer": peer.name, "reason": str(error)})
    return result | {"seconds": round(time.perf_counter() - started, 1)}


# --- as text --------------------------------------------------------------------------------------


def show(result: dict[str, Any]) -> None:
    """The JSON object as Markdown, a row a peer's method."""
    print(f"{result['date']}, {result['machine']}, {result['seconds']:.0f} s")
    rows = result["peers"]
    title("error, %, and which checks fail: sum, null company, twins, repeated call")
    matrix(rows, "game", error)
    title("error, %, and that of estimate_shapley with as many coalitions")
    fewer = {row["peer"] for row in rows if row["error_of_ours"] is not None} - set(
        PEERS[0].shapley
    )
    matrix([row for row in rows if row["peer"] in fewer], "game", beside_ours)
    title("seconds, and how many coalitions were asked for")
    matrix([row for row in rows if row["game"].startswith("digits")], "game", effort)
    title("what a mistake in the diminishing game leads to")
    matrix(result["mistakes"], "mistake", told)
    title("the same federated run")
    line(
        "peer",
        "utility",
        *COMPANIES,
        "error, %",
        "repeats",
        "seconds",
        "loss of everybody's model",
        head=True,
    )
    for row in result["federations"]:
        repeats = "yes" if row["values"] == row["second_call"] else "**no**"
        values = [f"{value:.4f}" for value in row["values"]]
        numbers = [
            percent(row["error"]),
            repeats,
            f"{row['seconds']:.2g}",
            f"{row['grand_loss']:.4f}",
        ]
        line(row["peer"], row["utility"], *values, *numbers)
    title("versions, and who is not compared")
    versions = {re.split("[, ]", row["peer"])[0]: row["version"] for row in rows}
    line("peer", "version, or the reason", head=True)
    for name, text in [
        *versions.items(),
        *((row["peer"], row["reason"]) for row in result["failures"]),
    ]:
        line(name, text)


def title(text: str) -> None:
    print(f"\n{text}\n")


def matrix(rows: list[dict[str, Any]], column: str, cell: Callable[[dict[str, Any]], str]) -> None:
    """A row a peer, in the order of `rows`, and a column for every value of `column`."""
    cells = {(row["peer"], row[column]): cell(row) for row in rows}
    columns = list(dict.fromkeys(row[column] for row in rows))
    line("peer", *columns, head=True)
    for name in dict.fromkeys(row["peer"] for row in rows):
        line(name, *(cells[name, value] for value in columns))


def line(*cells: str, head: bool = False) -> None:
    """A row of a Markdown table."""
    print(f"| {' | '.join(cells)} |")
    if head:
        print(f"|{'---|' * len(cells)}")


def error(row: dict[str, Any]) -> str:
    """A number, or in words why there is none; failed checks in bold."""
    if row["error"] is None:
        return str(row["note"]).split(":")[0]
    failed = [word for check, word in CHECKS.items() if row[check] is False]
    return " ".join([percent(row["error"]), *([f"**{', '.join(failed)}**"] if failed else [])])


def beside_ours(row: dict[str, Any]) -> str:
    return (
        ""
        if row["error_of_ours"] is None
        else f"{percent(row['error'])}, ours {percent(row['error_of_ours'])}"
    )


def effort(row: dict[str, Any]) -> str:
    return "" if row["seconds"] is None else f"{row['seconds']:.2g} s, {row['evaluations']}"


def told(mistake: dict[str, str]) -> str:
    """Silent numbers in bold. An error by its kind alone; the JSON has its words."""
    if mistake["outcome"] == "error":
        return mistake["detail"].split(":")[0]
    return f"**{mistake['detail']}**" if mistake["outcome"] == "numbers" else mistake["outcome"]


def percent(error: float) -> str:
    return f"{100 * error:.3g}" if error > ROUNDING else "0"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        help="seconds for the two calls of a method on a table",
    )
    asked = parser.parse_args()
    quietly()
    result = measure(asked.patience)
    if asked.json:
        print(json.dumps(result))
    else:
        show(result)
