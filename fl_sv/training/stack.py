"""A stack of models trained together on the same batches: the fast twin of `fl_sv.training.sgd`.

Shapes: C models, P parameters of one model, B rows of a batch, V rows that are scored, F features,
H units, K outputs.

All coalitions that a company belongs to train on the same batches, so a step of C models is a few
wide matrix products instead of C small ones. MLPs have gradients in closed form; any other module
goes through `torch.func.vmap` where a step is bound by overhead, and one model after the other
where it is bound by arithmetic. The choice depends on the model alone, so that equal configurations
give equal bytes."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fl_sv.config.models import Mlp
from fl_sv.training.mlp import (
    OutputGradient,
    autograd_gradient,
    loss_gradient,
    mlp_descend,
    mlp_gradients,
    mlp_outputs,
    mlp_targets,
)
from fl_sv.training.models import ModelSpec, row_loss
from fl_sv.training.sgd import Recipe, SoftTargets, batches_of, train

Views = dict[str, Tensor]
Batches = list[
    tuple[Tensor, ...]
]  # rows, targets and, for students, the teacher's logits of each step
Descent = Callable[..., None]  # one step on a batch

# Above this many operations a step, `vmap` lost against one model after the other: two-layer CNNs
# on 28x28 images, batch 32, gained 2.3 times with 4 channels (16 MFLOP a step) and lost 1.3 to 3
# times with 16 and 32 channels (195 MFLOP and more). 2 CPU cores, torch 2.13, 2026-11.
VMAP_MAX_FLOPS = 50e6


def train_stack(
    model: ModelSpec,
    params_CP: Tensor,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    chunk: int,
    soft_targets: SoftTargets | None = None,
) -> Tensor:
    """(C, P) parameters after one round of local training of every model of the stack.

    x (n, *input_shape) and y (n,) are the company's rows; `chunk` models are in work at a time.
    With soft targets all of them are students of one teacher."""
    if isinstance(model.config, Mlp):
        train_chunk, x = _train_mlps, x.flatten(1)
        y = y if soft_targets else mlp_targets(y, model.task.kind, model.task.n_outputs, x.dtype)
    elif 3 * model.forward_flops * len(recipe.batches[0]) <= VMAP_MAX_FLOPS:
        train_chunk = _train_modules
    else:
        return torch.stack(
            [train(model, params_P, x, y, recipe, soft_targets) for params_P in params_CP]
        )
    batches = batches_of(x, y, recipe, soft_targets)
    return torch.cat(
        [
            train_chunk(model, part, batches, recipe, soft_targets)
            for part in torch.split(params_CP, chunk)
        ]
    )


def score_stack(
    model: ModelSpec, params_CP: Tensor, x: Tensor, y: Tensor, chunk: int
) -> tuple[Tensor, Tensor | None]:
    """Loss (C, V) of every model on every row, and whether it was classified rightly (C, V; None
    for regression).

    Outputs are computed in the model's precision, losses in float64.
    """
    losses, hits = [], []
    loss_of = row_loss(model.task)
    with torch.no_grad():
        for part in torch.split(params_CP, chunk):
            outputs_CVK = stack_outputs(model, part, x)
            rows = outputs_CVK.flatten(0, 1).double()
            targets = y.repeat(len(part))
            losses.append(
                loss_of(rows, targets.double() if targets.is_floating_point() else targets)
            )
            if model.task.kind == "classification":
                hits.append(rows.argmax(1) == targets)
    shape = (len(params_CP), len(x))
    return torch.cat(losses).reshape(shape), torch.cat(hits).reshape(shape) if hits else None


def stack_outputs(model: ModelSpec, params_CP: Tensor, x: Tensor) -> Tensor:
    """(C, B, K) outputs of every model on every row, with gradient."""
    views = model.views(params_CP)
    if isinstance(model.config, Mlp):
        return mlp_outputs(views, x.flatten(1))
    module = model.module.eval()
    forward = vmap(
        lambda views, x: functional_call(module, views, (x,)), in_dims=(0, None), randomness="same"
    )
    outputs: Tensor = forward(views, x)
    return outputs


def _train_mlps(
    model: ModelSpec,
    params_CP: Tensor,
    batches: Batches,
    recipe: Recipe,
    soft_targets: SoftTargets | None,
) -> Tensor:
    views = _own_views(model, params_CP)
    gradient_of: OutputGradient = partial(loss_gradient, kind=model.task.kind)
    if soft_targets:
        gradient_of = soft_targets.gradient_of or partial(
            autograd_gradient, loss_of=soft_targets.loss_of
        )
    if recipe.momentum or recipe.weight_decay or recipe.proximal_mu:
        descend = _sgd(views, partial(mlp_gradients, views, gradient_of=gradient_of), recipe)
    else:
        descend = partial(mlp_descend, views, gradient_of=gradient_of, rate=recipe.learning_rate)
    for batch in batches:
        descend(*batch)
    return model.flatten(views)


def _train_modules(
    model: ModelSpec,
    params_CP: Tensor,
    batches: Batches,
    recipe: Recipe,
    soft_targets: SoftTargets | None,
) -> Tensor:
    views, module = _own_views(model, params_CP), model.module.train()
    loss_of = soft_targets.loss_of if soft_targets else row_loss(model.task)

    def mean_loss(views: Views, x: Tensor, *said: Tensor) -> Tensor:
        return loss_of(functional_call(module, views, (x,)), *said).mean()

    gradients = vmap(grad(mean_loss), in_dims=(0, *[None] * len(batches[0])), randomness="same")
    descend = _sgd(views, partial(gradients, views), recipe)
    with model.drawing(recipe.torch_seed), torch.no_grad():
        for batch in batches:
            descend(*batch)
    return model.flatten(views)


def _own_views(model: ModelSpec, params_CP: Tensor) -> Views:
    """The stack's parameters by name, contiguous and free to be changed."""
    return {name: view.clone() for name, view in model.views(params_CP).items()}


def _sgd(views: Views, gradients: Callable[..., Views], recipe: Recipe) -> Descent:
    """torch.optim.SGD with FedProx's term, written out for a stack: one step on the batch that it
    is given.
    """
    received = {name: view.clone() for name, view in views.items()} if recipe.proximal_mu else {}
    velocity: Views = {}

    def descend(*batch: Tensor) -> None:
        for name, step in gradients(*batch).items():
            if recipe.proximal_mu:
                step = step + recipe.proximal_mu * (views[name] - received[name])
            if recipe.weight_decay:
                step = step + recipe.weight_decay * views[name]
            if recipe.momentum:
                step = velocity[name] = (
                    recipe.momentum * velocity[name] + step if name in velocity else step
                )
            views[name].sub_(step, alpha=recipe.learning_rate)

    return descend
