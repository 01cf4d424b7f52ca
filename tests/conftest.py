"""One finished run for all tests that need one, and the command line as a test calls it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fl_sv.cli import main
from fl_sv.keys import HOME_VARIABLE
from fl_sv.rundir import RunDirectory

REPOSITORY = Path(__file__).resolve().parent.parent
SMOKE = REPOSITORY / "configs" / "smoke.yaml"


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def owner_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for the signing key; no test touches the developer's own."""
    home = tmp_path_factory.mktemp("owner") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        yield home


@pytest.fixture(scope="session")
def finished_run(owner_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of configs/smoke.yaml, by the command line. Never write into it: `run` is a copy."""
    out = tmp_path_factory.mktemp("smoke") / "run"
    shell(["run", str(SMOKE), "--out", str(out), "--backend", "inline", "--quiet"], expect=0)
    return out


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, at another place."""
    return RunDirectory(shutil.copytree(finished_run, tmp_path / "a copy of the run"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`fl-sv ARGUMENTS` in this process."""

    def call(*arguments: object) -> Answer:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as refusal:  # argparse
            code = int(refusal.code or 0)
        return Answer(code, *capsys.readouterr())

    return call


def shell(arguments: list[str], *, expect: int, environment: dict[str, str] | None = None) -> Answer:
    """`fl-sv ARGUMENTS` in a process of its own; `expect` is its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "fl_sv.cli", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)
