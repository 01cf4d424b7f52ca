"""Layers of a stack: `torch.func.vmap` of a module's own code, its costly layers replaced.

A module is written for one model. Under `vmap` it computes a stack of C models: every tensor that
depends on the parameters has a hidden dimension of C. What a layer then does is up to torch's
batching rules, of which those of linear layers, convolutions, norms and attention are slow on a
CPU. While a module runs in `stack_forward`, calls of such functions arrive here instead, from
torch's layers and from users' own code alike, and `fl_sv.training.kernels` computes them. All
others follow torch's rules.

The gradient is one backward pass through the stacked parameters, outside of `vmap`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.func import functional_call, vmap
from torch.nn import functional

from fl_sv.training.attention import self_attention
from fl_sv.training.calls import Answering
from fl_sv.training.kernels import KERNELS
from fl_sv.training.stacked import Stack


def stack_forward(module: nn.Module, views: Mapping[str, Tensor], inputs: Any) -> Tensor:
    """The outputs (C, B, ...) of a stack of models on the same rows, with their gradient.

    module: of one model; it is called with other parameters and keeps its own.
    views: the parameters of all models by name, (C, *shape). inputs: what a model is given.
    """

    def outputs_of(views: Mapping[str, Tensor]) -> Tensor:
        with _Layers(_functorch.maybe_current_level()):
            outputs: Tensor = functional_call(module, dict(views), (inputs,))
        return outputs

    outputs: Tensor = vmap(outputs_of, randomness="same")(dict(views))
    return outputs


class _Layers(Answering):
    """A context in which functions of KERNELS are computed for the whole stack.

    level: of the `vmap` that runs the module. What a module maps itself goes torch's way.
    """

    def __init__(self, level: int | None) -> None:
        super().__init__()
        self.level = level

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is functional.multi_head_attention_forward:
            with self:
                return self_attention(*args, **kwargs)
        kernel = KERNELS.get(func)
        if kernel is None or _functorch.maybe_current_level() != self.level:
            return NotImplemented
        given = [self._apart(each) for each in args]
        assert self.level is not None
        named = {name: self._apart(each) for name, each in kwargs.items()}
        if not any(isinstance(each, Stack) for each in (*given, *named.values())):
            return NotImplemented
        with temporarily_pop_interpreter_stack():
            found = kernel(*given, **named)
        if found is NotImplemented:
            return found
        return _functorch._add_batch_dim(found, 0, self.level)

    def _apart(self, value: Any) -> Any:
        """A tensor with the hidden dimension as a `Stack`; others as they are."""
        if not isinstance(value, Tensor) or _functorch.maybe_get_level(value) != self.level:
            return value
        if not _functorch.is_batchedtensor(value):
            return value
        whole = _functorch.get_unwrapped(value)
        return Stack(whole.movedim(_functorch.maybe_get_bdim(value), 0))
