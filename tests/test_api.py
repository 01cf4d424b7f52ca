"""The door for Python: the run of the command line as records, and errors as exceptions."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fl_sv
from benchmarks.common.command_line import SMOKE
from fl_sv.config import Config, load_config
from fl_sv.errors import InputError, VerificationError
from fl_sv.planning.forecast import Plan
from fl_sv.runs import files
from tests.runs import Command


@pytest.fixture(scope="module")
def run(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> fl_sv.Run:
    return fl_sv.run(SMOKE, tmp_path_factory.mktemp("api") / "run")


def test_a_run_in_python_has_the_bytes_of_the_command(run: fl_sv.Run, finished_run: Path) -> None:
    for name in (files.UTILITIES, files.VALUATION, files.PAYOUTS, files.LAW):
        assert (run.path / name).read_bytes() == (finished_run / name).read_bytes()
    assert (run.path / files.REPORT).exists()


def test_a_run_is_records(run: fl_sv.Run) -> None:
    companies = load_config(SMOKE).companies
    assert tuple(run.payouts) == companies and sum(run.payouts.values()) == 1_000_000
    assert tuple(c.name for c in run.valuation.companies) == companies
    assert isinstance(run.law, fl_sv.Law) and run.law.holds and run.law.alarms == []
    np.testing.assert_allclose(run.law.shapley().values, run.valuation.values, rtol=1e-9)
    grand = [score for score in run.utilities if score.coalition == 15]
    assert {score.model for score in grand} == {*run.evidence.table.models}


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_the_tables_are_data_frames_too(run: fl_sv.Run, library: str) -> None:
    pytest.importorskip(library)
    utilities = run.frame("utilities", library)
    assert utilities.shape == (len(run.utilities), 5)
    assert list(run.frame("payouts", library)["amount_cents"]) == [*run.payouts.values()]
    assert list(run.frame("companies", library)["value"]) == run.valuation.values.tolist()


def test_a_finished_run_that_is_resumed_trains_nothing_and_is_the_same(run: fl_sv.Run) -> None:
    ledger = (run.path / files.LEDGER).read_bytes()
    again = fl_sv.run(SMOKE, run.path, resume=True)
    assert (again.payouts, again.valuation) == (run.payouts, run.valuation)
    assert (run.path / files.LEDGER).read_bytes() == ledger


def test_a_config_is_a_file_its_content_or_a_config(command: Command) -> None:
    content = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    plans = [fl_sv.plan(config) for config in (SMOKE, str(SMOKE), content, load_config(SMOKE))]
    assert all(isinstance(plan, Plan) for plan in plans)
    assert len({(plan.trainings, plan.messages, plan.bytes) for plan in plans}) == 1
    assert isinstance(load_config(SMOKE), Config)


def test_verification_is_a_record_or_an_exception_that_names_the_difference(
    run: fl_sv.Run, tmp_path: Path, command: Command
) -> None:
    found = fl_sv.verify(run.path)
    assert found.settlement.payment.amounts == run.payouts
    other = tmp_path / "other.pub"
    other.write_text("no key", encoding="utf-8")
    with pytest.raises(InputError, match="other\\.pub"):
        fl_sv.verify(run.path, other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no finished run"):
        fl_sv.verify(tmp_path / "empty")


def test_a_changed_payout_is_an_exception(run: fl_sv.Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run.path.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    table = (copy / files.PAYOUTS).read_text(encoding="utf-8")
    (copy / files.PAYOUTS).write_text(table.replace("Ash,", "Ash,1"), encoding="utf-8")
    with pytest.raises(VerificationError, match=r"payouts\.csv"):
        fl_sv.verify(copy)


@pytest.mark.parametrize(
    ("config", "backend", "sentence"),
    [
        ("missing.yaml", "inline", "There is no file missing.yaml"),
        ({"companies": ["Ash", "Beech"]}, "inline", "config: the key data is missing"),
        (["Ash", "Beech"], "inline", "config is a list; allowed are the path of a YAML file"),
        (SMOKE, "inlin", "There is no backend 'inlin'. Did you mean inline?"),
    ],
)
def test_wrong_input_is_an_exception_with_a_sentence_and_leaves_nothing(
    config: object, backend: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        fl_sv.run(config, tmp_path / "run", backend=backend)  # type: ignore[arg-type]
    assert sentence in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_table_or_library_is_named_with_the_nearest(run: fl_sv.Run) -> None:
    with pytest.raises(InputError, match="Did you mean utilities"):
        run.frame("utility")
    with pytest.raises(InputError, match="Did you mean pandas"):
        run.frame("utilities", "panda")


def test_a_users_module_beside_the_config_is_found(tmp_path: Path) -> None:
    (tmp_path / "rows_beside_the_config.py").write_text(
        "from sklearn.datasets import load_iris\n"
        "def rows():\n"
        "    iris = load_iris()\n"
        "    return {'x': iris.data, 'y': iris.target}\n",
        encoding="utf-8",
    )
    content = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    content["data"]["source"] = "rows_beside_the_config:rows"
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert fl_sv.plan(config).n_companies == 4


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: fl_sv.run(SMOKE, "out", resume="no"), "resume is 'no'"),
        (lambda: fl_sv.run(SMOKE, "out", resume=0), "resume is 0"),
        (lambda: fl_sv.run(SMOKE, 5), "out is a int"),
        (lambda: fl_sv.run(SMOKE, "out", backend=5), "no backend 5"),
        (lambda: fl_sv.read_run(None), "path is a NoneType"),
        (lambda: fl_sv.verify(5), "path is a int"),
        (lambda: fl_sv.verify("out", key=5), "key is a int"),
        (lambda: fl_sv.load_model(["runs/one"]), "path is a list"),
        (lambda: fl_sv.plan(5), "config is a int"),
    ],
)
def test_an_argument_of_the_wrong_type_is_named_and_nothing_is_read(
    call: Callable[[], Any], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(part)):
        call()
    assert not (tmp_path / "out").exists()
