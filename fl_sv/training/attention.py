"""Attention in a stack of models: torch's fused one for all models, and one for few places.

Shapes: C models of a stack, B rows of a batch. Heads are those of all rows and models together.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fl_sv.training.stacked import Part, Stack

# Up to so many products of two numbers a head, places x places x width, ours was faster: forwards
# and backwards 2.9 times at 8 x 8 x 4, 1.9 times at 8 x 8 x 8; as fast at 8 x 8 x 16 and
# slower (.8) at 16 x 16 x 8. One core (Intel Sapphire Rapids), torch 2.13, 2026-11.
FEW_PRODUCTS = 512


def attention(
    query: Part,
    key: Part,
    value: Part,
    attn_mask: Part = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    parts = (query, key, value)
    if not all(isinstance(part, Stack) and part.all.ndim >= 4 for part in parts):
        return NotImplemented
    if dropout_p or isinstance(attn_mask, Stack):
        return NotImplemented
    n_models, *_, places, _ = query.all.shape
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.all.shape[1:-2], places, key.all.shape[-2])
        attn_mask = attn_mask.expand(n_models, *attn_mask.shape).flatten(0, -4)
    query_, key_, value_ = (part.all.flatten(0, -4) for part in parts)
    if attn_mask is None and not is_causal and not enable_gqa and _is_small(query_, key_, value_):
        return _few_places(query_, key_, value_, scale).reshape(query.all.shape)
    outputs = functional.scaled_dot_product_attention(
        query_,
        key_,
        value_,
        attn_mask=attn_mask,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    return outputs.reshape(*query.all.shape[:-1], value.all.shape[-1])


def _is_small(query: Tensor, key: Tensor, value: Tensor) -> bool:
    is_one_width = query.shape[-1] == key.shape[-1] == value.shape[-1]
    return is_one_width and query.shape[-2] * key.shape[-2] * key.shape[-1] <= FEW_PRODUCTS


def _few_places(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Attention (..., places, width), where a product for each head would be too small for a call.

    Heads are the last dimension: a few passes over long rows of numbers do what thousands of small
    products would.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    parts = [part.flatten(0, -3).permute(1, 2, 0) for part in (query, key, value)]
    mixed: Tensor = _FewPlaces.apply(*parts, scale)  # type: ignore[no-untyped-call]
    return mixed.permute(2, 0, 1)


class _FewPlaces(torch.autograd.Function):
    """All arguments are (places, width, heads), weights (places, places, heads)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        query, key, value = query * scale, key.contiguous(), value.contiguous()
        weights = torch.softmax(_products(query, key), 1)
        ctx.save_for_backward(query.contiguous(), key, value, weights)
        ctx.scale = scale
        return _sums(weights, value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, weights = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_value = _sums(weights.transpose(0, 1), gradient)
        by_weight = _products(gradient, value).mul_(weights)
        by_weight.addcmul_(weights, by_weight.sum(1, keepdim=True), value=-1)
        to_query = _sums(by_weight, key).mul_(ctx.scale)
        return to_query, _sums(by_weight.transpose(0, 1), query), to_value, None


def _products(one: Tensor, other: Tensor) -> Tensor:
    """The product of each place of one with each of the other, summed over their width."""
    products = one[:, None, 0] * other[None, :, 0]
    for d in range(1, one.shape[1]):
        products.addcmul_(one[:, None, d], other[None, :, d])
    return products


def _sums(weights: Tensor, parts: Tensor) -> Tensor:
    """For each place the sum over all places of their parts, weighted."""
    sums = weights[:, 0, None] * parts[None, 0]
    for place in range(1, len(parts)):
        sums.addcmul_(weights[:, place, None], parts[None, place])
    return sums


def self_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    *_: Any,
    is_causal: bool = False,
    **others: Any,
) -> Any:
    """What torch's MultiheadAttention does in an encoder, without its copies.

    The arguments are those of `multi_head_attention_forward`; NotImplemented where more is asked.

    query: (places, B, width).
    """
    if in_proj_weight is None:
        return NotImplemented
    alone = query is key and key is value and query.ndim == 3
    plain = bias_k is None and bias_v is None and not add_zero_attn and not need_weights
    if not alone or not plain or key_padding_mask is not None or others.get("static_k") is not None:
        return NotImplemented
    if is_causal:
        attn_mask = None  # it says the same
    if attn_mask is not None and attn_mask.ndim != 2:
        return NotImplemented
    places, n_rows, width = query.shape
    joined = functional.linear(query.transpose(0, 1), in_proj_weight, in_proj_bias)
    by_head = joined.reshape(n_rows, places, 3, num_heads, width // num_heads)
    q, k, v = by_head.permute(2, 0, 3, 1, 4).unbind(0)
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # it says what is left out
        attn_mask = attn_mask.logical_not()
    mixed = functional.scaled_dot_product_attention(
        q, k, v, attn_mask, dropout_p if training else 0.0, is_causal
    )
    mixed = mixed.transpose(1, 2).reshape(n_rows, places, width)
    return functional.linear(mixed, out_proj_weight, out_proj_bias).transpose(0, 1), None
