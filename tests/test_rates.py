"""Learning rates that a run chooses (`auto`): tried by all companies, on rows that pay nothing."""

import json
import math
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from config_of import config_of
from numpy.typing import NDArray

from benchmarks.common.forging import bytes_of, signed_again, verified_bytes
from clients.app import app as client_app
from clients.company import load_company
from fl_sv.config import Config, load_config, parse_config
from fl_sv.data import all_company_data, operator_data
from fl_sv.design.rates import TUNING_SEED, TriedRate, TriedRates, rates_in_force, rates_to_try
from fl_sv.design.workloads import rates_workloads
from fl_sv.errors import InputError, RunError, VerificationError
from fl_sv.planning.forecast import Plan, PlannedSeeds, plan_text
from fl_sv.planning.stages import PlannedStage
from fl_sv.progress import Progress
from fl_sv.report.rates import rates_remarks
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.journal import Journal
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import read_ledger, records_of
from fl_sv.runs.records import ModelsRecord
from fl_sv.runs.tables import rates_csv, read_rates
from fl_sv.runs.verify import verified
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import make_recipe, train
from server.inline import InlineGrid
from server.job import open_job
from server.rates import choose_rates
from strategies.flower import make_strategy
from tests.runs import fl_sv

GAME = """
seed: 3
companies: [Ash, Beech, Chestnut]
data:
  source: pool.npz
  partition: {kind: column, column: owner}
  standardise: false
  validation: {file: held.npz}
models:
  small: [{kind: mlp, hidden: [3]}, {kind: mlp, hidden: [6]}]
  large: {kind: mlp, hidden: [24]}
training: {rounds: 4, local_epochs: 2, batch_size: 16, learning_rate: auto, seeds: 2}
coalitions: {waves: 2}
law: {family: affine}
payouts: {pot: {kind: fixed, cents: 1000}}
"""
TRIED = [0.025, 0.05, 0.1, 0.2, 0.4]
BYTES = (files.UTILITIES, files.AVERAGED, files.VALUATION, files.PAYOUTS)
Companies = dict[str, tuple[torch.Tensor, torch.Tensor]]


def blobs(n: int, seed: int) -> dict[str, NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, n)
    centres = np.array([[0.0, 0.0], [2.5, 0.0], [0.0, 2.5]])
    owner = generator.choice(["Ash", "Beech", "Chestnut"], n, p=[0.5, 0.3, 0.2])
    return {"x": centres[y] + generator.normal(0, 1, (n, 2)), "y": y, "owner": owner}


def write_game(folder: Path, text: str = GAME, held: dict[str, NDArray] | None = None) -> Path:
    """The config's path, with its data beside it. held: the operator's rows."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "pool.npz", **blobs(200, seed=1))
    np.savez(folder / "held.npz", **(held or blobs(160, seed=2)))
    (folder / "game.yaml").write_text(text)
    return folder / "game.yaml"


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_game(tmp_path_factory.mktemp("rates"))


@pytest.fixture(scope="module")
def finished(owner_home: Path, game: Path) -> RunDirectory:
    """The run of GAME. Never write into it."""
    return run_of(game)


def run_of(game: Path, *options: object) -> RunDirectory:
    out = game.parent / f"run of {game.stem}"
    answer = fl_sv("run", game, "--out", out, "--backend", "inline", "--quiet", *options)
    assert (answer.code, answer.err) == (0, "")
    return RunDirectory(out)


def rates_of_game(game: Path) -> TriedRates:
    """The stage alone, with the companies as threads."""
    config = load_config(game)
    grid = InlineGrid(client_app, range(config.n_companies))
    with closing(Journal(game.parent / "journal.sqlite")) as journal:
        job = open_job(config, journal, grid, Progress("quiet"), threading.Event())
        assert job.rates is None
        found = choose_rates(job).rates
    assert found is not None
    return found


def written(rates: TriedRates) -> bytes:
    return rates_csv(rates).encode()


# --- the choice -----------------------------------------------------------------------------------


def slow_losses(game: Path) -> dict[tuple[str, float], float]:
    """One model after the other, one company after the other, in plain torch."""
    config = load_config(game)
    operator = operator_data(config)
    assert operator.tuning is not None
    companies = {
        name: tensors(rows, config)
        for name, rows in sorted(all_company_data(config, operator.scaling).items())
    }
    x, y = tensors(operator.tuning, config)
    small, large = model_specs(config, operator.task)
    found = {}
    for model in (*small, large):
        for rate in TRIED:
            params = trained(replace(model, learning_rate=rate), config, companies)
            outputs = model.loaded(params)(x).double()
            found[model.name, rate] = float(torch.nn.functional.cross_entropy(outputs, y).detach())
    return found


def trained(model: ModelSpec, config: Config, companies: Companies) -> torch.Tensor:
    params = model.initial_params(config.seed, TUNING_SEED)
    for server_round in range(1, config.training.rounds + 1):
        total, examples = torch.zeros(len(params), dtype=torch.float64), 0
        for name, (x, y) in companies.items():
            recipe = make_recipe(config, model, name, len(y), TUNING_SEED, server_round)
            total += len(y) * train(model, params, x, y, recipe).double()
            examples += len(y)
        params = (total / examples).float()
    return params


def test_rates_are_those_that_a_slow_loop_chooses(game: Path, finished: RunDirectory) -> None:
    slow, rates = slow_losses(game), read_rates(finished)
    for each in rates.tried:
        assert each.untrained_loss == math.log(3)
        assert each.loss == pytest.approx(slow[each.model, each.rate], abs=1e-6)
    best, choices = None, {}
    for rate in TRIED:
        if best is None or slow["mlp-24", rate] < slow["mlp-24", best]:
            best = rate
    choices["mlp-24"] = best
    for model in ("mlp-3", "mlp-6"):
        gaps = {rate: abs(slow[model, rate] - slow["mlp-24", best]) for rate in TRIED}
        choices[model] = min(gaps, key=lambda rate: gaps[rate])
    assert dict(rates.chosen) == choices


def test_run_at_the_chosen_rates_on_the_rows_that_pay_gives_the_same_bytes(
    game: Path, finished: RunDirectory, tmp_path: Path
) -> None:
    chosen = read_rates(finished).chosen
    assert len({*chosen.values()}) > 1  # else a mix-up of the models would go unseen
    stated = GAME.replace("learning_rate: auto", "learning_rate: 0.3")
    for width in (3, 6, 24):
        own = f"hidden: [{width}], learning_rate: {chosen[f'mlp-{width}']!r}"
        stated = stated.replace(f"hidden: [{width}]", own)
    held = blobs(160, seed=2)
    pays = ~is_tuning(game, held["x"])
    by_hand = write_game(tmp_path / "stated", stated, {k: v[pays] for k, v in held.items()})
    run = run_of(by_hand)
    assert not run.file(files.RATES).exists()
    for name in (*BYTES, files.TEACHER):
        assert run.read_bytes(name) == finished.read_bytes(name), name


def is_tuning(game: Path, x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the operator's rows choose the rates."""
    tuning = operator_data(load_config(game)).tuning
    assert tuning is not None
    chooses = {row.tobytes() for row in tuning.x}
    return np.array([row.tobytes() in chooses for row in x.astype(np.float32)])


@pytest.mark.parametrize("pays", [True, False])
def test_labels_of_rows_that_pay_change_no_rate_and_others_do(
    game: Path, finished: RunDirectory, tmp_path: Path, *, pays: bool
) -> None:
    held = blobs(160, seed=2)
    rows = np.flatnonzero(is_tuning(game, held["x"]) != pays)
    held["y"][rows] = (held["y"][rows] + 1) % 3
    other = rates_of_game(write_game(tmp_path / "other", held=held))
    assert (written(other) == finished.read_bytes(files.RATES)) == pays


def test_about_a_quarter_of_the_rows_tunes_and_equal_rows_are_in_one_set(tmp_path: Path) -> None:
    held = blobs(2000, seed=5)
    held["x"][1000:] = held["x"][:1000]  # with other labels
    operator = operator_data(load_config(write_game(tmp_path, held=held)))
    assert operator.tuning is not None
    assert len(operator.tuning) + len(operator.validation) == 2000
    assert len(operator.tuning) == pytest.approx(500, abs=80)
    tuning, pays = (
        {row.tobytes() for row in part.x} for part in (operator.tuning, operator.validation)
    )
    assert not tuning & pays


def test_stated_rates_leave_all_rows_to_the_validation_set(tmp_path: Path) -> None:
    stated = load_config(write_game(tmp_path, GAME.replace("auto", "0.2")))
    operator = operator_data(stated)
    assert (operator.tuning, len(operator.validation)) == (None, 160)
    assert rates_to_try(stated) == {}


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_rows_for_two_sets_are_refused_by_plan(n: int, tmp_path: Path) -> None:
    held = {name: column[:n] for name, column in blobs(160, seed=2).items()}
    game = write_game(tmp_path, held=held)
    answer = fl_sv("plan", game)
    assert answer.code == 2
    assert f"of {n} validation rows" in answer.err
    assert "learning_rate: auto" in answer.err


# --- the rule -------------------------------------------------------------------------------------


def tried(model: str, losses: list[float | None]) -> list[TriedRate]:
    return [
        TriedRate(model, rate, 4, "", 1.0, loss) for rate, loss in zip(TRIED, losses, strict=True)
    ]


def rates_of(small: list[float | None], large: list[float | None]) -> TriedRates:
    config = config_of({"source": "iris"}, ("Ash", "Beech"), training={"learning_rate": "auto"})
    names = [*rates_to_try(config)]
    return TriedRates(config, 40, (*tried(names[0], small), *tried(names[-1], large)))


@pytest.mark.parametrize(
    ("small", "large", "chosen"),
    [
        ([0.9, 0.8, 0.6, 0.4, 0.3], [0.8, 0.6, 0.5, 0.7, 0.9], (0.1, 0.1)),  # 0.1 off, 0.1 off
        ([0.9, 0.8, 0.6, 0.5, 0.3], [0.8, 0.6, 0.5, 0.7, 0.9], (0.2, 0.1)),
        ([0.4, 0.4, 0.4, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5, 0.5], (0.025, 0.025)),  # the lower one
        ([None, None, 0.9, 0.1, None], [0.8, None, None, None, None], (0.1, 0.025)),
        ([2.0, 3.0, 9.0, None, None], [1.5, 1.2, None, None, None], (0.025, 0.05)),  # no gain
    ],
)
def test_large_takes_the_lowest_loss_and_small_the_nearest_gain(
    small: list[float | None], large: list[float | None], chosen: tuple[float, float]
) -> None:
    assert tuple(rates_of(small, large).chosen.values()) == chosen


def test_nearest_gain_is_not_nearest_loss() -> None:
    rates = rates_of([0.9, 0.8, 0.7, 0.6, 0.5], [0.9, 0.9, 0.9, 0.4, 0.9])
    lower = tuple(
        replace(each, untrained_loss=0.9) if each.model == rates.tried[0].model else each
        for each in rates.tried
    )
    assert replace(rates, tried=lower).chosen[rates.tried[0].model] == 0.4
    assert [each.gain for each in rates.of(rates.tried[-1].model)][3] == 0.6


def test_model_whose_every_rate_diverges_is_named() -> None:
    nothing: list[float | None] = [None] * 5
    with pytest.raises(RunError, match=r"has no learning rate.*0\.025, 0\.05, 0\.1, 0\.2, 0\.4"):
        _ = rates_of(nothing, [0.5] * 5).chosen


# --- divergence -----------------------------------------------------------------------------------

WILD = """
companies: [Ash, Beech]
data: {source: diabetes, partition: {kind: sizes, sizes: {Ash: 2, Beech: 1}}}
models:
  small: [{kind: mlp, hidden: [3], learning_rate: auto}]
  large: {kind: mlp, hidden: [16], learning_rate: auto}
training: {rounds: 3, seeds: 1, learning_rate: BASE}
payouts: {pot: {kind: fixed, cents: 1000}}
"""


def wild(folder: Path, base: float) -> Path:
    (folder / "wild.yaml").write_text(WILD.replace("BASE", str(base)))
    return folder / "wild.yaml"


def test_rate_that_diverges_is_named_and_never_taken(tmp_path: Path) -> None:
    rates = rates_of_game(wild(tmp_path, 0.5))
    diverged = [each for each in rates.tried if each.loss is None]
    assert [(each.model, each.rate) for each in diverged] == [
        (model, rate) for model in ("mlp-3", "mlp-16") for rate in (1.0, 2.0)
    ]
    assert all(1 <= each.rounds <= 3 and each.company in ("Ash", "Beech") for each in diverged)
    assert max(rates.chosen.values()) <= 0.5
    _, sentence = rates_remarks(rates)  # the first is on few rows
    assert sentence.startswith("Learning rates at which the training diverged were left out:")
    for each in diverged:
        where = f"(round {each.rounds}, first at {each.company})"
        assert f"{each.rate:g} of {each.model} {where}" in sentence


def test_where_all_rates_diverge_the_run_stops_with_a_sentence_and_trains_no_more(
    tmp_path: Path,
) -> None:
    game, out = wild(tmp_path, 50), tmp_path / "run"
    for resume in ([], ["--resume"]):
        answer = fl_sv("run", game, "--out", out, "--backend", "inline", *resume)
        assert answer.code == 1
        (sentence,) = answer.err.splitlines()
        assert "mlp-3 has no learning rate" in sentence
        assert "12.5, 25, 50, 100, 200" in sentence
        assert "lower training.learning_rate" in sentence
    with closing(Journal(out / files.JOURNAL)) as journal:
        assert not journal.teacher_rounds("teacher/0")
        assert {*journal.costs()} <= {"rates", "rest"}


def test_rate_at_an_end_of_those_tried_is_a_remark() -> None:
    rates = rates_of([0.9, 0.8, 0.7, 0.6, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9])
    (sentence,) = rates_remarks(rates)
    assert "mlp-4 takes the highest, 0.4 and mlp-64 takes the lowest, 0.025" in sentence


# --- around the choice ----------------------------------------------------------------------------


def test_plan_counts_what_the_trials_cost_and_cost_json_has_their_stage(
    game: Path, finished: RunDirectory, tmp_path: Path
) -> None:
    plan = json.loads(fl_sv("plan", game, "--json").out)
    stated = write_game(tmp_path, GAME.replace("auto", "0.2"))
    without = json.loads(fl_sv("plan", stated, "--json").out)
    assert (plan["rate_trainings"], without["rate_trainings"]) == (15, 0)
    assert plan["trainings"] - without["trainings"] == 15
    assert plan["exchanges"] - without["exchanges"] == 4
    assert plan["messages"] - without["messages"] == 4 * 3
    assert plan["seconds"] >= without["seconds"] - 1
    plan["more_seeds"] = PlannedSeeds(**plan["more_seeds"])
    plan["stages"] = {name: PlannedStage(**stage) for name, stage in plan["stages"].items()}
    assert "15 of these trainings try rates" in plan_text(Plan(**plan))
    stages = json.loads(finished.read_text(files.COST))["stages"]
    sent = sum(stage["bytes"] for stage in stages.values())
    headers = 2 * 4 * 3 * 15 * 128  # of each array, which is much beside so small a model
    assert stages["rates"]["bytes"] == plan["bytes"] - without["bytes"] + headers
    assert plan["bytes"] <= sent
    config = load_config(game)
    small, large = specs(game)
    rows = 200 * config.training.local_epochs * config.training.rounds
    assert stages["rates"]["flops"] == 5 * sum(m.training_flops(rows) for m in (*small, large))
    assert stages["rates"]["seconds"] > 0


def specs(game: Path) -> tuple[tuple[ModelSpec, ...], ModelSpec]:
    config = load_config(game)
    return model_specs(config, operator_data(config).task)


def test_choice_does_not_depend_on_how_messages_are_divided(
    finished: RunDirectory, tmp_path: Path
) -> None:
    divided = write_game(tmp_path, GAME.replace("waves: 2", "waves: 2, wave_megabytes: 0.0015"))
    waves = rates_workloads(load_config(divided), *specs(divided))
    assert len(waves) > 2
    assert sum(wave.trainings for wave in waves) == 15
    assert written(rates_of_game(divided)) == finished.read_bytes(files.RATES)


def test_only_models_without_a_rate_are_tried_and_the_large_one_is_their_measure(
    tmp_path: Path,
) -> None:
    text = GAME.replace("auto", "0.1").replace("hidden: [6]", "hidden: [6], learning_rate: auto")
    rates = rates_of_game(write_game(tmp_path, text))
    assert [(each.model, each.rate) for each in rates.tried] == [
        *(("mlp-6", rate) for rate in TRIED),
        ("mlp-24", 0.1),
    ]
    assert {*rates.chosen} == {"mlp-6"}
    in_force = {"mlp-3": 0.1, "mlp-6": rates.chosen["mlp-6"], "mlp-24": 0.1}
    assert rates_in_force(rates.config, rates) == in_force


def test_students_are_tried_as_plain_models_before_there_is_a_teacher(
    finished: RunDirectory, tmp_path: Path
) -> None:
    students = write_game(tmp_path, GAME + "distillation: {weight: 0.5}\n")
    assert written(rates_of_game(students)) == finished.read_bytes(files.RATES)


def test_run_that_extends_another_keeps_its_rates(finished: RunDirectory, tmp_path: Path) -> None:
    fewer = GAME.replace(", Chestnut", "")
    run = run_of(write_game(tmp_path, fewer), "--from", finished.path)
    assert run.read_bytes(files.RATES) == finished.read_bytes(files.RATES)
    assert "rates" not in json.loads(run.read_text(files.COST))["stages"]
    verified(run)


def test_company_without_a_rate_from_the_server_trains_nothing(game: Path) -> None:
    config = load_config(game)
    company = load_company("Ash", config, operator_data(config).scaling, None)
    stack = {"mlp-3/0": company.models["mlp-3"].initial_params(3, 0)[None].numpy()}
    with pytest.raises(RunError, match="was told no learning rate of mlp-3"):
        company.train_round(stack, 1)
    assert company.at({"mlp-3": 0.1}).train_round(stack, 1).keys() == stack.keys()


def test_qfedavg_weighs_by_the_rate_of_the_large_model(game: Path) -> None:
    config = parse_config(
        game.read_text()
        .replace("hidden: [24]", "hidden: [24], learning_rate: 0.05")
        .replace("training:", "teacher: {strategy: qfedavg}\ntraining:"),
        "game",
    )
    assert vars(make_strategy(config))["client_learning_rate"] == 0.05
    assert vars(make_strategy(config, 0.4))["client_learning_rate"] == 0.4


# --- rates.csv ------------------------------------------------------------------------------------


def test_finished_run_verifies_and_tells_its_rates(finished: RunDirectory) -> None:
    (models,) = records_of(read_ledger(finished), ModelsRecord)
    assert models.learning_rates == read_rates(finished).chosen
    page = finished.read_text(files.REPORT)
    for model, rate in read_rates(finished).chosen.items():
        assert f"{model} takes {rate:g}" in page
    assert "rows that have no other use" in page


def edited(run: RunDirectory, change: Callable[[list[str]], list[str]]) -> None:
    header, *lines = run.read_text(files.RATES).splitlines()
    run.write_text(files.RATES, "\n".join([header, *change(lines)]) + "\n")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: lines[1:], r"the rates must be \('mlp-3', 0.025\)"),
        (lambda lines: [*lines, lines[0]], "the rates must be"),
        (lambda lines: [lines[0].replace("0.025", "0.03"), *lines[1:]], "the rates must be"),
        (lambda lines: [lines[0].replace("mlp-3", "mlp-6"), *lines[1:]], "the rates must be"),
        (lambda lines: [flipped(line) for line in lines], "by the losses it must be"),
        (lambda lines: [with_cell(lines[0], 7, "nan"), *lines[1:]], "no finite number"),
        (lambda lines: [with_cell(lines[0], 7, ""), *lines[1:]], "do not fit"),
        (lambda lines: [with_cell(lines[0], 2, "diverged"), *lines[1:]], "do not fit"),
        (lambda lines: [with_cell(lines[0], 3, "3"), *lines[1:]], "has all 4 rounds"),
        (lambda lines: [with_cell(lines[0], 4, "Ash"), *lines[1:]], "has all 4 rounds"),
        (lambda lines: [with_cell(lines[0], 5, "7"), *lines[1:]], "same number in every line"),
        (lambda lines: [with_cell(line, 5, "-7") for line in lines], "at least 1; found -7"),
        (lambda lines: [diverged(lines[0], "[red]Ash"), *lines[1:]], "is no company's name"),
    ],
)
def test_rates_that_do_not_follow_are_refused(
    change: Callable[[list[str]], list[str]],
    sentence: str,
    finished: RunDirectory,
    tmp_path: Path,
) -> None:
    run = RunDirectory(shutil.copytree(finished.path, tmp_path / "copy"))
    edited(run, change)
    with pytest.raises(InputError, match=sentence):
        read_rates(run)
    with pytest.raises(VerificationError, match=r"rates\.csv was changed after it was signed"):
        verified(run)
    with pytest.raises(VerificationError, match=sentence):
        verified_bytes(signed_again(bytes_of(run), owner_key()))


def flipped(line: str) -> str:
    *cells, chosen = line.split(",")
    return ",".join([*cells, "no" if chosen == "yes" else "yes"])


def with_cell(line: str, column: int, cell: str) -> str:
    cells = line.split(",")
    return ",".join([*cells[:column], cell, *cells[column + 1 :]])


def diverged(line: str, company: str) -> str:
    return with_cell(with_cell(with_cell(line, 2, "diverged"), 7, ""), 4, company)


def test_missing_rates_are_a_difference(finished: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(finished.path, tmp_path / "copy"))
    run.file(files.RATES).unlink()
    with pytest.raises(VerificationError, match=r"rates\.csv"):
        verified(run)


# --- the config -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "learning_rate: auto",
            "learning_rate: Auto",
            "training.learning_rate: .*or 'auto'; given",
        ),
        (
            "hidden: [3]",
            "hidden: [3], learning_rate: best",
            r"models.small\[0\].learning_rate: .*or",
        ),
        (
            "payouts:",
            "distillation: {weight: 0, deployed: {model: {kind: mlp, hidden: [4]},"
            " transfer_set: {kind: uniform, rows: 9, low: 0, high: 1}}}\npayouts:",
            "distillation.deployed.model.learning_rate: .*number",
        ),
    ],
)
def test_rate_is_a_number_or_auto_and_a_deployed_student_needs_a_number(
    old: str, new: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_config(GAME.replace(old, new), "game")


def test_common_number_is_the_middle_of_what_a_model_tries() -> None:
    text = GAME.replace("auto", "0.4").replace("hidden: [3]", "hidden: [3], learning_rate: auto")
    assert rates_to_try(parse_config(text, "game")) == {
        "mlp-3": (0.1, 0.2, 0.4, 0.8, 1.6),
        "mlp-24": (0.4,),
    }
