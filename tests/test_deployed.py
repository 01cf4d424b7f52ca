"""The student that is deployed in the teacher's place: its rows, its training, and that the pot
follows it.
"""

import html
import json
import math
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from torch.nn import functional

import fl_sv
from benchmarks.common.command_line import SMOKE
from benchmarks.common.forging import bytes_of, signed_again, verified_bytes
from fl_sv.config import Config, load_config, parse_config
from fl_sv.data import operator_data
from fl_sv.design.workloads import DEPLOYED
from fl_sv.errors import InputError, RunError, VerificationError
from fl_sv.payment.payouts import money, pot_cents
from fl_sv.progress import Progress
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, start_or_resume
from fl_sv.runs.journal import Journal
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import read_ledger
from fl_sv.runs.tables import read_evidence
from fl_sv.training.deployed import deployed_spec, distilled, n_rows, transfer_rows
from fl_sv.training.models import model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from server.simulation import simulate
from tests.runs import Command

RATE, FLOOR = 500_000, -2.5
BOX: dict[str, Any] = {"low": 0, "high": 1, "rows": 300}
KINDS: dict[str, dict[str, Any]] = {
    "gaussian": BOX,
    "uniform": BOX,
    "inversion": {**BOX, "steps": 30},
    "generator": {**BOX, "steps": 300},
    "density": {**BOX, "steps": 10},
}


def game(kind: str = "uniform", **changes: Any) -> Config:
    content = yaml.safe_load(SMOKE.read_text())
    deployed = {
        "model": {"kind": "mlp", "hidden": [12]},
        "transfer_set": {"kind": kind, **KINDS.get(kind, {})},
    }
    content["distillation"] = {
        "weight": 0,
        "temperature": 2,
        **changes,
        "deployed": {**deployed, "epochs": 30},
    }
    content["payouts"]["pot"] = {"kind": "performance", "cents_per_utility": RATE, "floor": FLOOR}
    return Config.model_validate(content)


def simulated(config: Config, out: Path) -> RunDirectory:
    with start_or_resume(out, config, resume=out.exists()) as run:
        if not run.finished:
            simulate(config, run, "inline", Progress("quiet"), threading.Event())
    return run


@pytest.fixture(scope="module")
def teacher(finished_run: Path) -> torch.Tensor:
    journal = Journal(finished_run / files.JOURNAL)
    params = journal.teacher_rounds(DEPLOYED)[-1].params
    journal.close()
    return torch.tensor(params)


@pytest.fixture(scope="module")
def deployed_run(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return simulated(game(), tmp_path_factory.mktemp("deployed") / "run")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real rows and no targets."""
    folder = tmp_path_factory.mktemp("public")
    np.savez(folder / "public.npz", x=load_digits().images[:400, None] / 16, y=np.zeros(400))
    return folder


def on_public_rows(folder: Path, **changes: Any) -> Config:
    """A config on disk whose path is relative to it."""
    content = game(**changes).model_dump(mode="json")
    content["distillation"]["deployed"]["transfer_set"] = {"kind": "public", "file": "public.npz"}
    (folder / "game.yaml").write_text(yaml.safe_dump(content))
    return load_config(folder / "game.yaml")


def student_loss(config: Config, teacher: torch.Tensor) -> float:
    operator = operator_data(config)
    _, large = model_specs(config, operator.task)
    assert config.deployed is not None
    params = distilled(config, config.deployed, large, teacher, operator.scaling)
    again = distilled(config, config.deployed, large, teacher, operator.scaling)
    assert torch.equal(params, again)
    spec = deployed_spec(config, config.deployed, operator.scaling)
    validation = ValidationSet(config, *tensors(operator.validation, config))
    ((loss, _),) = validation.means(spec, params[None], "the student")
    return loss


# --- rows and training ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_student_learns_on_invented_rows_of_every_kind_what_no_row_of_a_company_taught_it(
    kind: str, teacher: torch.Tensor
) -> None:
    assert student_loss(game(kind), teacher) < math.log(10) - 0.05


@pytest.mark.parametrize(
    "loss, rate", [("hinton", 0.3), ("dkd", 0.1), ("smooth_l1", 0.5), ("logit_l2", 0.01)]
)
def test_student_learns_by_every_loss(
    loss: str, rate: float, teacher: torch.Tensor, public: Path
) -> None:
    changes = {"loss": loss, "temperature": 2 if loss in ("hinton", "dkd") else None}
    config = on_public_rows(public, **changes)
    slow = config.training.model_copy(update={"learning_rate": rate})
    assert student_loss(config.model_copy(update={"training": slow}), teacher) < 1


def test_noise_of_a_noisy_teacher_is_the_configs(teacher: torch.Tensor, public: Path) -> None:
    def loss(**options: float) -> float:
        config = on_public_rows(public, loss="noisy_teacher", temperature=None, options=options)
        slow = config.training.model_copy(update={"learning_rate": 0.01})
        return student_loss(config.model_copy(update={"training": slow}), teacher)

    assert loss(sigma=0) == loss(probability=0) != loss()


def test_student_that_diverges_is_no_student(teacher: torch.Tensor) -> None:
    config = game(loss="logit_l2", temperature=None)
    fast = config.training.model_copy(update={"learning_rate": 50.0})
    with pytest.raises(
        RunError, match=r"The deployed student cannot be distilled: .*NaN.*learning_rate"
    ):
        student_loss(config.model_copy(update={"training": fast}), teacher)


def test_generated_rows_lie_in_the_box_of_the_config(teacher: torch.Tensor) -> None:
    for kind in ("uniform", "generator", "density"):
        config = game(kind)
        operator = operator_data(config)
        large = model_specs(config, operator.task)[1].loaded(teacher)
        assert config.deployed is not None
        rows = transfer_rows(
            config, config.deployed, large, operator.scaling, torch.Generator().manual_seed(0)
        )
        assert rows.x.shape == (n_rows(config, config.deployed, operator.scaling), 1, 8, 8)
        assert 0 <= rows.x.min() < rows.x.max() <= 1


def test_public_rows_are_read_scaled_and_used(teacher: torch.Tensor, public: Path) -> None:
    config = on_public_rows(public)
    assert config.deployed is not None
    assert n_rows(config, config.deployed, operator_data(config).scaling) == 400
    assert student_loss(config, teacher) < student_loss(
        game(), teacher
    )  # real rows teach more than noise


# --- a whole run ----------------------------------------------------------------------------------


def test_performance_pot_pays_by_the_student_and_not_by_the_teacher(
    deployed_run: RunDirectory,
) -> None:
    evidence = read_evidence(deployed_run)
    assert evidence.student is not None
    assert evidence.deployed_utility == -evidence.student.loss < -evidence.curve[-1].loss
    paid = sum(
        int(row.split(",")[1]) for row in deployed_run.read_text(files.PAYOUTS).splitlines()[1:]
    )
    assert paid == round((evidence.deployed_utility - FLOOR) * RATE)


def test_deployed_student_changes_no_utility(
    deployed_run: RunDirectory, finished_run: Path
) -> None:
    for name in (files.UTILITIES, files.TEACHER, files.LAW):
        assert deployed_run.read_text(name) == RunDirectory(finished_run).read_text(name)


def test_student_is_in_the_ledger_and_on_the_report(
    deployed_run: RunDirectory, command: Command
) -> None:
    (body,) = [record.body for record in read_ledger(deployed_run) if record.kind == "models"]
    assert body["student"]["transfer_set"] == "uniform"
    assert body["deployed_utility"] == -body["student"]["loss"]
    page = deployed_run.read_text(files.REPORT)
    assert "A student is deployed instead of the teacher: mlp-12 with 910 parameters" in page
    assert f"{body['student']['loss']:.4f}" in page
    assert command("verify", deployed_run.path).code == 0


def test_student_is_loaded_and_predicts_with_the_loss_that_was_signed(
    deployed_run: RunDirectory, tmp_path: Path, command: Command
) -> None:
    evidence = read_evidence(deployed_run)
    held = operator_data(evidence.config).validation
    np.savez(tmp_path / "rows.npz", x=held.x)
    assert evidence.student is not None
    due = {"student": evidence.student, "teacher": evidence.curve[-1]}
    for which, signed in due.items():
        outputs = fl_sv.load_model(deployed_run.path, which)(torch.from_numpy(held.x)).detach()
        loss = functional.cross_entropy(outputs.double(), torch.from_numpy(held.y))
        assert float(loss) == pytest.approx(signed.loss, abs=1e-6)
        answer = command("predict", deployed_run.path, tmp_path / "rows.npz", "--model", which)
        found = np.loadtxt(answer.out.splitlines(), delimiter=",", skiprows=1)
        assert (found[:, 0] == held.y).mean() == pytest.approx(signed.accuracy)
    out = tmp_path / "student.safetensors"
    options = ("--format", "safetensors", "--model", "student", "--out", out)
    assert command("export", deployed_run.path, *options).code == 0
    assert (
        command("predict", out, tmp_path / "rows.npz").out
        == command("predict", deployed_run.path, tmp_path / "rows.npz", "--model", "student").out
    )


def test_values_are_the_teachers_and_the_pot_is_the_students_on_screen_and_page(
    deployed_run: RunDirectory,
) -> None:
    utility = read_evidence(deployed_run).deployed_utility
    sentence = (
        "The values are those of the teacher, the large model. A student is deployed instead of"
        f" the teacher; its utility is {utility:.4f}. The pot follows the student."
    )
    page = html.unescape(deployed_run.read_text(files.REPORT)).replace("\N{NO-BREAK SPACE}", " ")
    assert sentence in " ".join(summary(deployed_run).split())
    assert sentence in page
    assert "This pot follows the student's loss." in page


def test_another_pot_of_a_run_with_a_student_verifies(
    deployed_run: RunDirectory, tmp_path: Path, command: Command
) -> None:
    copy = tmp_path / "copy"
    for name in [path.name for path in deployed_run.path.iterdir() if path.is_file()]:
        copy.mkdir(exist_ok=True)
        (copy / name).write_bytes(deployed_run.file(name).read_bytes())
    paid = command("pay", copy, "--pot", 1000)
    assert paid.code == 0
    assert command("verify", copy).code == 0
    utility = read_evidence(deployed_run).deployed_utility
    own = money(pot_cents(deployed_run.config.payouts.pot, utility), "EUR", 2)
    sentence = (
        f"The run's own pot was {own}, by performance: 5,000.00 EUR for each unit of utility above"
        f" -2.5. The deployed student has {utility:.4f}. This payment divides a different pot. The"
        " values are the same. The values are those of the teacher, the large model. A student is"
        f" deployed instead of the teacher; its utility is {utility:.4f}. The pot is fixed and does"
        " not follow the student."
    )
    assert sentence in " ".join(paid.out.split())
    page = " ".join(re.sub("<[^>]*>", "", html.unescape((copy / files.REPORT).read_text())).split())
    assert sentence in page
    assert "10.00 EUR may be paid" in page
    assert "This is a different pot from the run's own." in page
    (copy / files.STUDENT).write_text(
        deployed_run.read_text(files.STUDENT).replace("uniform", "gaussian")
    )
    assert "student.csv was changed after it was signed" in command("verify", copy).err
    (copy / files.STUDENT).unlink()
    assert "student.csv" in command("verify", copy).err


@pytest.mark.parametrize(
    ("column", "other", "sentence"),
    [
        ("model", "mlp-13", "student.csv is of mlp-13, "),
        ("transfer_set", "gaussian", "student.csv is of mlp-12, gaussian, "),
        ("rows", "1", "by the config it must be of mlp-12, uniform, "),
        ("accuracy", "0.7001", "student.csv: the accuracy 0.7001 is no whole number of the 360"),
    ],
)
def test_student_that_its_owner_changed_and_signed_is_not_the_configs(
    column: str, other: str, sentence: str, deployed_run: RunDirectory
) -> None:
    data = bytes_of(deployed_run)
    head, row = (line.split(",") for line in data[files.STUDENT].decode().splitlines())
    row[head.index(column)] = other
    data[files.STUDENT] = f"{','.join(head)}\n{','.join(row)}\n".encode()
    with pytest.raises(VerificationError, match=sentence):
        verified_bytes(signed_again(data, owner_key()))


def test_student_that_is_in_the_journal_is_not_trained_again(
    deployed_run: RunDirectory, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for name in (files.CONFIG, files.JOURNAL):
        (tmp_path / "run" / name).write_bytes(deployed_run.file(name).read_bytes())
    journal = Journal(tmp_path / "run" / files.JOURNAL)
    assert journal.student() is not None
    journal.close()
    again = simulated(deployed_run.config, tmp_path / "run")
    for name in (files.STUDENT, files.UTILITIES, files.VALUATION, files.PAYOUTS):
        assert again.read_text(name) == deployed_run.read_text(name)


def test_plan_counts_the_student_and_refuses_more_rows_than_memory_holds(
    tmp_path: Path, command: Command
) -> None:
    (tmp_path / "game.yaml").write_text(yaml.safe_dump(game().model_dump(mode="json")))
    plain, student = (
        json.loads(command("plan", path, "--json").out) for path in (SMOKE, tmp_path / "game.yaml")
    )
    assert student["trainings"] == plain["trainings"] + 1
    assert student["messages"] == plain["messages"]
    content = game().model_dump(mode="json")
    content["distillation"]["deployed"]["transfer_set"]["rows"] = 1_000_000
    content["models"]["large"]["hidden"] = [16_384]
    (tmp_path / "game.yaml").write_text(yaml.safe_dump(content))
    answer = command("plan", tmp_path / "game.yaml")
    assert answer.code == 2
    assert "a transfer set's rows" in answer.err


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"transfer_set": {"kind": "own"}},
            r"deployed\.transfer_set: .*'own'.*'public', 'gaussian'",
        ),
        (
            {"transfer_set": {"kind": "public"}},
            r"the key distillation\.deployed\.transfer_set\.file is missing",
        ),
        (
            {"transfer_set": {"kind": "uniform", "low": 1, "high": 1}},
            r"low is 1 and high is 1; low must be below high",
        ),
        (
            {"transfer_set": {"kind": "uniform", **BOX, "steps": 3}},
            r"unknown key \S*transfer_set\.steps",
        ),
        (
            {"transfer_set": {"kind": "uniform", **BOX, "rows": 1}},
            r"transfer_set\.rows: .*equal to 2; given 1",
        ),
        ({"model": {"kind": "mlp"}}, r"the key distillation\.deployed\.model\.hidden is missing"),
        ({"epochs": 0}, r"deployed\.epochs: .*given 0"),
    ],
)
def test_wrong_sections_are_refused_with_one_sentence(
    changes: dict[str, Any], expected: str
) -> None:
    content = game().model_dump(mode="json")
    content["distillation"]["deployed"].update(changes)
    with pytest.raises(InputError, match=expected) as error:
        parse_config(yaml.safe_dump(content), "game")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["inversion", "generator", "density"])
def test_rows_from_class_probabilities_are_refused_in_a_regression(kind: str) -> None:
    content = game(kind, loss="logit_l2", temperature=None).model_dump(mode="json")
    content["data"] = {"source": "diabetes", "partition": {"kind": "iid"}}
    with pytest.raises(
        InputError, match=f"kind {kind} are made from class probabilities, but this is a regression"
    ):
        parse_config(yaml.safe_dump(content), "game")


def test_public_file_that_does_not_fit_is_wrong_input(tmp_path: Path, command: Command) -> None:
    np.savez(tmp_path / "narrow.npz", x=np.zeros((5, 3)), y=np.zeros(5))
    content = game().model_dump(mode="json")
    for file, expected in (("none.npz", "does not exist"), ("narrow.npz", "a row has shape (3,)")):
        content["distillation"]["deployed"]["transfer_set"] = {"kind": "public", "file": file}
        (tmp_path / "game.yaml").write_text(yaml.safe_dump(content))
        answer = command("plan", tmp_path / "game.yaml")
        assert answer.code == 2
        assert expected in answer.err
        assert "distillation.deployed.transfer_set" in answer.err
