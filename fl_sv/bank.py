"""A stack of models trained together on the same batches: the fast twin of `fl_sv.training`.

Shapes: C models, P parameters of one model, B rows of a batch, V rows that are scored, F features, H units, K outputs.

All coalitions that a company belongs to train on the same batches, so a step of C models is a few wide matrix products
instead of C small ones. MLPs have gradients in closed form; any other module goes through `torch.func.vmap` where a
step is bound by overhead, and one model after the other where it is bound by arithmetic. The choice depends on the
model alone, so that equal configurations give equal bytes.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fl_sv.config.schema import Mlp
from fl_sv.mlp import mlp_gradients, mlp_outputs
from fl_sv.models import ModelSpec, row_loss
from fl_sv.training import Recipe, train

Views = dict[str, Tensor]

# Above this many operations a step, `vmap` lost against one model after the other: two-layer CNNs on 28x28 images,
# batch 32, gained 2.3 times with 4 channels (16 MFLOP a step) and lost 1.3 to 3 times with 16 and 32 channels
# (195 MFLOP and more). 2 CPU cores, torch 2.13, 2026-11.
VMAP_MAX_FLOPS = 50e6


def train_stack(model: ModelSpec, params_CP: Tensor, x: Tensor, y: Tensor, recipe: Recipe, chunk: int) -> Tensor:
    """(C, P) parameters after one round of local training of every model of the stack.

    x (n, *input_shape) and y (n,) are the company's rows; `chunk` models are in work at a time.
    """
    gradients = _gradients(model, len(recipe.batches[0]))
    if gradients is None:
        return torch.stack([train(model, params_P, x, y, recipe) for params_P in params_CP])
    return torch.cat([_train_chunk(model, part, x, y, recipe, gradients) for part in torch.split(params_CP, chunk)])


def score_stack(model: ModelSpec, params_CP: Tensor, x: Tensor, y: Tensor, chunk: int) -> tuple[Tensor, Tensor | None]:
    """Loss (C, V) of every model on every row, and whether it was classified rightly (C, V; None for regression).

    Outputs are computed in the model's precision, losses in float64.
    """
    losses, hits = [], []
    loss_of = row_loss(model.task)
    with torch.no_grad():
        for part in torch.split(params_CP, chunk):
            outputs_CVK = _outputs(model, part, x)
            rows = outputs_CVK.flatten(0, 1).double()
            targets = y.repeat(len(part))
            losses.append(loss_of(rows, targets.double() if targets.is_floating_point() else targets))
            if model.task.kind == "classification":
                hits.append(rows.argmax(1) == targets)
    shape = (len(params_CP), len(x))
    return torch.cat(losses).reshape(shape), torch.cat(hits).reshape(shape) if hits else None


Gradients = Callable[[Views, Tensor, Tensor], Views]


def _gradients(model: ModelSpec, batch_size: int) -> Gradients | None:
    """The function from a stack and a batch to the gradients of each model's mean loss, or None for the plain loop."""
    if isinstance(model.config, Mlp):
        kind = model.task.kind
        return lambda views, x, y: mlp_gradients(views, x.flatten(1), y, kind)
    if 3 * model.forward_flops * batch_size > VMAP_MAX_FLOPS:
        return None
    module, loss_of = model.module.train(), row_loss(model.task)

    def mean_loss(views: Views, x: Tensor, y: Tensor) -> Tensor:
        return loss_of(functional_call(module, views, (x,)), y).mean()

    return vmap(grad(mean_loss), in_dims=(0, None, None), randomness="same")


def _train_chunk(
    model: ModelSpec, params_CP: Tensor, x: Tensor, y: Tensor, recipe: Recipe, gradients: Gradients
) -> Tensor:
    """torch.optim.SGD, written out for a stack."""
    views = {name: view.clone() for name, view in model.views(params_CP).items()}
    received = {name: view.clone() for name, view in views.items()} if recipe.proximal_mu else {}
    velocity: Views = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.torch_seed)
        for batch in recipe.batches:
            for name, step in gradients(views, x[batch], y[batch]).items():
                if recipe.proximal_mu:
                    step = step + recipe.proximal_mu * (views[name] - received[name])
                if recipe.weight_decay:
                    step = step + recipe.weight_decay * views[name]
                if recipe.momentum:
                    step = velocity[name] = recipe.momentum * velocity[name] + step if name in velocity else step
                views[name].sub_(step, alpha=recipe.learning_rate)
    return model.flatten(views)


def _outputs(model: ModelSpec, params_CP: Tensor, x: Tensor) -> Tensor:
    views = model.views(params_CP)
    if isinstance(model.config, Mlp):
        return mlp_outputs(views, x.flatten(1))
    module = model.module.eval()
    forward = vmap(lambda views, x: functional_call(module, views, (x,)), in_dims=(0, None), randomness="same")
    outputs: Tensor = forward(views, x)
    return outputs
