"""The training of one model at one company, in plain torch. This is the definition of a training.

`fl_sv.training.stack` is the fast twin: it trains many models at once and must give the same
parameters. tests/test_twins.py holds the two together.

A company takes ceil(n / batch size) steps of `torch.optim` an epoch. It keeps the short last batch,
shuffles its rows anew in every epoch, and starts a fresh optimiser in every round. With
`training.local_steps` every company takes that many steps, each on a whole batch (on all its rows,
if it has fewer); a batch may hold the last rows of one shuffle and the first of the next. Batches
depend on seed, replicate, company name and round, never on the coalition. Its learning rates depend
on the round, with `training.schedule_by: step` on its own steps too.

Shapes: B rows of a batch, K outputs. The rows of the company are counted by n. `params` are the
parameters of one model as a flat vector.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_sv.config import Config
from fl_sv.config.training import Optimizer, Training
from fl_sv.streams import stream, stream_seed
from fl_sv.training.base import flat, trainable
from fl_sv.training.losses import row_loss
from fl_sv.training.models import ModelSpec
from fl_sv.training.optimisers import clip_one, torch_optimizer

# Rows that take more bytes are gathered anew for each step, not once for all steps of a round.
MOST_GATHERED = 256_000_000

# Rows and targets of each step; for students the teacher's logits as well.
Batches = Iterable[tuple[Tensor, ...]]


@dataclass(frozen=True)
class Recipe:
    """One round of local training at one company, for one model size and replicate."""

    optimizer: Optimizer
    rates: tuple[float, ...]  # the learning rate of each step
    proximal_mu: float  # strength of FedProx's term; 0: there is none
    batches: tuple[NDArray[np.intp], ...]  # the row indices of each step
    torch_seed: int  # for modules that draw, such as dropout

    @property
    def is_plain(self) -> bool:
        """Whether a step subtracts the gradient times the learning rate, and nothing else."""
        return self.proximal_mu == 0 and self.optimizer == Optimizer()


@dataclass(frozen=True)
class SoftTargets:
    """What the students at one company learn from in one round, besides the rows' own targets.

    `fl_sv.training.students.make_soft_targets` makes them.
    """

    # The loss of each row (B,), from outputs (B, K), targets (B,) and the teacher's logits (B, K).
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]
    # The teacher's logits (B, K) on the rows of each step.
    logits: tuple[Tensor, ...]
    # The gradient of the mean loss of each model of a stack, for outputs (C, K, B), where it is
    # written out. None: torch differentiates `loss_of`.
    gradient_of: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    # What tells `loss_of` from others, as it is made anew for every round.
    kind: Hashable = None


def make_recipe(
    config: Config,
    model: ModelSpec,
    company: str,
    n_examples: int,
    replicate: int,
    server_round: int,
    learning_rate: float | None = None,
) -> Recipe:
    """The recipe by which `company` trains `model` in round `server_round`, counted from 1.

    n_examples: rows of the company. replicate: the seed, counted from 0.
    learning_rate: another one than the model's own.
    """
    training = config.training
    key = (config.seed, replicate, company, server_round)
    generator = stream(*key, "batches")
    if training.local_steps is None:
        batches = _batches(generator, n_examples, training.batch_size, training.local_epochs)
    else:
        batches = _steps(generator, n_examples, training.batch_size, training.local_steps)
    rate = learning_rate or model.learning_rate
    factors = rate_factors(training, server_round, len(batches))
    return Recipe(
        optimizer=model.optimizer,
        rates=tuple(rate * factor for factor in factors),
        proximal_mu=proximal_mu(config),
        batches=batches,
        torch_seed=stream_seed(*key, "torch"),
    )


def proximal_mu(config: Config) -> float:
    """The strength of FedProx's proximal term; 0 unless the teacher's strategy is FedProx.

    With FedProx the term is part of the game: every coalition trains with it.
    """
    if config.teacher.strategy != "fedprox":
        return 0.0
    return float(config.teacher.options.get("proximal_mu", 0.0))


def batches_of(
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    soft_targets: SoftTargets | None,
    targets_of: Callable[[Tensor], Tensor] = lambda y: y,
) -> Batches:
    """The rows and targets of each step; for students the teacher's logits as well.

    targets_of: makes of labels what a step needs, a row at a time.
    """
    if x.nbytes > MOST_GATHERED:
        return GatheredAnew(x, y, recipe, soft_targets, targets_of)
    return [*GatheredAnew(x, targets_of(y), recipe, soft_targets, lambda y: y)]


@dataclass(frozen=True, eq=False)
class GatheredAnew:
    """The batches of a round, each gathered when it is needed."""

    x: Tensor
    y: Tensor
    recipe: Recipe
    soft_targets: SoftTargets | None
    targets_of: Callable[[Tensor], Tensor]

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # The order of the rows goes to the device once, not a batch at a time.
        order = torch.from_numpy(np.concatenate(self.recipe.batches)).to(self.x.device)
        sizes = [len(batch) for batch in self.recipe.batches]
        for step, rows in enumerate(torch.split(order, sizes)):
            batch = self.x[rows], self.targets_of(self.y[rows])
            yield batch if self.soft_targets is None else (*batch, self.soft_targets.logits[step])


def train(
    model: ModelSpec,
    params: Tensor,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    soft_targets: SoftTargets | None = None,
) -> Tensor:
    """The parameters after one round of local training that started from `params`.

    params: one flat vector.
    x, y: the company's rows, (n, *input_shape) and (n,).
    soft_targets: if given, the model is a student.

    FedProx adds mu/2 * ||w - w_received||^2 to the loss (Li et al. 2020).
    """
    return train_module(model, model.loaded(params), x, y, recipe, soft_targets)


def train_module(
    model: ModelSpec,
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    soft_targets: SoftTargets | None = None,
) -> Tensor:
    """Trains a module of this model in place, as `train` does, and returns its flat vector.

    Parameters that are frozen, or get no gradient, stay as they are.
    """
    module.train()
    loss_of = soft_targets.loss_of if soft_targets else row_loss(model.task)
    trained = [*trainable(module).values()]
    received = [parameter.detach().clone() for parameter in trained]
    optimizer = torch_optimizer(recipe.optimizer, recipe.rates[0], trained)
    batches = batches_of(x, y, recipe, soft_targets)
    with model.drawing(recipe.torch_seed):
        for rate, (rows, *targets) in zip(recipe.rates, batches, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss = loss_of(module(model.inputs(rows)), *targets).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.proximal_mu:
                for w, w0 in zip(trained, received, strict=True):
                    if w.grad is not None:  # the gradient of mu/2 * ||w - w0||^2
                        w.grad.add_(w.detach() - w0, alpha=recipe.proximal_mu)
            clip_one(trained, recipe.optimizer)
            optimizer.step()
    return flat(module)


def rate_factors(training: Training, server_round: int, n_steps: int) -> list[float]:
    """The factor of the learning rate in each step of a company's round, in 0..1.

    n_steps: of the company in a round.

    By step, the place in the schedule is the step's number in all rounds of this company's
    training. So every company is at the same place when a round begins, whatever its size.
    """
    by_step = training.schedule_by == "step"
    unit = n_steps if by_step else 1  # places of a round
    first, warm, end = (
        (server_round - 1) * unit,
        training.warmup_rounds * unit,
        training.rounds * unit,
    )
    factors = [_factor(training.schedule, place, warm, end) for place in range(first, first + unit)]
    return factors if by_step else factors * n_steps


def _factor(schedule: str, place: int, warm: int, end: int) -> float:
    """The factor at a place of 0, ..., end - 1, the first `warm` of which warm up."""
    if place < warm:
        return (place + 1) / (warm + 1)
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (place - warm) / (end - warm))) / 2


def _batches(
    generator: np.random.Generator, n_examples: int, batch_size: int, epochs: int
) -> tuple[NDArray[np.intp], ...]:
    steps: list[NDArray[np.intp]] = []
    for _ in range(epochs):
        order = generator.permutation(n_examples)
        starts = range(0, n_examples, batch_size)
        steps += [order[start : start + batch_size] for start in starts]
    return tuple(steps)


def _steps(
    generator: np.random.Generator, n_examples: int, batch_size: int, steps: int
) -> tuple[NDArray[np.intp], ...]:
    size = min(batch_size, n_examples)
    shuffles = -(-steps * size // n_examples)
    order = np.concatenate([generator.permutation(n_examples) for _ in range(shuffles)])
    return tuple(order[start : start + size] for start in range(0, steps * size, size))
