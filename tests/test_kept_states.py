"""What frozen blocks make of the rows is computed once and kept; results are those without it."""

import json
import math
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fl_sv
from fl_sv.config.load import config_of
from fl_sv.config.training import Optimizer
from fl_sv.data import operator_data
from fl_sv.errors import InputError, RunError
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast, plan_text
from fl_sv.planning.modules import _by_model
from fl_sv.planning.states import PlannedStates, planned_states, require_disk
from fl_sv.training.kept import KeptStates
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import Recipe, train
from fl_sv.training.stack import score_stack, train_stack
from fl_sv.training.trial import tried as tried_model
from tests.pretrained import LETTERS, lm_config, make_base, make_bert, make_gpt2, make_neox

MAKERS = {"llama": make_base, "gpt2": make_gpt2, "neox": make_neox, "bert": make_bert}
EVERYWHERE = {"kind": "lora", "rank": 2}
LAST = {"kind": "lora", "rank": 2, "layers": [1]}
CHANGED = 1e-5  # of float32 results whose rows went through the frozen blocks in other batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lm")
    for family, make in MAKERS.items():
        make(made / family)
    rng = np.random.default_rng(0)
    x = rng.integers(0, len(LETTERS), (60, 6))
    np.savez(made / "rows.npz", x=x, y=x[:, 0] % 2)
    return made


def game(folder: Path, large: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A run whose large model has these options, on texts, or with a head on labelled rows."""
    content = lm_config(folder)
    if large.get("task") == "head":
        rows = str(folder / "rows.npz")
        content["data"] = {"source": rows, "inputs": "ids", "partition": {"kind": "iid"}}
        content["models"]["small"][0]["task"] = "head"
    content["models"]["large"] |= large
    return content | changes


def tried(content: dict[str, Any]) -> tuple[ModelSpec, torch.Tensor, torch.Tensor]:
    """The large model, and the validation rows on which it was tried."""
    return _tried(json.dumps(content))


@cache
def _tried(content: str) -> tuple[ModelSpec, torch.Tensor, torch.Tensor]:
    config = config_of(json.loads(content), "test")
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    large = model_specs(config, operator.task)[1]
    return tried_model(large, config, x, y), x, y


def of_family(folder: Path, family: str, **options: Any) -> dict[str, Any]:
    return {"path": str(folder / family), "adapter": LAST, **options}


CASES = {
    **{family: {"family": family} for family in ("llama", "gpt2", "neox")},
    "adapters and a head": {"family": "bert", "task": "head"},
    "a head alone": {"family": "bert", "task": "head", "adapter": None},
    "a head alone on a language model": {"family": "llama", "task": "head", "adapter": None},
    "adapters and a head on a language model": {"family": "gpt2", "task": "head"},
}


@pytest.mark.parametrize("case", CASES)
def test_from_kept_states_on_a_model_trains_and_scores_as_the_whole_one(
    folder: Path, case: str
) -> None:
    model, x, y = tried(game(folder, of_family(folder, **CASES[case])))
    assert model.from_states is not None, model.unkept
    form, states = KeptStates(x, 1.0).given_to(model)
    noise = torch.randn(3, model.n_params, generator=torch.Generator().manual_seed(0))
    stack = model.initial_params(1, 0) + 0.1 * noise
    batches = tuple(np.array_split(np.arange(len(x)), 4))
    recipe = Recipe(Optimizer(), (0.1,) * 4, 0.0, batches, torch_seed=5)
    whole = torch.stack([train(model, params, x, y, recipe) for params in stack])
    assert (whole - stack).abs().max() > 1e-2
    for trained in (
        torch.stack([train(form, params, states, y, recipe) for params in stack]),
        train_stack(form, stack, states, y, recipe, chunk=2),
    ):
        assert (trained - whole).abs().max() < CHANGED
    bare = replace(model, unstackable="so that each is scored by itself")
    scores = score_stack(bare, stack, x, y, chunk=3)[0]
    assert (score_stack(form, stack, states, y, chunk=3)[0] - scores).abs().max() < CHANGED


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"family": "llama"}, (6, 16)),
        ({"family": "bert", "task": "head", "adapter": None}, (16,)),
    ],
)
def test_states_are_computed_once_and_are_what_the_first_trained_part_gets(
    folder: Path, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    model, x, _ = tried(game(folder, of_family(folder, **options)))
    kept = KeptStates(x, 1.0)
    _, states = kept.given_to(model)
    assert states.shape == (len(x), *shape)
    assert kept.given_to(model)[1] is states
    base = model.fresh(torch.device("cpu")).base
    with torch.no_grad():
        hidden = base(input_ids=x, output_hidden_states=True, use_cache=False).hidden_states
    before = hidden[1] if len(shape) == 2 else hidden[-1].mean(1)
    torch.testing.assert_close(states, before)


def test_a_step_from_states_on_costs_the_trained_blocks_alone(folder: Path) -> None:
    model, *_ = tried(game(folder, of_family(folder, "llama")))
    whole = replace(model, from_states=None)
    # Forwards two blocks of the same size and an output layer; backwards one of them.
    assert 0.4 < model.training_flops(1) / whole.training_flops(1) < 0.8


def test_with_adapters_in_every_block_nothing_is_kept_and_nothing_remarked(folder: Path) -> None:
    model, x, _ = tried(game(folder, of_family(folder, "llama", adapter=EVERYWHERE)))
    assert (model.from_states, model.unkept) == (None, None)
    assert KeptStates(x, 1.0).given_to(model) == (model, x)


def test_a_model_that_trains_outside_its_blocks_keeps_nothing_and_says_so(folder: Path) -> None:
    adapter = {**EVERYWHERE, "target_modules": ["dense"]}  # the pooler's, too
    model, *_ = tried(game(folder, of_family(folder, "bert", task="head", adapter=adapter)))
    assert model.from_states is None
    (remark,) = _by_model([model], {model.name: 1})
    assert "large: the model runs its frozen blocks again in every step" in remark
    assert "a part outside its blocks is trained" in remark


def test_states_beyond_the_bound_are_on_disk_and_leave_nothing_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, x, _ = tried(game(folder, of_family(folder, "llama")))
    (_, in_memory), (_, on_disk) = (KeptStates(x, size).given_to(model) for size in (1.0, 1e-5))
    assert torch.equal(in_memory, on_disk)
    assert [*tmp_path.iterdir()] == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(RunError, match=r"cannot be written to .*gone.*TMPDIR"):
        KeptStates(x, 1e-5).given_to(model)


def test_the_bound_is_of_all_holders_and_memory_comes_back_with_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))  # so that the disk is refused
    model, x, _ = tried(game(folder, of_family(folder, "llama")))
    megabytes = 1.5 * len(x) * 6 * 16 * 4 / 1e6  # of one holder's states and a half
    one, other = KeptStates(x, megabytes), KeptStates(x, megabytes)
    one.given_to(model)
    with pytest.raises(RunError):
        other.given_to(model)
    del one
    other.given_to(model)


@pytest.mark.slow
def test_a_run_with_kept_states_values_as_one_without(folder: Path, tmp_path: Path) -> None:
    utilities = {}
    for megabytes in (1024, 0, 1e-5):
        content = game(folder, of_family(folder, "llama"), compute={"states_megabytes": megabytes})
        content["training"]["rounds"] = 1
        content["models"]["small"][0]["adapter"] = LAST
        run = fl_sv.run(content, tmp_path / str(megabytes), backend="inline")
        utilities[megabytes] = np.array([score.loss for score in run.utilities])
    assert np.array_equal(utilities[1024], utilities[1e-5])
    assert np.abs(utilities[1024] - utilities[0]).max() < CHANGED
    assert np.ptp(utilities[0]) > 1e-3


def test_plan_counts_the_memory_and_the_disk_of_kept_states(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = game(folder, of_family(folder, "llama"))
    model, *_ = tried(content)
    of_a_row = math.prod((6, 16)) * 4  # bytes
    checked = check(config_of(content, "test"))
    rows = len(checked.validation), sum(checked.examples.values())

    def planned(megabytes: float, on_ray: bool) -> PlannedStates:
        config = config_of({**content, "compute": {"states_megabytes": megabytes}}, "test")
        return planned_states(config, [model], checked, n_workers=2, on_ray=on_ray)

    in_one, by_workers = of_a_row * (rows[0] + rows[1]), of_a_row * (rows[0] + 2 * rows[1])
    assert planned(1, False) == PlannedStates(in_one, 0, {"large": (1, 2)})
    assert planned(1, True) == PlannedStates(by_workers, 0, {"large": (1, 2)})
    some = planned(0.001, False)
    assert (some.memory, some.disk) == (1000, in_one - 1000)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=0))
    require_disk(planned(1, True))
    with pytest.raises(InputError, match=r"kept states take .* 0\.0 GB are free"):
        require_disk(some)


def test_the_forecast_holds_the_kept_states(folder: Path) -> None:
    config = config_of(game(folder, of_family(folder, "llama")), "test")
    plan = forecast(config, checked := check(config), on_ray=False)
    rows = len(checked.validation) + sum(checked.examples.values())
    assert f"{rows * 384 / 1e6:.1f} MB; blocks that run once a row: 1 of 2 of large" in plan_text(
        plan
    )
    assert json.loads(plan.to_json())["kept_states"]["memory"] == rows * 384


# --- the frozen base ------------------------------------------------------------------------------


def test_a_frozen_base_leaves_nothing_out_and_an_adapters_dropout_does(folder: Path) -> None:
    """BERT's own dropout is .1; it would draw in training."""
    ids = torch.arange(12).reshape(2, 6) % len(LETTERS)

    def answers(**adapter: Any) -> list[torch.Tensor]:
        options = of_family(folder, "bert", task="head", adapter={**LAST, **adapter})
        model, *_ = tried(game(folder, options))
        params = model.initial_params(1, 0)
        module = model.loaded(params + 0.1).train()
        with torch.no_grad():
            return [module(ids) for _ in range(2)]

    one, other = answers()
    assert torch.equal(one, other)
    one, other = answers(dropout=0.5)
    assert not torch.equal(one, other)


def test_adapters_stand_in_the_blocks_alone_and_in_those_that_are_meant(folder: Path) -> None:
    for family, linear in (("bert", 6), ("gpt2", 4), ("llama", 7), ("neox", 4)):
        for layers, blocks in ((None, {"0", "1"}), ([1], {"1"})):
            adapter = {"kind": "lora", "rank": 2} | ({"layers": layers} if layers else {})
            content = game(folder, of_family(folder, family, task="head", adapter=adapter))
            model, *_ = tried(content)
            adapted = {name.partition(".lora_A")[0] for name in model.shapes if "lora_A" in name}
            assert len(adapted) == linear * len(blocks), adapted
            assert {number for name in adapted for number in name.split(".")} >= blocks
