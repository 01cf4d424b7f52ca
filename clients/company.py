"""A company's side of the work: its rows, and the training and scoring on them.

Shapes: C models of a stack, K outputs. The rows of the company are counted by n.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.config import Config
from fl_sv.config.models import model_name, stated_rate
from fl_sv.data import Dataset, Scaling, SharedRows, company_data, fingerprint
from fl_sv.data.encoding import unknown_sentence
from fl_sv.errors import RunError
from fl_sv.flower import wire
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.training.kept import KeptStates
from fl_sv.training.models import ModelSpec, as_tensor, bases_sha256, tensors
from fl_sv.training.sgd import make_recipe
from fl_sv.training.stack import rows_at_once, score_stack, stack_outputs, train_stack
from fl_sv.training.students import make_soft_targets
from fl_sv.training.trial import tried_models

Floats = NDArray[np.floating]
# Parameters by the key of their model and replicate: one vector, or a stack with a vector a row.
Arrays = dict[str, Floats]


@dataclass(frozen=True)
class Company:
    """A company with its rows in memory and the models of the run."""

    name: str
    config: Config
    data: Dataset
    models: dict[str, ModelSpec]
    x: Tensor  # (n, *input_shape)
    y: Tensor  # (n,)
    states: KeptStates  # of these rows
    rates: Mapping[str, float] = field(default_factory=dict)  # by name in messages

    def at(self, rates: Mapping[str, float]) -> Self:
        """The same company, training at these learning rates where the config states none."""
        return replace(self, rates=rates)

    @property
    def n_examples(self) -> int:
        return len(self.data.y)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.data)

    @property
    def bases(self) -> str:
        """The hash of what no company trains, of all models."""
        return bases_sha256(self.models.values())

    def check(self, arrays: Arrays) -> None:
        """Raises ValueError unless they are models of this run, one vector or a stack each."""
        dtype = self.config.compute.dtype
        for key, array in arrays.items():
            name, _ = wire.parse_stack_key(key)
            model = self.models.get(wire.model_of(name))
            if model is None:
                raise ValueError(f"there is no model {name!r} in this run")
            if array.shape[-1] != model.n_params or array.dtype != dtype:
                raise ValueError(
                    f"model {key} has {array.shape[-1]:,} parameters of {array.dtype}; it has to be"
                    f" {model.n_params:,} of {dtype}"
                )

    def is_student(self, key: str) -> bool:
        """Whether the model of this stack learns from the finished teacher: only a small one does.

        A large run trains as the teacher itself did. With soft targets its losses would be those of
        another game than the one that the law predicts.
        """
        name, _ = wire.parse_stack_key(key)
        if self.config.students is None or wire.is_candidate(name):
            return False  # learning rates are tried before there is a teacher
        return name != model_name(self.config.models.large)

    def train_round(
        self, stacks: Arrays, server_round: int, logits: Floats | None = None
    ) -> Arrays:
        """The stacks after one round of local training of every model in them.

        logits: the teacher's (n, K) on the company's rows, if the small models are its students.
        """
        teacher = None if logits is None else torch.tensor(logits).to(self.x.device)
        return {
            key: self._train(key, as_tensor(stack), server_round, teacher)
            for key, stack in stacks.items()
        }

    def train_all_rounds(self, params: Arrays) -> Arrays:
        """The models after all rounds of training on only this company's rows.

        This is FedAvg of the singleton of this company. Each array is one model.
        """
        for server_round in range(1, self.config.training.rounds + 1):
            stacks = {key: vector[None] for key, vector in params.items()}
            trained = self.train_round(stacks, server_round)
            params = {key: stack[0] for key, stack in trained.items()}
        return params

    def loss(self, key: str, params: Floats) -> float:
        """The mean loss of one model on the company's rows."""
        model, x = self.states.given_to(self._model(key)[0])
        stack = as_tensor(params)[None].to(self.x.device)
        losses, *_ = score_stack(model, stack, x, self.y, chunk=1)
        return float(losses.mean())

    def teacher_logits(self, key: str, params: Floats) -> Floats:
        """The logits (n, K) of the teacher on the company's rows."""
        model, x = self.states.given_to(self._model(key)[0])
        stack = as_tensor(params)[None].to(self.x.device)
        with torch.no_grad():
            rows = rows_at_once(model.task, len(x))
            parts = [stack_outputs(model, stack, part)[0] for part in torch.split(x, rows)]
            logits = torch.cat(parts) if len(parts) > 1 else parts[0]
        array: Floats = logits.cpu().numpy()
        return array

    def _train(self, key: str, stack: Tensor, server_round: int, teacher: Tensor | None) -> Floats:
        """One round of a stack; `teacher` are the teacher's logits (n, K), if there is one."""
        config = self.config
        model, replicate = self._model(key)
        rate = self._rate(key)
        this_round = (self.name, self.n_examples, replicate, server_round)
        recipe = make_recipe(config, model, *this_round, learning_rate=rate)
        soft_targets = None
        if teacher is not None and self.is_student(key):
            names = (replicate, self.name, server_round)
            soft_targets = make_soft_targets(config, model.task, teacher, recipe, *names)
        stack = stack.to(self.x.device)
        model, x = self.states.given_to(model)
        chunk = config.compute.chunk
        trained = train_stack(model, stack, x, self.y, recipe, chunk, soft_targets)
        array: Floats = trained.cpu().numpy()
        return array

    def _model(self, key: str) -> tuple[ModelSpec, int]:
        name, replicate = wire.parse_stack_key(key)
        return self.models[wire.model_of(name)], replicate

    def _rate(self, key: str) -> float:
        """The learning rate of this stack. Raises RunError when the server had to give one."""
        name, _ = wire.parse_stack_key(key)
        model = self.models[wire.model_of(name)]
        if name in self.rates:
            return self.rates[name]
        if stated_rate(model.config, self.config.training) is None:
            whose = self.config.legal_name(self.name)
            raise RunError(f"{whose} was told no learning rate of {name}, and it is auto.")
        return model.learning_rate


def load_company(
    name: str,
    config: Config,
    scaling: Scaling,
    data_path: str | None,
    shared: SharedRows | None = None,
) -> Company:
    """The company `name` of the run, with its rows in memory.

    data_path: the file that the node's own config names, if it names one. shared: the rows of a
    shared source, if this process has read them for another company.
    """
    use_threads(config.compute.threads)
    keep_freed_memory()
    data = company_data(config, name, scaling, data_path, shared)
    if remark := unknown_sentence(
        config.legal_name(name), data.unknown
    ):  # for the company; the server learns nothing
        logging.getLogger("flwr").warning("fl-sv: %s `fl-sv data check` names them.", remark)
    x, y = tensors(data, config)
    small, large = tried_models(config, scaling.task, x, y)
    models = {model.name: model for model in (*small, large)}
    states = KeptStates(x, config.compute.states_megabytes)
    return Company(name, config, data, models, x, y, states)


@dataclass(frozen=True)
class Identity:
    """The key of a loaded company: Flower's run, and the company's name and file in it."""

    run_id: int
    name: str
    data_path: str | None


class LoadedCompanies:
    """The companies of one run that live in this process, with their rows in memory.

    A simulation's process plays many companies and gets a message for each of them in every round.
    A company is loaded at its first message, and a shared source is read for the first of them. The
    first message of another run drops all companies of the run before: two runs that take turns in
    one process get the right companies, and load them at every turn.
    """

    def __init__(self) -> None:
        self._run_id: int | None = None
        self._companies: dict[Identity, Company] = {}
        self._shared: dict[str | None, SharedRows | None] = {}  # by the node's data path
        self._lock = Lock()  # companies of one process load in several threads

    def get(
        self,
        identity: Identity,
        read: Callable[[], SharedRows | None],
        load: Callable[[SharedRows | None], Company],
    ) -> Company:
        """The company of this identity, loaded with the shared rows where it is not in memory."""
        company = self._companies.get(identity)
        if company is None:
            with self._lock:
                if identity.run_id != self._run_id:
                    self._run_id, self._companies, self._shared = identity.run_id, {}, {}
                if identity in self._companies:  # another thread has loaded it meanwhile
                    return self._companies[identity]
                if identity.data_path not in self._shared:
                    self._shared[identity.data_path] = read()
                company = load(self._shared[identity.data_path])
                self._companies[identity] = company
        return company
