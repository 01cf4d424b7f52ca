"""The gradients of a stack of modules on a batch: each model's own, of its mean loss.

They are computed by the modules' own code with the layers of a stack (`fl_sv.training.layers`), or
by `vmap(grad)`; either way a step is traced where that is possible (`fl_sv.training.traced`).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fl_sv.training.draws import OwnDraws
from fl_sv.training.layers import stack_forward
from fl_sv.training.losses import row_loss
from fl_sv.training.models import ModelSpec
from fl_sv.training.optimisers import Views
from fl_sv.training.sgd import SoftTargets
from fl_sv.training.traced import Step, traced


@dataclass(frozen=True, eq=False)
class Gradients:
    """Called with a batch (rows, targets, ...), gives the gradients by name, (C, *shape) each.

    module_of: makes a module of one model. loss_of: of a row, from outputs and targets.
    kind: what tells this loss from others of the model. None: nobody knows.
    trained, still: the parameters of the stack by name, those that change and the others.
    generator: from which the module draws, if it does.
    """

    model: ModelSpec
    module_of: Callable[[], nn.Module]
    loss_of: Callable[..., Tensor]
    kind: Hashable
    trained: Views
    still: Views
    generator: torch.Generator | None = None

    @classmethod
    def of(
        cls,
        model: ModelSpec,
        views: Views,
        soft_targets: SoftTargets | None,
        draws: object,
        module_of: Callable[[], nn.Module] | None = None,
    ) -> Self:
        """Of a stack with these parameters.

        draws: the context in which it trains. module_of: makes a module of one model, in training;
            None for a new one.
        """
        trained = {name: views[name] for name in model.trained}
        still = {name: view for name, view in views.items() if name not in trained}
        device = next(iter(views.values())).device
        generator = draws.generator(device) if isinstance(draws, OwnDraws) else None
        make = module_of or (lambda: model.fresh(device).train())
        if soft_targets is None:
            return cls(model, make, row_loss(model.task), "rows", trained, still, generator)
        loss_of, kind = soft_targets.loss_of, soft_targets.kind
        return cls(model, make, loss_of, kind, trained, still, generator)

    def __call__(self, *batch: Tensor) -> Views:
        given = (*self.trained.values(), *self.still.values(), *batch)
        if self.model.is_traced and self.kind is not None and batch[0].device.type == "cpu":
            found = self.model.traces.run(lambda: self.step, self.kind, given, self.generator)
        else:
            found = self.step(*given)
        return dict(zip(self.trained, found, strict=True))

    def trace(self, *batch: Tensor) -> Any:
        """The graph of a step on this batch. Raises an error of any kind where there is none."""
        given = (*self.trained.values(), *self.still.values(), *batch)
        return traced(self.step, given, self.generator)

    @cached_property
    def step(self) -> Step:
        """A step through Python. Traced steps need none, and making its module takes 2 ms."""
        return partial(self._step, self.module_of())

    def _step(self, module: nn.Module, *given: Tensor) -> Sequence[Tensor]:
        """The gradients in the order of the trained parameters.

        given: the trained parameters, the others, a batch.
        """
        parts = iter(given)
        trained = {name: next(parts) for name in self.trained}
        still = {name: next(parts) for name in self.still}
        by = self._by_torchs_rules if self.model.unreplaced else self._by_layers
        found = by(module, trained, still, *parts)
        return [found[name] for name in self.trained]

    def _by_layers(
        self, module: nn.Module, trained: Views, still: Views, rows: Tensor, *targets: Tensor
    ) -> Views:
        """By one backward pass for all models."""
        leaves = {name: view.detach().requires_grad_() for name, view in trained.items()}
        with torch.enable_grad():
            outputs = stack_forward(module, {**leaves, **still}, self.model.inputs(rows))
            # The rows of all models form one batch: a row's loss depends on its own outputs only.
            repeated = [part.repeat(len(outputs), *[1] * (part.ndim - 1)) for part in targets]
            losses = self.loss_of(outputs.flatten(0, 1), *repeated)
            gradients = torch.autograd.grad(losses.sum() / len(rows), [*leaves.values()])
        return dict(zip(leaves, gradients, strict=True))

    def _by_torchs_rules(
        self, module: nn.Module, trained: Views, still: Views, rows: Tensor, *targets: Tensor
    ) -> Views:
        """By `vmap` of torch's own gradient of one model: the general twin."""

        def mean_loss(trained: Views, still: Views) -> Tensor:
            parameters = {**trained, **still}
            outputs = functional_call(module, parameters, (self.model.inputs(rows),))
            return self.loss_of(outputs, *targets).mean()

        # One set of parameters for each model, the same batch for all.
        in_dims = (0, 0 if still else None)
        gradients: Views = vmap(grad(mean_loss), in_dims=in_dims, randomness="same")(trained, still)
        return gradients
