"""Gradients of a model over its inputs. Shapes: B rows of a batch, K outputs."""

from torch import Tensor
from torch.func import vjp

from fl_sv.distillation.transfer import Function


def pullback(fn: Function, x: Tensor) -> tuple[Tensor, Function]:
    """fn(x) (B, K), and the function from v (B, K) to the gradient of <fn(x), v> over x."""
    y, pull = vjp(fn, x)[:2]
    return y, lambda v: pull(v)[0]
