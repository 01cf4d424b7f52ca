"""A company's side of the work: its own rows, and the three ways in which it trains.

Shapes: C models in a stack, P parameters, n rows of the company.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.config import Config
from fl_sv.data import Dataset, Scaling, company_data, fingerprint
from fl_sv.flower.wire import parse_stack_key
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import make_recipe
from fl_sv.training.stack import score_stack, stack_outputs, train_stack
from fl_sv.training.students import make_soft_targets

Stacks = dict[str, NDArray[np.floating]]
Answers = NDArray[np.floating]


@dataclass(frozen=True)
class Company:
    """A company with its data loaded and its models known."""

    name: str
    config: Config
    data: Dataset
    models: dict[str, ModelSpec]
    x: Tensor
    y: Tensor

    @property
    def n_examples(self) -> int:
        return len(self.data.y)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.data)

    def train_round(
        self, stacks: Stacks, server_round: int, logits: Answers | None = None
    ) -> Stacks:
        """One round of local training of every model of every stack (C, P), on the company's own
        rows.

        logits: the teacher's (n, K) to these rows, when the models are its students.
        """
        said = None if logits is None else torch.tensor(logits).to(self.x)
        return {
            key: self._train(key, torch.tensor(stack), server_round, said)
            for key, stack in stacks.items()
        }

    def train_singleton(self, params: Stacks) -> Stacks:
        """All rounds of training by this company alone: FedAvg with one member. Each array is one
        model, (P,).
        """
        for server_round in range(1, self.config.training.rounds + 1):
            params = {
                key: self._train(key, torch.tensor(p)[None], server_round)[0]
                for key, p in params.items()
            }
        return params

    def loss(self, key: str, params_P: NDArray[np.floating]) -> float:
        """Mean loss of one model on the company's own rows."""
        model, _ = self._model(key)
        stack = torch.tensor(params_P)[None].to(self.x.device)
        losses, _ = score_stack(model, stack, self.x, self.y, chunk=1)
        return float(losses.mean())

    def teacher_logits(self, key: str, params_P: NDArray[np.floating]) -> Answers:
        """(n, K) logits of the teacher on the company's own rows."""
        model, _ = self._model(key)
        with torch.no_grad():
            logits_1nK = stack_outputs(model, torch.tensor(params_P)[None].to(self.x), self.x)
        array: Answers = logits_1nK[0].cpu().numpy()
        return array

    def _train(
        self, key: str, stack_CP: Tensor, server_round: int, said_nK: Tensor | None = None
    ) -> NDArray[np.floating]:
        model, replicate = self._model(key)
        recipe = make_recipe(
            self.config, model, self.name, self.n_examples, replicate, server_round
        )
        soft_targets = None
        if said_nK is not None:
            soft_targets = make_soft_targets(
                self.config, model.task, said_nK, recipe, replicate, self.name, server_round
            )
        trained = train_stack(
            model,
            stack_CP.to(self.x.device),
            self.x,
            self.y,
            recipe,
            self.config.compute.chunk,
            soft_targets,
        )
        array: NDArray[np.floating] = trained.cpu().numpy()
        return array

    def _model(self, key: str) -> tuple[ModelSpec, int]:
        name, replicate = parse_stack_key(key)
        return self.models[name], replicate


@lru_cache(
    maxsize=128
)  # a simulation's process plays many companies, and gets a message of each every round
def load_company(name: str, run_config: str, scaling: str, data_path: str | None) -> Company:
    """The company `name` of the run, with its rows in memory.

    run_config and scaling are the JSON texts that the server sent; data_path is the node's own, if
    it has one."""
    config = Config.model_validate_json(run_config)
    use_threads(config.compute.threads)
    keep_freed_memory()
    scaled = Scaling.from_json(scaling)
    data = company_data(config, name, scaled, data_path)
    small, large = model_specs(config, scaled.task)
    x, y = tensors(data, config)
    return Company(name, config, data, {model.name: model for model in (*small, large)}, x, y)
