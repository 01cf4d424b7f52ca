"""Peak memory of a run on this machine."""

import math

import numpy as np

from fl_sv.config import Config
from fl_sv.config.models import Module
from fl_sv.data import Scaling
from fl_sv.design.waves import IN_FLIGHT
from fl_sv.design.workloads import PlannedRun
from fl_sv.training.models import ModelSpec

# Measured on 2 CPU cores, flwr 1.41, ray 2.55.1, 2026-11: `fl-sv run configs/smoke.yaml` with and
# without Ray.
PROCESS_BYTES = 700_000_000  # a process with torch and Flower loaded


def workers(config: Config, *, on_ray: bool) -> int:
    """How many companies train at the same time on this machine.

    In one process users' modules train one after the other, because they share torch's generator.
    """
    if on_ray:
        return config.compute.at_once
    models = (*config.models.small, config.models.large)
    if any(isinstance(model, Module) for model in models):
        return 1
    return config.compute.threads_at_once


def peak_memory(
    config: Config,
    run: PlannedRun,
    large: ModelSpec,
    scaling: Scaling,
    n_workers: int,
    *,
    on_ray: bool,
) -> int:
    """Bytes at the peak: processes, the widest stacks in messages, large models, a transfer set.

    n_workers: companies that train at the same time on this machine.
    """
    n, itemsize = config.n_companies, np.dtype(config.compute.dtype).itemsize
    processes = n_workers + 1 if on_ray else 1
    large_bytes = large.n_params * itemsize
    # Averages, records, and the messages under way.
    stacks = _widest_params(run) * itemsize * (6 + 4 * min(n, n_workers + 2))
    models = large_bytes * (8 + 4 * n)
    return int(
        processes * PROCESS_BYTES + stacks + models + _transfer_bytes(config, large, scaling)
    )


def _widest_params(run: PlannedRun) -> int:
    """Parameters of the widest stacks: waves of small models in flight, or one of large ones."""
    sweep = max(
        sum(sorted(wave.params_of_a_coalition * len(wave.coalitions) for wave in step)[-IN_FLIGHT:])
        for step in run.sweep
    )
    waves = [workload for workload in run.large_runs if not workload.by_itself]
    large = max((w.params_of_a_coalition * len(w.coalitions) for w in waves), default=0)
    return max(sweep, large)


def _transfer_bytes(config: Config, large: ModelSpec, scaling: Scaling) -> float:
    """Bytes of the deployed student's rows, with the teacher's activations and their gradients."""
    from fl_sv.training.deployed import n_rows

    if config.deployed is None:
        return 0.0
    inputs = math.prod(scaling.task.input_shape)
    activations = large.forward_flops / (2 * inputs)  # about the units of an MLP
    rows = n_rows(config, config.deployed, scaling)
    return rows * 4 * (inputs + activations) * np.dtype(config.compute.dtype).itemsize
