"""A first project runs as it was written, and says what to do next."""

import shutil
from pathlib import Path

import pytest

from fl_sv import read_run
from fl_sv.config.load import load_config
from fl_sv.data import all_company_data, operator_data
from fl_sv.data.dataset import Dataset
from fl_sv.data.federation import read_source
from fl_sv.training import extra
from tests.runs import Command

HERE = ("tabular", "images", "federation")


@pytest.mark.parametrize("template", HERE)
def test_a_project_is_valued_and_payable_as_it_was_written(
    template: str, command: Command, tmp_path: Path
) -> None:
    project = tmp_path / "mine"
    written = command("init", project, "--template", template)
    assert written.code == 0, written
    page = (project / "README.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 6
    line = f"fl-sv run {project / 'config.yaml'} --out {project / 'run'} --backend inline"
    assert line in page and line in written.out
    done = command(*line.split()[1:])
    assert done.code == 0, done
    run = read_run(project / "run")
    assert run.valuation.payable
    assert sum(run.payouts.values()) == 1_000_000
    assert all(company.value > 0 for company in run.valuation.companies)
    config = (project / "config.yaml").read_text(encoding="utf-8").splitlines()
    assert sum("#" in line for line in config) >= len(config) // 2  # in plain English


def test_federations_rows_are_those_of_the_table(command: Command, tmp_path: Path) -> None:
    for template in ("tabular", "federation"):
        assert command("init", tmp_path / template, "--template", template).code == 0
    table = (tmp_path / "tabular" / "sales.csv").read_text().splitlines()[1:]
    for company in ("Ash", "Beech", "Chestnut"):
        own = (tmp_path / "federation" / f"{company}.csv").read_text().splitlines()[1:]
        assert [f"{row},{company}" for row in own] == [r for r in table if r.endswith(company)]


def test_a_folder_that_holds_something_is_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    for place in (tmp_path, tmp_path / "notes", tmp_path / "notes" / "deeper"):
        answer = command("init", place)
        assert (answer.code, answer.out) == (2, "")
        assert len(answer.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_missing_package_is_named_before_anything_is_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "EXTRA", ("no_such_package",))
    answer = command("init", tmp_path / "new", "--template", "finetune")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (2, "", 1)
    assert "no_such_package" in answer.err and "fl-sv[lm]" in answer.err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_project_that_fine_tunes_is_ready_to_run_and_takes_texts_of_ones_own(
    command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="needs the extra lm")
    project = tmp_path / "mine"
    assert command("init", project, "--template", "finetune").code == 0
    rows = all_rows(project / "config.yaml")
    assert {name: len(each) for name, each in rows.items()} == {
        "Ash": 210,
        "Beech": 143,
        "Chestnut": 98,
    }
    assert {each.name for each in (project / "bases").iterdir()} == {
        "tokenizer.json",
        "tiny",
        "small",
        "large",
    }
    # A stranger's texts: a folder each, and one that is a single file; umlauts are bytes, too.
    shutil.rmtree(project / "texts")
    (project / "texts" / "Müller" / "2025").mkdir(parents=True)
    (project / "texts" / "Müller" / "2025" / "a.txt").write_text("Öl und Brot.\n\n" * 40)
    (project / "texts" / "Ash.txt").write_text("\n\n".join(f"Note {i}." for i in range(80)))
    text = (project / "config.yaml").read_text().replace("[Ash, Beech, Chestnut]", "[Ash, Müller]")
    (project / "config.yaml").write_text(text)
    own = all_rows(project / "config.yaml")
    assert [*own] == ["Ash", "Mueller"] and all(len(each) > 5 for each in own.values())


def all_rows(path: Path) -> dict[str, Dataset]:
    """Every company's rows, by handle."""
    config = load_config(path)
    source = read_source(config)
    return all_company_data(config, operator_data(config, source).scaling, source)
