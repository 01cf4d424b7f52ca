"""What goes into a module and what comes out: ids stay whole, mappings arrive by name, targets may
stand at every place, and the loss may be the user's own.
"""

import html
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import fl_sv
from fl_sv.config import Config, parse_config
from fl_sv.data import Scaling, Task, all_company_data, operator_data
from fl_sv.deployment.load import stored_model
from fl_sv.errors import InputError
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.training.losses import right, row_loss
from fl_sv.training.models import ModelSpec, tensors
from fl_sv.training.sgd import make_recipe, train
from fl_sv.training.stack import score_stack, train_stack
from fl_sv.training.trial import tried_models
from tests.own_inputs import VOCABULARY
from tests.runs import GENUINE, Command

GAME = """
companies: [Ash, Beech]
data: {source: SOURCE, partition: {kind: iid}, DATA}
models:
  small: [{kind: module, name: s, factory: "tests.own_inputs:FACTORY", options: {width: 2}}]
  large: {kind: module, name: l, factory: "tests.own_inputs:FACTORY", options: {width: 4}}
training: {rounds: 2, seeds: 1, local_epochs: 2, learning_rate: 0.5}
law: {anchors: none, untrained_loss: 1.1}
payouts: {pot: {kind: fixed, cents: 100}}
"""
IRIS = """
companies: [Ash, Beech]
data: {source: SOURCE, partition: {kind: iid}}
models: {small: [MODEL], large: {kind: mlp, hidden: [4096]}}
training: {rounds: 2, seeds: 1, loss: "tests.own_inputs:LOSS"}
compute: {dtype: float64}
law: {anchors: none}
payouts: {pot: {kind: fixed, cents: 100}}
"""
ROWS, LENGTH = 60, 5


def arrays() -> dict[str, np.ndarray]:
    """Rows of ids, of which the last one is the vocabulary's, with masks and real numbers."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
    ids[0, 0] = VOCABULARY - 1
    mask = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, ROWS)[:, None]
    tags = np.where(mask, ids % 3, -100)
    numbers = rng.normal(size=(ROWS, 2))
    return {
        "x": ids,
        "input_ids": ids,
        "attention_mask": mask,
        "numbers": numbers,
        "label": ids[:, 0] % 3,
        "tags": tags,
    }


def config_of(folder: Path, factory: str, data: str, y: str = "label", **more: Any) -> Config:
    given = {**arrays(), **more}
    np.savez(folder / "rows.npz", y=given[y], **given)
    text = GAME.replace("FACTORY", factory).replace("SOURCE", str(folder / "rows.npz"))
    return parse_config(text.replace("DATA", data), "game")


def large_of(config: Config) -> tuple[ModelSpec, torch.Tensor, torch.Tensor]:
    """The large model, tried, and the validation rows."""
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    return tried_models(config, operator.task, x, y)[1], x, y


def assert_stack_equals_loop(model: ModelSpec, config: Config, x: Any, y: Any) -> None:
    recipe = make_recipe(config, model, "Ash", len(x), 0, 1)
    noise = torch.randn(3, model.n_params, generator=torch.Generator().manual_seed(0))
    stack = model.initial_params(0, 0) + 0.1 * noise
    together = train_stack(model, stack.to(model.dtype), x, y, recipe, chunk=2)
    for row, params in zip(together, stack.to(model.dtype), strict=True):
        tolerance = 1e-9 if model.dtype == torch.float64 else 1e-5
        assert (row - train(model, params, x, y, recipe)).abs().max() <= tolerance
    assert (together - stack).abs().max() > 1e-4


INPUTS = {
    "ids": ("bag", "inputs: ids", "label"),
    "a mapping": ("masked", "inputs: [input_ids, attention_mask, numbers]", "label"),
    "a target at every place": ("tagger", "inputs: ids", "tags"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_module_is_given_what_the_file_holds_and_trains_alone_and_in_a_stack(
    name: str, tmp_path: Path
) -> None:
    config = config_of(tmp_path, *INPUTS[name])
    model, x, y = large_of(config)
    assert model.unstackable is None
    assert_stack_equals_loop(model, config, x, y)
    given = model.inputs(x)
    ids = given["input_ids"] if isinstance(given, dict) else given
    assert ids.dtype == torch.int64
    assert {*ids.flatten().tolist()} <= {*arrays()["x"].flatten().tolist()}
    if isinstance(given, dict):
        assert given["attention_mask"].dtype == torch.int64
        assert given["numbers"].dtype == torch.float32
        held = {row.tobytes() for row in arrays()["numbers"].astype(np.float32)}
        assert {row.tobytes() for row in given["numbers"].numpy()} <= held


@pytest.mark.parametrize("name", INPUTS)
def test_plan_run_verify_and_predict_take_it_from_end_to_end(
    name: str, tmp_path: Path, command: Command
) -> None:
    config = config_of(tmp_path, *INPUTS[name])
    assert forecast(config, check(config), on_ray=False).seconds is not None
    run = fl_sv.run(config, tmp_path / "run")
    assert all(0 <= score.accuracy <= 1 for score in run.utilities if score.accuracy is not None)
    losses = {score.loss for score in run.utilities}
    assert len(losses) > 3
    recorded = read_evidence(RunDirectory(run.path)).groups  # of an example with one target
    assert (recorded is None) == (name == "a target at every place")
    assert command("verify", run.path).code in GENUINE
    answer = command("predict", run.path, tmp_path / "rows.npz")
    model = fl_sv.load_model(run.path)
    given = {key: torch.from_numpy(array) for key, array in arrays().items()}
    if name == "a target at every place":
        assert answer.code == 2
        assert "answers a row with numbers of shape (5, 3)" in answer.err
        assert model(given["x"]).shape == (ROWS, LENGTH, 3)
        return
    names = [each.name for each in model.task.inputs]
    rows = given["x"] if names == [""] else {key: given[key] for key in names}
    due = model(rows).double()
    found = np.loadtxt(answer.out.splitlines(), delimiter=",", skiprows=1)
    assert found[:, 0].tolist() == due.argmax(1).tolist()
    assert np.abs(found[:, 1:] - due.softmax(1).detach().numpy()).max() <= 1e-6
    assert len({*map(tuple, found[:, 1:].round(6))}) > ROWS / 2
    if name == "ids":
        lines = [",".join(map(str, row)) for row in arrays()["x"].tolist()]
        table = tmp_path / "rows.csv"
        table.write_text("\n".join(["a,b,c,d,e", *lines]))
        assert command("predict", run.path, table).out == answer.out
        table.write_text("a,b,c,d,e\n1,2,3,4,0.5\n")
        refused = command("predict", run.path, table)
        assert (refused.code, refused.out) == (2, "")
        assert "with `data.inputs: ids` every number is whole" in refused.err


@pytest.mark.parametrize(
    ("factory", "loss", "source"),
    [("pair", "both", "iris"), ("quantiles", "pinball", "diabetes")],
)
def test_outputs_of_another_shape_are_verified_and_loaded_as_they_are_and_not_predicted(
    factory: str, loss: str, source: str, tmp_path: Path, command: Command
) -> None:
    text = GAME.replace("SOURCE", source).replace("FACTORY", factory).replace(", DATA", "")
    text = text.replace("seeds: 1", f'seeds: 1, loss: "tests.own_inputs:{loss}"')
    run = fl_sv.run(parse_config(text, "game"), tmp_path / "run")
    assert command("verify", run.path).code in GENUINE
    page = html.unescape((run.path / "report.html").read_text())
    assert f"Losses are those of the function tests.own_inputs:{loss}." in page
    assert "squared" not in page and "nats" not in page
    shape = {"pair": (2, 3), "quantiles": (3,)}[factory]
    assert stored_model(run.path).record.output_shape == shape
    model = fl_sv.load_model(run.path)
    rows = torch.rand(4, *model.task.input_shape, dtype=torch.float64)
    own = model.module(((rows - model.mean) / model.scale).float())
    assert torch.equal(model(rows), own)
    np.savez(tmp_path / "rows.npz", x=rows.numpy())
    answer = command("predict", run.path, tmp_path / "rows.npz")
    assert (answer.code, answer.out) == (2, "")
    assert f"answers a row with numbers of shape {shape}" in answer.err


def test_all_rows_reach_the_companies_and_the_operator_as_they_are(tmp_path: Path) -> None:
    config = config_of(tmp_path, "bag", "inputs: ids")
    operator = operator_data(config)
    companies = all_company_data(config, operator.scaling)
    held = np.concatenate([operator.validation.x, *(data.x for data in companies.values())])
    assert held.dtype == np.int64
    assert sorted(held.tolist()) == sorted(arrays()["x"].tolist())


def test_the_loss_of_a_row_is_the_mean_over_the_places_that_count(tmp_path: Path) -> None:
    config = config_of(tmp_path, "tagger", "inputs: ids", "tags")
    model, x, y = large_of(config)
    stack = model.initial_params(0, 0)[None] + 0.1
    losses, hits, _ = score_stack(model, stack, x, y, chunk=1)
    outputs = model.loaded(stack[0])(model.inputs(x)).detach().double()
    for row, (own, targets) in enumerate(zip(outputs, y, strict=True)):
        counted = targets != -100
        expected = functional.cross_entropy(own[counted], targets[counted])
        assert losses[0, row] == pytest.approx(float(expected), abs=1e-12)
        share = (own[counted].argmax(1) == targets[counted]).double().mean()
        assert hits is not None
        assert hits[0, row] == pytest.approx(float(share))
    assert torch.equal(right(outputs, y), hits[0])


def test_what_stands_at_an_ignored_place_changes_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path, "tagger", "inputs: ids", "tags")
    model, _, y = large_of(config)
    outputs = torch.randn(*y.shape, 3, generator=torch.Generator().manual_seed(0))
    other = outputs + 100 * (y == -100)[..., None]
    assert torch.equal(row_loss(model.task)(outputs, y), row_loss(model.task)(other, y))


def test_a_task_survives_a_message(tmp_path: Path) -> None:
    for name in INPUTS:
        scaling = operator_data(config_of(tmp_path, *INPUTS[name])).scaling
        again = Scaling.from_json(scaling.to_json())
        assert again == scaling
        assert hash(again.task) == hash(scaling.task)
    text = scaling.task.to_json()
    for right_text, wrong in (("true", "1"), ('"loss": null', '"loss": "os"'), ("[5]", "[-5]")):
        assert right_text in text
        with pytest.raises((ValueError, TypeError)):
            Task.from_json(text.replace(right_text, wrong))


# --- a loss of one's own --------------------------------------------------------------------------

MODELS = {
    "mlp": "{kind: mlp, hidden: [3]}",
    "cnn": "{kind: cnn, channels: [2]}",
    "module": "{kind: module, factory: 'tests.plugins:tiny_transformer', options: {width: 4}}",
}


def with_loss(loss: str, model: str = "mlp") -> Config:
    text = IRIS.replace("LOSS", loss).replace("MODEL", MODELS[model])
    return parse_config(text.replace("SOURCE", "iris" if model == "mlp" else "digits"), "game")


@pytest.mark.parametrize("loss", ["smoothed", "in_python"])
@pytest.mark.parametrize("model", MODELS)
def test_an_own_loss_is_trained_and_scored_alone_and_in_a_stack(model: str, loss: str) -> None:
    config = with_loss(loss, model)
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    x, y = x[:40], y[:40]
    ((spec,), _) = tried_models(config, operator.task, x, y)
    assert spec.unstackable is None, "the loss is of one batch, the rows of all models"
    assert_stack_equals_loop(spec, config, x, y)
    start = spec.initial_params(0, 0)
    losses, *_ = score_stack(spec, start[None], x, y, chunk=1)
    outputs = spec.loaded(start)(x).detach()
    expected = functional.cross_entropy(outputs, y, reduction="none", label_smoothing=0.1)
    assert torch.allclose(losses[0], expected, atol=1e-12)


REFUSED_LOSSES = {
    "mean": r"returns \(\) for 4 rows; it must return \(4,\)",
    "batch_mean": "gives a row another loss when other rows are beside it",
    "negative": "returns a number that is no loss",
    "detached": "has no finite gradient",
    "drawing": "gives two results for the same outputs",
    "in_place": "changes the outputs in place",
    "raising": r"raised an error on outputs and targets \(4, 3\) and \(4,\): KeyError",
    "nowhere": "nowhere",
}


@pytest.mark.parametrize("loss", REFUSED_LOSSES)
def test_what_is_no_loss_of_a_row_is_refused_before_anything_trains(loss: str) -> None:
    config = with_loss(loss)
    with pytest.raises(InputError, match=rf"training\.loss.*{REFUSED_LOSSES[loss]}") as refusal:
        forecast(config, check(config), on_ray=False)
    assert "\n" not in str(refusal.value)


# --- bad input ------------------------------------------------------------------------------------

REFUSED = {
    "every number is whole": ("bag", "inputs: ids", "label", {"x": arrays()["numbers"]}),
    "has no array 'nothing' (data.inputs)": ("masked", "inputs: [nothing]", "label", {}),
    "only `data.inputs: numbers` are scaled": (
        "bag",
        "inputs: ids, standardise: true",
        "label",
        {},
    ),
    "so nothing of the row counts (60 such rows)": (
        "tagger",
        "inputs: ids",
        "tags",
        {"tags": np.full((ROWS, LENGTH), -100)},
    ),
    "the label -7 is no class (60 such rows)": (
        "tagger",
        "inputs: ids",
        "tags",
        {"tags": np.full((ROWS, LENGTH), -7)},
    ),
    "a regression has one target a row": ("tagger", "inputs: ids, task: regression", "tags", {}),
    "feature_noise is for `data.inputs: numbers`": (
        "bag",
        "inputs: ids, corruptions: [{kind: feature_noise, company: Ash, std: 1}]",
        "label",
        {},
    ),
    "it must return (4, 5, 3)": ("bag", "inputs: ids", "tags", {}),
    "input_ids has shape (3, 2) and": (
        "masked",
        "inputs: [attention_mask, input_ids]",
        "label",
        {"input_ids": np.zeros((3, 2), int)},
    ),
    "reaches 100,000,000; beside inputs of real numbers": (
        "masked",
        "inputs: [input_ids, attention_mask, numbers]",
        "label",
        {"input_ids": np.full((ROWS, LENGTH), 10**8)},
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_inputs_and_targets_that_do_not_fit_are_refused_in_a_sentence(
    sentence: str, tmp_path: Path
) -> None:
    factory, data, y, more = REFUSED[sentence]
    with pytest.raises(InputError) as refusal:
        config = config_of(tmp_path, factory, data, y, **more)
        forecast(config, check(config), on_ray=False)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_dirichlet_needs_one_label_a_row(tmp_path: Path) -> None:
    config = config_of(tmp_path, "tagger", "inputs: ids", "tags")
    skewed = {"kind": "dirichlet", "alpha": 1.0}
    content = config.model_dump()
    content["data"]["partition"] = skewed
    with pytest.raises(InputError, match="dirichlet skews class labels, one a row"):
        check(Config.model_validate(content))


def test_built_in_models_take_numbers_and_exit_code_2_says_so(
    command: Command, tmp_path: Path
) -> None:
    np.savez(tmp_path / "rows.npz", y=arrays()["label"], x=arrays()["x"])
    text = IRIS.replace('loss: "tests.own_inputs:LOSS"', "rounds: 1").replace("rounds: 2, ", "")
    text = text.replace("MODEL", MODELS["mlp"]).replace("{kind: iid}", "{kind: iid}, inputs: ids")
    (tmp_path / "game.yaml").write_text(text.replace("SOURCE", "rows.npz"))
    answer = command("plan", tmp_path / "game.yaml")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "a model of the kind mlp takes `data.inputs: numbers`" in answer.err
