"""Models of coalitions that are merged from the companies' own models, and never trained.

A company's own model is the one that it trains alone, all rounds long. The parameters of the
members' own models are averaged, weighted by their examples. Adapters can be averaged in two ways:
their factors A and B, each apart, or their products B A, as which they act. The mean of products
has more rank than each; here nothing of it is cut off.

Shapes: N companies, C = 2**N coalitions, P parameters.
"""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.law.known import KnownGame
from benchmarks.law.updates import weights
from fl_sv.config import Config
from fl_sv.config.models import Module, model_name
from fl_sv.data import all_company_data, operator_data
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.sgd import make_recipe
from fl_sv.training.stack import train_stack

Floats = NDArray[np.float64]

A, B = "lora_A", "lora_B"


@dataclass(frozen=True)
class Merged:
    """Losses (C,) of merged models: of averaged parameters, and of averaged products."""

    parameters_C: Floats
    products_C: Floats | None  # None where the model has no adapters


def with_merged_models(game: KnownGame, config: Config) -> KnownGame:
    """The game with the losses of merged models, of every size and seed."""
    training, models = config.training, config.models
    small = [
        [merged(config, model_name(m), r) for m in models.small] for r in range(training.seeds)
    ]
    large = [merged(config, model_name(models.large), r) for r in range(training.large_seeds)]
    game = replace(
        game,
        merged_small_RCM=np.array([[m.parameters_C for m in row] for row in small]).mT,
        merged_large_RC=np.array([m.parameters_C for m in large]),
    )
    if any(m.products_C is None for m in large):
        return game
    return replace(
        game,
        products_small_RCM=np.array([[m.products_C for m in row] for row in small]).mT,
        products_large_RC=np.array([m.products_C for m in large]),
    )


def merged(config: Config, name: str, replicate: int) -> Merged:
    """The merged models of one size and seed."""
    operator = operator_data(config)
    small, large = model_specs(config, operator.task)
    (model,) = (each for each in (*small, large) if each.name == name)
    validation = ValidationSet(config, *tensors(operator.validation, config))
    start, own = _own_models(config, model, replicate)
    weight_CN = weights(config)

    def losses(spec: ModelSpec, untrained: Tensor, stack: Tensor) -> Floats:
        stack[0] = untrained.double()
        means = validation.means(spec, stack.to(untrained.dtype), "a merged model")
        return np.array([loss for loss, _ in means])

    parameters_C = losses(model, start, weight_CN @ own)
    if not any(A in each for each in model.shapes):
        return Merged(parameters_C, None)
    wide, stack = beside_each_other(model, own, weight_CN)
    return Merged(parameters_C, losses(wide, torch.zeros_like(stack[0]).to(start.dtype), stack))


def _own_models(config: Config, model: ModelSpec, replicate: int) -> tuple[Tensor, Tensor]:
    """The untrained model (P,), and every company's own (N, P)."""
    scaling = operator_data(config).scaling
    start, own = model.initial_params(config.seed, replicate), []
    for company, rows in all_company_data(config, scaling).items():
        x, y = tensors(rows, config)
        stack = start[None]
        for server_round in range(1, config.training.rounds + 1):
            recipe = make_recipe(config, model, company, len(y), replicate, server_round)
            stack = train_stack(model, stack, x, y, recipe, 1)
        own.append(stack[0].double())
    return start, torch.stack(own)


def beside_each_other(model: ModelSpec, own: Tensor, weight_CN: Tensor) -> tuple[ModelSpec, Tensor]:
    """A model whose adapters have N times the rank, and (C, parameters) of it that hold the
    weighted means of products: the factors of all companies, one below the other.
    """
    config = cast(Module, model.config)
    rank = cast(int, config.options["rank"])
    scale = cast(float, config.options.get("alpha", 2.0 * rank)) / rank
    ranks = rank * len(own)
    options = {**config.options, "rank": ranks, "alpha": scale * ranks}
    wide = replace(model, config=config.model_copy(update={"options": options}))
    views = {name: view.double() for name, view in model.views(own).items()}
    joined = {}
    for name, view in views.items():
        if A in name:  # (N, rank, inputs)
            joined[name] = view.flatten(0, 1).expand(len(weight_CN), -1, -1)
        elif B in name:  # (N, outputs, rank)
            weighted = weight_CN[:, :, None, None] * view
            joined[name] = weighted.transpose(1, 2).flatten(2)
        else:
            joined[name] = torch.tensordot(weight_CN, view, 1)
    return wide, wide.flatten(joined)
