"""Where the rows' kept states enter a pretrained model: past the blocks that nobody trains.

A row's states before the first block with a trained parameter are the same for all coalitions,
rounds and seeds. So they are computed once (`fl_sv.training.kept`), and the model goes on from
them: the same module, with the earlier blocks passed over and the input of that block replaced.
Blocks are found by their order in a trial, not by names; whether a model that goes on from states
is the whole model is tried, too (`fl_sv.training.trial`).

Shapes: B rows; a state is (places, width), or (width,) before a head.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

HEAD = "head"  # the output layer of a `Pretrained` module that has one
HIDDEN = "hidden_states"  # what a block of transformers takes and gives


@dataclass(frozen=True)
class Entrance:
    """The part of a module at which kept states enter.

    part: its name: a block, or the head.
    passed: the names of the blocks before it, of which `of` are there, each with the number of
        results that it returns; None for a bare tensor.
    shape: of a row's state.
    """

    part: str
    passed: tuple[tuple[str, int | None], ...]
    of: int
    shape: tuple[int, ...]


def find_entrance(module: nn.Module, ids: Tensor) -> Entrance | str | None:
    """Where states may enter, or why they may not; None where the first block is trained already.

    module: a `Pretrained`, which runs once. ids: a few rows (B, places).
    """
    blocks, calls = blocks_of(module), _Calls()
    for name in (*blocks, HEAD):
        if (part := getattr(module, HEAD) if name == HEAD else module.get_submodule(name)) is None:
            continue
        calls.watch(name, part)
    with calls, torch.no_grad():
        module.eval()(ids)
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    homes = {home(name, [*blocks, HEAD]) for name in trained}
    if None in homes:
        return "a part outside its blocks is trained"
    first = next((name for name in calls.order if name in homes), None)
    if first is None:
        return "the blocks that are trained take no part in its outputs"
    passed = [name for name in dict.fromkeys(calls.order) if name != HEAD]
    passed = passed[: passed.index(first)] if first != HEAD else passed
    if not passed:
        return None
    if any(calls.order.count(name) > 1 for name in (*passed, first)):
        return "a block of it runs more than once"
    given = calls.inputs[first]
    if given is None or len(given) != len(ids) or not given.is_floating_point():
        return "what its blocks hand on is no state for each row"
    if first != HEAD and given.shape[1:2] != ids.shape[1:]:
        return "what its blocks hand on is no state for each place"
    results = tuple((name, calls.results[name]) for name in passed)
    return Entrance(first, results, len(blocks), tuple(given.shape[1:]))


def blocks_of(module: nn.Module) -> list[str]:
    """The names of the blocks: the members of lists of modules that are in no other such list."""
    lists = {name: part for name, part in module.named_modules() if isinstance(part, nn.ModuleList)}
    outermost = [name for name in lists if home(name, [n for n in lists if n != name]) is None]
    return [f"{name}.{i}" for name in outermost for i in range(len(lists[name]))]


def home(name: str, parts: Iterable[str]) -> str | None:
    """The part in which the module or parameter of this name lies; None where it lies in none."""
    return next((part for part in parts if name.startswith(f"{part}.")), None)


def entered(module: nn.Module, entrance: Entrance) -> nn.Module:
    """The same `Pretrained`, changed: it takes states (B, ...) for ids, and goes on from there."""
    for name, results in entrance.passed:
        module.get_submodule(name).forward = partial(_pass, results)
    vars(module)["entrance"] = entrance.part
    return module


def states_of(module: nn.Module, part: str, ids: Tensor) -> Tensor:
    """The states (B, ...) of rows: what the part would get. The module runs no further."""
    found: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(_hidden(args, kwargs))
        raise _Reached

    handle = module.get_submodule(part).register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad():
            module.eval()(ids)
    except _Reached:
        return found[0]
    finally:
        handle.remove()
    raise AssertionError(f"{part} was reached when it was tried")


@contextmanager
def entering(part: nn.Module, states: Tensor) -> Iterator[None]:
    """A context in which this part takes the states in place of its input."""

    def replaced(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, HIDDEN: states})

    handle = part.register_forward_pre_hook(replaced, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Reached(Exception):
    """The part was reached whose input was asked for."""


class _Calls:
    """The calls of watched parts, in their order: the last input, and how many results came."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.inputs: dict[str, Tensor | None] = {}
        self.results: dict[str, int | None] = {}
        self._handles: list[Any] = []

    def watch(self, name: str, part: nn.Module) -> None:
        before = part.register_forward_pre_hook(partial(self._called, name), with_kwargs=True)
        after = part.register_forward_hook(partial(self._returned, name))
        self._handles += [before, after]

    def __enter__(self) -> "_Calls":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _called(
        self, name: str, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.order.append(name)
        hidden = _hidden(args, kwargs)
        self.inputs[name] = hidden if isinstance(hidden, Tensor) else None

    def _returned(self, name: str, _: nn.Module, args: tuple[Any, ...], outputs: Any) -> None:
        self.results[name] = len(outputs) if isinstance(outputs, tuple) else None


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get(HIDDEN)


def _pass(results: int | None, *args: Any, **kwargs: Any) -> Any:
    """What a block that is passed over returns: its input, in the form that it has."""
    hidden = _hidden(args, kwargs)
    return hidden if results is None else (hidden, *[None] * (results - 1))
