"""Modules of a user's own: they train alone and in a stack, from their parameters and nothing else,
or they are refused before anything trains.
"""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import fl_sv
from clients.company import load_company
from fl_sv.config import Config, parse_config
from fl_sv.config.training import Optimizer
from fl_sv.data import company_data, operator_data
from fl_sv.errors import InputError
from fl_sv.game.coalitions import EMPTY
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast
from fl_sv.planning.modules import module_remarks
from fl_sv.progress import Progress
from fl_sv.runs import files
from fl_sv.runs.directory import start_or_resume
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import make_recipe, train
from fl_sv.training.stack import score_stack, stack_outputs, train_stack
from fl_sv.training.trial import tried, tried_models
from fl_sv.valuation.untrained import untrained_remarks
from server.simulation import simulate
from tests.runs import Command

GAME = """
seed: 7
companies: [Ash, Beech, Chestnut]
data: {source: iris, partition: {kind: iid}}
models:
  small: [{kind: module, name: s, factory: "tests.own_modules:FACTORY", options: {width: 4}}]
  large: {kind: module, name: l, factory: "tests.own_modules:FACTORY", options: {width: 16}}
training:
  {rounds: 2, seeds: 1, learning_rate: 0.2, momentum: 0.5, weight_decay: 0.01}
law: {anchors: none}
payouts: {pot: {kind: fixed, cents: 1000000}}
"""
STACKED = ("unused", "tied", "frozen", "lazy", "weight_norm", "dropout", "python_draws")
ONE_BY_ONE = ("lstm", "gru", "flow", "stochastic_depth")
REFUSED = {
    "wrong_in": "raised an error on rows of shape .*mat1 and mat2",
    "wrong_out": r"returns a tensor of shape \(4, 4\).*it must return \(4, 3\)",
    "squeezing": r"returns a tensor of shape \(3,\) for rows of shape \(1, 4\)",
    "tup": r"returns a tuple .*it must return a tensor of shape \(4, 3\)",
    "dct": "returns a dict",
    "nan": "returns NaN or infinite outputs before it is trained",
    "half": "returns float16 numbers; compute.dtype is float32",
    "detached": "none of its parameters gets a gradient",
    "in_place": "changes its rows in place",
    "draws_always": "draws random numbers in evaluation mode",
    "global_state": "gives two results in two equal trainings",
    "closure": "a copy computes with the parameters of the first module",
    "fixed_rows": "raised an error on rows of shape",
    "run": "keeps state outside its parameters that changes its results: .*m",
    "instance_norm": r"changes its results: 1\.running_mean, 1\.running_var",
    "count": "changes its results: k",
    "spectral": r"changes its results: 0\.parametrizations\.weight\.0\._u",
    "own_average": "changes the parameters m, which are not to be trained",
    "complex_numbers": "has the parameter c of complex64 numbers",
    "whole_numbers": "has the parameter c of int64 numbers",
    "all_frozen": "has no parameter to train",
    "no_parameters": "has no parameters",
    "raises": "raised an error when called as .*KeyError",
    "leaves": "SystemExit",
    "other_arguments": "takes these two arguments and its options",
    "no_module": "it must return a torch.nn.Module",
    "without_numbers": "has the parameter u.weight on the device meta",
    "unused_lazy": "never uses the parameter u.weight",
}


def config_with(factory: str) -> Config:
    return parse_config(GAME.replace("FACTORY", factory), factory)


def small_of(config: Config) -> tuple[ModelSpec, torch.Tensor, torch.Tensor]:
    """The small model, tried, with the validation rows."""
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    return tried(model_specs(config, operator.task)[0][0], config, x, y), x, y


def remarks_on(config: Config) -> tuple[str, ...]:
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    small, large = tried_models(config, operator.task, x, y)
    return module_remarks(config, (*small, large), x, y)


# --- the trial ------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", REFUSED)
def test_module_that_cannot_be_trained_is_refused_by_factory_and_size(factory: str) -> None:
    sentence = rf"^models\.factory: tests\.own_modules:{factory} \(size s\) .*{REFUSED[factory]}"
    with pytest.raises(InputError, match=sentence) as refusal:
        small_of(config_with(factory))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("factory", [*STACKED, *ONE_BY_ONE])
def test_module_trains_as_the_loop_trains_it_whether_it_stacks_or_not(factory: str) -> None:
    config = config_with(factory)
    model, x, y = small_of(config)
    assert (model.unstackable is None) == (factory in STACKED)
    recipe = make_recipe(config, model, "Ash", len(x), 0, 1)
    params = torch.stack([model.initial_params(7, replicate) for replicate in range(3)])
    together = train_stack(model, params, x, y, recipe, chunk=2)
    outputs = stack_outputs(model, together, x)
    for row, one in enumerate(params):
        alone = train(model, one, x, y, recipe)
        assert (together[row] - alone).abs().max() <= 1e-6
        assert (outputs[row] - model.loaded(alone)(x)).abs().max() <= 1e-5
    assert (together - params).abs().max() > 1e-3


def test_plan_and_run_refuse_and_say_one_by_one(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "game.yaml"
    path.write_text(GAME.replace("FACTORY", "tup"))
    for verb in (["plan", path], ["run", path, "--out", tmp_path / "out", "--backend", "inline"]):
        answer = command(*verb)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert answer.err.startswith("fl-sv: models.factory: tests.own_modules:tup (size s)")
    assert not (tmp_path / "out").exists()
    path.write_text(GAME.replace("FACTORY", "flow"))
    answer = command("plan", path)
    assert answer.code == 0
    assert answer.out.count("cannot train as a stack, so its models train one by one") == 2
    assert "tests.own_modules:flow (models.factory, size s)" in answer.out


def test_plan_names_small_models_that_are_too_wide_to_gain_by_a_stack() -> None:
    config = parse_config(
        """
companies: [Ash, Beech]
data: {source: digits, partition: {kind: iid}}
models:
  small: [{kind: cnn, channels: [4]}, {kind: cnn, channels: [500]}]
  large: {kind: cnn, channels: [600]}
payouts: {pot: {kind: fixed, cents: 1}}
""",
        "game",
    )
    (remark,) = remarks_on(config)
    assert "the layers of cnn-500 give more numbers" in remark and "one by one" in remark


def test_company_tries_a_module_on_its_own_rows() -> None:
    config = config_with("spectral")
    with pytest.raises(InputError, match=r"models\.factory: tests\.own_modules:spectral"):
        load_company("Ash", config, operator_data(config).scaling, None)


def test_module_that_takes_only_some_numbers_is_planned_on_rows_of_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 10, (60, 4)).astype(float), rng.integers(0, 3, 60)
    np.savez(tmp_path / "tokens.npz", x=x, y=y)
    game = yaml.safe_load(GAME.replace("FACTORY", "tokens"))
    game["data"].update(source=str(tmp_path / "tokens.npz"), standardise=False)
    config = Config.model_validate(game)
    assert forecast(config, check(config), on_ray=False).seconds is not None


# --- nothing but parameters -----------------------------------------------------------------------


def test_training_does_not_know_what_the_process_trained_before() -> None:
    """Not even of a counter that the trial cannot see."""
    config = config_with("counts_late")
    model, x, y = small_of(config)
    scaling = operator_data(config).scaling

    def loss_of_ash() -> torch.Tensor:
        data = company_data(config, "Ash", scaling)
        recipe = make_recipe(config, model, "Ash", len(data), 0, 1)
        trained = train_stack(
            model, model.initial_params(7, 0)[None], *tensors(data, config), recipe, chunk=1
        )
        return score_stack(model, trained, x, y, chunk=1)[0]

    before = loss_of_ash()
    recipe = make_recipe(config, model, "Beech", len(x), 0, 1)
    for _ in range(4):
        train(model, model.initial_params(7, 0), x, y, recipe)
    assert torch.equal(before, loss_of_ash())


def test_waves_and_chunks_decide_nothing_of_a_module_with_state(tmp_path: Path) -> None:
    text = GAME.replace("FACTORY", "counts_late").replace("rounds: 2", "rounds: 1, batch_size: 2")
    utilities = []
    for waves, chunk in ((1, 128), (3, 2)):
        sections = f"coalitions: {{waves: {waves}}}\ncompute: {{chunk: {chunk}}}\n"
        config = parse_config(text + sections, "waves")
        with start_or_resume(tmp_path / f"{waves}", config, resume=False) as run:
            simulate(config, run, "inline", Progress("quiet"), threading.Event())
        utilities.append(run.read_text(files.UTILITIES))
    assert utilities[0] == utilities[1]


@pytest.mark.parametrize("proximal_mu", [0, 0.3])
def test_unused_parameters_stay_where_they_are(proximal_mu: float) -> None:
    """Neither gradients nor momentum, weight decay and FedProx move them, alone or in a stack."""
    text = GAME.replace("FACTORY", "unused") + (
        f"teacher: {{strategy: fedprox, options: {{proximal_mu: {proximal_mu}}}}}\n"
    )
    config = parse_config(text, "game")
    model, x, y = small_of(config)
    recipe = make_recipe(config, model, "Ash", len(x), 0, 1)
    assert recipe.optimizer == Optimizer(momentum=0.5, weight_decay=0.01)
    assert recipe.proximal_mu == proximal_mu
    stack = torch.stack([model.initial_params(7, replicate) for replicate in range(2)])
    before = model.views(stack)
    for trained in (
        train_stack(model, stack, x, y, recipe, chunk=2),
        torch.stack([train(model, params, x, y, recipe) for params in stack]),
    ):
        after = model.views(trained)
        for name in before:
            assert torch.equal(before[name], after[name]) == name.startswith("u."), name


# --- the factory ----------------------------------------------------------------------------------


def noted_config(notes: Path, seeds: int = 1) -> dict[str, object]:
    game = yaml.safe_load(GAME.replace("FACTORY", "noted"))
    game["training"]["seeds"] = seeds
    for model in (*game["models"]["small"], game["models"]["large"]):
        model["options"]["notes"] = str(notes)
    return game


def test_factory_is_called_once_for_each_size_and_seed(tmp_path: Path) -> None:
    config = Config.model_validate(noted_config(tmp_path / "notes", seeds=2))
    fl_sv.run(config, tmp_path / "run")  # it plans first
    assert sorted((tmp_path / "notes").read_text().split()) == ["16", "4", "4"]


def test_a_factory_changes_no_setting_of_torch_for_other_models() -> None:
    small_of(config_with("changes_torch"))
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_what_a_factory_prints_is_no_part_of_a_plan(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "game.yaml"
    path.write_text(yaml.safe_dump(noted_config(tmp_path / "notes")))
    answer = command("plan", path, "--json")
    assert json.loads(answer.out)["remarks"] == []
    assert answer.err == "hello from the factory\n" * 2


# --- remarks --------------------------------------------------------------------------------------


def test_untrained_outputs_that_are_not_zero_are_a_remark(tmp_path: Path) -> None:
    config = config_with("noisy_start")
    (remark,) = remarks_on(config)
    run = fl_sv.run(config, tmp_path / "run")
    assert json.loads((run.path / files.LAW).read_text())["remarks"] == [remark]
    losses = [score.loss for score in run.utilities if score.coalition == EMPTY]
    assert f"between {min(losses):.4f} and {max(losses):.4f}" in remark
    stated = parse_config(
        GAME.replace("FACTORY", "noisy_start").replace("none}", "none, untrained_loss: 1.1}"), "s"
    )
    assert remarks_on(stated) == ()


def test_equal_untrained_losses_are_no_remark() -> None:
    config = config_with("flow")
    assert untrained_remarks(config, {"s": [np.log(3), np.log(3)], "l": [np.log(3)]}) == ()


def test_one_start_for_all_seeds_is_a_remark() -> None:
    game = yaml.safe_load(GAME.replace("FACTORY", "same_start"))
    game["training"]["seeds"] = 2
    config = Config.model_validate(game)
    (remark,) = remarks_on(config)
    assert "(models.factory, size s) starts from the same parameters at every seed" in remark
