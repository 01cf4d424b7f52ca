"""Scores of models on the operator's validation set.

Shapes: C models of a stack, V validation examples, K outputs.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.config import Config
from fl_sv.errors import RunError
from fl_sv.game.coalitions import EMPTY
from fl_sv.game.scores import Score
from fl_sv.training.kept import KeptStates
from fl_sv.training.models import ModelSpec
from fl_sv.training.stack import score_stack

Outputs = NDArray[np.floating]  # (V, K) of one model


@dataclass(frozen=True)
class ValidationSet:
    """The operator's held-out rows on the device of the run.

    planted: rows (planted, *input_shape) and drawn labels (planted,), which score nothing.
    """

    config: Config
    x: Tensor  # (V, *input_shape)
    y: Tensor  # (V,)
    planted: tuple[Tensor, Tensor] | None = None

    @cached_property
    def states(self) -> KeptStates:
        """The rows as each model is given them."""
        return KeptStates(self.x, self.config.compute.states_megabytes)

    def losses(
        self, model: ModelSpec, stack: Tensor, what: str, keep: Collection[int] = ()
    ) -> tuple[Tensor, Tensor | None, dict[int, Outputs]]:
        """The loss (C, V) of every model on every example, and whether its class was right (C, V).

        stack: (C, parameters), one flat vector a row.
        what: the training, as an error message begins.
        keep: the models whose outputs are wanted, by their row of the stack: (V, K), and below
            them those on the planted rows.

        All results are on the CPU; the second is None for a regression, the third has the outputs
        that were kept. Raises RunError when a loss is NaN or infinite: a training that diverged has
        no utility.
        """
        stack = stack.to(self.config.compute.device)
        scored, x = self.states.given_to(model)
        chunk = self.config.compute.chunk
        losses, hits, kept = score_stack(scored, stack, x, self.y, chunk, keep)
        if not losses.isfinite().all():
            raise RunError(
                f"{what}: {model.name} has a NaN or infinite validation loss. Lower its learning"
                " rate."
            )
        if (losses < 0).any():
            raise RunError(
                f"{what}: {model.name} has a validation loss below 0. {model.task.loss}"
                " (training.loss) may return none."
            )
        # A class that a model rules out has the output -inf. As the lowest number it stays ruled
        # out, and averages with other models stay numbers.
        if self.planted and kept:
            rows = [*kept]
            places = range(len(rows))
            _, _, below = score_stack(model, stack[rows], *self.planted, chunk, places)
            kept = {rows[i]: torch.cat([kept[rows[i]], below[i]]) for i in places}
        outputs = {row: torch.nan_to_num(own).cpu().numpy() for row, own in kept.items()}
        return losses.cpu(), None if hits is None else hits.cpu(), outputs

    def means(self, model: ModelSpec, stack: Tensor, what: str) -> list[tuple[float, float | None]]:
        """Mean loss and accuracy of each model; accuracy is None for regression."""
        losses, hits, _ = self.losses(model, stack, what)
        return mean_scores(losses, hits)

    def untrained(self, model: ModelSpec, replicate: int) -> tuple[NDArray[np.float64], Score]:
        """The losses (V,) and the score of the empty coalition, whose model is untrained.

        The outputs of a built-in model start at zero. So every example of a classification has the
        loss ln K. It is written as such, because a measured one would have rounding errors. For a
        user's module the config may state the loss (`law.untrained_loss`), which is then used
        instead of the measured one.
        """
        initial = model.initial_params(self.config.seed, replicate)[None]
        losses, hits, _ = self.losses(model, initial, "the untrained model")
        ((loss, accuracy),) = mean_scores(losses, hits)
        losses_V = losses[0].numpy()
        is_cross_entropy = model.task.kind == "classification" and model.task.loss is None
        if model.starts_at_zero and is_cross_entropy:
            loss = math.log(model.task.n_outputs)
            losses_V = np.full_like(losses_V, loss)
        elif not model.starts_at_zero and self.config.law.untrained_loss is not None:
            loss = self.config.law.untrained_loss
            losses_V = np.full_like(losses_V, loss)
        return losses_V, Score(EMPTY, model.name, replicate, loss, accuracy)


def mean_scores(losses_CV: Tensor, hits_CV: Tensor | None) -> list[tuple[float, float | None]]:
    """Mean loss and accuracy of each model; accuracy is None for regression."""
    loss_C = losses_CV.numpy().mean(axis=1)
    if hits_CV is None:
        return [(float(loss), None) for loss in loss_C]
    accuracy_C = hits_CV.numpy().mean(axis=1)
    return [
        (float(loss), float(accuracy)) for loss, accuracy in zip(loss_C, accuracy_C, strict=True)
    ]
