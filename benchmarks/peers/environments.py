"""Each peer in a virtual environment of its own, from pinned requirements, run in a subprocess."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_sv.runs.keys import HOME_VARIABLE

HERE = Path(__file__).resolve().parent
ADAPTERS = HERE / "adapters"
STARTING = 120.0  # seconds in which a peer must have been imported


class NotCompared(Exception):
    """A peer gave no answers at all; the message is the sentence why."""


@dataclass(frozen=True)
class Peer:
    """A package, and which functions of its adapter give values (row's name -> function).

    Requirements are the adapter's .txt file, complete, so that nothing is resolved; without the
    file the peer runs in this very environment. `python` is the oldest version that it takes."""

    name: str
    shapley: dict[str, str]
    leave_one_out: dict[str, str]
    python: tuple[int, int] = (3, 11)
    adapters: Path = ADAPTERS

    @property
    def adapter(self) -> Path:
        return self.adapters / f"{self.name}.py"


def ask(peer: Peer, jobs: list[dict[str, Any]], patience: float) -> dict[str, Any]:
    """The peer's answers, in the format of worker.py. Raises NotCompared when it cannot be
    installed or started.
    """
    python, own = _environment(peer)
    # Ours is imported from this checkout; a peer sees none of our packages.
    path = {"PYTHONPATH": str(HERE.parent.parent)} if own else {}
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    } | path
    try:
        done = subprocess.run(
            [str(python), "-P", str(HERE / "worker.py"), str(peer.adapter)],
            input=json.dumps({"patience": patience, "jobs": jobs}),
            capture_output=True,
            text=True,
            env=clean | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
            timeout=STARTING + patience * len(jobs),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotCompared(f"did not end within {error.timeout:.0f} s") from None
    if done.returncode:
        raise NotCompared(f"installed, but did not run: {_last_line(done.stderr)}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _environment(peer: Peer) -> tuple[Path, bool]:
    """The interpreter of the peer's environment, and whether it is our own."""
    requirements = peer.adapter.with_suffix(".txt")
    if not requirements.exists():
        return Path(sys.executable), True
    base = _interpreter(peer.python)
    version = _succeed([base, "-c", "import platform; print(platform.python_version())"])
    key = hashlib.sha256(
        f"{version}{requirements.read_text(encoding='utf-8')}".encode()
    ).hexdigest()[:12]
    home = Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".fl-sv")
    folder = home / "peers" / f"{peer.name}-{key}"
    if not (folder / "installed").exists():
        print(f"installing {peer.name} into {folder}", file=sys.stderr)
        _succeed([base, "-m", "venv", "--clear", str(folder)])
        pip = [
            str(folder / "bin" / "pip"),
            "--disable-pip-version-check",
            "--retries",
            "1",
            "--timeout",
            "20",
        ]
        _succeed(
            [
                *pip,
                "install",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
                "-r",
                str(requirements),
            ]
        )
        (folder / "installed").touch()
    return folder / "bin" / "python", False


def _interpreter(oldest: tuple[int, int]) -> str:
    """This one, or the first python3.X of the PATH that starts and is new enough."""
    if sys.version_info[:2] >= oldest:
        return sys.executable
    for minor in range(oldest[1], oldest[1] + 3):
        found = shutil.which(f"python{oldest[0]}.{minor}")
        # Version managers put programs on the PATH that only report which version is missing.
        if (
            found
            and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return found
    raise NotCompared(
        f"needs Python {oldest[0]}.{oldest[1]} or newer, and there is none on the PATH"
    )


def _succeed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotCompared(f"could not be installed: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it printed nothing"])[-1]
