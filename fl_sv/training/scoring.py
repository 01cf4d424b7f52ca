"""Scores of models on the operator's validation set.

Shapes: C models of a stack, P parameters, V validation examples.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.config import Config
from fl_sv.errors import RunError
from fl_sv.game.utilities import Score
from fl_sv.training.models import ModelSpec
from fl_sv.training.stack import score_stack


@dataclass(frozen=True)
class ValidationSet:
    """The operator's validation set on the device of the run: rows x (V, *input_shape) and targets
    y (V,).
    """

    config: Config
    x: Tensor
    y: Tensor

    def losses(self, model: ModelSpec, stack_CP: Tensor, what: str) -> tuple[Tensor, Tensor | None]:
        """Loss (C, V) of every model on every example, and the hits (None for regression), on the
        CPU.

        Raises RunError when a loss is NaN or infinite: a training that diverged has no utility.
        """
        stack = stack_CP.to(self.config.compute.device)
        losses, hits = score_stack(model, stack, self.x, self.y, self.config.compute.chunk)
        if not losses.isfinite().all():
            raise RunError(
                f"{what}: {model.name} has a NaN or infinite validation loss. Lower its learning"
                " rate."
            )
        return losses.cpu(), None if hits is None else hits.cpu()

    def means(
        self, model: ModelSpec, stack_CP: Tensor, what: str
    ) -> list[tuple[float, float | None]]:
        """Mean loss and accuracy of each model; accuracy is None for regression."""
        return mean_scores(*self.losses(model, stack_CP, what))

    def untrained(self, model: ModelSpec, replicate: int) -> tuple[NDArray[np.float64], Score]:
        """Losses (V,) and score of the empty coalition, whose model nobody trained.

        A built-in model's outputs start at exactly zero, so every classified example costs exactly
        ln K. For a user's module the config may give the loss instead of the initialisation's."""
        initial = model.initial_params(self.config.seed, replicate)[None]
        losses, hits = self.losses(model, initial, "the untrained model")
        ((loss, accuracy),) = mean_scores(losses, hits)
        losses_V = losses[0].numpy()
        if model.starts_at_zero and model.task.kind == "classification":
            loss = math.log(model.task.n_outputs)
            losses_V = np.full_like(losses_V, loss)
        elif not model.starts_at_zero and self.config.law.untrained_loss is not None:
            loss = self.config.law.untrained_loss
            losses_V = np.full_like(losses_V, loss)
        return losses_V, Score(0, model.name, replicate, loss, accuracy)


def mean_scores(losses_CV: Tensor, hits_CV: Tensor | None) -> list[tuple[float, float | None]]:
    """Mean loss and accuracy of each model; accuracy is None for regression."""
    losses_C = losses_CV.numpy().mean(axis=1)
    if hits_CV is None:
        return [(float(loss), None) for loss in losses_C]
    return [
        (float(loss), float(hit))
        for loss, hit in zip(losses_C, hits_CV.numpy().mean(axis=1), strict=True)
    ]
