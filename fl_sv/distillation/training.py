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
    """How long a model trains, in which batches and by which optimiser.

    Example: `Schedule(partial(torch.optim.SGD, lr=0.1), epochs=20, batch_size=32)`.
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
    """Trains the module in place: minimises the mean of `loss_of_rows` over batches.

    loss_of_rows: from row indices (B,) to losses (B,), or to a number. The rows are shuffled in
    each epoch, and the short last batch is kept. If several modules learn, put them into one, such
    as `nn.ModuleList([student, regressor])`.
    """
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
    """A copy of the student that has learned from the teacher's logits on the transfer set.

    The teacher computes its logits once; put a module with dropout into eval mode before. Raises
    InputError when teacher or student cannot use the transfer set, or when the objective needs
    targets and the set has none.
    """
    student = copy.deepcopy(student)
    t_BK, targets = outputs_on(teacher, transfer, "teacher"), transfer.targets
    # Bad input is refused here, before the first step.
    objective(outputs_on(student, transfer, "student"), t_BK, targets)

    def loss_of_rows(rows_B: Tensor) -> Tensor:
        return objective(
            student(transfer.x[rows_B]), t_BK[rows_B], None if targets is None else targets[rows_B]
        )

    minimise(student, loss_of_rows, len(transfer), schedule, generator)
    return student
