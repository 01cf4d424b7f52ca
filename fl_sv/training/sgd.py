"""A company's training of one model, as anybody would write it: the definition that every fast path
must equal.

Shapes: P parameters, B rows of a batch.

A company does ceil(n / B) steps of SGD an epoch, keeps the short last batch, reshuffles each epoch,
and starts a fresh optimiser every round. Its batches depend on seed, replicate, company name and
round, never on the coalition."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.config import Config
from fl_sv.streams import stream, stream_seed
from fl_sv.training.models import ModelSpec, row_loss


@dataclass(frozen=True)
class Recipe:
    """One round of local training at one company, for one model size and replicate."""

    learning_rate: float
    momentum: float
    weight_decay: float
    proximal_mu: float
    batches: tuple[NDArray[np.intp], ...]  # row indices of each step
    torch_seed: int  # for modules that draw, such as dropout


@dataclass(frozen=True)
class SoftTargets:
    """What a company's students hear in one round besides their targets (`fl_sv.training.students`
    makes it).

    loss_of: each row's loss (B,) from outputs (B, K), targets (B,) and the teacher's logits (B, K).
    gradient_of: the gradient of its mean for outputs (C, K, B) of a stack, where somebody has written
    it out."""

    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor]
    logits: tuple[Tensor, ...]  # the teacher's (B, K) to the rows of each step
    gradient_of: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None


def make_recipe(
    config: Config,
    model: ModelSpec,
    company: str,
    n_examples: int,
    replicate: int,
    server_round: int,
) -> Recipe:
    """The recipe by which `company` trains `model` in round `server_round` (1-based)."""
    training = config.training
    key = (config.seed, replicate, company, server_round)
    return Recipe(
        learning_rate=model.learning_rate * _schedule(config, server_round),
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        proximal_mu=proximal_mu(config),
        batches=_batches(
            stream(*key, "batches"), n_examples, training.batch_size, training.local_epochs
        ),
        torch_seed=stream_seed(*key, "torch"),
    )


def proximal_mu(config: Config) -> float:
    """Strength of FedProx's proximal term, which then is part of the game and applies to every
    coalition.
    """
    if config.teacher.strategy != "fedprox":
        return 0.0
    return float(config.teacher.options.get("proximal_mu", 0.0))


def batches_of(
    x: Tensor, y: Tensor, recipe: Recipe, soft_targets: SoftTargets | None
) -> list[tuple[Tensor, ...]]:
    """Rows and targets of each step, and what the teacher says to them where students listen."""
    batches: list[tuple[Tensor, ...]] = [(x[rows], y[rows]) for rows in recipe.batches]
    if soft_targets is None:
        return batches
    return [(*batch, said) for batch, said in zip(batches, soft_targets.logits, strict=True)]


def train(
    model: ModelSpec,
    params_P: Tensor,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    soft_targets: SoftTargets | None = None,
) -> Tensor:
    """(P,) parameters after one round of local training that started from `params_P`.

    x (n, *input_shape), y (n,). FedProx adds mu/2 * ||w - w_received||^2 to the loss (Li et al.
    2020)."""
    module, loss_of = (
        model.module.train(),
        soft_targets.loss_of if soft_targets else row_loss(model.task),
    )
    parameters = list(module.parameters())
    torch.nn.utils.vector_to_parameters(
        params_P.clone(), parameters
    )  # it makes views, which SGD would write through
    for parameter in parameters:
        parameter.requires_grad_(True)
    received = [parameter.detach().clone() for parameter in parameters]
    optimiser = torch.optim.SGD(
        parameters,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    with model.drawing(recipe.torch_seed):
        for x_B, *said in batches_of(x, y, recipe, soft_targets):
            optimiser.zero_grad()
            loss = loss_of(module(x_B), *said).mean()
            if recipe.proximal_mu:
                distance = sum(
                    ((w - w0) ** 2).sum() for w, w0 in zip(parameters, received, strict=True)
                )
                loss = loss + recipe.proximal_mu / 2 * distance
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return torch.nn.utils.parameters_to_vector(parameters).detach().clone()


def _schedule(config: Config, server_round: int) -> float:
    if config.training.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (server_round - 1) / config.training.rounds)) / 2


def _batches(
    generator: np.random.Generator, n_examples: int, batch_size: int, epochs: int
) -> tuple[NDArray[np.intp], ...]:
    steps: list[NDArray[np.intp]] = []
    for _ in range(epochs):
        order = generator.permutation(n_examples)
        steps += [order[start : start + batch_size] for start in range(0, n_examples, batch_size)]
    return tuple(steps)
