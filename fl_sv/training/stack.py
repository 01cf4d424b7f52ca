"""The training of a stack of models on the same batches: the fast twin of `fl_sv.training.sgd`.

The definition is `sgd.train`, one model after the other. A stack must give the same parameters;
tests/test_twins.py compares the two for every kind of model.

A company trains the models of all its coalitions on the same batches. So a step of C models takes a
few wide matrix products instead of C small ones:

- MLPs have gradients in closed form (`fl_sv.training.mlp`).
- Other modules run by their own code under `torch.func.vmap`, their costly layers replaced, with
  one backward pass for the stack (`fl_sv.training.layers`).
- A module whose layers cannot be replaced goes through `vmap(grad)`, by torch's rules alone.
- Where a stack gains nothing, or where a module cannot follow `vmap`, one model trains after the
  other, by the definition.

What a module can do is tried before anything trains (`fl_sv.training.trial`). The choice depends on
the model and the configuration alone, so that equal configurations give equal bytes.

Shapes: C models of a stack, B rows of a batch, V rows that are scored, K outputs. `stack` holds
the parameters of C models, one flat vector a row.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fl_sv.config.models import Mlp
from fl_sv.data import Task
from fl_sv.machine import free_device_memory, models_at_once
from fl_sv.training.gradients import Gradients
from fl_sv.training.layers import stack_forward
from fl_sv.training.losses import right, row_loss
from fl_sv.training.mlp import (
    OutputGradient,
    autograd_gradient,
    loss_gradient,
    mlp_descend,
    mlp_gradients,
    mlp_outputs,
    mlp_targets,
)
from fl_sv.training.models import ModelSpec
from fl_sv.training.optimisers import Views, clipped, stack_update
from fl_sv.training.sgd import Batches, Recipe, SoftTargets, batches_of, train

# Updates the views of a stack in place by one step on a batch, at a learning rate.
Descent = Callable[..., None]


@dataclass(frozen=True)
class Bounds:
    """Bytes of the widest result of a layer on a batch, which say how a stack trains.

    together: of all models that take a step together. alone: with more, a model trains by itself.
    """

    together: int
    alone: int


# Where they lie was measured (docs/architectures.md; one core with two megabytes of level-two
# cache, torch 2.13, 2026-11-30). A traced step costs little besides its arithmetic, so that few
# models fill it: with one to three megabytes 18 of 21 models were within a few percent of their
# fastest, and with 8 they took a tenth to a third longer. With 4 MB a single model lost.
TRACED = Bounds(together=7 << 19, alone=7 << 19)
# With milliseconds of Python in each step models gained from 8 together on: 5 times (4 KB) down to
# 1.1 (512 KB). At a megabyte a stack was as fast as a loop; with three and four it lost.
UNTRACED = Bounds(together=1 << 23, alone=1 << 20)
# Models with one frozen base share products, and take few passes over their numbers: each gains by
# its step in a stack (`fl_sv.training.sublayers`; `python -m benchmarks.adapters`).
FROZEN_BASE_ALONE = 1 << 23

# So much of the largest parameter of all models together.
PARAMETER_BYTES = 1 << 23

# Of a model while it trains in a stack: as it came, in work and as it goes, its gradient, and what
# FedProx or an optimiser keeps beside it.
MOST_COPIES = 7

# Outputs in memory at once where rows have places, each with K of them: rows x places x K x models.
# They take 8 bytes each while they are scored, and as many for losses: half a gigabyte.
MOST_OUTPUTS = 1 << 25

# Rows that are scored at a time, where they have no places.
MOST_ROWS = 1 << 18

# Where `vmap` has no rule for an operation, it warns that it loops, which is no slower than ours.
with suppress(AttributeError):  # torch has no public name for this
    torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]


def train_stack(
    model: ModelSpec,
    stack: Tensor,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    chunk: int,
    soft_targets: SoftTargets | None = None,
) -> Tensor:
    """The stack after one round of local training of every model.

    stack: (C, parameters), one flat vector a row.
    x, y: the company's rows, (n, *input_shape) and (n,).
    chunk: how many models train at a time, which bounds the memory.
    soft_targets: if given, all models are students of one teacher.
    """
    targets_of: Callable[[Tensor], Tensor] = lambda y: y  # noqa: E731
    if isinstance(model.config, Mlp):
        train_chunk = _train_mlps
        x = x.flatten(1)
        if soft_targets is None and model.task.loss is None:
            targets_of = partial(
                mlp_targets, kind=model.task.kind, n_outputs=model.task.n_outputs, dtype=x.dtype
            )
    elif trains_alone(model, len(recipe.batches[0]), stack.device):
        return torch.stack([train(model, params, x, y, recipe, soft_targets) for params in stack])
    else:
        # One module for all chunks, as within each, and none where steps are traced: a copy of a
        # transformer takes 15 ms.
        module_of = cache(lambda: model.fresh(stack.device).train())
        train_chunk = partial(_train_modules, module_of=module_of)
        chunk = models_together(model, len(recipe.batches[0]), chunk, stack.device)
    batches = batches_of(x, y, recipe, soft_targets, targets_of)
    chunks = torch.split(stack, _models_at_once(model, stack, len(recipe.batches[0]), chunk))
    trained = [train_chunk(model, part, batches, recipe, soft_targets) for part in chunks]
    return torch.cat(trained) if len(trained) > 1 else trained[0]


def models_together(model: ModelSpec, batch_size: int, chunk: int, device: torch.device) -> int:
    """How many models of a stack take a step together.

    chunk: the most. device: on which they train. On a GPU nothing was measured: all of a chunk do.
    """
    if trains_alone(model, batch_size, device):
        return 1
    if device.type == "cuda":
        return chunk
    most = _fitting(widest_bytes(model, batch_size), bounds(model).together)
    return min(chunk, most, _fitting(largest_bytes(model)))


def trains_alone(model: ModelSpec, batch_size: int, device: torch.device) -> bool:
    """Whether each model of a stack trains by the definition, after the other."""
    if model.unstackable is not None:
        return True
    n_bytes = max(widest_bytes(model, batch_size), largest_bytes(model))
    return device.type != "cuda" and n_bytes > bounds(model).alone


def bounds(model: ModelSpec) -> Bounds:
    """By how many bytes this model trains in one way or the other."""
    usual = TRACED if model.is_traced else UNTRACED
    return replace(usual, alone=FROZEN_BASE_ALONE) if model.has_frozen_base else usual


def widest_bytes(model: ModelSpec, rows: int) -> int:
    """The bytes of one model's widest result on so many rows."""
    return model.widest * rows * model.dtype.itemsize


def largest_bytes(model: ModelSpec) -> int:
    """The bytes of one model's largest parameter."""
    return max(shape.numel() for shape in model.shapes.values()) * model.dtype.itemsize


def _fitting(n_bytes: int, most: int = PARAMETER_BYTES) -> int:
    """How many models fit together that have so many bytes each.

    It is a power of two, so that models begin where vectors of the processor do.
    """
    return 1 << (max(1, most // n_bytes).bit_length() - 1)


def score_stack(
    model: ModelSpec,
    stack: Tensor,
    x: Tensor,
    y: Tensor,
    chunk: int,
    keep: Collection[int] = (),
) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
    """The loss (C, V) of every model on every row, and whether its class was right (C, V).

    stack: (C, parameters). x, y: the rows, (V, *input_shape) and (V,). chunk: models at a time.
    keep: the models whose outputs (V, K) are wanted, by their row of the stack.

    The second result is None for a regression, the third has the outputs that were kept. Outputs
    are computed in the model's precision, losses in float64.
    """
    rows = rows_at_once(model.task, len(x))
    chunk = _models_at_once(model, stack, rows, chunk)
    if not isinstance(model.config, Mlp) and stack.device.type == "cpu":
        chunk = min(chunk, _fitting(widest_bytes(model, rows)))
    blocks = [*zip(torch.split(x, rows), torch.split(y, rows), strict=True)]
    losses, hits = [], []
    kept: dict[int, list[Tensor]] = {}
    with torch.no_grad():
        for first in range(0, len(stack), chunk):
            losses_of, hits_of = [], []
            for some_x, some_y in blocks:
                outputs = stack_outputs(model, stack[first : first + chunk], some_x)
                losses_CV, hits_CV = score_outputs(model.task, outputs, some_y)
                losses_of.append(losses_CV)
                hits_of.append(hits_CV)
                for row, own in enumerate(outputs):
                    if first + row in keep:  # copied, so that those of the whole chunk can be freed
                        kept.setdefault(first + row, []).append(own.clone())
            losses.append(torch.cat(losses_of, 1))
            if known := [each for each in hits_of if each is not None]:
                hits.append(torch.cat(known, 1))
    outputs_of = {row: torch.cat(parts) for row, parts in kept.items()}
    return torch.cat(losses), torch.cat(hits) if hits else None, outputs_of


def rows_at_once(task: Task, rows: int) -> int:
    """How many of these rows one model scores at a time."""
    most = MOST_OUTPUTS // task.outputs_of_a_row if task.places else MOST_ROWS
    return max(1, min(rows, most))


def _models_at_once(model: ModelSpec, stack: Tensor, rows: int, chunk: int) -> int:
    """How many models of a chunk train on, or score, so many rows at a time."""
    bytes_of_model = MOST_COPIES * model.n_params * stack.element_size()
    chunk = models_at_once(chunk, bytes_of_model, free_device_memory(str(stack.device)))
    if not model.task.places:
        return chunk
    return max(1, min(chunk, MOST_OUTPUTS // (rows * model.task.outputs_of_a_row)))


def score_outputs(task: Task, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
    """The loss (C, V) of every model's outputs in float64, and whether its class was right (C, V).

    outputs: (C, V, K). y: the targets (V,).

    The second result is None for a regression.
    """
    # All models' rows one after the other, as one batch.
    exact = outputs.flatten(0, 1).double()
    targets = y.repeat(len(outputs), *[1] * (y.ndim - 1))
    losses = row_loss(task)(exact, targets.double() if targets.is_floating_point() else targets)
    losses_CV = losses.reshape(outputs.shape[:2])
    if task.kind != "classification" or exact.shape[1:] != (*task.places, task.n_outputs):
        return losses_CV, None
    return losses_CV, right(exact, targets).reshape(outputs.shape[:2])


def stack_outputs(model: ModelSpec, stack: Tensor, x: Tensor) -> Tensor:
    """The outputs (C, B, K) of every model on every row, with their gradient."""
    views = model.views(stack)
    if isinstance(model.config, Mlp):
        return mlp_outputs(views, x.flatten(1))
    if model.unstackable is not None:
        return torch.stack([model.loaded(params)(model.inputs(x)) for params in stack])
    module = model.fresh(stack.device).eval()
    if model.unreplaced is None:
        return stack_forward(module, views, model.inputs(x))

    def outputs_of(views: Views) -> Tensor:
        outputs: Tensor = functional_call(module, views, (model.inputs(x),))
        return outputs

    outputs: Tensor = vmap(outputs_of, randomness="same")(views)
    return outputs


def _train_mlps(
    model: ModelSpec,
    stack: Tensor,
    batches: Batches,
    recipe: Recipe,
    soft_targets: SoftTargets | None,
) -> Tensor:
    views = _own_views(model, stack)
    gradient_of = _output_gradient(model, soft_targets)
    descend: Descent
    if recipe.is_plain:
        descend = partial(mlp_descend, views, gradient_of=gradient_of)
    else:
        descend = _descent(views, partial(mlp_gradients, views, gradient_of=gradient_of), recipe)
    for rate, batch in zip(recipe.rates, batches, strict=True):
        descend(*batch, rate=rate)
    return model.flatten(views)


def _output_gradient(model: ModelSpec, soft_targets: SoftTargets | None) -> OutputGradient:
    """The gradient of the mean loss with respect to the outputs of a stack of MLPs."""
    if soft_targets is None and model.task.loss is not None:
        return partial(autograd_gradient, loss_of=row_loss(model.task))
    if soft_targets is None:
        return partial(loss_gradient, kind=model.task.kind)
    return soft_targets.gradient_of or partial(autograd_gradient, loss_of=soft_targets.loss_of)


def _train_modules(
    model: ModelSpec,
    stack: Tensor,
    batches: Batches,
    recipe: Recipe,
    soft_targets: SoftTargets | None,
    module_of: Callable[[], nn.Module],
) -> Tensor:
    views = _own_views(model, stack)
    with model.drawing(recipe.torch_seed) as draws, torch.no_grad():
        gradients_of = Gradients.of(model, views, soft_targets, draws, module_of)
        descend = _descent(gradients_of.trained, gradients_of, recipe)
        for rate, batch in zip(recipe.rates, batches, strict=True):
            descend(*batch, rate=rate)
    return model.flatten(views)


def _own_views(model: ModelSpec, stack: Tensor) -> Views:
    """The parameters by name as contiguous copies, which training may change."""
    return {name: view.clone() for name, view in model.views(stack).items()}


def _descent(views: Views, gradients_of: Callable[..., Views], recipe: Recipe) -> Descent:
    """A step of the recipe's optimiser for a stack, with FedProx's term.

    gradients_of: each model's gradients, under the names of `views`, on the batch that is given.
    """
    received = {name: view.clone() for name, view in views.items()} if recipe.proximal_mu else {}
    update = stack_update(recipe.optimizer, views)

    def descend(*batch: Tensor, rate: float) -> None:
        gradients = gradients_of(*batch)
        if recipe.proximal_mu:
            gradients = {
                name: step + recipe.proximal_mu * (views[name] - received[name])
                for name, step in gradients.items()
            }
        update(clipped(gradients, recipe.optimizer), rate)

    return descend
