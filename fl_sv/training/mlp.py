"""Outputs, gradients and SGD steps of a stack of MLPs, in closed form.

Activations are kept as (C, units, B). The first layer's input is the same for all models, so its
product and its gradient are one wide matrix product: (C * units, features) by (features, B). The
other layers are batched products. Every array is contiguous.

Shapes: C models of a stack, B rows of a batch, K outputs. A layer has inputs and outputs (its
units); the rows of the data have features.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fl_sv.data.dataset import Kind

# The loss of each row (B,), from outputs (B, K) and the rows' targets (for students the teacher's
# logits as well).
AnyRowLoss = Callable[..., Tensor]
# The gradient (C, K, B) of each model's mean loss with respect to its outputs (C, K, B), from the
# outputs and the rows' targets (for students the teacher's logits as well).
OutputGradient = Callable[..., Tensor]

# Weight (C, outputs, inputs) and bias (C, outputs).
Layer = tuple[Tensor, Tensor]
# What a layer's gradient is made of: the gradient of its outputs (C, outputs, B), and its inputs
# (C, inputs, B). The first layer's inputs are the rows (features, B).
Signal = tuple[Tensor, Tensor]


def mlp_outputs(views: dict[str, Tensor], x: Tensor) -> Tensor:
    """The outputs (C, B, K) of every model on the rows x (B, features).

    views: the parameters of the stack by name, weight and bias of each layer in turn.
    """
    outputs_CKB = _forward(_layers(views), x)[-1]
    return outputs_CKB.transpose(1, 2)


def mlp_targets(y_B: Tensor, kind: Kind, n_outputs: int, dtype: torch.dtype) -> Tensor:
    """The targets as outputs (B, K): one-hot for a classification, as they are for a regression."""
    if kind == "regression":
        return y_B[:, None]
    return functional.one_hot(y_B, n_outputs).to(dtype)


def loss_gradient(outputs_CKB: Tensor, target_BK: Tensor, *, kind: Kind) -> Tensor:
    """Gradient (C, K, B) of the mean cross-entropy after softmax, or of the mean squared error."""
    # In place on the fresh array, so that no second one of its size is allocated.
    n_rows = len(target_BK)
    if kind == "regression":
        return (outputs_CKB - target_BK.T).mul_(2 / n_rows)
    return torch.softmax(outputs_CKB, dim=1).sub_(target_BK.T).div_(n_rows)


def autograd_gradient(outputs_CKB: Tensor, *targets: Tensor, loss_of: AnyRowLoss) -> Tensor:
    """Gradient (C, K, B) of any other mean loss, by torch."""
    # The rows of all models form one batch. A row's loss depends on its own outputs only, so the
    # gradient of the sum over all models is the gradient of each model's loss.
    n_models, n_outputs, n_rows = outputs_CKB.shape
    outputs = outputs_CKB.transpose(1, 2).reshape(-1, n_outputs).requires_grad_(True)
    repeated = [part.repeat(n_models, *[1] * (part.ndim - 1)) for part in targets]
    with torch.enable_grad():
        losses = loss_of(outputs, *repeated)
        (gradient,) = torch.autograd.grad(losses.sum() / n_rows, [outputs])
    return gradient.reshape(n_models, n_rows, n_outputs).transpose(1, 2).contiguous()


def mlp_gradients(
    views: dict[str, Tensor], x: Tensor, *targets: Tensor, gradient_of: OutputGradient
) -> dict[str, Tensor]:
    """The gradient of each model's mean loss over the batch, under the names of `views`."""
    gradients: list[Tensor] = []
    for delta, inputs in _signals(_layers(views), x, targets, gradient_of):
        if inputs.dim() == 2:  # the first layer: one wide product for all models
            weight = (delta.flatten(0, 1) @ inputs.T).reshape(*delta.shape[:2], -1)
        else:
            weight = torch.bmm(delta, inputs.transpose(1, 2))
        gradients += [weight, delta.sum(2)]
    return dict(zip(views, gradients, strict=True))


def mlp_descend(
    views: dict[str, Tensor],
    x: Tensor,
    *targets: Tensor,
    gradient_of: OutputGradient,
    rate: float,
) -> None:
    """One step of plain gradient descent, in place.

    It does what `mlp_gradients` and an update would, in one pass over the weights.
    """
    layers = _layers(views)
    signals = _signals(layers, x, targets, gradient_of)
    for (weight, bias), (delta, inputs) in zip(layers, signals, strict=True):
        if inputs.dim() == 2:  # the first layer: one wide product for all models
            weight.view(-1, len(inputs)).addmm_(delta.flatten(0, 1), inputs.T, alpha=-rate)
        else:
            weight.baddbmm_(delta, inputs.transpose(1, 2), alpha=-rate)
        bias.sub_(delta.sum(2), alpha=rate)


def _signals(
    layers: list[Layer], x: Tensor, targets: tuple[Tensor, ...], gradient_of: OutputGradient
) -> list[Signal]:
    """What each layer's gradient is made of, first layer first, by backpropagation."""
    # A layer's weight gradient is delta @ inputs.T. All signals are computed before any weight is
    # updated, because the delta of a layer needs the old weights of the layer above it.
    *hidden, outputs_CKB = _forward(layers, x)
    delta = gradient_of(outputs_CKB, *targets)
    signals: list[Signal] = []
    for (weight, _), below in zip(layers[:0:-1], hidden[::-1], strict=True):
        signals.append((delta, below))
        delta = torch.bmm(weight.transpose(1, 2), delta)
        delta = torch.ops.aten.threshold_backward(delta, below, 0)  # through the ReLU
    return [(delta, x.T), *reversed(signals)]


def _layers(views: dict[str, Tensor]) -> list[Layer]:
    """Weight and bias of each layer; `views` holds them alternately, first layer first."""
    tensors = list(views.values())
    return list(zip(tensors[::2], tensors[1::2], strict=True))


def _forward(layers: list[Layer], x: Tensor) -> list[Tensor]:
    """Activations (C, units, B) of the hidden layers after ReLU, then the outputs (C, K, B)."""
    (weight, bias), *rest = layers
    n_models, n_units, n_features = weight.shape
    # All models see the same rows, so the units of all models are the rows of one wide product
    # instead of C small ones.
    wide = torch.addmm(bias.reshape(-1, 1), weight.reshape(n_models * n_units, n_features), x.T)
    activations = [wide.reshape(n_models, n_units, len(x))]
    for weight, bias in rest:
        activations[-1].relu_()  # in place: backpropagation needs only the activations after ReLU
        activations.append(torch.baddbmm(bias[:, :, None], weight, activations[-1]))
    return activations
