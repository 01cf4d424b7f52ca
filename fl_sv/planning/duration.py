"""Wall time of a run on this machine, from how fast it trains a few batches.

Shapes: N companies.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.design.workloads import PlannedRun
from fl_sv.planning.calibration import seconds_of_a_state, seconds_per_row
from fl_sv.planning.checks import CheckedData
from fl_sv.training.deployed import deployed_spec, n_rows, teacher_passes
from fl_sv.training.models import ModelSpec, tensors
from fl_sv.training.trial import tried

# Measured on 2 CPU cores, flwr 1.41, ray 2.55.1, 2026-11: `fl-sv run configs/smoke.yaml` with and
# without Ray.
RAY_START_SECONDS = 12.0
# Law, values, tables and report: 0.2, 0.4 and 1.1 s of one core at 256, 2,048
# and 8,192 coalitions of two small sizes, after 0.4 s for the imports; 2026-11-30.
SETTLING_SECONDS, COALITION_SECONDS = 0.4, 1e-4
ROUND_SECONDS = 0.15  # one exchange of empty messages with all companies


@dataclass(frozen=True)
class TrainingSeconds:
    """Seconds of all trainings of a run, and of one seed of its large runs, the teacher's too."""

    total: float
    large_seed: float


def training_seconds(
    config: Config,
    run: PlannedRun,
    small: tuple[ModelSpec, ...],
    large: ModelSpec,
    checked: CheckedData,
    rows_N: NDArray[np.float64],
    n_workers: int,
) -> TrainingSeconds:
    """Seconds of the trainings of a run.

    small, large: tried (`fl_sv.training.trial`). checked: the data; validation rows are timed.
    rows_N: rows of each company. n_workers: companies that train at the same time.
    """
    waves = [wave for step in run.sweep for wave in step]
    # A company belongs to half of the coalitions, and trains at most a chunk of them together.
    stacked = min(config.compute.chunk, (sum(len(wave.coalitions) for wave in waves) + 1) // 2)
    students = bool(config.students)
    small_row = sum(
        seconds_per_row(config, model, checked.validation, stacked=stacked, students=students)
        for model in small
    )
    large_row = seconds_per_row(config, large, checked.validation, stacked=1)
    of_round_N = np.array([*map(config.training.rows_of_a_round, rows_N)])
    sweep = sum(wave.rows(of_round_N) * len(wave.replicates) for wave in waves)
    large_runs = sum(load.rows(of_round_N) for load in run.large_runs) / n_workers
    # A round of the teacher waits for its largest company, however many workers there are.
    teacher = max(of_round_N.sum() / n_workers, of_round_N.max())
    rounds = config.training.rounds
    rates = _rates_seconds(config, run, (*small, large), checked, of_round_N, n_workers)
    large_rows = len(run.teacher) * teacher + config.training.large_seeds * large_runs
    seconds = rates + small_row * sweep / n_workers + large_row * large_rows
    rows = rows_N.sum() + len(checked.validation)
    once = rows * sum(seconds_of_a_state(config, m, checked.validation) for m in (*small, large))
    once += _student_seconds(config, large_row, checked)
    return TrainingSeconds(
        total=float(rounds * seconds + once),
        large_seed=float(rounds * large_row * (teacher + large_runs)),
    )


def _rates_seconds(
    config: Config,
    run: PlannedRun,
    models: tuple[ModelSpec, ...],
    checked: CheckedData,
    rows_N: NDArray[np.float64],
    n_workers: int,
) -> float:
    """Seconds of a round of all models that try learning rates; each trains alone."""
    tried = Counter(model for wave in run.rates for model, _ in wave.candidates)
    of_one_row = sum(
        tried[model.name] * seconds_per_row(config, model, checked.validation, stacked=1)
        for model in models
        if tried[model.name]
    )
    return float(of_one_row * max(rows_N.sum() / n_workers, rows_N.max()))


def exchange_seconds(exchanges: int, *, on_ray: bool) -> float:
    """Seconds that Ray takes to start and to carry messages; none in one process."""
    return RAY_START_SECONDS + exchanges * ROUND_SECONDS if on_ray else 0.0


def settling_seconds(n_coalitions: int) -> float:
    """Seconds of the stages law, values and report."""
    return SETTLING_SECONDS + COALITION_SECONDS * n_coalitions


def _student_seconds(config: Config, large_row: float, checked: CheckedData) -> float:
    """Seconds of distilling the deployed student; 0 when there is none.

    large_row: seconds of a training step of the teacher on one row.
    """
    if config.deployed is None:
        return 0.0
    rows = n_rows(config, config.deployed, checked.scaling)
    x, y = tensors(checked.validation, config)
    student = tried(deployed_spec(config, config.deployed, checked.scaling), config, x, y)
    row = seconds_per_row(config, student, checked.validation, stacked=1)
    return rows * (config.deployed.epochs * row + teacher_passes(config.deployed, rows) * large_row)
