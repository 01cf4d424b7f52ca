"""What a kernel is given: tensors of each model, and tensors that are the same for all."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

# A `Stack`, a tensor that is the same for all models, or None.
Part = Any


@dataclass(frozen=True)
class Stack:
    """A tensor of each model: (C, *shape), in any layout."""

    all: Tensor

    def beside(self, other: Tensor) -> Tensor:
        """The same as (C, 1, ..., *shape), to be added to or multiplied with `other` (C, ...)."""
        between = other.ndim - self.all.ndim
        return self.all.reshape(len(self.all), *[1] * between, *self.all.shape[1:])
