"""Training by distillation: a student learns from a teacher on the rows of a transfer set.

Shapes: B rows of a batch, K classes.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fl_sv.distillation.checks import count
from fl_sv.distillation.losses import Loss
from fl_sv.distillation.transfer import Function, TransferSet, outputs_on


@dataclass(frozen=True)
class Schedule:
    """How long, in which batches and by which optimiser: `Schedule(partial(torch.optim.SGD,
    lr=0.1), 20, 32)`.
    """

    optimiser: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    epochs: int
    batch_size: int


def minimise(
    module: nn.Module,
    loss_of_rows: Callable[[Tensor], Tensor],
    n_rows: int,
    schedule: Schedule,
    generator: torch.Generator,
) -> None:
    """Trains the module in place on the mean of loss_of_rows(indices (B,)) -> (B,) or a number.

    Reshuffles each epoch and keeps the short last batch. For methods beyond logits put all that
    learns into one module, such as `nn.ModuleList([student, regressor])`."""
    optimiser = schedule.optimiser(module.parameters())
    batch_size = count(schedule.batch_size, "batch_size")
    for _ in range(count(schedule.epochs, "epochs")):
        for rows_B in torch.split(torch.randperm(n_rows, generator=generator), batch_size):
            optimiser.zero_grad()
            loss_of_rows(rows_B).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    optimiser.zero_grad()


def distil(
    student: nn.Module,
    teacher: Function,
    transfer: TransferSet,
    objective: Loss,
    schedule: Schedule,
    generator: torch.Generator,
) -> nn.Module:
    """A copy of the student, trained on the transfer set to minimise the objective against the
    teacher's logits.

    The teacher is asked once for every row; put a module with dropout into eval mode before. Raises
    InputError when teacher or student cannot use the transfer set, or the objective needs targets
    that it has not."""
    student = copy.deepcopy(student)
    t_BK, targets = outputs_on(teacher, transfer, "teacher"), transfer.targets
    objective(
        outputs_on(student, transfer, "student"), t_BK, targets
    )  # refuse before the first step, not in it

    def loss_of_rows(rows_B: Tensor) -> Tensor:
        return objective(
            student(transfer.x[rows_B]), t_BK[rows_B], None if targets is None else targets[rows_B]
        )

    minimise(student, loss_of_rows, len(transfer), schedule, generator)
    return student
