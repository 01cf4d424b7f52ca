"""One finished run for all tests that need one, and the command line in this process."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks.common.command_line import SMOKE, Answer, shell
from fl_sv.cli import main
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import HOME_VARIABLE
from tests.runs import Command

settings.register_profile("no deadline", deadline=None)  # a busy machine is no property of the code
settings.load_profile("no deadline")

# They start Ray or a SuperLink, which take what cores there are, or disturb each other.
REAL = "real components"
REAL_COMPONENTS = {
    "test_app",
    "test_ray",
    "test_deployment",
    "test_faults",
    "test_flow",
    "test_resume",
}


@pytest.hookimpl(wrapper=True)  # round all other plugins: xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """With several workers (`make test`) a file stays with one of them, and so do all files of real
    components.

    These come first: they take the longest, and the other workers would wait for them at the end.
    """
    items.sort(key=lambda item: _group(item) != REAL)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    yield
    if (
        "PYTEST_XDIST_WORKER" in os.environ
    ):  # two Rays at once on one machine may take each other's ports, and die
        grouped = all(item.nodeid.endswith(f"@{_group(item)}") for item in items)
        assert grouped, (
            "several workers need --dist loadgroup, and a pytest whose names of tests xdist can"
            " change"
        )


def _group(item: pytest.Item) -> str:
    return REAL if item.path.stem in REAL_COMPONENTS else item.path.stem


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
    assert shell("run", SMOKE, "--out", out, "--backend", "inline", "--quiet") == Answer(0, "", "")
    return out


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, at another place."""
    return RunDirectory(shutil.copytree(finished_run, tmp_path / "a copy of the run"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`fl-sv ARGUMENTS` in this process."""

    def call(*arguments: object) -> Answer:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as refusal:  # argparse
            code = int(refusal.code or 0)
        return Answer(code, *capsys.readouterr())

    return call
