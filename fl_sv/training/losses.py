"""The loss of a row: cross-entropy, squared error, or a function of the user's own, tried.

Shapes: B rows of a batch, K outputs; a row may have several places, each with K outputs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fl_sv.data import Task
from fl_sv.data.dataset import IGNORED
from fl_sv.errors import InputError
from fl_sv.plugins import ANY_ERROR, resolve
from fl_sv.training.factories import quoted

RowLoss = Callable[[Tensor, Tensor], Tensor]

# Two losses of a row are one up to this share; other rows of a batch may change its last bits.
TOLERANCE = 1e-4


def row_loss(task: Task) -> RowLoss:
    """The loss of each row (B,) from outputs (B, *places, K) and targets (B, *places).

    It is the cross-entropy in nats, the mean over the places that count; in a regression the
    squared error; or the user's own.
    """
    if task.loss is not None:
        own: RowLoss = resolve(task.loss, "training.loss")
        return own
    if task.kind == "regression":
        return lambda outputs, targets: (outputs[:, 0] - targets) ** 2
    if task.places:
        return _mean_over_places
    return lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none")


def _mean_over_places(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = nn.functional.cross_entropy(
        outputs.flatten(0, -2), targets.flatten(), reduction="none", ignore_index=IGNORED
    )
    counted = (targets != IGNORED).flatten(1).sum(1)
    return losses.reshape(len(targets), -1).sum(1) / counted


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the class of each row is right (B,); with places the share of those that count."""
    hits = outputs.argmax(-1) == targets
    if targets.ndim == 1:
        return hits
    counted = (targets != IGNORED).flatten(1)
    return (hits.flatten(1) & counted).sum(1) / counted.sum(1).double()


def try_loss(task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Tries the user's own loss on a few rows.

    outputs: of an untrained model, (B, ...); B is at least 2. targets: (B, *places).

    Raises InputError when it is no loss of a row.
    """
    loss = row_loss(task)
    own = outputs.detach().clone().requires_grad_()
    given = outputs.detach().clone()
    try:
        losses = loss(own, targets)
        again, exact = loss(given, targets), loss(given.double(), targets)
        first = loss(given[:2], targets[:2])
    except ANY_ERROR as error:
        shapes = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
        raise _refusal(
            task, f"raised an error on outputs and targets {shapes}: {quoted(error)}"
        ) from error
    for found in (losses, exact):
        _check_losses(task, found, len(targets))
    if not torch.equal(given, outputs.detach()):
        raise _refusal(task, "changes the outputs in place. Let it work on a copy of them.")
    if not torch.equal(losses.detach(), again.detach()):
        raise _refusal(task, "gives two results for the same outputs. It may not draw.")
    if not torch.allclose(first.detach(), losses[:2].detach(), rtol=TOLERANCE, atol=TOLERANCE):
        raise _refusal(
            task,
            "gives a row another loss when other rows are beside it. The loss of a row depends on"
            " its own outputs and targets alone: take no mean over the batch.",
        )
    gradient = None
    if losses.requires_grad:
        gradient = torch.autograd.grad(losses.sum(), own, allow_unused=True)[0]
    if gradient is None or not gradient.isfinite().all():
        raise _refusal(task, "has no finite gradient with respect to the outputs.")


def _check_losses(task: Task, losses: object, n_rows: int) -> None:
    if not isinstance(losses, Tensor) or losses.shape != (n_rows,):
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise _refusal(task, f"returns {shape} for {n_rows} rows; it must return ({n_rows},).")
    if not losses.is_floating_point() or not losses.isfinite().all() or (losses < 0).any():
        raise _refusal(
            task, "returns a number that is no loss: NaN, infinite or below 0, or no real number."
        )


def _refusal(task: Task, what: str) -> InputError:
    return InputError(f"training.loss: {task.loss} {what}")
