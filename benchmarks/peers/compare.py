"""The peers, and what each makes of utilities, of mistakes in them, and of a federated run."""

import math
import time
from datetime import date
from typing import Any

from benchmarks.common.machine import machine_text
from benchmarks.peers.environments import NotCompared, Peer, ask
from benchmarks.peers.federation import same_run
from benchmarks.peers.games import Game, games
from benchmarks.peers.judge import judged, outcome
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
        "machine": machine_text(),
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
