"""Optimisers: torch's own for one model, and the same written out for a stack of models.

The definition is `torch.optim`. The stack's form must give the same parameters to 1e-9 in float64;
tests/test_twins.py compares the two.

Shapes: C models of a stack; every array of a stack is (C, ...).
"""

import math
from collections.abc import Callable, Iterable
from itertools import count

import torch
from torch import Tensor, nn

from fl_sv.config.training import Optimizer

# The parameters of a stack, or their gradients, by name.
Views = dict[str, Tensor]
# Updates the views of a stack in place, from their gradients and the learning rate of the step.
Update = Callable[[Views, float], None]


def torch_optimizer(
    optimizer: Optimizer, rate: float, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser of one model, fresh, at this learning rate."""
    decay = optimizer.weight_decay
    if optimizer.kind == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=optimizer.momentum, weight_decay=decay)
    beta1, beta2 = optimizer.betas
    adam = torch.optim.Adam if optimizer.kind == "adam" else torch.optim.AdamW
    return adam(parameters, lr=rate, betas=(beta1, beta2), eps=optimizer.eps, weight_decay=decay)


def stack_update(optimizer: Optimizer, views: Views) -> Update:
    """The optimiser of a stack of models, fresh. views: the parameters, changed by every update."""
    return _sgd(optimizer, views) if optimizer.kind == "sgd" else _adam(optimizer, views)


def clip_one(parameters: Iterable[nn.Parameter], optimizer: Optimizer) -> None:
    """Scales the gradient of a model down to `clip_norm`, where it is longer."""
    if optimizer.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, optimizer.clip_norm)


def clipped(gradients: Views, optimizer: Optimizer) -> Views:
    """The gradients of a stack, each model's own scaled down to `clip_norm` as by `clip_one`."""
    if optimizer.clip_norm is None:
        return gradients
    norms = [torch.linalg.vector_norm(part.flatten(1), dim=1) for part in gradients.values()]
    norm_C = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    factor_C = (optimizer.clip_norm / (norm_C + 1e-6)).clamp(max=1.0)
    return {
        name: part * factor_C.view(-1, *[1] * (part.ndim - 1)) for name, part in gradients.items()
    }


def _sgd(optimizer: Optimizer, views: Views) -> Update:
    parameters = [*views.values()]
    velocity = [torch.zeros_like(view) for view in parameters] if optimizer.momentum else []

    def update(gradients: Views, rate: float) -> None:
        steps = [gradients[name] for name in views]
        if optimizer.weight_decay:
            steps = [*torch._foreach_add(steps, parameters, alpha=optimizer.weight_decay)]
        if optimizer.momentum:
            torch._foreach_mul_(velocity, optimizer.momentum)
            torch._foreach_add_(velocity, steps)
            steps = velocity
        torch._foreach_sub_(parameters, steps, alpha=rate)

    return update


def _adam(optimizer: Optimizer, views: Views) -> Update:
    """Adam (Kingma and Ba 2015), or with decay apart from the gradient (Loshchilov 2019)."""
    beta1, beta2 = optimizer.betas
    decay, is_apart = optimizer.weight_decay, optimizer.kind == "adamw"
    parameters = [*views.values()]
    means, squares = ([torch.zeros_like(view) for view in parameters] for _ in range(2))
    steps = count(1)

    def update(gradients: Views, rate: float) -> None:
        step = next(steps)
        first, second = 1 - beta1**step, math.sqrt(1 - beta2**step)
        own = [gradients[name] for name in views]
        if decay and is_apart:
            torch._foreach_mul_(parameters, 1 - rate * decay)
        elif decay:
            own = [*torch._foreach_add(own, parameters, alpha=decay)]
        torch._foreach_lerp_(means, own, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, own, own, value=1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, second)
        torch._foreach_add_(roots, optimizer.eps)
        torch._foreach_addcdiv_(parameters, means, roots, value=-rate / first)

    return update
