"""Causal attention with rotary positions, and gated layers, as one step each in a stack.

transformers writes both operation by operation, and each goes through all numbers of a stack. Here
layers of the same rows are one product, a rotation is one multiplication of complex numbers, and
gradients are written out. One model alone computes as transformers wrote it.

Layers are given one after the other, each as its weight, bias, A, B and scale (as to
`adapted_linear`); A and B are None where it has no adapter.

Shapes: C models of a stack, N rows of all models, M rows and places of one model, S places of a
row, H heads, R the rank.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

from fl_sv.training.adapted import Adapted
from fl_sv.training.stacked import Part, Stack

aten = torch.ops.aten
# What is gated by which function, each with its gradient, as torch computes both.
GATES: Mapping[str, tuple[Any, Any, dict[str, Any]]] = {
    "silu": (aten.silu, aten.silu_backward, {}),
    "gelu": (aten.gelu, aten.gelu_backward, {"approximate": "none"}),
    "gelu_tanh": (aten.gelu, aten.gelu_backward, {"approximate": "tanh"}),
}


class Heads(NamedTuple):
    """How many heads queries have, how many keys and values have, and the scale of scores."""

    queries: int
    keys: int
    scale: float


class _Layer(NamedTuple):
    weight: Tensor
    bias: Tensor | None
    a: Part
    b: Part
    scale: float


# --- the layers of one model ----------------------------------------------------------------------


def rotary_attention(
    written: Callable[[], Tensor], x: Tensor, cos: Tensor, sin: Tensor, heads: Heads, *layers: Any
) -> Tensor:
    """Causal attention among the places of x, as transformers computes it.

    written: does so. x: (B, S, width). cos, sin: of the positions' angles, (S, width of a head), in
    equal halves. layers: of queries, keys, values and outputs.
    """
    if has_torch_function((x,)):
        given = (written, x, cos, sin, heads, *layers)
        outputs: Tensor = handle_torch_function(rotary_attention, (x,), *given)
        return outputs
    return written()


def gated_layers(written: Callable[[], Tensor], x: Tensor, gate: str, *layers: Any) -> Tensor:
    """down(gate(one(x)) * other(x)), as transformers computes it.

    written: does so. gate: of GATES. layers: one, other and down.
    """
    if has_torch_function((x,)):
        outputs: Tensor = handle_torch_function(gated_layers, (x,), written, x, gate, *layers)
        return outputs
    return written()


# --- the layers of a stack ------------------------------------------------------------------------


def stacked_rotary_attention(
    written: Any, x: Part, cos: Tensor, sin: Tensor, heads: Heads, *layers: Any
) -> Any:
    """`rotary_attention` of all models."""
    found = _layers(layers)
    if found is None or isinstance(cos, Stack) or isinstance(sin, Stack):
        return NotImplemented
    *inner, outer = found
    half = cos.shape[-1] // 2
    turned = [_in_pairs(each, half) for each in inner[:2]]
    turned[0] = _scaled(turned[0], heads.scale)
    joined = _joined(x, [*turned, inner[2]], n_models := _count(x, layers))
    places = joined.reshape(-1, cos.shape[-2], joined.shape[-1])
    angles = torch.complex(cos[..., :half], sin[..., :half])
    mixed = _RotaryAttention.apply(places, angles, heads)  # type: ignore[no-untyped-call]
    mixed = mixed.view(n_models, -1, *mixed.shape[1:])
    return _joined(Stack(mixed), [outer], n_models).view(*mixed.shape[:-1], -1)


def stacked_gated_layers(written: Any, x: Part, gate: str, *layers: Any) -> Any:
    """`gated_layers` of all models."""
    found = _layers(layers)
    if found is None:
        return NotImplemented
    n_models = _count(x, layers)
    both = _joined(x, found[:2], n_models)
    gated = _Gated.apply(both, gate)  # type: ignore[no-untyped-call]
    places = (x.all[0] if isinstance(x, Stack) else x).shape[:-1]
    return _joined(Stack(gated), found[2:], n_models).view(n_models, *places, -1)


def _layers(given: Sequence[Any]) -> list[_Layer] | None:
    """The layers, or None where more than their adapters differs from model to model."""
    layers = [*map(_Layer._make, zip(*[iter(given)] * len(_Layer._fields), strict=True))]
    own = any(isinstance(part, Stack) for each in layers for part in (each.weight, each.bias))
    return None if own else layers


def _count(*parts: Any) -> int:
    """How many models there are."""
    flat = [part for each in parts for part in (each if isinstance(each, tuple) else (each,))]
    return next(len(part.all) for part in flat if isinstance(part, Stack))


def _in_pairs(layer: _Layer, half: int) -> _Layer:
    """The layer with outputs i and i + half of a head, which rotate together, side by side.

    Scores are products of queries and keys, which do not see the order in which both are.
    """

    def paired(part: Any, dim: int) -> Any:
        if isinstance(part, Stack):
            return Stack(paired(part.all, dim + 1))
        if part is None:
            return None
        return part.unflatten(dim, (-1, 2, half)).transpose(dim + 1, dim + 2).flatten(dim, dim + 2)

    return layer._replace(
        weight=paired(layer.weight, 0), bias=paired(layer.bias, 0), b=paired(layer.b, 0)
    )


def _scaled(layer: _Layer, scale: float) -> _Layer:
    return layer._replace(
        weight=layer.weight * scale,
        bias=None if layer.bias is None else layer.bias * scale,
        scale=layer.scale * scale,
    )


def _joined(x: Part, layers: Sequence[_Layer], n_models: int) -> Tensor:
    """The outputs of layers of the same rows, side by side, of all models: (C, M, outputs)."""
    rows = x.all.flatten(1, -2) if isinstance(x, Stack) else x.flatten(0, -2)
    if rows.ndim == 2 and n_models == 1:
        rows = rows[None]  # with one model there is nothing to share
    weight = torch.cat([each.weight for each in layers]) if len(layers) > 1 else layers[0].weight
    bias = _biases(layers)
    adapted = [each for each in layers if each.b is not None]
    if not adapted:
        return functional.linear(rows.expand(n_models, -1, -1), weight, bias)
    a = torch.cat([_of_all(each.a, n_models) for each in adapted], 1)
    if len(layers) == 1:
        b, scale = _of_all(layers[0].b, n_models), layers[0].scale
    else:
        b, scale = torch.cat([*_diagonal(layers, a)], 1), 1.0
    outputs: Tensor = Adapted.apply(rows, weight, bias, a, b, scale)  # type: ignore[no-untyped-call]
    return outputs


def _biases(layers: Sequence[_Layer]) -> Tensor | None:
    if all(each.bias is None for each in layers):
        return None
    return torch.cat(
        [
            each.weight.new_zeros(len(each.weight)) if each.bias is None else each.bias
            for each in layers
        ]
    )


def _of_all(part: Part, n_models: int) -> Tensor:
    return part.all if isinstance(part, Stack) else part.expand(n_models, *part.shape)


def _diagonal(layers: Sequence[_Layer], a: Tensor) -> Iterator[Tensor]:
    """Each layer's s B, (C, outputs, R of all), beside zeros where the other layers' A are."""
    n_models, ranks, _ = a.shape
    before = 0
    for each in layers:
        if each.b is None:
            yield a.new_zeros(n_models, len(each.weight), ranks)
            continue
        b = _of_all(each.b, n_models) * each.scale
        after = ranks - before - b.shape[-1]
        yield functional.pad(b, (before, after))
        before += b.shape[-1]


class _RotaryAttention(torch.autograd.Function):
    """queries, keys and values beside each other: (N, S, outputs); angles (1 or none, S, pairs).

    The numbers of a head that rotate together stand side by side; queries are scaled already.
    """

    @staticmethod
    def forward(ctx: Any, joined: Tensor, angles: Tensor, heads: Heads) -> Tensor:
        n_rows, places, _ = joined.shape
        by_head = joined.view(n_rows, places, -1, 2 * angles.shape[-1]).transpose(1, 2)
        query, key, value = torch.split(by_head, _sizes(heads), 1)
        query, key, value = _turned(query, angles), _turned(key, angles), value.contiguous()
        hidden = joined.new_full((places, places), -torch.inf).triu_(1)
        scores = torch.baddbmm(hidden, query.flatten(0, 1), _repeated(key, heads).mT)
        weights = torch.softmax(scores, -1)
        ctx.save_for_backward(query, key, value, weights, angles)
        ctx.heads = heads
        mixed = torch.bmm(weights, _repeated(value, heads)).view(query.shape)
        return mixed.transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        query, key, value, weights, angles = ctx.saved_tensors
        heads, back = ctx.heads, torch.conj_physical(angles)
        n_rows, _, places, width = query.shape
        due = gradient.view(n_rows, places, -1, width).transpose(1, 2).flatten(0, 1)
        of_weights = torch.bmm(due, _repeated(value, heads).mT)
        scores = aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        joined = gradient.new_empty(n_rows, places, sum(_sizes(heads)), width)
        of_query, of_key, of_value = torch.split(joined.transpose(1, 2), _sizes(heads), 1)
        _turned(torch.bmm(scores, _repeated(key, heads)).view(query.shape), back, of_query)
        _turned(_summed(torch.bmm(scores.mT, query.flatten(0, 1)), key), back, of_key)
        of_value.copy_(_summed(torch.bmm(weights.mT, due), value))
        return joined.flatten(2), None, None


def _turned(part: Tensor, angles: Tensor, out: Tensor | None = None) -> Tensor:
    """(N, H, S, width) rotated; the result has this order in memory unless it is given."""
    out = part.new_empty(part.shape) if out is None else out
    torch.mul(_complex(part), angles, out=_complex(out))
    return out


def _sizes(heads: Heads) -> list[int]:
    return [heads.queries, heads.keys, heads.keys]


def _complex(heads: Tensor) -> Tensor:
    return torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2))


def _repeated(part: Tensor, heads: Heads) -> Tensor:
    """Keys or values of some rows, (rows, heads, S, width), for each head of the queries."""
    if heads.keys < heads.queries:
        part = part.repeat_interleave(heads.queries // heads.keys, 1)
    return part.flatten(0, 1)


def _summed(by_head: Tensor, part: Tensor) -> Tensor:
    """The sum over the heads of the queries that share one of `part` (rows, heads, S, width)."""
    n_rows, n_heads, places, width = part.shape
    by_head = by_head.view(n_rows, n_heads, -1, places, width)
    return by_head[:, :, 0] if by_head.shape[2] == 1 else by_head.sum(2)


class _Gated(torch.autograd.Function):
    """both: what is put through the gate and what it lets through, side by side: (C, M, 2 F)."""

    @staticmethod
    def forward(ctx: Any, both: Tensor, gate: str) -> Tensor:
        function, _, options = GATES[gate]
        one, other = both.chunk(2, -1)
        opened: Tensor = function(one, **options)
        ctx.save_for_backward(both, opened)
        ctx.gate = gate
        return opened * other

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        both, opened = ctx.saved_tensors
        _, function_backward, options = GATES[ctx.gate]
        one, other = both.chunk(2, -1)
        found = torch.empty_like(both)
        of_one, of_other = found.chunk(2, -1)
        torch.mul(gradient, opened, out=of_other)
        function_backward.grad_input(gradient * other, one, **options, grad_input=of_one)
        return found, None
