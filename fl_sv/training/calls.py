"""Contexts in which calls of torch's functions are answered otherwise, in users' own code too."""

import inspect
from functools import cache
from types import FunctionType
from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Of torch.nn.functional's functions with `return_indices`: the code of those that return none.
_WITHOUT_INDICES = {
    getattr(functional, name): getattr(functional, f"_{name}")
    for name in (
        *(f"max_pool{n}d" for n in (1, 2, 3)),
        *(f"adaptive_max_pool{n}d" for n in (1, 2, 3)),
    )
}

_OPENED = (functional.__name__, __name__.rpartition(".")[0])  # where they are written


class Answering(TorchFunctionMode):
    """A context that is asked at every call of a function of torch, in this thread alone.

    torch asks once for a function of torch.nn.functional as a whole, and we for ours. Those that
    `answer` does not know run here, so that what they call inside is asked for, too.
    """

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the call, or NotImplemented where torch's own is meant."""
        raise NotImplementedError

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        answer = self.answer(func, args, kwargs)
        if answer is not NotImplemented:
            return answer
        if (opened := _opened(func)) is not None:
            with self:
                return opened(*args, **kwargs)
        return func(*args, **kwargs)


@cache
def _opened(func: Any) -> FunctionType | None:
    """A function of torch.nn.functional, or of ours, that no longer asks for itself; else None."""
    func = _WITHOUT_INDICES.get(func, func)
    if not inspect.isfunction(func) or not func.__module__.startswith(_OPENED):
        return None
    asks = {name for name in func.__code__.co_names if name.startswith("has_torch_function")}
    if not asks:
        return None
    names = {**func.__globals__, **dict.fromkeys(asks, _no)}
    opened = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


def _no(*_: Any) -> bool:
    return False
