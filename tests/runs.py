"""The command line as a test calls it, and finished runs on evidence of a test's own."""

import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common.command_line import REPOSITORY, SMOKE, Answer
from fl_sv.cli import main
from fl_sv.config import Config, dump_config, load_config
from fl_sv.game.averaged import AveragedLosses, measured_averages
from fl_sv.game.utilities import UtilityTable
from fl_sv.machine import software
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.models import TEACHER, ModelRecord, deployed_facts
from fl_sv.runs.publish import publish

# Two companies, two sizes, two waves: a run of a second with every stage.
SMALL_GAME = """
companies: [Ash, Beech]
data: {source: iris, partition: {kind: iid}}
models:
  small: [{kind: mlp, hidden: [3]}, {kind: mlp, hidden: [4]}]
  large: {kind: mlp, hidden: [32]}
training: {rounds: 3}
coalitions: {waves: 2}
payouts: {pot: {kind: fixed, cents: 1000}}
"""

NAMES = files.due(load_config(SMOKE))  # the files that the ledger of a smoke run signs
GENUINE = (0, 3)  # exit codes of `verify` for a run without a difference, payable or not
Command = Callable[..., Answer]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["fl_sv.cli", "server.simulation", "fl_sv.report", "sklearn.datasets"]
)


def fl_sv(*arguments: object) -> Answer:
    """`fl-sv ARGUMENTS` in this process, which has imported already what a new one imports first.

    A test of the process itself (signals, exit codes, imports) takes `shell`.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as refusal:  # argparse
            code = int(refusal.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


class Process:
    """`fl-sv ARGUMENTS` in a process of its own, which may be killed.

    It is forked from a process that has imported what a run imports first and done nothing: an
    import takes three seconds of a core. A test of the start itself takes `shell`.
    """

    def __init__(self, *arguments: object, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._output = [Path(self._folder.name) / name for name in ("out", "err")]
        self._process = _FORKS.Process(
            target=_main, args=([*map(str, arguments)], environment, self._output)
        )
        self._process.start()

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGINT)

    def end(self) -> Answer:
        """Waits for it. The exit code of a process that was killed is negative."""
        self._process.join(1200)
        assert self._process.exitcode is not None, "the process does not end"
        out, err = (path.read_text(encoding="utf-8") for path in self._output)
        self._folder.cleanup()
        return Answer(self._process.exitcode, out, err)


def _main(arguments: list[str], environment: Mapping[str, str], output: list[Path]) -> None:
    for number, path in enumerate(output, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.dont_write_bytecode = True  # a test may change a module twice within a second
    sys.exit(main(arguments))


def loaded_by(statements: str, *suspects: str) -> set[str]:
    """Which of these modules a new process has loaded after the statements."""
    code = f"import sys; {statements}; print(*[m for m in {suspects} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def published(folder: Path, source: RunDirectory, evidence: Evidence) -> RunDirectory:
    """A finished run on other evidence, by the code that finishes every run."""
    folder.mkdir()
    other = RunDirectory(folder)
    other.write_text(files.CONFIG, dump_config(evidence.config))
    for name in (files.COST, files.MODEL):
        shutil.copy(source.file(name), other.file(name))
    said = ModelRecord.from_json(source.read_text(files.MODEL_RECORD))
    said = said.model_copy(update=deployed_facts(evidence, TEACHER) | {"software": software()})
    other.write_text(files.MODEL_RECORD, said.to_json())
    publish(other, evidence, settle(evidence), software())
    return other


def averages_with(evidence: Evidence, table: UtilityTable) -> AveragedLosses:
    """The evidence's averages beside another table, whose singletons have other losses."""
    assert evidence.averaged is not None
    measured, known_CM = measured_averages(table)
    loss_CM = np.where(np.isnan(measured.loss_CM), evidence.averaged.loss_CM, measured.loss_CM)
    return replace(measured, loss_CM=np.where(known_CM, loss_CM, np.nan))


def with_sections(config: Config, **changes: dict[str, object]) -> Config:
    content = config.model_dump()
    return Config.model_validate(
        content | {name: content[name] | change for name, change in changes.items()}
    )
