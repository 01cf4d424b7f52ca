"""What a company is paid when it sabotages or skimps the training of the teacher, and nothing else.

The game that values the companies is trained honestly: only the rounds of the large model suffer,
and with them the student that is distilled from it and deployed. A fixed pot is 1; a performance
pot is the student's improvement.

Shapes: N companies, P parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.distillation.students import (
    CLASSES,
    Federation,
    Floats,
    Train,
    fedavg,
    federation,
    game,
    honestly,
    learning_from_teacher,
    student_utility,
    swept,
)
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law import fit_law
from fl_sv.streams import stream, stream_seed
from fl_sv.training.stack import train_stack

KINDS = ("wrong labels", "noise", "half the epochs", "nothing", "three times")
STUDENTS_WEIGHT = 0.7


@dataclass(frozen=True)
class Teacher:
    """A trained large model, and what each company's updates brought, (N,) in utility.

    A round's contribution is the utility of its mean model less that of the mean without the
    company's update."""

    params: Tensor
    loss: float
    contribution: Floats


def measure(
    seed: int, *, spoilt: bool = True, students: bool = True, rounds: int = 15, n: int = 5
) -> list[dict[str, Any]]:
    """One row for each company that cheats and each kind: what it is paid before and after, by
    every rule.

    students: also value the companies by small models that learn from the teacher.
    """
    played = federation(game(seed, rounds=rounds, spoilt=spoilt), n)
    everything, runs = range(1 << n), [EMPTY, *(1 << i for i in range(n))]
    plain_C = swept(played, lambda r: honestly(played, played.small, r), everything)
    singleton_losses = played.losses(
        played.large, fedavg(played, played.large, 0, honestly(played, played.large, 0), runs)[-1]
    )

    def shares(small_C: Floats, found: Teacher) -> Floats:
        large = dict(zip(runs, singleton_losses, strict=True))
        return _shares(played, small_C, {**large, grand(n): found.loss})

    def paid(found: Teacher) -> dict[str, Floats]:
        pot = max(
            0.0, student_utility(played, found.params) + np.log(CLASSES)
        )  # the untrained model earns nothing
        by_value = shares(plain_C, found)
        by_half = (by_value + _clipped(found.contribution)) / 2
        splits = {"": by_value, ", half by contribution": by_half}
        if students:
            student_losses_C = swept(
                played,
                lambda r: learning_from_teacher(played, found.params, None, STUDENTS_WEIGHT, r),
                everything,
            )
            splits[", students"] = shares(student_losses_C, found)
        return {
            f"{kind}{name}": p * s
            for name, s in splits.items()
            for kind, p in (("fixed", 1), ("performance", pot))
        }

    honest = train_teacher(played, honestly(played, played.large, 0))
    before, rows = paid(honest), []
    for i, company in enumerate(played.companies):
        for kind in KINDS:
            found = train_teacher(played, sabotage(played, company, kind))
            after = paid(found)
            rows.append(
                {
                    "seed": seed,
                    "spoilt": spoilt,
                    "company": company,
                    "kind": kind,
                    "teacher": found.loss - honest.loss,
                    "before": {rule: float(pay_N[i]) for rule, pay_N in before.items()},
                    "after": {rule: float(pay_N[i]) for rule, pay_N in after.items()},
                }
            )
    return rows


def _shares(game: Federation, small_C: Floats, large: Mapping[int, float]) -> Floats:
    """(N,) parts of the pot by the law, negative values clipped."""
    sizes = [game.small.n_params, game.large.n_params]
    law = fit_law(small_C, large, sizes=sizes, examples=game.examples)
    return _clipped(law.shapley().values)


def train_teacher(game: Federation, train: Train) -> Teacher:
    """FedAvg of the large model by all companies, with each one's contribution round by round."""
    part_N = torch.from_numpy(game.examples / game.examples.sum())
    params = game.large.initial_params(game.config.seed, 0)
    contribution = np.zeros(len(part_N))
    for server_round in range(1, game.config.training.rounds + 1):
        trained = torch.stack(
            [train(c, params[None], server_round)[0].double() for c in game.companies]
        )
        mean = part_N @ trained
        without = (mean - part_N[:, None] * trained) / (1 - part_N[:, None])
        loss, *loss_without = game.losses(
            game.large, torch.cat([mean[None], without]).to(params.dtype)
        )
        contribution += np.array(loss_without) - loss
        params = mean.to(params.dtype)
    return Teacher(params, float(loss), contribution)


def sabotage(game: Federation, cheat: str, kind: str) -> Train:
    """The teacher's training in which one company does something else."""
    honest = honestly(game, game.large, 0)
    cheated = CHEATS[kind]

    def train(company: str, stack: Tensor, server_round: int) -> Tensor:
        if company == cheat:
            return cheated(game, company, stack, server_round)
        return honest(company, stack, server_round)

    return train


# --- what a company may do instead ----------------------------------------------------------------


def _wrong_labels(game: Federation, company: str, stack: Tensor, server_round: int) -> Tensor:
    """Every label wrong, in another way in each round."""
    (x, y), recipe = game.rows[company], game.recipe(game.large, company, 0, server_round)
    shift = stream(game.config.seed, company, server_round, "wrong labels").integers(
        1, CLASSES, len(y)
    )
    return train_stack(
        game.large, stack, x, (y + torch.from_numpy(shift)) % CLASSES, recipe, len(stack)
    )


def _half(game: Federation, company: str, stack: Tensor, server_round: int) -> Tensor:
    recipe = game.recipe(game.large, company, 0, server_round)
    steps = len(recipe.batches) // game.config.training.local_epochs
    half = replace(recipe, rates=recipe.rates[:steps], batches=recipe.batches[:steps])
    return train_stack(game.large, stack, *game.rows[company], half, len(stack))


def _nothing(game: Federation, company: str, stack: Tensor, server_round: int) -> Tensor:
    return stack


def _noise(game: Federation, company: str, stack: Tensor, server_round: int) -> Tensor:
    """Noise, as long as the honest update."""
    update = honestly(game, game.large, 0)(company, stack, server_round) - stack
    generator = torch.Generator().manual_seed(
        stream_seed(game.config.seed, company, server_round, "noise")
    )
    noise = torch.randn(update.shape, generator=generator)
    return stack + noise * (update.norm() / noise.norm())


def _three_times(game: Federation, company: str, stack: Tensor, server_round: int) -> Tensor:
    return stack + 3 * (honestly(game, game.large, 0)(company, stack, server_round) - stack)


CHEATS: dict[str, Callable[[Federation, str, Tensor, int], Tensor]] = dict(
    zip(KINDS, (_wrong_labels, _noise, _half, _nothing, _three_times), strict=True)
)


def _clipped(value_N: Floats) -> Floats:
    """Parts of a whole, nothing for a company with a negative value."""
    positive_N = np.maximum(value_N, 0)
    return positive_N / max(positive_N.sum(), np.finfo(float).tiny)
