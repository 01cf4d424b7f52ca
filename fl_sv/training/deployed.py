"""The student that is deployed in the teacher's place: its transfer set and its training.

The operator has no rows of a company, and the validation set must only score. So the student learns
on public rows, or on rows that are generated from the teacher.
"""

from functools import partial

import torch
from torch import Tensor, nn

from fl_sv import distillation
from fl_sv.config import Config
from fl_sv.config.students import (
    DensityRows,
    Deployed,
    GaussianRows,
    GeneratorRows,
    InversionRows,
    PublicRows,
    TransferRows,
    UniformRows,
)
from fl_sv.data import Scaling, public_rows
from fl_sv.distillation.transfer import Function, TransferSet
from fl_sv.errors import InputError, RunError
from fl_sv.plugins import ANY_ERROR
from fl_sv.streams import global_draws, stream_seed
from fl_sv.training.base import flat
from fl_sv.training.models import ModelSpec, model_spec
from fl_sv.training.optimisers import torch_optimizer
from fl_sv.training.students import distance

# The net that generates rows for `transfer_set: {kind: generator}`.
LATENT = 16  # its inputs: random numbers for each row
GENERATOR_WIDTH = 64  # units of its hidden layer
GENERATOR_BATCH = 128  # rows of a step of its training

# Of the trial before a run.
FEW_ROWS = 4
TRIED_ROWS, TRIED_STEPS = 200, 100  # at most, of rows from the teacher's density


def deployed_spec(config: Config, deployed: Deployed, scaling: Scaling) -> ModelSpec:
    """The student's architecture and learning rate.

    Raises InputError when the architecture does not fit the task.
    """
    return model_spec(config, deployed.model, scaling.task)


def distilled(
    config: Config, deployed: Deployed, large: ModelSpec, teacher_params: Tensor, scaling: Scaling
) -> Tensor:
    """The parameters of the student, on the CPU.

    They are a function of the config, the teacher's parameters and the public rows.

    large: the teacher's architecture. teacher_params: its parameters, one flat vector.

    Raises RunError when the rows cannot be made or the training diverges.
    """
    assert config.distillation is not None, "a deployed student is part of the distillation"
    generator = _own_generator(config)
    teacher = large.loaded(teacher_params.cpu())
    spec = deployed_spec(config, deployed, scaling)
    optimiser = partial(torch_optimizer, spec.optimizer, spec.learning_rate)
    schedule = distillation.Schedule(optimiser, deployed.epochs, config.training.batch_size)
    student = spec.loaded(spec.initial_params(config.seed, 0)).train()
    loss = distance(config.distillation, generator)
    try:
        rows = transfer_rows(config, deployed, teacher, scaling, generator)
        if config.distillation.loss == "dkd":  # the one loss that needs targets
            rows = rows.labelled_by(teacher)
        with spec.drawing(stream_seed(config.seed, "deployed student", "torch")):
            student = distillation.distil(student, teacher, rows, loss, schedule, generator)
    except InputError as error:
        raise RunError(
            f"The deployed student cannot be distilled: {error} If its training diverged, lower "
            "distillation.deployed.model.learning_rate."
        ) from error
    return flat(student)


def _own_generator(config: Config) -> torch.Generator:
    """The source of all random numbers of the transfer set and the distillation."""
    return torch.Generator().manual_seed(stream_seed(config.seed, "deployed student"))


def try_distillation(
    config: Config, deployed: Deployed, large: ModelSpec, scaling: Scaling
) -> None:
    """Distils a student of the untrained teacher on very few rows, so that faults show early.

    Public rows are left to whoever reads them. Raises InputError that says what is wrong.
    """
    where = "distillation.deployed"
    wanted = deployed.transfer_set
    low, high = (-1.0, 1.0) if isinstance(wanted, PublicRows) else (wanted.low, wanted.high)
    few: TransferRows = UniformRows(kind="uniform", rows=FEW_ROWS, low=low, high=high)
    if isinstance(wanted, DensityRows):
        _require_moves(config, wanted, scaling)
    elif isinstance(wanted, InversionRows | GeneratorRows):
        few = wanted.model_copy(update={"rows": FEW_ROWS, "steps": 1})
    once = deployed.model_copy(update={"transfer_set": few, "epochs": 1})
    untrained = large.initial_params(config.seed, 0)
    try:
        distilled(config, once, large, untrained, scaling)
    except ANY_ERROR as error:
        raise InputError(f"{where}: a trial with {FEW_ROWS} rows failed: {error}") from error


def _require_moves(config: Config, wanted: DensityRows, scaling: Scaling) -> None:
    """Raises InputError when the box has so many inputs that every step of a row leaves it.

    Then the rows would stay where they began. A teacher that prefers no row shows it.
    """
    shape, dtype = scaling.task.input_shape, getattr(torch, config.compute.dtype)
    low, high = torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)
    rows, steps = min(wanted.rows, TRIED_ROWS), min(wanted.steps, TRIED_STEPS)
    generator = _own_generator(config)
    try:
        distillation.implied(
            lambda x: 0 * x.flatten(1)[:, :1],
            low,
            high,
            size=rows,
            generator=generator,
            steps=steps,
        )
    except InputError:
        raise InputError(
            f"distillation.deployed.transfer_set: in a trial no row of {low.numel()} inputs could"
            f" move within its box in {rows * steps:,} steps, so none would follow the teacher's"
            " density. Give more rows and steps, or take uniform, inversion or generator."
        ) from None


def transfer_rows(
    config: Config,
    deployed: Deployed,
    teacher: Function,
    scaling: Scaling,
    generator: torch.Generator,
) -> TransferSet:
    """The rows on which the student learns.

    Only inverted rows have labels: each is made for one class.
    """
    dtype = getattr(torch, config.compute.dtype)
    shape = scaling.task.input_shape
    wanted = deployed.transfer_set
    if isinstance(wanted, PublicRows):
        return distillation.public(torch.from_numpy(public_rows(config, scaling)).to(dtype))
    low, high = (torch.full(shape, end, dtype=dtype) for end in (wanted.low, wanted.high))
    match wanted:
        case UniformRows():
            return distillation.uniform(low, high, size=wanted.rows, generator=generator)
        case GaussianRows():
            z = torch.randn(wanted.rows, *shape, generator=generator, dtype=dtype)
            mean, deviation = (low + high) / 2, (high - low) / 4
            return TransferSet("gaussian", mean + deviation * z)
        case InversionRows():
            start = distillation.uniform(low, high, size=wanted.rows, generator=generator).x
            targets = torch.arange(wanted.rows) % scaling.task.n_outputs
            return distillation.inverted(teacher, start, targets, steps=wanted.steps)
        case GeneratorRows():
            net = _generator_net(low, high, stream_seed(config.seed, "generator"))
            return distillation.generated(
                teacher,
                net,
                size=wanted.rows,
                latent=LATENT,
                generator=generator,
                steps=wanted.steps,
                batch_size=GENERATOR_BATCH,
            )
        case DensityRows():
            return distillation.implied(
                teacher, low, high, size=wanted.rows, generator=generator, steps=wanted.steps
            )


def n_rows(config: Config, deployed: Deployed, scaling: Scaling) -> int:
    """The number of rows in the transfer set."""
    wanted = deployed.transfer_set
    return len(public_rows(config, scaling)) if isinstance(wanted, PublicRows) else wanted.rows


def teacher_passes(deployed: Deployed, rows: int) -> float:
    """The cost of the transfer set: training steps of the teacher for each of its rows.

    A training step is three passes of a row through the model. Rows that need no training of their
    own pass through the teacher once, for its logits.
    """
    match deployed.transfer_set:
        case InversionRows(steps=steps) | DensityRows(steps=steps):
            return float(steps)
        case GeneratorRows(steps=steps):
            return steps * GENERATOR_BATCH / rows
        case _:
            return 1 / 3


class _Box(nn.Module):
    """The last layer of the generator: maps any numbers into the box from low to high."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(x).reshape(-1, *self.low.shape)


def _generator_net(low: Tensor, high: Tensor, seed: int) -> nn.Module:
    with global_draws(seed):
        layers = [
            nn.Linear(LATENT, GENERATOR_WIDTH),
            nn.ReLU(),
            nn.Linear(GENERATOR_WIDTH, low.numel()),
        ]
    return nn.Sequential(*layers, _Box(low, high)).to(low.dtype)
