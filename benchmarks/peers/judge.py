"""What a peer's answer is worth: rows of the result, from answers in the format of worker.py.

Shapes: N companies.
"""

from typing import Any

import numpy as np

from benchmarks.common.distance import relative_l2
from benchmarks.peers.games import Game
from fl_sv import estimate_shapley

EQUAL = 1e-6  # of the game's gain
FAR = 0.5  # an error from which on the values themselves are shown


def judged(game: Game, answer: dict[str, Any], of: str) -> dict[str, Any]:
    """A row. `of`: what the peer claims to give, "shapley" or "leave_one_out". Nothing of an error
    is a number.
    """
    row: dict[str, Any] = {"game": game.name, "n": game.n_companies, "of": of}
    row |= dict.fromkeys(("error", "sums_up", "null_player", "symmetric", "repeatable", "seconds"))
    row |= {
        "evaluations": len(answer["asked"]),
        "error_of_ours": None,
        "note": answer.get("error", ""),
    }
    if "calls" not in answer:
        return row
    value_N, again_N = (np.array(call) for call in answer["calls"])
    row["seconds"] = answer["seconds"]
    if not np.isfinite(value_N).all():
        return row | {"note": f"values are {shown(value_N)}"}
    truth_N = game.shapley_N if of == "shapley" else game.leave_one_out_N
    row["error"] = relative_l2(value_N, truth_N)
    row["repeatable"] = small(game, np.abs(again_N - value_N).max())
    if row["error"] > FAR:
        row["note"] = f"values are {shown(value_N)}"
    elif not row["repeatable"]:
        row["note"] = f"the first company: {value_N[0]:.4f}, then {again_N[0]:.4f}"
    if game.null is not None:
        row["null_player"] = small(game, value_N[game.null])
    if game.twins is not None:
        row["symmetric"] = small(game, value_N[game.twins[0]] - value_N[game.twins[1]])
    if of == "shapley":
        row["sums_up"] = small(game, value_N.sum() - game.gain)
        row["error_of_ours"] = ours_with_as_many(game, row["evaluations"])
    return row


def small(game: Game, difference: float) -> bool:
    return bool(abs(difference) <= EQUAL * abs(game.gain))


def ours_with_as_many(game: Game, evaluations: int) -> float | None:
    """Error of `estimate_shapley` when it may look at as many coalitions; None where all were
    looked at.
    """
    n = game.n_companies
    if not 2 <= evaluations < 2**n - 1:  # svfl alone leaves out the empty coalition, and no other
        return None
    power_N = 1 << np.arange(n)
    return relative_l2(
        estimate_shapley(
            lambda member_CN: game.utility_C[member_CN @ power_N], n, evaluations
        ).values,
        game.shapley_N,
    )


def outcome(answer: dict[str, Any], coalition: int) -> dict[str, str]:
    """What a peer made of a mistake at `coalition`: an "error", values that are "not finite",
    "numbers" as if nothing were wrong, or it was "not asked for"; with the words or the values in
    "detail"."""
    if "error" in answer:
        return {"outcome": "error", "detail": answer["error"]}
    value_N = np.array(answer["calls"][0])
    if not np.isfinite(value_N).all():
        kind = "not finite"
    else:
        kind = "numbers" if coalition in answer["asked"] else "not asked for"
    return {"outcome": kind, "detail": shown(value_N)}


def shown(value_N: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in value_N)
