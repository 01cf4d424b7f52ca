"""How the small models listen to the finished teacher, as the config's section `distillation` asks
for it.

A company asks the teacher about its rows once. Its answers then go with the rows into every batch,
the same for the models of all coalitions, and each of them minimises (1 - weight) CE + weight loss.

Shapes: n rows of a company, B rows of a batch, K outputs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fl_sv import distillation
from fl_sv.config import Config
from fl_sv.config.students import LOSS_OPTIONS, SOFT_LOSSES, TEMPERATURE, Distillation
from fl_sv.data import Task
from fl_sv.streams import stream_seed
from fl_sv.training.models import row_loss
from fl_sv.training.sgd import Recipe, SoftTargets


def make_soft_targets(
    config: Config, task: Task, logits_nK: Tensor, recipe: Recipe, *key: int | str
) -> SoftTargets:
    """The soft targets of one round from the teacher's logits to all of a company's rows.

    `key` names the round: replicate, company, server_round. The noisy teacher is disturbed here, by
    the company's own stream, so that all coalitions hear the same noise."""
    students = config.students
    assert students is not None, "plain models have no soft targets"
    said = [logits_nK[rows] for rows in recipe.batches]
    if students.loss == "noisy_teacher":
        generator = torch.Generator().manual_seed(stream_seed(config.seed, *key, "noisy teacher"))
        said = [
            distillation.perturb(s_BK.cpu(), generator=generator, **_options(students)).to(s_BK)
            for s_BK in said
        ]
    return SoftTargets(student_loss(students, task), tuple(said), student_gradient(students, task))


def student_loss(students: Distillation, task: Task) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(1 - weight) CE + weight loss of each row (B,), from outputs (B, K), targets (B,) and the
    teacher's logits.

    In a regression the squared error takes the place of CE.
    """
    own, far, weight = row_loss(task), distance(students), students.weight
    labelled = task.kind == "classification"

    def rows(outputs_BK: Tensor, target_B: Tensor, t_BK: Tensor) -> Tensor:
        soft_B = far(outputs_BK, t_BK, target_B if labelled else None)
        return (1 - weight) * own(outputs_BK, target_B) + weight * soft_B

    return rows


def student_gradient(
    students: Distillation, task: Task
) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """The gradient of the mean `student_loss` with respect to outputs (C, K, B), written out where
    it is simple.

    torch's own gradient takes twice as long as the rest of a step of narrow MLPs. None: there is no
    such form."""
    if task.kind == "regression" or students.loss in ("dkd", "smooth_l1"):
        return None
    weight, heat = students.weight, float(_options(students).get("temperature", TEMPERATURE))

    def soft(outputs_CKB: Tensor, t_BK: Tensor) -> Tensor:
        if students.loss == "hinton":
            return (outputs_CKB / heat).softmax(1).sub_((t_BK / heat).softmax(1).T).mul_(heat)
        return outputs_CKB - t_BK.T

    def delta(outputs_CKB: Tensor, target_B: Tensor, t_BK: Tensor) -> Tensor:
        hard = outputs_CKB.softmax(1)
        hard[:, target_B, torch.arange(len(target_B), device=target_B.device)] -= 1
        mean = hard.mul_(1 - weight).add_(soft(outputs_CKB, t_BK), alpha=weight)
        return mean.div_(len(target_B))

    return delta


def distance(students: Distillation, generator: torch.Generator | None = None) -> distillation.Loss:
    """The config's loss. That of a noisy teacher draws from `generator`, or takes logits that are
    disturbed already.
    """
    if students.loss == "noisy_teacher":
        noisy = {"generator": generator, **_options(students)}
        return (
            distillation.loss("logit_l2")
            if generator is None
            else distillation.loss("noisy_teacher", **noisy)
        )
    options = _options(students) | ({"alpha": 1.0} if students.loss == "hinton" else {})
    return distillation.loss(students.loss, **options)


def _options(students: Distillation) -> dict[str, Any]:
    heat = (
        {"temperature": students.temperature or TEMPERATURE} if students.loss in SOFT_LOSSES else {}
    )
    return {**LOSS_OPTIONS[students.loss].model_validate(students.options).model_dump(), **heat}
