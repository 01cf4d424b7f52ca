"""How a stack computes the layers on which its time is spent.

Each kernel has the arguments of a function of torch. A `Stack` among them holds one tensor for each
model, a plain tensor is the same for all, such as the rows or a frozen weight. The result holds one
for each model; NotImplemented leaves the call to torch's rules.

Shapes: C models of a stack, B rows of a batch, M rows and places of a layer's input together.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fl_sv.training.adapted import adapted_linear, scaled_norm, stacked_linear, stacked_norm
from fl_sv.training.attention import attention
from fl_sv.training.stacked import Part, Stack
from fl_sv.training.sublayers import (
    gated_layers,
    rotary_attention,
    stacked_gated_layers,
    stacked_rotary_attention,
)

CONVOLUTIONS = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}  # by dimensions of the weight


def linear(x: Part, weight: Part, bias: Part = None) -> Tensor:
    if not isinstance(weight, Stack):
        return _frozen_linear(x, weight, bias)
    n_models, n_outputs, n_inputs = weight.all.shape
    if isinstance(x, Stack):
        places = x.all.shape[1:-1]
        inputs = x.all.reshape(n_models, -1, n_inputs)
    else:
        places = x.shape[:-1]
        inputs = x.reshape(1, -1, n_inputs).expand(n_models, -1, -1)
    outputs = torch.bmm(inputs, weight.all.mT)
    if bias is not None:
        outputs = outputs.add_(bias.all[:, None] if isinstance(bias, Stack) else bias)
    return outputs.reshape(n_models, *places, n_outputs)


def _frozen_linear(x: Part, weight: Tensor, bias: Part) -> Tensor:
    """One product for the rows of all models; the weight gets no gradient where it is frozen."""
    if not isinstance(x, Stack):
        outputs: Tensor = functional.linear(x, weight) + bias.beside(x[None])
        return outputs
    if not isinstance(bias, Stack):
        return functional.linear(x.all, weight, bias)
    outputs = functional.linear(x.all, weight)
    return outputs.add_(bias.beside(outputs))


def convolution(
    x: Part,
    weight: Part,
    bias: Part = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    options = (stride, padding, dilation)
    if not isinstance(weight, Stack):
        return _frozen_convolution(x, weight, bias, *options, groups)
    n_models = len(weight.all)
    convolve: Any = CONVOLUTIONS[weight.all.ndim - 1]
    if n_models == 1 and isinstance(x, Stack) and x.all.ndim == weight.all.ndim:
        bias_ = _of_channels(bias, 1)
        return convolve(x.all[0], weight.all[0], bias_, *options, groups)[None]
    if isinstance(x, Stack) and x.all.ndim == weight.all.ndim:
        inputs = _channels_last(_folded(x.all))
        groups *= n_models
    elif isinstance(x, Tensor) and x.ndim == weight.all.ndim - 1 and groups == 1:
        inputs = x  # the rows: the filters of all models are those of one wide convolution
    else:
        return NotImplemented
    filters = weight.all.flatten(0, 1)
    outputs = convolve(inputs, filters, _of_channels(bias, n_models), *options, groups)
    return _unfolded(outputs.contiguous(), n_models)


def _frozen_convolution(x: Part, weight: Tensor, bias: Part, *options: Any) -> Any:
    if not isinstance(x, Stack) or isinstance(bias, Stack) or x.all.ndim != weight.ndim + 1:
        return NotImplemented
    convolve: Any = CONVOLUTIONS[weight.ndim]
    outputs: Tensor = convolve(x.all.flatten(0, 1), weight, bias, *options)
    return outputs.reshape(*x.all.shape[:2], *outputs.shape[1:])


def _folded(all_: Tensor) -> Tensor:
    """(B, C * channels, *places): the models as further channels."""
    return all_.transpose(0, 1).flatten(1, 2)


def _unfolded(folded: Tensor, n_models: int) -> Tensor:
    n_rows, channels, *places = folded.shape
    return folded.view(n_rows, n_models, channels // n_models, *places).transpose(0, 1)


def _channels_last(folded: Tensor) -> Tensor:
    """In the layout in which a CPU convolves and pools few channels of many models fastest."""
    if folded.ndim != 4:
        return folded
    return folded.contiguous(memory_format=torch.channels_last)


def _of_channels(part: Part, n_models: int) -> Any:
    """One number of each channel, for the channels of all models."""
    if isinstance(part, Stack):
        return part.all.flatten()
    return part if part is None else part.repeat(n_models)


def group_norm(
    x: Part,
    num_groups: int,
    weight: Part = None,
    bias: Part = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Any:
    if not isinstance(x, Stack):
        return NotImplemented
    n_models = len(x.all)
    own = (_of_channels(weight, n_models), _of_channels(bias, n_models))
    folded = _folded(x.all).contiguous()
    normal = torch.group_norm(folded, n_models * num_groups, *own, eps, cudnn_enabled)
    return _unfolded(normal, n_models)


def layer_norm(
    x: Part,
    shape: Any,
    weight: Part = None,
    bias: Part = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    if not isinstance(x, Stack):
        return NotImplemented
    one, zero = x.all.new_ones(shape), x.all.new_zeros(shape)  # without them torch is slower
    return _scaled(torch.layer_norm(x.all, shape, one, zero, eps), weight, bias)


def rms_norm(x: Part, shape: Any, weight: Part = None, eps: float | None = None) -> Any:
    if not isinstance(x, Stack):
        return NotImplemented
    return _scaled(torch.rms_norm(x.all, shape, None, eps), weight, None)


def _scaled(normal: Tensor, weight: Part, bias: Part) -> Tensor:
    own = [part.beside(normal) if isinstance(part, Stack) else part for part in (weight, bias)]
    if own[0] is not None and own[1] is not None:
        return torch.addcmul(own[1], normal, own[0])
    normal = normal if own[0] is None else normal * own[0]
    return normal if own[1] is None else normal + own[1]


def embedding(
    weight: Part,
    ids: Part,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if not isinstance(weight, Stack) or isinstance(ids, Stack) or scale_grad_by_freq or sparse:
        return NotImplemented
    return _Embedding.apply(weight.all, ids, padding_idx)  # type: ignore[no-untyped-call]


class _Embedding(torch.autograd.Function):
    """One table (C, ids, width) a model, the same ids for all."""

    @staticmethod
    def forward(ctx: Any, tables: Tensor, ids: Tensor, padding_idx: int) -> Tensor:
        n_models, n_ids, width = tables.shape
        found = tables.index_select(1, ids.flatten())  # which refuses what is no id
        ctx.save_for_backward(ids)
        ctx.n_ids, ctx.padding_idx = n_ids, padding_idx
        return found.view(n_models, *ids.shape, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        n_models, width = len(gradient), gradient.shape[-1]
        own = torch.arange(n_models, device=ids.device)[:, None] * ctx.n_ids + ids.flatten()
        rows = gradient.reshape(-1, width)
        whole = torch.ops.aten.embedding_dense_backward(
            rows, own.flatten(), n_models * ctx.n_ids, -1, False
        )
        tables = whole.view(n_models, ctx.n_ids, width)
        if ctx.padding_idx >= 0:
            tables[:, ctx.padding_idx] = 0
        return tables, None, None


def average_pool(
    x: Part,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """By a product with the weights of the mean where windows do not overlap, else by torch."""
    if not isinstance(x, Stack) or x.all.ndim != 5:
        return NotImplemented
    height, width = _pair(kernel_size)
    apart = not stride or _pair(stride) == (height, width)
    whole = x.all.shape[-2] % height == 0 and x.all.shape[-1] % width == 0
    if apart and whole and _pair(padding) == (0, 0) and divisor_override is None:
        folded = _folded(x.all)
        return _unfolded(_mean_of_windows(folded, height, width), len(x.all))
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _pooled(functional.avg_pool2d, x.all, *options)


def _pair(size: Any) -> tuple[int, int]:
    both = (size, size) if isinstance(size, int) else tuple(size) * (3 - len(tuple(size)))
    return both[0], both[1]


def _mean_of_windows(images: Tensor, height: int, width: int) -> Tensor:
    """Non-overlapping windows: `height` lines of an image, one after the other, by one matrix."""
    *first, lines, places = images.shape
    columns = torch.eye(places // width, dtype=images.dtype, device=images.device)
    columns = columns.repeat_interleave(width, 0).repeat(height, 1) / (height * width)
    windows = images.reshape(-1, height * places) @ columns
    return windows.view(*first, lines // height, places // width)


def max_pool(x: Part, *options: Any, **named: Any) -> Any:
    if not isinstance(x, Stack) or x.all.ndim != 5:
        return NotImplemented
    return _pooled(torch.max_pool2d, x.all, *options, **named)


def _pooled(pool: Callable[..., Tensor], all_: Tensor, *options: Any, **named: Any) -> Tensor:
    pooled = pool(_channels_last(_folded(all_)), *options, **named)
    return _unfolded(pooled.contiguous(), len(all_))


KERNELS: dict[Any, Callable[..., Any]] = {
    rotary_attention: stacked_rotary_attention,
    gated_layers: stacked_gated_layers,
    adapted_linear: stacked_linear,
    scaled_norm: stacked_norm,
    functional.linear: linear,
    torch.conv1d: convolution,
    torch.conv2d: convolution,
    torch.conv3d: convolution,
    torch.group_norm: group_norm,
    torch.layer_norm: layer_norm,
    torch.rms_norm: rms_norm,
    torch.embedding: embedding,
    functional.scaled_dot_product_attention: attention,
    functional.avg_pool2d: average_pool,
    torch.max_pool2d: max_pool,
}
