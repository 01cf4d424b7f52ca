"""Seconds and operations of a stack of adapters and of the loop over them, in turns."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.adapters.cases import BATCH, Case, Game, make
from benchmarks.adapters.loop import PeftLoop
from benchmarks.sweep.measure import matrix_peak
from fl_sv.training.kept import KeptStates
from fl_sv.training.stack import models_together, score_stack, train_stack

TURNS = 3
CHUNK = 128  # the default of compute.chunk


def measure(case: Case) -> dict[str, Any]:
    """One row of the table.

    Both sides take the same steps with the same adapters, in turns, and the best turn counts. Time
    is that of the processor, of one thread: others on the machine do not count in it. Operations
    are those that torch counts for one model, ours from its kept states on; the peak is that of a
    square matrix product, in the same turns.
    """
    with tempfile.TemporaryDirectory() as folder:
        game = make(case, Path(folder))
        loop = PeftLoop(game)
        return _row(game, loop)


def _row(game: Game, loop: PeftLoop) -> dict[str, Any]:
    case, sample = game.case, game.case.sample
    kept = KeptStates(game.x, 1024.0)
    states_seconds, (model, x) = _seconds(lambda: kept.given_to(game.model))

    def together() -> torch.Tensor:
        return train_stack(model, game.stack, x, game.y, game.recipe, CHUNK)

    def one_by_one() -> list[torch.Tensor]:
        return [loop.train(params) for params in game.stack[:sample]]

    together(), one_by_one()  # so that everything is warm
    rows = BATCH * case.steps * case.models
    flops = model.training_flops(rows)
    loop_flops = replace(game.model, from_states=None).training_flops(rows)
    ours, theirs, peaks = [], [], []
    for _ in range(TURNS):
        loop_seconds, looped = _seconds(one_by_one)
        stack_seconds, stacked = _seconds(together)
        theirs.append(loop_seconds * case.models / sample)
        ours.append(stack_seconds)
        peaks.append(matrix_peak())
    seconds, loop_seconds, peak = min(ours), min(theirs), max(peaks)
    held = slice(-BATCH, None)
    losses, *_ = score_stack(model, stacked[:sample], x[held], game.y[held], CHUNK)
    of_loop = [loop.loss(params, game.x[held], game.y[held]) for params in looped]
    differences = [abs(a - b) for a, b in zip(losses.mean(1).tolist(), of_loop, strict=True)]
    return {
        "case": case.name,
        "speedup_vs_peft_loop": loop_seconds / seconds,
        "gemm_fraction": flops / seconds / peak,
        "loop_gemm_fraction": loop_flops / loop_seconds / peak,
        "max_abs_difference": max(differences),
        "trainable": game.model.n_params,
        "parameters": game.model.n_params_in_all,
        "places": case.places,
        "models": case.models,
        "operations_vs_loop": flops / loop_flops,
        "seconds_of_a_step": seconds / case.models / case.steps,
        "loop_seconds_of_a_step": loop_seconds / case.models / case.steps,
        "seconds_of_the_states": states_seconds,
        "models_together": models_together(model, BATCH, CHUNK, x.device),
        "matrix_peak_gflops": peak / 1e9,
    }


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and the result."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found
