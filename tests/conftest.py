"""One finished run for all tests that need one, and the command line in this process."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks.common.command_line import SMOKE, Answer
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import HOME_VARIABLE
from fl_sv.runs.tables import read_evidence
from tests.runs import Command, averages_with, fl_sv, published

settings.register_profile("no deadline", deadline=None)  # a busy machine is no property of the code
settings.load_profile("no deadline")

RAY = "ray"
FEDERATION = "federation"


@pytest.hookimpl(wrapper=True)  # round all other plugins: xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Gives every test its group, which stays with one of several workers (`make test`).

    The tests marked `ray` are one group, since two Rays that start on one machine may take each
    other's ports. All others go by file. Real components come first: they take the longest, and
    the other workers would wait for them at the end.
    """
    items.sort(key=lambda item: (not item.get_closest_marker(RAY), not _is_real(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
        if _is_real(item):
            item.add_marker(pytest.mark.slow)
    yield
    if "PYTEST_XDIST_WORKER" in os.environ:
        grouped = all(item.nodeid.endswith(f"@{_group(item)}") for item in items)
        assert grouped, (
            "several workers need --dist loadgroup, and a pytest whose names of tests xdist can"
            " change"
        )


def _is_real(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(mark) for mark in (RAY, FEDERATION))


def _group(item: pytest.Item) -> str:
    return RAY if item.get_closest_marker(RAY) else item.path.stem


@pytest.fixture(scope="session", autouse=True)
def owner_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for the signing key; no test touches the developer's own."""
    home = tmp_path_factory.mktemp("owner") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        yield home


@pytest.fixture(scope="session")
def finished_run(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of configs/smoke.yaml, by the command line. Never write into it: `run` is a
    copy.
    """
    out = tmp_path_factory.mktemp("smoke") / "run"
    assert fl_sv("run", SMOKE, "--out", out, "--backend", "inline", "--quiet") == Answer(0, "", "")
    return out


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, at another place."""
    return RunDirectory(shutil.copytree(finished_run, tmp_path / "a copy of the run"))


@pytest.fixture
def command() -> Command:
    """`fl-sv ARGUMENTS` in this process."""
    return fl_sv


@pytest.fixture
def unpayable(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The same run with the small models' losses upside down, so that no law leads to the large
    model's.
    """
    evidence = read_evidence(run)
    table, large = evidence.table, evidence.table.models[-1]
    grand = 2 ** len(table.companies) - 1
    scores = {
        (model, seed, c): score
        if model == large
        else replace(score, loss=table.scores[model, seed, grand - c].loss)
        for (model, seed, c), score in table.scores.items()
    }
    other = replace(table, scores=scores)
    upside_down = replace(
        evidence,
        table=other,
        averaged=averages_with(evidence, other),
        validation_NV=-evidence.validation_NV,
    )
    return published(tmp_path / "unpayable", run, upside_down)
