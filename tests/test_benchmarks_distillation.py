"""The studies of distillation: everything runs and is printed, and their federation does what the
product does.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.distillation import incentive, students
from benchmarks.distillation.law import leave_one_out_r2
from benchmarks.distillation.pictures import draw
from benchmarks.distillation.students import (
    Federation,
    fedavg,
    federation,
    game,
    honestly,
    learning_from_teacher,
)
from benchmarks.distillation.study import SMALLEST, measure
from benchmarks.distillation.tables import as_text, interval
from fl_sv.training.sgd import train
from fl_sv.training.students import make_soft_targets


@pytest.fixture(scope="module")
def played() -> Federation:
    return federation(game(0, rounds=2), 3)


@pytest.mark.slow
def test_smallest_form_runs_prints_and_draws(tmp_path: Path) -> None:
    found = measure(SMALLEST, processes=1)
    assert {
        "law",
        "transfer",
        "classics",
        "incentive",
        "summary",
        "seconds",
        "core_seconds",
    } <= set(found)
    assert {row["set"] for row in json.loads(json.dumps(found))["law"]} == {
        "plain",
        "own",
        "uniform",
    }
    assert len(found["incentive"]) == 3 * len(incentive.KINDS)
    assert {(row["weight"], row["runs"]) for row in found["alarms"]} == {
        (weight, runs) for weight in (0, 1) for runs in ("law_0", "law_n", "law_2n")
    }
    for row in (
        "| plain |",
        "| yes | 1 | law_2n |",
        "| careless | inversion |",
        "| few, hint - labels |",
        "| Cedar | nothing |",
    ):
        assert row in as_text(found)
    draw(found["summary"], tmp_path)
    assert len(list(tmp_path.glob("distillation_*.svg"))) == 4


def test_students_of_the_study_are_those_of_the_product(played: Federation) -> None:
    teacher_params = played.large.initial_params(0, 1)
    train_stack = learning_from_teacher(played, teacher_params, None, 0.7, 0)
    stack = played.small.initial_params(0, 0)[None]
    (x, y), recipe = played.rows["Beech"], played.recipe(played.small, "Beech", 0, 1)
    students = played.config.distillation
    assert students is not None
    config = played.config.model_copy(
        update={"distillation": students.model_copy(update={"weight": 0.7})}
    )
    logits = played.large.loaded(teacher_params)(x).detach()
    soft_targets = make_soft_targets(config, played.small.task, logits, recipe, 0, "Beech", 1)
    single = train(played.small, stack[0], x, y, recipe, soft_targets)
    assert (train_stack("Beech", stack, 1)[0] - single).abs().max() < 1e-5


def test_transfer_rows_of_no_weight_teach_nothing(played: Federation) -> None:
    teacher_params = played.large.initial_params(0, 1)
    rows = students.transfer_set("uniform", played, teacher_params, 50)
    plain = fedavg(played, played.small, 0, honestly(played, played.small, 0), range(8))[-1]
    mixed = fedavg(
        played,
        played.small,
        0,
        learning_from_teacher(played, teacher_params, rows, 0.0, 0),
        range(8),
    )[-1]
    assert (plain - mixed).abs().max() < 1e-4


def test_singleton_has_only_its_company(played: Federation) -> None:
    stack = fedavg(played, played.small, 0, honestly(played, played.small, 0), [0, 1, 7])
    single = played.small.initial_params(0, 0)
    assert torch.equal(stack[-1][0], single)
    for server_round in (1, 2):
        recipe = played.recipe(played.small, "Ash", 0, server_round)
        single = train(played.small, single, *played.rows["Ash"], recipe)
    assert (stack[-1][1] - single).abs().max() < 1e-5


def test_honest_teacher_is_the_grand_coalition_of_the_brute_force(played: Federation) -> None:
    found = incentive.train_teacher(played, honestly(played, played.large, 0))
    (loss,) = played.losses(
        played.large, fedavg(played, played.large, 0, honestly(played, played.large, 0), [7])[-1]
    )
    assert found.loss == pytest.approx(loss, abs=1e-5)


def test_leave_one_out_r2_is_that_of_lines_that_are_fitted_again() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    y = y + 2 * x
    rest = [np.delete(np.arange(12), i) for i in range(12)]
    missed = [y[i] - np.polyval(np.polyfit(x[r], y[r], 1), x[i]) for i, r in enumerate(rest)]
    by_mean = [y[i] - y[r].mean() for i, r in enumerate(rest)]
    assert leave_one_out_r2(x, y) == pytest.approx(
        1 - np.square(missed).sum() / np.square(by_mean).sum()
    )


def test_interval_is_students() -> None:
    assert interval([1.0, 2.0, 3.0])["half"] == pytest.approx(2.9200 / np.sqrt(3), rel=1e-3)
