"""A model with its scaling inside: it takes rows as a file holds them.

Shapes: B rows of a batch, K outputs.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fl_sv.data import Scaling
from fl_sv.training.factories import module_inputs


class OnRawRows(nn.Module):
    """A trained module behind the scaling of its rows, as the companies' rows were scaled.

    module: the trained one, which takes scaled rows.
    scaling: of features and target; its numbers become buffers in float64.
    dtype: of the module.
    """

    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, module: nn.Module, scaling: Scaling, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.task, self.dtype = module, scaling.task, dtype
        shape = scaling.task.input_shape if len(scaling.mean) > 1 else ()
        for name, numbers in (("mean", scaling.mean), ("scale", scaling.scale)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float64).reshape(shape))
        for name, number in (
            ("target_mean", scaling.target_mean),
            ("target_scale", scaling.target_scale),
        ):
            self.register_buffer(name, torch.tensor(number, dtype=torch.float64))

    def forward(self, rows: Tensor | Mapping[str, Tensor]) -> Tensor:
        """The outputs (B, *places, K) for raw rows (B, *input_shape) of any real type.

        rows: a mapping of arrays where the module takes one (`data.inputs`).

        In a classification these are logits, in a regression (K is 1) the target in its own units,
        in float64. Outputs of another shape, of which only a loss of the user's own knows what they
        mean, stay as the module gives them. Raises ValueError for rows of another shape.
        """
        outputs: Tensor = self.module(self._inputs(rows))
        is_usual = tuple(outputs.shape[1:]) == self.task.output_shape
        if self.task.kind == "regression" and is_usual:
            return outputs.to(torch.float64) * self.target_scale + self.target_mean
        return outputs

    def _inputs(self, rows: Tensor | Mapping[str, Tensor]) -> Any:
        """What the module is given for raw rows: scaled, or as they are (`data.inputs`)."""
        named = {each.name: each for each in self.task.inputs if each.name}
        if isinstance(rows, Mapping):
            if set(rows) != {*named}:
                takes = ", ".join(named) or "one array"
                raise ValueError(f"rows of {', '.join(map(str, rows))}; the model takes {takes}")
            for name, each in named.items():
                _require_shape(rows[name], each.shape, f"{name} of shape")
            return {
                name: rows[name].long() if each.whole else self._real(rows[name])
                for name, each in named.items()
            }
        _require_shape(rows, self.task.input_shape, "rows of shape")
        if self.task.inputs:
            given = rows.long() if self.task.is_whole else self._real(rows)
            return module_inputs(self.task, given)
        # In the steps of `fl_sv.data.scaling`: float64, then float32, then the module's type.
        return self._real((rows.to(torch.float64) - self.mean) / self.scale)

    def _real(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float32).to(self.dtype)


def _require_shape(rows: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(rows.shape[1:]) != shape:
        takes = ", ".join(map(str, ("rows", *shape)))
        raise ValueError(f"{what} {tuple(rows.shape)}; the model takes ({takes})")
