"""Where the factors of adapters lie in a flat vector, for models whose products are averaged.

An adapter adds B A to a layer (fl_sv/config/models.py, `Lora`). With `average: product` the server
averages these products instead of A and B apart (strategies/products.py).
"""

from dataclasses import dataclass
from itertools import accumulate

from fl_sv.config.models import PRETRAINED, Module
from fl_sv.training.models import ModelSpec

A, B = ".lora_A.", ".lora_B."  # as peft names the parameters


@dataclass(frozen=True)
class Pair:
    """The factors of one adapter: from `start` on A (rank, inputs), then B (outputs, rank)."""

    start: int
    rank: int
    inputs: int
    outputs: int

    @property
    def middle(self) -> int:
        """Where A ends and B begins."""
        return self.start + self.rank * self.inputs

    @property
    def end(self) -> int:
        """Where B ends."""
        return self.middle + self.outputs * self.rank


def pairs_of(model: ModelSpec) -> tuple[Pair, ...]:
    """The adapters of a model whose products are averaged, ascending; none of any other model."""
    config = model.config
    if not isinstance(config, Module) or config.factory != PRETRAINED:
        return ()
    if config.options.get("average") != "product":
        return ()
    names, shapes = [*model.shapes], [*model.shapes.values()]
    starts = accumulate((shape.numel() for shape in shapes), initial=0)
    found = []
    for place, (name, start) in enumerate(zip(names, starts, strict=False)):
        if A in name:
            assert names[place + 1] == name.replace(A, B), "peft names B right after its A"
            rank, inputs = shapes[place]
            found.append(Pair(start, rank, inputs, outputs=shapes[place + 1][0]))
    return tuple(found)
