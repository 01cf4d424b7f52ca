"""The command line as a test calls it, and finished runs on evidence of a test's own."""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from benchmarks.common.command_line import REPOSITORY, Answer
from fl_sv.cli import main
from fl_sv.config import Config, dump_config
from fl_sv.machine import software
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.publish import publish

Command = Callable[..., Answer]


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
    shutil.copy(source.file(files.COST), other.file(files.COST))
    publish(other, evidence, settle(evidence), software())
    return other


def with_sections(config: Config, **changes: dict[str, object]) -> Config:
    content = config.model_dump()
    return Config.model_validate(
        content | {name: content[name] | change for name, change in changes.items()}
    )
