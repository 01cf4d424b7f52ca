"""A step of a stack, traced once and then run without Python.

A step goes through the user's own code, `vmap` and autograd, which takes some milliseconds of
Python, whatever the size of the models, and one thread of a process at a time. For equal shapes it
is the same sequence of torch's operations every time. So this sequence is written down once, as a
graph that torch's own interpreter runs (`fl_sv.training.graphs`): its operations, in their order,
on the same numbers, which gives the same bits. Nothing is joined or reordered.

What reads numbers to decide what to compute is not traced, and goes through Python as ever.
"""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fl_sv.training.calls import Answering
from fl_sv.training.graphs import Operation, graph_of, storage_of, tensors_of

# From tensors to tensors. It is given what it needs besides the module: parameters, rows, targets.
Step = Callable[..., Sequence[Tensor]]

# After so many steps of the same shapes in this process. A trace takes 10 to 100 ms, as ten to
# thirty steps, and saves 1 to 5 ms of each step: so it never costs much more than was lost before.
TRACED_AFTER = 16
# So many traced steps are compared with Python's, as numbers may have got into the graph that
# were none of its own.
CHECKED = 2

# Of all models of a process together; a graph takes up to 2 MB. Further steps go through Python.
MOST_GRAPHS = 100

_READS_NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}

# The contexts of a trace note for the whole process that they are open.
_one_trace = threading.Lock()
_all_traces: "WeakSet[Traces]" = WeakSet()


# Why there is no sequence of operations that is that of all rows.
READS = "reads numbers of its rows or parameters"


class Untraceable(Exception):
    """A step does something that a graph cannot hold."""


class Traces:
    """The steps of one model that this process has seen often, by the shapes of their arguments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[Any] = Counter()
        self._graphs: dict[Any, Any] = {}
        _all_traces.add(self)

    def run(
        self,
        make: Callable[[], Step],
        kind: Hashable,
        given: Sequence[Tensor],
        generator: torch.Generator | None = None,
    ) -> Sequence[Tensor]:
        """The results of a step, by its graph where there is one.

        make: of the step, called where it goes through Python.
        kind: what tells the step from others of the model with the same shapes.
        generator: from which the step draws; None where it draws nothing.
        """
        key = (kind, *((each.shape, each.stride(), each.dtype) for each in given))
        with self._lock:
            self._seen[key] += 1
            seen = self._seen[key]
        if seen == TRACED_AFTER:
            self._graphs[key] = self._graph(make(), given, generator)
        graph = self._graphs.get(key)
        if graph is None:
            return make()(*given)
        if seen <= TRACED_AFTER + CHECKED and not self._is_right(graph, make(), given, generator):
            self._graphs[key] = None
            return make()(*given)
        return run(graph, given, generator)

    @staticmethod
    def _graph(step: Step, given: Sequence[Tensor], generator: torch.Generator | None) -> Any:
        with suppress(Exception), _one_trace:
            if sum(len(traces._graphs) for traces in _all_traces) < MOST_GRAPHS:
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
    with _drawing_again(generator), _Unread(recorder), recorder:
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


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that writes down the operations in it, from what is given."""

    def __init__(self, given: Sequence[Tensor], generator: torch.Generator | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given, self.generator = given, generator
        self.operations: list[Operation] = []
        self.made: set[int] = set()  # storages of the step's own making, which it may change
        # Storages with numbers that are others in other steps. What was computed from sizes and
        # frozen weights alone may be read.
        self.changing = {storage_of(tensor) for tensor in given}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # which would load torch's compiler, for a second and a half

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, schema = kwargs or {}, func._schema
        arguments = [
            (formal, args[i] if i < len(args) else kwargs.get(formal.name, formal.default_value))
            for i, formal in enumerate(schema.arguments)
        ]
        taken = {storage_of(part) for part in tensors_of([given for _, given in arguments])}
        changed = {
            storage_of(part)
            for formal, given in arguments
            if formal.alias_info is not None and formal.alias_info.is_write
            for part in tensors_of(given)
        }
        changes = not taken.isdisjoint(self.changing) or self._draws(func, arguments)
        if changes and not _READS_NUMBERS.isdisjoint(func.tags):
            raise Untraceable(READS)
        if not changed <= self.made:
            raise Untraceable("changes its rows, parameters or buffers in place")
        results = func(*args, **kwargs)
        found = {storage_of(part) for part in tensors_of(results)}
        self.made |= found - taken
        if changes:
            self.changing |= found | changed
        if found or schema.is_mutable:
            # Kept with its tensors, so that no others get their places in memory.
            self.operations.append(Operation(func, arguments, results))
        return results

    def function(self, results: Sequence[Tensor]) -> Any:
        """What was written down, as a function of what was given; it returns `results`."""
        return graph_of(self.operations, self.given, results, draws=self.generator is not None)

    def _draws(self, func: Any, arguments: Sequence[tuple[Any, Any]]) -> bool:
        """Whether the operation draws, which it may from the step's generator alone."""
        for _, given in arguments:
            if isinstance(given, torch.Generator):
                own = self.generator  # torch makes another object of the same generator
                if own is None or not torch.equal(own.get_state(), given.get_state()):
                    raise Untraceable("draws from a generator of its own")
                return True
        return torch.Tag.nondeterministic_seeded in func.tags


class _Unread(Answering):
    """A context in which no changing number is read past torch's operations."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in _READS and storage_of(args[0]) in self.recorder.changing:
            raise Untraceable(READS)
        return NotImplemented


_READS = {
    getattr(Tensor, name)
    for name in ("tolist", "numpy", "__array__", "data_ptr", "untyped_storage", "__dlpack__")
}
