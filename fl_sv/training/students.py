"""How the small models learn from the finished teacher (the config's section `distillation`).

A company computes the teacher's logits on its rows once. They then go with the rows into every
batch, the same for the models of all coalitions, and each model minimises
(1 - weight) CE + weight loss, where the loss compares its logits with the teacher's.

Shapes: B rows of a batch, K outputs, C models of a stack. The rows of a company are counted by n.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fl_sv import distillation
from fl_sv.config import Config
from fl_sv.config.students import LOSS_OPTIONS, SOFT_LOSSES, TEMPERATURE, Distillation
from fl_sv.data import Task
from fl_sv.streams import stream_seed
from fl_sv.training.losses import row_loss
from fl_sv.training.sgd import Recipe, SoftTargets


def make_soft_targets(
    config: Config, task: Task, logits: Tensor, recipe: Recipe, *key: int | str
) -> SoftTargets:
    """The soft targets of one round, from the teacher's logits (n, K) on all rows of a company.

    `key` names the round: replicate, company, server_round. A noisy teacher's noise is drawn here,
    from the company's own stream, so that the models of all coalitions get the same noise.
    """
    students = config.students
    assert students is not None, "plain models have no soft targets"
    rows = torch.from_numpy(np.concatenate(recipe.batches))
    sizes = [len(batch) for batch in recipe.batches]
    if students.loss == "noisy_teacher":
        generator = torch.Generator().manual_seed(stream_seed(config.seed, *key, "noisy teacher"))
        # On the CPU, so that every device gets the same noise; there and back once a round.
        clean = torch.split(logits.cpu()[rows], sizes)
        options = _options(students)
        noisy = [distillation.perturb(each, generator=generator, **options) for each in clean]
        of_rows = torch.cat(noisy).to(logits)
    else:
        of_rows = logits[rows.to(logits.device)]
    return SoftTargets(
        student_loss(students, task),
        torch.split(of_rows, sizes),
        student_gradient(students, task),
        kind=students.model_dump_json(),
    )


def student_loss(students: Distillation, task: Task) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The function that a student minimises: (1 - weight) CE + weight loss of each row (B,).

    It takes outputs (B, K), targets (B,) and the teacher's logits (B, K). In a regression the
    squared error stands for CE.
    """
    hard_loss = row_loss(task)
    soft_loss = distance(students)
    weight = students.weight
    labelled = task.kind == "classification"

    def loss_of(outputs_BK: Tensor, target_B: Tensor, teacher_BK: Tensor) -> Tensor:
        soft_B = soft_loss(outputs_BK, teacher_BK, target_B if labelled else None)
        return (1 - weight) * hard_loss(outputs_BK, target_B) + weight * soft_B

    return loss_of


def student_gradient(
    students: Distillation, task: Task
) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """The gradient of the mean `student_loss` with respect to outputs (C, K, B), in closed form.

    None for losses without a formula here: then torch differentiates, which takes twice as long as
    the rest of a step of narrow MLPs.
    """
    if task.kind == "regression" or task.loss is not None or students.loss in ("dkd", "smooth_l1"):
        return None
    weight = students.weight
    temperature = float(_options(students).get("temperature", TEMPERATURE))

    def soft_gradient(outputs_CKB: Tensor, teacher_BK: Tensor) -> Tensor:
        if students.loss == "hinton":
            own = (outputs_CKB / temperature).softmax(1)
            teachers = (teacher_BK / temperature).softmax(1)
            return own.sub_(teachers.T).mul_(temperature)
        return outputs_CKB - teacher_BK.T

    def gradient_of(outputs_CKB: Tensor, target_B: Tensor, teacher_BK: Tensor) -> Tensor:
        n_rows = len(target_B)
        hard = outputs_CKB.softmax(1)
        hard[:, target_B, torch.arange(n_rows, device=target_B.device)] -= 1
        soft = soft_gradient(outputs_CKB, teacher_BK)
        return hard.mul_(1 - weight).add_(soft, alpha=weight).div_(n_rows)

    return gradient_of


def distance(students: Distillation, generator: torch.Generator | None = None) -> distillation.Loss:
    """The config's loss between a student's and the teacher's logits.

    generator: the source of a noisy teacher's noise. Without it the loss expects logits to which
        the noise has been added already.
    """
    options = _options(students)
    if students.loss == "noisy_teacher":
        if generator is None:
            return distillation.loss("logit_l2")
        return distillation.loss("noisy_teacher", generator=generator, **options)
    if students.loss == "hinton":
        options["alpha"] = 1.0  # no cross-entropy of its own: `weight` sets the share of both
    return distillation.loss(students.loss, **options)


def _options(students: Distillation) -> dict[str, Any]:
    """The options of the config's loss, with a temperature where the loss has one."""
    options = LOSS_OPTIONS[students.loss].model_validate(students.options).model_dump()
    if students.loss in SOFT_LOSSES:
        options["temperature"] = students.temperature or TEMPERATURE
    return options
