"""Coalitions' models put together from the teacher's updates instead of being trained (OR, MR and
GTG start here).

Shapes: N companies, C = 2**N coalitions, T rounds, P parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.config import Config
from fl_sv.data import all_company_data, operator_data
from fl_sv.game.coalitions import members_matrix
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.sgd import make_recipe
from fl_sv.training.stack import train_stack

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reconstructed:
    """Utilities of models that were never trained.

    one_round_C: the untrained model plus the members' updates of all rounds. by_round: each
    round's global model plus the members' updates of that round."""

    one_round_C: Floats
    by_round: Floats


def reconstruct(config: Config, replicate: int) -> Reconstructed:
    """One training of the teacher, with every coalition's model made from the members' updates."""
    operator = operator_data(config)
    model = model_specs(config, operator.task)[1]
    validation = ValidationSet(config, *tensors(operator.validation, config))
    weight_CN = weights(config)

    def utilities(start: Tensor, updates: Tensor) -> Floats:
        stack = (start.double() + weight_CN @ updates).to(start.dtype)
        return -np.array(
            [loss for loss, _ in validation.means(model, stack, "a reconstructed model")]
        )

    rounds = list(_rounds(config, model, replicate, weight_CN[-1]))
    by_round = np.array([utilities(start, updates) for start, updates in rounds])
    all_updates = torch.stack([updates for _, updates in rounds]).sum(dim=0)
    return Reconstructed(utilities(rounds[0][0], all_updates), by_round)


def _rounds(
    config: Config, model: ModelSpec, replicate: int, weight_N: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """FedAvg of the grand coalition: the global model (P,) before each round, and the companies'
    updates (N, P).
    """
    scaling = operator_data(config).scaling
    data = {
        company: tensors(rows, config)
        for company, rows in all_company_data(config, scaling).items()
    }
    params = model.initial_params(config.seed, replicate)
    for server_round in range(1, config.training.rounds + 1):
        trained = []
        for company, (x, y) in data.items():
            recipe = make_recipe(config, model, company, len(y), replicate, server_round)
            trained.append(train_stack(model, params[None], x, y, recipe, 1)[0].double())
        updates = torch.stack(trained) - params.double()
        yield params, updates
        params = (params.double() + weight_N @ updates).to(params.dtype)


def weights(config: Config) -> Tensor:
    """(C, N) weight of each company's update in each coalition, by `training.weights`; the empty
    coalition has none.
    """
    scaling = operator_data(config).scaling
    weight = config.training.weight
    weight_N = [weight(len(rows)) for rows in all_company_data(config, scaling).values()]
    weight_CN = members_matrix(range(1 << config.n_companies), config.n_companies) * np.array(
        weight_N, dtype=float
    )
    weight_CN[1:] /= weight_CN[1:].sum(axis=1, keepdims=True)
    return torch.from_numpy(weight_CN)
