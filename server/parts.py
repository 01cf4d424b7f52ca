"""The operator as companies of its own: what the audit compares the companies' updates with.

Shapes: (parts, ...) has one entry for each part of the validation rows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.audit.lines import MOST_PAIRED
from fl_sv.audit.rows import FEWEST_PARTS, MOST_PARTS
from fl_sv.audit.sketch import WIDTH, sketch
from fl_sv.config import Config
from fl_sv.config.training import Optimizer
from fl_sv.flower import wire
from fl_sv.streams import stream
from fl_sv.training.models import ModelSpec
from fl_sv.training.sgd import Recipe, make_recipe
from fl_sv.training.stack import train_stack
from fl_sv.valuation.groups import Groups
from server.job import Job

Floats = NDArray[np.float64]

LEAST_ROWS = 4  # of a part of the validation rows
MOST_ROWS = 256  # of a group, in one step


def operator_parts(job: Job) -> "OperatorParts | None":
    """The parts of the validation rows; None where companies' rows are not compared."""
    config = job.config
    # Students learn from a teacher whom the operator's rows do not have.
    if (
        config.training.local_steps is None
        or len(config.companies) > MOST_PAIRED
        or config.students
    ):
        return None
    parts = OperatorParts(config, job.small, job.validation.x, job.validation.y, job.groups)
    return parts if parts.are_enough else None


@dataclass(frozen=True)
class OperatorParts:
    """The operator as companies of its own, which hold parts of the validation rows.

    groups: of the validation rows.
    """

    config: Config
    models: tuple[ModelSpec, ...]
    x: Tensor
    y: Tensor
    groups: Groups | None

    @cached_property
    def parts(self) -> list[Tensor]:
        """The validation rows of each part, drawn by a stream of their own."""
        order = stream(self.config.seed, "audit", "parts").permutation(len(self.y))
        n_parts = min(MOST_PARTS, len(self.y) // LEAST_ROWS)
        return [*torch.from_numpy(order).tensor_split(n_parts)] if n_parts else []

    @property
    def are_enough(self) -> bool:
        """Whether chance can be told by them."""
        return len(self.parts) >= FEWEST_PARTS

    def __call__(
        self, key: str, server_round: int, start: NDArray[np.floating]
    ) -> tuple[Floats, Floats]:
        """What each part does in a round, and what a mix of groups does.

        start: the model (parameters,) from which all begin.

        Returns sketches (parts, WIDTH) of the updates, and the directions in which groups move one:
        the gradient of each group's loss, before and after the first part's round.
        """
        name, replicate = wire.parse_stack_key(key)
        model = next(model for model in self.models if model.name == name)
        before = torch.tensor(start, device=self.x.device)[None]
        recipes = self._recipes(model, replicate, server_round)
        after = [
            train_stack(model, before, self.x[rows], self.y[rows], recipe, 1)
            for rows, recipe in zip(self.parts, recipes, strict=True)
        ]
        both = torch.cat([before, after[0]])
        steps = [
            _sketched(
                train_stack(model, both, self.x[rows], self.y[rows], _one_step(recipes[0], rows), 2)
                - both
            )
            for rows in self._groups()
        ]
        directions = np.concatenate(steps) if steps else np.empty((0, WIDTH))
        return _sketched(torch.cat(after) - before), directions

    def _recipes(self, model: ModelSpec, replicate: int, server_round: int) -> list[Recipe]:
        return [
            make_recipe(
                self.config,
                model,
                f"part {i}\n",
                len(rows),
                replicate,
                server_round,
                model.learning_rate,
            )
            for i, rows in enumerate(self.parts)
        ]

    def _groups(self) -> list[Tensor]:
        """The validation rows of each group."""
        if self.groups is None:
            return []
        of_V = torch.from_numpy(self.groups.of_V)
        rows = [
            torch.nonzero(of_V == group)[:MOST_ROWS, 0] for group in range(len(self.groups.names))
        ]
        return [each for each in rows if len(each)]


def _one_step(recipe: Recipe, rows: Tensor) -> Recipe:
    """A step of plain gradient descent on all rows."""
    return Recipe(Optimizer(), recipe.rates[:1], 0.0, (np.arange(len(rows)),), recipe.torch_seed)


def _sketched(stack: Tensor) -> Floats:
    return sketch(stack.cpu().numpy())
