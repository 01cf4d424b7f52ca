"""Outputs, gradients and descent of a stack of MLPs in closed form.

Shapes: C models, B rows, F features, H units of a layer, I inputs and O outputs of any layer, K
outputs of the last.

Activations are kept as (C, H, B). The first layer's input is the same for all models, so its
product and its gradient are one wide matrix product, (C*H, F) by (F, B); the other layers are
batched products. Everything is contiguous."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Kind = Literal["classification", "regression"]
RowLoss = Callable[..., Tensor]  # outputs (B, K) and what is said of the rows -> (B,)
OutputGradient = Callable[
    ..., Tensor
]  # outputs (C, K, B) and what is said of the rows -> gradient of the mean losses, alike
Layer = tuple[Tensor, Tensor]  # weight (C, O, I), bias (C, O)
Signal = tuple[
    Tensor, Tensor
]  # gradient of the layer's outputs (C, O, B), and its inputs (C, I, B), the first's (F, B)


def mlp_outputs(views: dict[str, Tensor], x_BF: Tensor) -> Tensor:
    """Outputs (C, B, K) of every model."""
    return _forward(_layers(views), x_BF)[-1].transpose(1, 2)


def mlp_targets(y_B: Tensor, kind: Kind, n_outputs: int, dtype: torch.dtype) -> Tensor:
    """What the outputs (softmax outputs for classification) should be, (B, K)."""
    return y_B[:, None] if kind == "regression" else functional.one_hot(y_B, n_outputs).to(dtype)


def loss_gradient(outputs_CKB: Tensor, target_BK: Tensor, *, kind: Kind) -> Tensor:
    """Gradient of the mean cross-entropy of softmax outputs, or of the mean squared error."""
    if kind == "regression":
        return (outputs_CKB - target_BK.T).mul_(2 / len(target_BK))
    return torch.softmax(outputs_CKB, dim=1).sub_(target_BK.T).div_(len(target_BK))


def autograd_gradient(outputs_CKB: Tensor, *said: Tensor, loss_of: RowLoss) -> Tensor:
    """Gradient of any other mean loss, by torch: the rows of all models form one batch."""
    n_models, n_outputs, n_rows = outputs_CKB.shape
    rows = outputs_CKB.transpose(1, 2).reshape(-1, n_outputs).requires_grad_(True)
    with torch.enable_grad():
        losses = loss_of(rows, *(part.repeat(n_models, *[1] * (part.ndim - 1)) for part in said))
        (gradient,) = torch.autograd.grad(losses.sum() / n_rows, [rows])
    return gradient.reshape(n_models, n_rows, n_outputs).transpose(1, 2).contiguous()


def mlp_gradients(
    views: dict[str, Tensor], x_BF: Tensor, *said: Tensor, gradient_of: OutputGradient
) -> dict[str, Tensor]:
    """Gradient of each model's mean loss over the batch, under the names of `views`."""
    gradients: list[Tensor] = []
    for delta, inputs in _signals(_layers(views), x_BF, said, gradient_of):
        if inputs.dim() == 2:  # shared by all models: one wide product
            weight = (delta.flatten(0, 1) @ inputs.T).reshape(*delta.shape[:2], -1)
        else:
            weight = torch.bmm(delta, inputs.transpose(1, 2))
        gradients += [weight, delta.sum(2)]
    return dict(zip(views, gradients, strict=True))


def mlp_descend(
    views: dict[str, Tensor], x_BF: Tensor, *said: Tensor, gradient_of: OutputGradient, rate: float
) -> None:
    """A step of plain gradient descent, in place: `mlp_gradients` and the update in one pass over
    the weights.
    """
    layers = _layers(views)
    for (weight, bias), (delta, inputs) in zip(
        layers, _signals(layers, x_BF, said, gradient_of), strict=True
    ):
        if inputs.dim() == 2:
            weight.view(-1, len(inputs)).addmm_(delta.flatten(0, 1), inputs.T, alpha=-rate)
        else:
            weight.baddbmm_(delta, inputs.transpose(1, 2), alpha=-rate)
        bias.sub_(delta.sum(2), alpha=rate)


def _signals(
    layers: list[Layer], x_BF: Tensor, said: tuple[Tensor, ...], gradient_of: OutputGradient
) -> list[Signal]:
    """What each layer's gradient is made of, first layer first."""
    *hidden, outputs_CKB = _forward(layers, x_BF)
    delta = gradient_of(outputs_CKB, *said)
    signals: list[Signal] = []
    for (weight, _), below in zip(layers[:0:-1], hidden[::-1], strict=True):
        signals.append((delta, below))
        delta = torch.ops.aten.threshold_backward(
            torch.bmm(weight.transpose(1, 2), delta), below, 0
        )  # ReLU's
    return [(delta, x_BF.T), *reversed(signals)]


def _layers(views: dict[str, Tensor]) -> list[Layer]:
    """Weight and bias of each layer; `views` holds them in turn, first layer first."""
    tensors = list(views.values())
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def _forward(layers: list[Layer], x_BF: Tensor) -> list[Tensor]:
    """Activations (C, H, B) of every hidden layer after ReLU, and the outputs (C, K, B) last."""
    (weight, bias), *rest = layers
    n_models, n_units, n_features = weight.shape
    wide = torch.addmm(bias.reshape(-1, 1), weight.reshape(n_models * n_units, n_features), x_BF.T)
    activations = [wide.reshape(n_models, n_units, len(x_BF))]
    for weight, bias in rest:
        activations[-1].relu_()
        activations.append(torch.baddbmm(bias[:, :, None], weight, activations[-1]))
    return activations
