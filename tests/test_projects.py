"""A first project runs as it was written, and says what to do next."""

from pathlib import Path

import pytest

from fl_sv import read_run
from fl_sv.projects.start import TEMPLATES
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


def test_a_template_that_is_not_here_yet_is_named_with_a_way_out(
    command: Command, tmp_path: Path
) -> None:
    for template in set(TEMPLATES) - {*HERE}:
        answer = command("init", tmp_path / "new", "--template", template)
        assert answer.code == 2
        assert "not in this version yet" in answer.err and "make finetune" in answer.err
        assert not (tmp_path / "new").exists()
