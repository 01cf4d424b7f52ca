"""How fast this machine trains: a few batches of a stack, timed."""

import time

import numpy as np
import torch

from fl_sv.config import Config
from fl_sv.data import Dataset
from fl_sv.machine import use_threads
from fl_sv.training.kept import KeptStates, row_states
from fl_sv.training.models import ModelSpec, tensors
from fl_sv.training.sgd import Recipe
from fl_sv.training.stack import train_stack
from fl_sv.training.students import make_soft_targets

BATCHES = 4
SECONDS = 0.5


def seconds_per_row(
    config: Config, model: ModelSpec, data: Dataset, *, stacked: int, students: bool = False
) -> float:
    """Seconds of training one model on one row, the best of a few tries.

    data: rows that the model is made for.
    stacked: how many models train together.
    students: whether they learn from a teacher, as the config states.
    """
    use_threads(config.compute.threads)
    size, task = config.training.batch_size, model.task
    n_rows = min(size, 4096)  # larger batches cost in proportion
    x, y = tensors(data.take(np.arange(n_rows) % len(data)), config)
    params = model.initial_params(config.seed, 0).repeat(stacked, 1).to(x.device)
    recipe = Recipe(
        optimizer=model.optimizer,
        rates=(1e-3,) * BATCHES,
        proximal_mu=0.0,
        batches=(np.arange(n_rows),) * BATCHES,
        torch_seed=0,
    )
    soft_targets = None
    if students:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(n_rows, task.n_outputs, generator=generator, dtype=model.dtype)
        logits = logits.to(x.device)
        soft_targets = make_soft_targets(config, task, logits, recipe, "calibration")
    trained, given = KeptStates(x, config.compute.states_megabytes).given_to(model)
    best, until = float("inf"), time.perf_counter() + SECONDS
    while True:
        started = time.perf_counter()
        train_stack(trained, params, given, y, recipe, config.compute.chunk, soft_targets)
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() > until:
            return best / (BATCHES * n_rows * stacked)


def seconds_of_a_state(config: Config, model: ModelSpec, data: Dataset) -> float:
    """Seconds of computing a row's kept state, once; 0 where none is kept."""
    if model.from_states is None:
        return 0.0
    x, _ = tensors(data.take(np.arange(min(len(data), config.training.batch_size))), config)
    started = time.perf_counter()
    for _ in row_states(model, x):
        pass
    return (time.perf_counter() - started) / len(x)
