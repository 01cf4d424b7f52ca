"""Outputs and gradients of a stack of MLPs in closed form.

Shapes: C models, B rows, F features, H units of a layer, K outputs.

Activations are kept as (C, H, B). The first layer's input is the same for all models, so its product and its gradient
are one wide matrix product, (C*H, F) by (F, B); the other layers are batched products. Everything is contiguous.
"""

from typing import Literal

import torch
from torch import Tensor

Layer = tuple[Tensor, Tensor]  # weight (C, outputs, inputs), bias (C, outputs)


def mlp_outputs(views: dict[str, Tensor], x_BF: Tensor) -> Tensor:
    """Outputs (C, B, K) of every model."""
    return _forward(_layers(views), x_BF)[-1].transpose(1, 2)


def mlp_gradients(
    views: dict[str, Tensor], x_BF: Tensor, y_B: Tensor, kind: Literal["classification", "regression"]
) -> dict[str, Tensor]:
    """Gradient of each model's mean loss over the batch, under the names of `views`.

    The loss is the cross-entropy of softmax outputs, or the squared error of the single output.
    """
    layers = _layers(views)
    *hidden, outputs_CKB = _forward(layers, x_BF)
    delta = _output_delta(outputs_CKB, y_B, kind)
    gradients: list[Tensor] = []
    for depth in range(len(layers) - 1, 0, -1):
        weight, _ = layers[depth]
        below = hidden[depth - 1]
        gradients += [delta.sum(2), torch.bmm(delta, below.transpose(1, 2))]
        delta = torch.bmm(weight.transpose(1, 2), delta).mul_(below > 0)
    n_models, n_units, n_rows = delta.shape
    wide = delta.reshape(n_models * n_units, n_rows) @ x_BF
    gradients += [delta.sum(2), wide.reshape(n_models, n_units, -1)]
    return dict(zip(views, reversed(gradients), strict=True))


def _layers(views: dict[str, Tensor]) -> list[Layer]:
    """Weight and bias of each layer; `views` holds them in turn, first layer first."""
    tensors = list(views.values())
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def _forward(layers: list[Layer], x_BF: Tensor) -> list[Tensor]:
    """Activations (C, H, B) of every hidden layer after ReLU, and the outputs (C, K, B) last."""
    (weight, bias), *rest = layers
    n_models, n_units, n_features = weight.shape
    wide = weight.reshape(n_models * n_units, n_features) @ x_BF.T
    activations = [wide.reshape(n_models, n_units, len(x_BF)).add_(bias[:, :, None])]
    for weight, bias in rest:
        activations[-1].relu_()
        activations.append(torch.baddbmm(bias[:, :, None], weight, activations[-1]))
    return activations


def _output_delta(outputs_CKB: Tensor, y_B: Tensor, kind: str) -> Tensor:
    """Gradient of the mean loss with respect to the outputs."""
    n_rows = len(y_B)
    if kind == "regression":
        return (outputs_CKB - y_B).mul_(2 / n_rows)
    delta = torch.softmax(outputs_CKB, dim=1)
    delta[:, y_B, torch.arange(n_rows, device=y_B.device)] -= 1
    return delta.div_(n_rows)
