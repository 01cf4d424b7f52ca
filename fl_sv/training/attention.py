"""Attention in a stack of models: torch's fused one for all models, or products for few places.

Shapes: C models of a stack, B rows of a batch. Heads are those of all rows and models together.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fl_sv.training.stacked import Part, Stack

# Up to so many weights a head, places x places, products of matrices were faster than torch's fused
# attention: forwards and backwards 1.2 to 3.7 times at 8 x 8 to 32 x 32, as fast at 64 x 64 and .95
# times at 128 x 128, for heads of 4 to 32 numbers. One core (Intel Sapphire Rapids), torch 2.13,
# 2026-11.
MOST_WEIGHTS = 32 * 32

# Heads of fewer places are computed several at once, as one of so many with a mask: their products
# would be too small for a call each. With 8 places that took a fifth to a half of the time.
FEWEST_PLACES = 16


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
    query_, key_, value_ = (part.all.flatten(0, -3) for part in parts)
    if attn_mask is None and not enable_gqa and places * key.all.shape[-2] <= MOST_WEIGHTS:
        mixed = _by_products(query_, key_, value_, scale, is_causal=is_causal)
        return mixed.view(*query.all.shape[:-1], value.all.shape[-1])
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.all.shape[1:-2], places, key.all.shape[-2])
        attn_mask = attn_mask.expand(n_models, *attn_mask.shape).flatten(0, -4)
    query_, key_, value_ = (part.all.flatten(0, -4) for part in parts)
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


def _by_products(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, *, is_causal: bool
) -> Tensor:
    """Attention of heads (heads, places, width), several at once where they have few places."""
    n_heads, places, width = query.shape
    others = key.shape[1]
    scale = width**-0.5 if scale is None else scale
    at_once = math.gcd(n_heads, -(-FEWEST_PLACES // max(places, others)))
    mask = None
    if is_causal or at_once > 1:
        seen = torch.ones(places, others, dtype=torch.bool, device=query.device)
        heads = [seen.tril() if is_causal else seen] * at_once
        seen = torch.block_diag(*heads)  # type: ignore[no-untyped-call]
        mask = torch.zeros_like(seen, dtype=query.dtype).masked_fill_(~seen, -torch.inf)
    parts = [
        part.reshape(-1, at_once * part.shape[1], part.shape[2]) for part in (query, key, value)
    ]
    mixed: Tensor = _Products.apply(*parts, scale, mask)  # type: ignore[no-untyped-call]
    return mixed.view(n_heads, places, -1)


class _Products(torch.autograd.Function):
    """softmax(scale Q K' + mask) V, for every head."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None
    ) -> Tensor:
        scores = torch.bmm(query, key.mT).mul_(scale)
        if mask is not None:
            scores += mask
        weights = torch.softmax(scores, -1)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scale = scale
        return torch.bmm(weights, value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, weights = ctx.saved_tensors
        to_value = torch.bmm(weights.mT, gradient)
        by_weight = torch.bmm(gradient, value.mT)
        by_score = torch._softmax_backward_data(by_weight, weights, -1, weights.dtype)
        by_score *= ctx.scale
        return torch.bmm(by_score, key), torch.bmm(by_score.mT, query), to_value, None, None


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
