"""Optimisers, clipping and schedules: torch's own, for every model by itself."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from fl_sv.config import Config, parse_config
from fl_sv.config.training import Optimizer, Training
from fl_sv.data import company_data, operator_data
from fl_sv.errors import InputError
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import make_recipe, rate_factors, train
from fl_sv.training.stack import train_stack
from fl_sv.training.trial import tried
from tests.runs import Command

GAME = """
companies: [Ash, Beech]
data: {source: iris, partition: {kind: sizes, sizes: {Ash: 3, Beech: 1}}}
models:
  small: [{kind: mlp, hidden: [3]}]
  large: {kind: mlp, hidden: [8, 4]}
training: {rounds: 4, batch_size: 7}
compute: {dtype: float64}
payouts: {pot: {kind: fixed, cents: 100}}
"""
ADAMW = {
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "betas": [0.8, 0.99],
    "weight_decay": 0.1,
    "clip_norm": 0.2,
    "schedule": "cosine",
    "schedule_by": "step",
    "warmup_rounds": 1,
}


def config_with(training: dict[str, Any], large: dict[str, Any] | None = None) -> Config:
    game = yaml.safe_load(GAME)
    game["training"].update(training)
    game["models"]["large"].update(large or {})
    return parse_config(yaml.safe_dump(game), "game")


def large_at_ash(config: Config) -> tuple[ModelSpec, torch.Tensor, torch.Tensor]:
    operator = operator_data(config)
    rows = company_data(config, "Ash", operator.scaling)
    return model_specs(config, operator.task)[1], *tensors(rows, config)


# --- the definition -------------------------------------------------------------------------------


def test_every_round_is_torchs_own_loop_with_a_fresh_optimiser() -> None:
    """AdamW, clipped, after a warm-up of a round along a cosine by step."""
    config = config_with(ADAMW)
    model, x, y = large_at_ash(config)
    ours = model.initial_params(0, 0)
    module = model.loaded(ours).train()
    for server_round in range(1, 5):
        recipe = make_recipe(config, model, "Ash", len(y), 0, server_round)
        ours = train(model, ours, x, y, recipe)
        optimiser = torch.optim.AdamW(
            module.parameters(), lr=0.01, betas=(0.8, 0.99), weight_decay=0.1
        )
        n_steps = math.ceil(len(y) / 7)
        for step, rows in enumerate(recipe.batches):
            place = (server_round - 1) * n_steps + step
            if place < n_steps:
                factor = (place + 1) / (n_steps + 1)
            else:
                factor = (1 + math.cos(math.pi * (place - n_steps) / (3 * n_steps))) / 2
            optimiser.param_groups[0]["lr"] = 0.01 * factor
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.2)
            optimiser.step()
        expected = nn.utils.parameters_to_vector(module.parameters())
        assert (ours - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_models_gradient_is_clipped_by_its_own_norm_and_not_the_stacks(optimizer: str) -> None:
    config = config_with({"optimizer": optimizer, "clip_norm": 0.05})
    model, x, y = large_at_ash(config)
    recipe = make_recipe(config, model, "Ash", len(y), 0, 1)
    quiet = model.initial_params(0, 0)
    loud = quiet + 30 * torch.randn(len(quiet), generator=torch.Generator().manual_seed(0))
    beside, _ = train_stack(model, torch.stack([quiet, loud]), x, y, recipe, chunk=2)
    alone = train(model, quiet, x, y, recipe)
    assert (beside - alone).abs().max() <= 1e-9
    unclipped = config_with({"optimizer": optimizer})
    large, *_ = large_at_ash(unclipped)
    free = train(large, quiet, x, y, make_recipe(unclipped, large, "Ash", len(y), 0, 1))
    assert (alone - free).abs().max() > 1e-4


def test_options_of_one_size_are_its_own() -> None:
    own = {"weight_decay": 0.5, "clip_norm": 2.0}
    config = config_with({"optimizer": "adamw"}, {"optimizer_options": own})
    (small,), large = model_specs(config, operator_data(config).task)
    assert small.optimizer == Optimizer("adamw")
    assert large.optimizer == Optimizer("adamw", weight_decay=0.5, clip_norm=2.0)
    assert small.learning_rate == large.learning_rate == 0.001


def test_a_module_stacks_under_adam_as_under_sgd() -> None:
    """The bias of a key has no gradient but rounding, which Adam makes a step of full length."""
    config = config_with({"optimizer": "adamw"})
    content = config.model_dump(mode="json")
    content["compute"]["dtype"] = "float32"
    content["data"] = {"source": "digits", "partition": {"kind": "iid"}}
    content["models"]["large"] = {
        "kind": "module",
        "factory": "tests.plugins:tiny_transformer",
        "options": {"width": 16},
    }
    config = Config.model_validate(content)
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    assert tried(model_specs(config, operator.task)[1], config, x, y).unstackable is None


# --- the schedule ---------------------------------------------------------------------------------


def test_by_round_a_cosine_begins_at_the_full_rate_and_all_steps_of_a_round_have_one() -> None:
    training = Training(rounds=4, schedule="cosine")
    factors = [rate_factors(training, server_round, 3) for server_round in range(1, 5)]
    assert factors == [[(1 + math.cos(math.pi * r / 4)) / 2] * 3 for r in range(4)]
    assert rate_factors(Training(), 7, 2) == [1.0, 1.0]


def test_by_step_companies_of_every_size_are_equally_far_when_a_round_begins() -> None:
    by_round = Training(rounds=4, schedule="cosine", warmup_rounds=1)
    by_step = by_round.model_copy(update={"schedule_by": "step"})
    for server_round in (2, 3, 4):
        expected = rate_factors(by_round, server_round, 1)[0]
        for n_steps in (1, 2, 17):
            assert rate_factors(by_step, server_round, n_steps)[0] == pytest.approx(expected)


@pytest.mark.parametrize("by", ["round", "step"])
def test_a_warm_up_rises_evenly_and_no_step_has_a_rate_of_zero(by: str) -> None:
    training = Training(rounds=5, schedule="cosine", schedule_by=by, warmup_rounds=2)
    factors = [factor for r in range(1, 6) for factor in rate_factors(training, r, 2)]
    rise = [1 / 3, 1 / 3, 2 / 3, 2 / 3] if by == "round" else [0.2, 0.4, 0.6, 0.8]
    assert factors[:4] == pytest.approx(rise)
    assert factors[4] == 1.0
    assert min(factors) > 0
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_rates_depend_on_round_and_company_and_not_on_the_coalition() -> None:
    """They are part of the recipe, which is made from the company's own rows."""
    config = config_with(ADAMW)
    model, _, y = large_at_ash(config)
    recipe = make_recipe(config, model, "Ash", len(y), 0, 2)
    assert recipe.rates == pytest.approx(
        np.array(rate_factors(config.training, 2, len(recipe.batches))) * 0.01
    )


# --- bad input ------------------------------------------------------------------------------------

REFUSED = {
    "training.betas: [0.9, 0.9] given, but sgd has no such option; it takes momentum,": (
        {"betas": [0.9, 0.9]},
        {},
    ),
    "training.eps: 0.1 given, but sgd has no such option": ({"eps": 0.1}, {}),
    "training.momentum: 0.5 given, but adamw has no such option; it takes betas, eps,": (
        {"optimizer": "adamw", "momentum": 0.5},
        {},
    ),
    "models.large.optimizer_options.momentum: 0.5 given, but adam has no such option": (
        {"optimizer": "adam"},
        {"optimizer_options": {"momentum": 0.5}},
    ),
    "training.warmup_rounds: 4 given, of 4 rounds": ({"warmup_rounds": 4}, {}),
    "training.betas: ": ({"optimizer": "adam", "betas": [0.9]}, {}),
    "training.betas[1]: ": ({"optimizer": "adam", "betas": [0.9, 1.0]}, {}),
    "training.optimizer: ": ({"optimizer": "lion"}, {}),
    "training.clip_norm: ": ({"clip_norm": 0}, {}),
    "models.large.optimizer_options.schedule": ({}, {"optimizer_options": {"schedule": "cosine"}}),
    "the learning rate 1 times the pull of weight_decay and proximal_mu (5) is beyond 2": (
        {"optimizer": "adamw", "learning_rate": 1, "weight_decay": 5},
        {},
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_an_optimiser_does_not_have_is_refused_in_a_sentence(sentence: str) -> None:
    training, large = REFUSED[sentence]
    with pytest.raises(InputError) as refusal:
        config_with(training, large)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_refused_option_ends_with_exit_code_2(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "game.yaml"
    path.write_text(GAME.replace("rounds: 4", "rounds: 4, eps: 0.1"))
    answer = command("run", path, "--out", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()
