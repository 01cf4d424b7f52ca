"""Fine-tuning: our law, models merged from the companies' own, and which average makes the better
game. On stored games; nothing is trained here.

    python -m benchmarks.merging [--json] [--folder FOLDER]

The games lie in benchmarks/data/finetuning (README there); `python -m benchmarks.truth --tasks
fine-tuning --tables FOLDER` trains such games anew.

`games`     by game what benchmarks.games prints, in both protocols, and `merged`: how the losses of
            merged models go with those of trained ones, over the coalitions
`averages`  for each average of adapters (`factors`, `product`, `frozen_a`) on the same game: error
            of law_n, of one brute force, loss of nobody and of the grand coalition, its noise
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.common.markdown import table
from benchmarks.law.games import measure
from benchmarks.law.known import STORED, KnownGame, games_in, kind_of
from benchmarks.law.truth import LAWS, judged
from fl_sv.machine import use_threads

FINETUNING = STORED.parent / "finetuning"
AVERAGE = "average "  # how the names of the games begin that compare averages
LEFT_OUT = ("leave_one_out", "singletons")  # of little use, and said elsewhere


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tuning and merging, without training.")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of tables")
    parser.add_argument("--folder", type=Path, default=FINETUNING, help="a folder with games")
    options = parser.parse_args()
    use_threads(1)
    games = [*games_in(options.folder)]
    if not games:
        parser.error(f"no game (*.npz) in {options.folder}")
    found = {
        "games": [measured(game) for game in games if not kind_of(game).startswith(AVERAGE)],
        "averages": [compared(game) for game in games if kind_of(game).startswith(AVERAGE)],
    }
    print(json.dumps(found) if options.json else as_text(found))


def measured(game: KnownGame) -> dict[str, Any]:
    """One game: all rules, and how merged losses go with trained ones."""
    found = measure(game, large_seeds=1)
    del found["cases"], found["first"], found["flips"]
    return {**found, "merged": _along(game)}


def _along(game: KnownGame) -> dict[str, Any]:
    """Over the coalitions of two members or more: the rank correlation of merged losses with
    trained ones, and which share of the gain of all companies the merged model reaches.

    `small` is the same of the largest small model's trained losses.
    """
    large_C = game.large_RC.mean(axis=0)
    several = np.array([c.bit_count() > 1 for c in range(len(large_C))])
    found = {
        name: (large_RC.mean(axis=0), large_C[0]) for name, (_, large_RC) in game.columns().items()
    }
    small_C = game.small_RCM.mean(axis=0)[:, -1]
    found["small"] = (small_C, small_C[0])
    return {
        name: {
            "spearman": float(spearmanr(loss_C[several], large_C[several]).statistic),
            "reached": float((start - loss_C[-1]) / (large_C[0] - large_C[-1])),
        }
        for name, (loss_C, start) in found.items()
    }


def compared(game: KnownGame) -> dict[str, Any]:
    """What one average makes of a game."""
    found = judged(game, large_seeds=1)
    grand_R = game.large_RC[:, -1]
    return {
        "game": game.name,
        "average": kind_of(game).removeprefix(AVERAGE),
        "errors": {name: found["errors"][name] for name in (*LAWS, "one_brute_force")},
        "coverage": found["coverage"],
        "loss_of_nobody": float(game.large_RC[:, 0].mean()),
        "loss_of_all": float(grand_R.mean()),
        "std_of_all": float(grand_R.std(ddof=1)),
    }


def as_text(found: dict[str, Any]) -> str:
    """Both tables, and the short one on merged losses, as Markdown."""
    rows = found["games"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    columns = [[row for row in rows if row["kind"] == kind] for kind in kinds]
    names = [name for name in rows[0]["errors"] if not name.startswith(LEFT_OUT)]
    body = [
        [
            name,
            *(_percent([row["errors"].get(name) for row in each]) for each in columns),
            *(_percent([row["shared"]["errors"].get(name) for row in each]) for each in columns),
        ]
        for name in names
    ]
    floors = (_percent([row["noise_floor"] for row in each]) for each in columns)
    body.append(["noise floor", *floors, *("" for _ in columns)])
    body += [
        [
            f"coverage of {law}, %",
            *(_percent([row["by_law"][law]["coverage"] for row in each]) for each in columns),
            *(_percent([row["shared"]["coverage"][law] for row in each]) for each in columns),
        ]
        for law in LAWS
    ]
    heads = [f"{kind} ({len(each)})" for kind, each in zip(kinds, columns, strict=True)]
    heads += [f"{kind}, shared" for kind in kinds]
    parts = [table(["error of the values, %", *heads], body)]
    along = [
        [f"{row['game']}, {name}", f"{of['spearman']:.3f}", f"{100 * of['reached']:.0f}"]
        for row in rows
        for name, of in row["merged"].items()
    ]
    parts.append(table(["losses", "rank correlation with the trained", "gain reached, %"], along))
    if found["averages"]:
        parts.append(_averages_table(found["averages"]))
    return "\n\n".join(parts)


def _averages_table(rows: Sequence[dict[str, Any]]) -> str:
    errors = [*rows[0]["errors"]]
    body = [
        [
            row["game"],
            *(f"{100 * row['errors'][name]:.1f}" for name in errors),
            f"{row['loss_of_nobody']:.4f}",
            f"{row['loss_of_all']:.4f}",
            f"{row['std_of_all']:.4f}",
        ]
        for row in rows
    ]
    return table(["game", *errors, "nobody", "all together", "its std over seeds"], body)


def _percent(shares: Sequence[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{100 * float(np.mean(known)):.1f}" if known else ""


if __name__ == "__main__":
    main()
