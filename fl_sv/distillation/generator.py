"""Rows from a generator that is trained only against the teacher (DAFL: Chen et al. 2019).

Shapes: B rows of a batch, K classes; `*D` stands for the axes of one row.
"""

import copy
import math

import torch
from torch import Tensor, nn

from fl_sv.distillation.checks import count, number, reals
from fl_sv.distillation.losses import hard_ce
from fl_sv.distillation.transfer import Function, TransferSet, outputs_on


def generated(
    teacher_fn: Function,
    net: nn.Module,
    *,
    size: int,
    latent: int,
    generator: torch.Generator,
    features_fn: Function | None = None,
    steps: int = 200,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weights: tuple[float, float, float] = (1.0, 5.0, 0.1),
) -> TransferSet:
    """`size` unlabelled rows of a generator that Adam has trained on the loss `dafl`.

    net: from noise (B, latent) to rows (B, *D); a copy is trained.
    features_fn: from rows (B, *D) to the teacher's features; None takes its logits.

    Raises InputError for bad input, or when the teacher cannot take the rows.
    """
    net = copy.deepcopy(net)
    latent, batch_size, steps = (
        count(latent, "latent"),
        count(batch_size, "batch_size"),
        count(steps, "steps"),
    )
    rate = number(learning_rate, "learning_rate", 0, above=True)
    like = next(net.parameters())

    def draw(rows: int) -> Tensor:
        noise = torch.randn(rows, latent, generator=generator, dtype=like.dtype).to(like)
        x: Tensor = net(noise)
        return x

    outputs_on(teacher_fn, TransferSet("generated", draw(2).detach()), "teacher")
    parameters = list(net.parameters())
    optimiser = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        x = draw(batch_size)
        t_BK = teacher_fn(x)
        cost = dafl(t_BK, t_BK if features_fn is None else features_fn(x), weights=weights)
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(cost, parameters), strict=True
        ):
            parameter.grad = gradient
        optimiser.step()
    with torch.no_grad():
        return TransferSet("generated", draw(count(size, "size")))


def dafl(
    teacher_logits: Tensor,
    features: Tensor,
    *,
    weights: tuple[float, float, float] = (1.0, 5.0, 0.1),
) -> Tensor:
    """The generator's loss, a number: w_1 CE(t, argmax t) + w_2 sum m log10 m - w_3 mean |f|.

    m is the mean of softmax(t) over the batch. The terms reward rows of which the teacher is sure,
    classes that are equally frequent, and large features. The logarithm's base is that of the
    authors' code. teacher_logits: (B, K); features: (B, ...). Raises InputError for bad input.
    """
    t_BK, f = reals(teacher_logits, "teacher_logits", "BK"), reals(features, "features", "*")
    one_hot, information, activation = (number(weight, "a weight", 0) for weight in weights)
    log_m_K = t_BK.log_softmax(1).logsumexp(0) - math.log(len(t_BK))
    sure = hard_ce(t_BK, t_BK.argmax(1)).mean()
    return (
        one_hot * sure
        + information * (log_m_K.exp() * log_m_K).sum() / math.log(10)
        - activation * f.abs().mean()
    )
