"""A sequence of torch's operations as a graph, which torch's interpreter runs without Python.

The operations and their order stay. Two things are done to them: a view that shows just what it was
made of is left out, and where nobody needs an argument of an operation afterwards, number by number
as in an addition, its result is written in the argument's place. So results stay in the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of an operator: its arguments beside their formal ones, and what came of it."""

    func: Any
    arguments: list[tuple[Any, Any]]
    results: Any


def graph_of(
    operations: Sequence[Operation],
    given: Sequence[Tensor],
    results: Sequence[Tensor],
    *,
    draws: bool,
) -> Any:
    """A function from what is given (and a generator, with `draws`) to the results.

    A tensor that was neither given nor computed, such as a frozen weight, is a constant.

    Raises an error where torch's graphs have no such operation.
    """
    writer = _Writer(given, draws=draws)
    last = _last_uses(operations, given, results)
    for number, operation in enumerate(operations):
        if _is_same_view(operation):
            writer.alias(operation)
        else:
            writer.write(operation, _room(operation, number, last))
    return writer.function(results)


def tensors_of(parts: Any) -> list[Tensor]:
    """All tensors in there."""
    return [part for part in tree_iter(parts) if isinstance(part, Tensor)]


def storage_of(tensor: Tensor) -> int:
    """What tells the memory of tensors that live from that of others; views share it."""
    with torch._C.DisableTorchFunction():
        return int(tensor.untyped_storage()._cdata)


def _last_uses(
    operations: Sequence[Operation], given: Sequence[Tensor], results: Sequence[Tensor]
) -> dict[int, int]:
    """The last operation, by number, that needs a storage which an operation has made."""
    last: dict[int, int] = {}
    made: set[int] = set()
    for number, operation in enumerate(operations):
        taken = {storage_of(part) for part in tensors_of([each for _, each in operation.arguments])}
        made |= {storage_of(part) for part in tensors_of(operation.results)} - taken
        last.update(dict.fromkeys(taken & made, number))
    return {**last, **{storage_of(part): len(operations) for part in (*given, *results)}}


def _room(operation: Operation, number: int, last: dict[int, int]) -> Tensor | None:
    """An argument in whose place the result can be written, if there is one.

    last: of each storage the operation, by number, that needs it last; `number` is this one's.
    """
    result, func = operation.results, operation.func
    if torch.Tag.pointwise not in func.tags or torch.Tag.nondeterministic_seeded in func.tags:
        return None
    if not isinstance(result, Tensor) or func._schema.returns[0].alias_info is not None:
        return None
    parts = tensors_of([given for _, given in operation.arguments])
    for part in parts:
        beside = [other for other in parts if storage_of(other) == storage_of(part)]
        if (
            last.get(storage_of(part)) == number
            and _shape(part) == _shape(result)
            and part.untyped_storage().nbytes() == part.nbytes
            and all(_shape(other) == _shape(part) for other in beside)
        ):
            return part
    return None


class _Writer:
    """A graph in the making."""

    def __init__(self, given: Sequence[Tensor], *, draws: bool) -> None:
        self.graph: Any = torch._C.Graph()
        self.values = {id(tensor): self.graph.addInput() for tensor in given}
        self.drawn: Any = None
        if draws:
            self.drawn = self.graph.addInput()
            self.drawn.setType(torch._C._GeneratorType.get())

    def alias(self, operation: Operation) -> None:
        """Takes the result for the first argument, which it is."""
        self.values[id(operation.results)] = self._value(*operation.arguments[0])

    def write(self, operation: Operation, room: Tensor | None) -> None:
        """Appends the operation; its result goes to the place of `room`."""
        schema, results = operation.func._schema, operation.results
        inputs = [self._value(formal, given) for formal, given in operation.arguments]
        node = None if room is None else self._in_place(operation, room, inputs)
        node = node or self._node(schema.name, inputs, len(schema.returns))
        if node is None:
            raise TypeError(f"torch's graphs have no {schema.name} of such arguments")
        returns = schema.returns
        several = results if len(returns) > 1 else (results,)
        for output, returned, found in zip(node.outputs(), returns, several, strict=False):
            output.setType(returned.type)
            if isinstance(found, Tensor):
                self.values[id(found)] = output
            elif isinstance(found, (list, tuple)):
                unpacked = self._node("prim::ListUnpack", [output], len(found))
                self.values.update(zip(map(id, found), unpacked.outputs(), strict=True))

    def function(self, results: Sequence[Tensor]) -> Any:
        """The function that returns these results."""
        values = [self.values[id(each)] for each in results]
        whole = self._node("prim::TupleConstruct", values, 1).output()
        whole.setType(torch._C.TupleType([each.type() for each in values]))
        self.graph.registerOutput(whole)
        torch._C._jit_pass_dce(self.graph)  # what no result needs
        self.graph.lint()
        return torch._C._create_function_from_graph("step", self.graph)

    def _in_place(self, operation: Operation, room: Tensor, inputs: list[Any]) -> Any:
        """The operation in its form that writes the result in the place of `room`, if any."""
        packet, name = operation.func.overloadpacket, operation.func._schema.name
        if operation.arguments[0][1] is room and hasattr(torch.ops.aten, packet.__name__ + "_"):
            return self._node(name + "_", inputs, 1)
        forms = [getattr(packet, overload, None) for overload in ("out", "grad_input")]
        # Those that torch has generated compute elsewhere, and copy.
        if any(form is not None and torch.Tag.generated not in form.tags for form in forms):
            return self._node(name, [*inputs, self.values[id(room)]], 1)
        return None

    def _node(self, kind: str, inputs: list[Any], n_outputs: int) -> Any:
        """A call of an operation; None where torch's graphs have none for such arguments."""
        node = self.graph.create(kind, inputs, n_outputs)
        if not kind.startswith("prim::") and not node.schema().startswith(kind):
            node.destroy()
            return None
        self.graph.insertNode(node)
        return node

    def _value(self, formal: Any, given: Any) -> Any:
        """What the graph has for an argument: a value computed before, or a constant."""
        kind = str(formal.type)
        if isinstance(given, Tensor):
            found = self.values.get(id(given))
            return self.graph.insertConstant(given.detach()) if found is None else found
        if isinstance(given, torch.Generator):
            return self.drawn
        if isinstance(given, (list, tuple)) and ("Tensor" in kind or not given):
            parts = [self._value(formal, each) for each in given]
            listed = self._node("prim::ListConstruct", parts, 1)
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


def _is_same_view(operation: Operation) -> bool:
    """Whether a view shows just what it was made of."""
    returns = operation.func._schema.returns
    if len(returns) != 1 or returns[0].alias_info is None or returns[0].alias_info.is_write:
        return False
    both = operation.arguments[0][1], operation.results
    if not all(isinstance(each, Tensor) for each in both):
        return False
    one, other = both
    return _shape(one) == _shape(other) and one.storage_offset() == other.storage_offset()


def _shape(tensor: Tensor) -> tuple[Any, ...]:
    """How it shows its memory; a conjugate shows the same numbers otherwise."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg()
