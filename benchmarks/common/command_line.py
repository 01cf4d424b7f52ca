"""`fl-sv` as its users call it: in a process of its own, in this checkout."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "configs" / "smoke.yaml"


class Answer(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def shell(*arguments: object) -> Answer:
    """`fl-sv ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "fl_sv.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)
