"""Models as flat parameter vectors: built-in architectures, users' modules, and their layout.

A model travels, is averaged and is kept in the journal as one vector of its trainable parameters.
What is frozen, its base, stays with every process (`fl_sv.training.base`).

Built-in models start with an output layer of zeros, so that the untrained model predicts the
uniform distribution (in a regression the mean) at every size and seed. Otherwise the noise of the
initialisation would be paid out to all companies in equal parts.

Shapes: C models of a stack, B rows of a batch, K outputs. `params` is the vector of one model,
`stack` holds one vector a row.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fl_sv.config.models import (
    PRETRAINED,
    Mlp,
    Model,
    Module,
    as_module,
    model_name,
    optimizer_of,
    usual_rate,
)
from fl_sv.config.schema import Config
from fl_sv.config.training import Optimizer
from fl_sv.data import Dataset, Task
from fl_sv.data.mapped import converted
from fl_sv.errors import InputError
from fl_sv.streams import global_draws, stream_seed
from fl_sv.training.architectures import build_module
from fl_sv.training.base import NO_BASE, base_sha256, copied, flat, hollow, trainable
from fl_sv.training.draws import OwnDraws
from fl_sv.training.entrance import Entrance, entered
from fl_sv.training.factories import blank_rows, module_inputs, quoting, users_start
from fl_sv.training.shapes import AttentionWrittenOut, Widest
from fl_sv.training.traced import Traces

FORWARD_PASSES_OF_A_STEP = 3  # a training step: one forward pass, and two more for the gradient

RowLoss = Callable[[Tensor, Tensor], Tensor]

# Of `as_tensor`, which says that nobody may write.
warnings.filterwarnings("ignore", "The given NumPy array is not writable")


@dataclass(frozen=True)
class ModelSpec:
    """One model size: its architecture for the task at hand, learning rate and optimiser.

    seed: of the config.
    unused: parameters that get no gradient. They stay as they are.
    unstackable: why models of this size cannot train as a stack; None where they can.
    unreplaced: why a stack goes by torch's rules alone (`fl_sv.training.layers`); None elsewhere.
    untraced: why its steps go through Python (`fl_sv.training.traced`); None where they need not.
    draws_globally: whether the module draws from a process's global generators.
    from_states: the same model for rows' kept states (`fl_sv.training.kept`); None where every row
        goes through all of it.
    unkept: why no states are kept, though parts before the first trained one are frozen.
    entrance: of a model for kept states: where they enter.

    All but the last are what `fl_sv.training.trial` finds out about a user's module.
    """

    name: str
    config: Model
    task: Task
    learning_rate: float
    optimizer: Optimizer
    dtype: torch.dtype
    seed: int
    unused: frozenset[str] = frozenset()
    unstackable: str | None = None
    unreplaced: str | None = None
    untraced: str | None = None
    draws_globally: bool = True
    from_states: "ModelSpec | None" = None
    unkept: str | None = None
    entrance: Entrance | None = None

    @cached_property
    def module(self) -> nn.Module:
        """A module of this architecture, trained parameters as placeholders. It never runs.

        Every training and scoring works with a `fresh` copy of it. So no two models share anything
        that changes, such as a buffer or a counter, and none knows what ran before. Its frozen
        parameters and its buffers are those of the first seed, for all seeds.
        """
        module = build_module(self.config, self.task, self.initial_seed(self.seed), self.dtype)
        if self.entrance is None:
            return module
        return entered(copied(module, torch.device("cpu")), self.entrance)

    def fresh(self, device: torch.device) -> nn.Module:
        """A new module of this architecture on the device; it shares the frozen parameters."""
        return copied(self.module, device)

    @cached_property
    def traces(self) -> Traces:
        """The steps of stacks of this model that were traced."""
        return Traces()

    @property
    def is_traced(self) -> bool:
        """Whether steps of its stacks can be traced."""
        own = isinstance(self.config, Module) and self.draws_globally
        return self.untraced is None and not own

    @cached_property
    def base_sha256(self) -> str:
        """The hash of what is not trained: frozen parameters and buffers."""
        return base_sha256(self.module) if isinstance(self.config, Module) else NO_BASE

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The parameters that training changes: the trainable ones that get a gradient."""
        return tuple(name for name in self.shapes if name not in self.unused)

    @cached_property
    def _skeleton(self) -> nn.Module:
        """A module whose parameters have shapes and, if it is built in, no memory.

        With it `plan` can count the parameters of a model that would not fit into memory.
        """
        if isinstance(self.config, Module):
            return self.module
        with torch.device("meta"):
            return build_module(self.config, self.task, seed=0, dtype=self.dtype)

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """The shape of each trainable parameter, in their order in the flat vector."""
        return {name: parameter.shape for name, parameter in trainable(self._skeleton).items()}

    @cached_property
    def n_params(self) -> int:
        """The trainable parameters, the length of the flat vector: these travel."""
        return sum(shape.numel() for shape in self.shapes.values())

    @cached_property
    def n_params_in_all(self) -> int:
        """All parameters, frozen ones too."""
        return sum(parameter.numel() for parameter in self._skeleton.parameters())

    @cached_property
    def forward_flops(self) -> int:
        """Floating-point operations of one forward pass for one row.

        torch counts those of a cnn or a user's module, which takes two seconds.
        """
        if isinstance(self.config, Mlp):
            return sum(2 * shape.numel() for shape in self.shapes.values() if len(shape) == 2)
        if isinstance(self.config, Module):
            # torch knows no formula for recurrent layers: then each parameter counts once.
            return self._counted_flops(self.config) or 2 * self.n_params_in_all
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self._skeleton(torch.zeros(1, *self.task.input_shape, dtype=self.dtype, device="meta"))
        return int(counter.get_total_flops())

    def _counted_flops(self, model: Module, *, with_gradient: bool = False) -> int:
        """The operations that torch counts for one row, forwards or forwards and backwards."""
        row = self._blank_row()
        module = self.fresh(row.device).eval()
        with (
            quoting(model, f"on rows of shape {tuple(row.shape)}"),
            self.drawing(0),
            _layers_apart(),
            AttentionWrittenOut(),  # torch counts nothing for attention in one step
            torch.set_grad_enabled(with_gradient),
            FlopCounterMode(display=False) as counter,
        ):
            outputs = module(self.inputs(row))
            if with_gradient:
                outputs.sum().backward()
        return int(counter.get_total_flops())

    def _blank_row(self) -> Tensor:
        if self.entrance is not None:
            return torch.zeros(1, *self.entrance.shape, dtype=self.dtype)
        return blank_rows(self.task, 1, self.dtype)

    @cached_property
    def widest(self) -> int:
        """The most numbers of one row in any result of the module's layers."""
        row = self._blank_row()
        if not isinstance(self.config, Module):
            row = row.to("meta")
        module = self.fresh(row.device) if isinstance(self.config, Module) else self._skeleton
        # With rotary positions a stack holds all weights of attention (`fl_sv.training.sublayers`).
        attention = AttentionWrittenOut() if self.has_frozen_base else nullcontext()
        with self.drawing(0), _layers_apart(), attention, torch.no_grad(), Widest() as found:
            module(self.inputs(row))
        return int(found.numbers)

    def training_flops(self, rows: float) -> float:
        """Floating-point operations of training on `rows` rows.

        A row costs three forward passes, or what torch counts where a part is frozen: no gradient
        is computed for it, nor anything before the entrance of kept states.
        """
        return self._row_flops * rows

    @cached_property
    def _row_flops(self) -> int:
        if self.from_states is not None:
            return self.from_states._row_flops
        usual = FORWARD_PASSES_OF_A_STEP * self.forward_flops
        if not isinstance(self.config, Module) or self.n_params == self.n_params_in_all:
            return usual
        return self._counted_flops(self.config, with_gradient=True)

    @property
    def has_frozen_base(self) -> bool:
        """Whether it is a pretrained transformer, beside which little is trained."""
        return isinstance(self.config, Module) and self.config.factory == PRETRAINED

    @property
    def starts_at_zero(self) -> bool:
        """Whether the untrained model's outputs are exactly zero."""
        return not isinstance(self.config, Module)

    def inputs(self, x: Tensor) -> Any:
        """What the module is given for the rows x (B, *input_shape): them, or what they hold.

        Kept states (B, ...) are given as they are.
        """
        return x if self.entrance is not None else module_inputs(self.task, x)

    def views(self, stack: Tensor) -> dict[str, Tensor]:
        """Each trainable parameter of a stack of models as (C, *shape), by name."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = torch.split(stack, sizes, dim=1)
        return {
            name: part.reshape(len(stack), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def flatten(self, views: dict[str, Tensor]) -> Tensor:
        """The stack whose `views` these are."""
        return torch.cat([views[name].flatten(1) for name in self.shapes], dim=1)

    def loaded(self, params: Tensor) -> nn.Module:
        """A new module with these trainable parameters, in evaluation mode."""
        module = hollow(self._skeleton, params.device).eval()
        own = trainable(module).values()
        nn.utils.vector_to_parameters(params.to(self.dtype).clone(), own)
        return module

    def state(self, params: Tensor) -> dict[str, Tensor]:
        """The whole model by torch's names: trainable and frozen parameters, and buffers.

        The frozen parts are those of the process: read them, and change nothing.
        """
        state = self.loaded(params).state_dict()
        return {name: part for name, part in state.items() if isinstance(part, Tensor)}

    def drawing(self, seed: int) -> AbstractContextManager[OwnDraws | None]:
        """A context in which the module trains.

        A user's module may draw random numbers, as dropout does: in the context they come from this
        seed. It has the global generators for itself where it takes them, so that no other module
        of the process trains meanwhile.
        """
        if not isinstance(self.config, Module):
            return nullcontext()
        return global_draws(seed) if self.draws_globally else OwnDraws(seed)

    def initial_params(self, seed: int, replicate: int) -> Tensor:
        """The trainable parameters of the untrained model: a function of seed, replicate and size.

        A user's factory is called for them once a process.
        """
        own_seed = self.initial_seed(seed, replicate)
        if isinstance(self.config, Module):
            is_first = own_seed == self.initial_seed(self.seed)
            return users_start(self.config, self.task, own_seed, self.dtype, keep=is_first)
        return flat(build_module(self.config, self.task, own_seed, self.dtype))

    def initial_seed(self, seed: int, replicate: int = 0) -> int:
        """The seed of the global generators when the untrained model is made."""
        return stream_seed(seed, replicate, self.name, "initialisation")


@contextmanager
def _layers_apart() -> Iterator[None]:
    """A context in which torch's transformers run operation by operation, so that it counts them.

    In evaluation mode it otherwise joins those of a layer, and counts none.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def model_specs(config: Config, task: Task) -> tuple[tuple[ModelSpec, ...], ModelSpec]:
    """The small models, ascending by their number of parameters, and the large model.

    Raises InputError when the sizes do not ascend, or a model does not fit the task.
    """
    small = tuple(model_spec(config, model, task) for model in config.models.small)
    large = model_spec(config, config.models.large, task)
    sizes = law_sizes([*small, large])
    for smaller, larger in pairwise(sizes):
        if sizes[smaller] >= sizes[larger]:
            raise InputError(
                f"models: {larger} has {sizes[larger]} parameters, no more than {smaller} with"
                f" {sizes[smaller]}. List the small models in ascending size; the large model must"
                " be larger than all of them."
            )
    return small, large


def law_sizes(models: Sequence[ModelSpec]) -> dict[str, int]:
    """The size of each model, by which the law tells how far one is from the next.

    It counts all parameters, since what a model can learn grows with its frozen ones too. Where all
    models have the same base, it grows with none of them, and only what is trained counts.
    """
    one_base = len({model.base_sha256 for model in models}) == 1
    return {model.name: model.n_params if one_base else model.n_params_in_all for model in models}


def bases_sha256(models: Iterable[ModelSpec]) -> str:
    """One hash of the bases of all models, which a company registers."""
    return hashlib.sha256("".join(model.base_sha256 for model in models).encode()).hexdigest()


def model_spec(config: Config, model: Model, task: Task) -> ModelSpec:
    """A model of the config for the task at hand, with learning rate, optimiser and precision.

    Where the run chooses the rate, this is the middle one of those that are tried.
    """
    rate = usual_rate(model, config.training)
    dtype = getattr(torch, config.compute.dtype)
    optimizer = optimizer_of(model, config.training)
    made = as_module(model)
    return ModelSpec(model_name(model), made, task, rate, optimizer, dtype, config.seed)


def tensors(data: Dataset, config: Config) -> tuple[Tensor, Tensor]:
    """Rows and targets as tensors, on the device and in the precision of the run."""
    x = data.x
    if isinstance(x, np.memmap) and np.issubdtype(x.dtype, np.floating):
        x = converted(x, config.compute.dtype)  # on disk, where torch would take memory
    return _as_run(torch.from_numpy(x), config), _as_run(torch.from_numpy(data.y), config)


def _as_run(numbers: Tensor, config: Config) -> Tensor:
    """The numbers on the device of the run; whole ones stay whole, others get its precision."""
    dtype = getattr(torch, config.compute.dtype) if numbers.is_floating_point() else numbers.dtype
    return numbers.to(config.compute.device, dtype)


def as_tensor(array: NDArray[np.floating]) -> Tensor:
    """The array as a tensor that shares its memory. Nobody may write into it.

    A model in a message or in a file is large and read-only, which torch does not know.
    """
    return torch.from_numpy(array)
