"""The command line as a test calls it, and finished runs on evidence of a test's own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fl_sv.config import Config, dump_config
from fl_sv.machine import software
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.publish import publish

REPOSITORY = Path(__file__).resolve().parent.parent
SMOKE = REPOSITORY / "configs" / "smoke.yaml"


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def shell(*arguments: object) -> Answer:
    """`fl-sv ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "fl_sv.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


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
