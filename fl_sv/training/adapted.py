"""Frozen layers with adapters, and norms, as one step each in a stack.

peft and transformers write these layers out operation by operation, and each goes through all
numbers of a stack: that is where the time goes, not into products of matrices. In a stack W + s B A
is one matrix for each model, small beside the rows, and takes one product; the gradient of A and B
needs four thin ones. One model alone computes as peft and transformers wrote it.

Shapes: C models of a stack, M rows and places together, R the rank.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

from fl_sv.training.stacked import Part, Stack

# Of a narrower layer the gradient of its whole weight takes less time than four passes with R
# numbers a row: .2 ms against .4 for 32 x 32, as much for 64 x 64 (one core, torch 2.13, 2026-11).
NARROW = 32

# --- the layers of one model ----------------------------------------------------------------------


def adapted_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
) -> Tensor:
    """W x + bias + s B A x, as peft computes it."""
    if has_torch_function((x,)):
        outputs: Tensor = handle_torch_function(adapted_linear, (x,), x, weight, bias, a, b, scale)
        return outputs
    return (
        functional.linear(x, weight, bias) + functional.linear(functional.linear(x, a), b) * scale
    )


def scaled_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x by the root of its mean square, times a weight, as transformers computes it."""
    if has_torch_function((x,)):
        outputs: Tensor = handle_torch_function(scaled_norm, (x,), x, weight, eps)
        return outputs
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


# --- the layers of a stack ------------------------------------------------------------------------


def stacked_linear(x: Part, weight: Tensor, bias: Any, a: Part, b: Part, scale: float) -> Any:
    """`adapted_linear` of all models."""
    if isinstance(weight, Stack) or isinstance(bias, Stack) or not isinstance(b, Stack):
        return NotImplemented
    a_ = a.all if isinstance(a, Stack) else a.expand(len(b.all), *a.shape)
    if isinstance(x, Stack):
        rows, places = x.all.flatten(1, -2), x.all.shape[1:-1]
    else:
        rows, places = x.flatten(0, -2), x.shape[:-1]
    outputs = Adapted.apply(rows, weight, bias, a_, b.all, scale)  # type: ignore[no-untyped-call]
    return outputs.view(len(b.all), *places, -1)


class Adapted(torch.autograd.Function):
    """x: the rows of all models (C, M, inputs), or (M, inputs) where they are the same for all."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        merged = None
        if x.ndim == 3:
            merged = torch.baddbmm(weight.expand(len(a), *weight.shape), b, a, alpha=scale)
            outputs = torch.bmm(x, merged.mT)
            if bias is not None:
                outputs += bias
        else:  # one product with the frozen weight serves all
            same = functional.linear(x, weight, bias).expand(len(a), -1, -1)
            outputs = torch.baddbmm(same, _thin(x, a), b.mT, alpha=scale)
        ctx.save_for_backward(x, a, b, *([] if merged is None else [merged]))
        ctx.scale = scale
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, a, b, *merged = ctx.saved_tensors
        of_x = torch.bmm(gradient, merged[0]) if merged and ctx.needs_input_grad[0] else None
        if merged and _is_narrow(merged[0]):
            of_weight = torch.bmm(gradient.mT, x).mul_(ctx.scale)
            return of_x, None, None, torch.bmm(b.mT, of_weight), torch.bmm(of_weight, a.mT), None
        of_a = of_b = None
        if ctx.needs_input_grad[3]:
            thin = torch.bmm(gradient, b).mul_(ctx.scale)  # (C, M, R)
            rows = x if x.ndim == 3 else x.expand(len(a), -1, -1)
            of_a = torch.bmm(thin.mT, rows)
        if ctx.needs_input_grad[4]:
            of_b = torch.bmm(_thin(x, a).mT, gradient).mul_(ctx.scale).mT
        return of_x, None, None, of_a, of_b, None


def _is_narrow(weight: Tensor) -> bool:
    _, n_outputs, n_inputs = weight.shape
    return n_outputs * n_inputs < NARROW * (n_outputs + n_inputs)


def _thin(x: Tensor, a: Tensor) -> Tensor:
    """A x of all models, (C, M, R)."""
    if x.ndim == 3:
        return torch.bmm(x, a.mT)
    thin = functional.linear(x, a.flatten(0, 1))
    return thin.view(len(x), *a.shape[:2]).transpose(0, 1)


def stacked_norm(x: Part, weight: Part, eps: float) -> Any:
    """`scaled_norm` of all models; its weight is frozen."""
    if not isinstance(x, Stack) or isinstance(weight, Stack):
        return NotImplemented
    return _ScaledNorm.apply(x.all, weight, eps)  # type: ignore[no-untyped-call]


class _ScaledNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = length.square().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        scaled: Tensor = (x * inverse).mul_(weight)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        scaled = gradient * weight
        along = (scaled * x).sum(-1, keepdim=True)
        factor = along.mul_(inverse**3).div_(-x.shape[-1])
        return scaled.mul_(inverse).addcmul_(x, factor), None, None
