"""A step of a stack, traced once and then run without Python.

A step goes through the user's own code, `vmap` and autograd, which takes some milliseconds of
Python, whatever the size of the models, and one thread of a process at a time. For equal shapes it
is the same sequence of torch's operations every time. So this sequence is written down once, as a
graph that torch's own interpreter runs: its operations, in their order, on the same numbers, which
gives the same bits. Nothing is joined or reordered.

What reads numbers to decide what to compute is not traced, and goes through Python as ever.
"""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from fl_sv.training.calls import Answering

# From tensors to tensors. It is given what it needs besides the module: parameters, rows, targets.
Step = Callable[..., Sequence[Tensor]]

# After so many steps of the same shapes in this process. A trace takes 10 to 100 ms, as ten to
# thirty steps, and saves 1 to 5 ms of each step: so it never costs much more than was lost before.
TRACED_AFTER = 16
# So many traced steps are compared with Python's, as numbers may have got into the graph that
# were none of its own.
CHECKED = 2

_READS_NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}

# The contexts of a trace note for the whole process that they are open.
_one_trace = threading.Lock()


class Untraceable(Exception):
    """A step does something that a graph cannot hold."""


class Traces:
    """The steps of one model that this process has seen often, by the shapes of their arguments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[Any] = Counter()
        self._graphs: dict[Any, Any] = {}

    def run(
        self,
        step: Step,
        kind: Hashable,
        given: Sequence[Tensor],
        generator: torch.Generator | None = None,
    ) -> Sequence[Tensor]:
        """The results of `step`, by its graph where there is one.

        kind: what tells the step from others of the model with the same shapes.
        generator: from which the step draws; None where it draws nothing.
        """
        key = (kind, *((each.shape, each.stride(), each.dtype) for each in given))
        with self._lock:
            self._seen[key] += 1
            seen = self._seen[key]
        if seen == TRACED_AFTER:
            self._graphs[key] = self._graph(step, given, generator)
        graph = self._graphs.get(key)
        if graph is None:
            return step(*given)
        if seen <= TRACED_AFTER + CHECKED and not self._is_right(graph, step, given, generator):
            self._graphs[key] = None
            return step(*given)
        return run(graph, given, generator)

    @staticmethod
    def _graph(step: Step, given: Sequence[Tensor], generator: torch.Generator | None) -> Any:
        with suppress(Exception), _one_trace:
            return traced(step, given, generator)
        return None

    @staticmethod
    def _is_right(
        graph: Any, step: Step, given: Sequence[Tensor], generator: torch.Generator | None
    ) -> bool:
        """Whether the graph gives the same bits as the step, and draws as much."""
        results = []
        for way in (partial(step, *given), partial(run, graph, given, generator)):
            with _drawing_again(generator):
                found = way()
                results.append([*found, *([] if generator is None else [generator.get_state()])])
        return all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def traced(step: Step, given: Sequence[Tensor], generator: torch.Generator | None = None) -> Any:
    """The graph of the step, from what is given (and the generator) to its results.

    Raises an error of any kind where it has none: its own code, torch's and this one can fail.
    """
    recorder = _Recorder(given, generator)
    with _drawing_again(generator), _Unread(), recorder:
        results = step(*given)
    return recorder.function(results)


def run(
    graph: Any, given: Sequence[Tensor], generator: torch.Generator | None = None
) -> Sequence[Tensor]:
    """What the graph makes of what is given. Other threads go on meanwhile."""
    before = torch._C._get_graph_executor_optimize()
    torch._C._set_graph_executor_optimize(False)  # of this thread: torch would join operations
    try:
        results: Sequence[Tensor] = graph(*given, *([] if generator is None else [generator]))
    finally:
        torch._C._set_graph_executor_optimize(before)
    return results


@contextmanager
def _drawing_again(generator: torch.Generator | None) -> Iterator[None]:
    """A context that leaves the generator as it was."""
    if generator is None:
        yield
        return
    before = generator.get_state()
    try:
        yield
    finally:
        generator.set_state(before)


class _Unread(Answering):
    """A context in which no tensor can be read past torch's operations."""

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in _READS:
            raise Untraceable("reads numbers of its rows or parameters")
        return NotImplemented


_READS = {
    getattr(Tensor, name)
    for name in ("tolist", "numpy", "__array__", "data_ptr", "untyped_storage", "__dlpack__")
}


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that writes down the operations in it, from what is given.

    A tensor that was neither given nor computed, such as a frozen weight, is a constant.
    """

    def __init__(self, given: Sequence[Tensor], generator: torch.Generator | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph: Any = torch._C.Graph()
        self.values: dict[int, Any] = {}  # of the graph, by the id of their tensor
        self.own: set[int] = set()  # tensors of the step's own making, which it may change
        self.kept: list[Tensor] = []  # so that no other tensor has the id of one of these
        for tensor in given:
            self._name(tensor, self.graph.addInput(), own=False)
        self.generator = generator
        if generator is not None:
            self.drawn = self.graph.addInput()
            self.drawn.setType(torch._C._GeneratorType.get())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # which would load torch's compiler, for a second and a half

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if not _READS_NUMBERS.isdisjoint(func.tags):
            raise Untraceable("reads numbers of its rows or parameters")
        kwargs, schema = kwargs or {}, func._schema
        arguments = [
            (formal, args[i] if i < len(args) else kwargs.get(formal.name, formal.default_value))
            for i, formal in enumerate(schema.arguments)
        ]
        # Arguments that share their memory with a result, or are changed.
        shared = [(formal, given) for formal, given in arguments if formal.alias_info is not None]
        own = all(id(part) in self.own for _, given in shared for part in _tensors(given))
        if schema.is_mutable and not own:
            raise Untraceable("changes its rows, parameters or buffers in place")
        results = func(*args, **kwargs)
        if _is_the_same_view(func, args, results):
            self._name(results, self._value(*arguments[0]), own=own)
        elif schema.is_mutable or _tensors(results):
            self._write(func, arguments, results, own=own)
        return results

    def function(self, results: Sequence[Tensor]) -> Any:
        """What was written down, as a function of what was given; it returns `results`."""
        values = [self.values[id(each)] for each in results]
        whole = self._node("prim::TupleConstruct", values, 1).output()
        whole.setType(torch._C.TupleType([each.type() for each in values]))
        self.graph.registerOutput(whole)
        torch._C._jit_pass_dce(self.graph)  # what no result needs
        self.graph.lint()
        return torch._C._create_function_from_graph("step", self.graph)

    def _write(
        self, func: Any, arguments: list[tuple[Any, Any]], results: Any, *, own: bool
    ) -> None:
        inputs = [self._value(formal, given) for formal, given in arguments]
        returns = func._schema.returns
        node = self._node(func._schema.name, inputs, len(returns))
        if not node.schema().startswith(func._schema.name):
            raise Untraceable(f"torch's graphs have no {func} of such arguments")
        several = results if len(returns) > 1 else (results,)
        for output, returned, found in zip(node.outputs(), returns, several, strict=False):
            output.setType(returned.type)
            if isinstance(found, Tensor):
                self._name(found, output, own=own)
            elif isinstance(found, (list, tuple)):
                unpacked = self._node("prim::ListUnpack", [output], len(found))
                for part, one in zip(found, unpacked.outputs(), strict=True):
                    self._name(part, one, own=own)

    def _node(self, kind: str, inputs: list[Any], n_outputs: int) -> Any:
        node = self.graph.create(kind, inputs, n_outputs)
        self.graph.insertNode(node)
        return node

    def _name(self, tensor: Tensor, value: Any, *, own: bool) -> None:
        self.values[id(tensor)] = value
        self.kept.append(tensor)
        if own:
            self.own.add(id(tensor))

    def _value(self, formal: Any, given: Any) -> Any:
        """What the graph has for an argument: a value computed before, or a constant."""
        kind = str(formal.type)
        if isinstance(given, Tensor):
            found = self.values.get(id(given))
            return self.graph.insertConstant(given.detach()) if found is None else found
        if isinstance(given, torch.Generator):  # torch makes another object of the same generator
            if self.generator is None or not _are_alike(given, self.generator):
                raise Untraceable("draws from a generator of its own")
            return self.drawn
        if isinstance(given, (list, tuple)) and ("Tensor" in kind or not given):
            listed = self._node(
                "prim::ListConstruct", [self._value(formal, each) for each in given], 1
            )
            listed.output().setType(formal.type)
            return listed.output()
        return self.graph.insertConstant(_constant(given, kind))


def _constant(given: Any, kind: str) -> Any:
    """A number, a list of them, or an option, as torch's graphs have it for such an argument."""
    if isinstance(given, torch.memory_format):
        return _MEMORY_FORMATS[given]
    if isinstance(given, (list, tuple)):
        return [float(each) for each in given] if "float" in kind else list(given)
    if isinstance(given, int) and kind.startswith("float"):
        return float(given)
    if isinstance(given, bool) and "Tensor" in kind:
        return int(given)
    return given


# As torch numbers them (c10/core/MemoryFormat.h).
_MEMORY_FORMATS = {
    torch.contiguous_format: 0,
    torch.preserve_format: 1,
    torch.channels_last: 2,
    torch.channels_last_3d: 3,
}


def _tensors(parts: Any) -> list[Tensor]:
    return [part for part in tree_iter(parts) if isinstance(part, Tensor)]


def _are_alike(one: torch.Generator, other: torch.Generator) -> bool:
    return torch.equal(one.get_state(), other.get_state())


def _is_the_same_view(func: Any, args: tuple[Any, ...], result: Any) -> bool:
    """Whether a view shows just what it was made of."""
    returns = func._schema.returns
    if len(returns) != 1 or returns[0].alias_info is None or returns[0].alias_info.is_write:
        return False
    both = args[0], result
    return all(isinstance(each, Tensor) for each in both) and _place(args[0]) == _place(result)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype
