"""The widest result of a module's layers: what decides how many models fit the cache together."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from fl_sv.training.calls import Answering


class Widest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that notes the most numbers of any tensor that is computed in it.

    Views of what was there before, as of a weight, are not computed.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        if all(each.alias_info is None for each in func._schema.returns):
            sizes = [part.numel() for part in tree_iter(results) if isinstance(part, Tensor)]
            self.numbers = max(self.numbers, *sizes, 1)
        return results


class AttentionWrittenOut(Answering):
    """A context in which torch's attention runs operation by operation, in this thread alone."""

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return NotImplemented
        return torch._scaled_dot_product_attention_math(*args, **kwargs)[0]
