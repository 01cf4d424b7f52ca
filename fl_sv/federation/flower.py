"""Flower's own command line, as a program: register a node, list nodes and runs, run the app."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_sv.app import BUNDLED, app_folder
from fl_sv.errors import InputError, RunError
from fl_sv.federation.settings import environment
from fl_sv.terminal import say

CONNECTION = "federation"  # Flower's name of the federation, in flower/config.toml
FINISHED, COMPLETED = "finished", "finished:completed"
POLL_SECONDS = 5.0
TIMEOUT_SECONDS = 60.0  # a busy SuperLink may leave some requests without an answer
# What Flower prints.
STARTED = "Successfully started run "
NOTHING = "N/A"
KEY_IS_USED = "Public key already in use"
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # what Flower's log has, on no terminal too
OUR_ERROR = "fl-sv: "  # how server/app.py begins the sentence with which a run fails


@dataclass(frozen=True)
class FlowerRun:
    """A run as Flower lists it.

    seconds: wall time. n_bytes: sent over the network, in both directions.
    """

    run_id: str
    status: str
    details: str
    began: str
    seconds: float
    n_bytes: int


def register_node(folder: Path, public_key: Path, company: str) -> str:
    """Registers a company's key under its name and returns Flower's node id.

    Raises InputError when the key was registered before.
    """
    try:
        answer = _json(
            folder, "supernode", "register", str(public_key), CONNECTION, "--name", company
        )
    except RunError as error:
        if KEY_IS_USED not in str(error):
            raise
        raise InputError(
            f"{public_key} was registered before, for another company or for a node that is"
            f" unregistered now. A key is used once. Let {company} make a new one by `join`, in a"
            " new kit or after removing company.key, and send it."
        ) from None
    return str(answer["node-id"])


def list_nodes(folder: Path) -> dict[str, dict[str, Any]]:
    """What Flower lists of each registered node, by node id."""
    # Flower also lists the nodes that were unregistered.
    nodes = _json(folder, "supernode", "list", CONNECTION)["nodes"]
    return {node["node-id"]: node for node in nodes if node["status"] != "unregistered"}


def list_runs(folder: Path) -> list[FlowerRun]:
    """All runs, the oldest first."""
    runs = _json(folder, "list", CONNECTION)["runs"]
    return [
        FlowerRun(
            run_id=run["run-id"],
            status=run["status"],
            details=str(run["status-details"]).removesuffix(NOTHING),
            began=run["pending-at"],
            seconds=float(run["elapsed"]),
            n_bytes=int(run["network-traffic"]["total-bytes"]),
        )
        for run in sorted(runs, key=lambda run: str(run["pending-at"]))
    ]


def run_app(folder: Path, config: Path, out: Path, *, resume: bool) -> FlowerRun:
    """Runs the Flower App on the federation and prints its log as it comes.

    `flwr run` exits with 0 even if the run failed, or if a busy server broke the stream of its log.
    Therefore Flower's list is read afterwards, until the run is finished. Ctrl-C stops the run
    itself, not only its log.

    Returns the run as Flower lists it. Raises RunError with the run's own message when it did not
    complete.
    """
    run_id, sentence = "", ""
    with _bundle() as app:
        settings = app.parent / "settings.toml"  # a file: no shell, and no quoting of paths
        entries = {"config": str(config.absolute()), "out": str(out.absolute()), "resume": resume}
        settings.write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items())
        )
        command = _command("run", str(app), CONNECTION, "--stream", "-c", str(settings))
        with subprocess.Popen(
            command,
            env=program_environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **_TEXT,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if STARTED in line:
                        run_id = line.partition(STARTED)[2].split()[0]
                    if OUR_ERROR in line:
                        sentence = line.partition(OUR_ERROR)[2].strip()
                    # Printed last: a reader may interrupt as soon as the line is there.
                    say(_COLOUR.sub("", line), end="")
                if not run_id:
                    raise RunError("Flower did not start the run. Its own messages are above.")
                run = _finished(folder, run_id)
            except KeyboardInterrupt:
                if run_id:
                    subprocess.run(
                        _command("stop", run_id, CONNECTION),
                        env=program_environment(folder),
                        check=False,
                    )
                raise
    if run.status != COMPLETED:
        log = f"FLWR_HOME={folder}/flower flwr log {run_id} {CONNECTION} --show"
        reason = sentence or run.details or f"`{log}` may show the reason"
        raise RunError(f"Run {run_id} is {run.status}: {reason}")
    return run


def _finished(folder: Path, run_id: str) -> FlowerRun:
    """The run, once Flower lists it as finished.

    Raises RunError when Flower gives no list for TIMEOUT_SECONDS.
    """
    answered = time.monotonic()
    while True:
        try:
            run = next(run for run in list_runs(folder) if run.run_id == run_id)
            answered = time.monotonic()
            if run.status.startswith(FINISHED):
                return run
        except RunError:
            if time.monotonic() - answered >= TIMEOUT_SECONDS:
                raise
        time.sleep(POLL_SECONDS)


@contextmanager
def _bundle() -> Iterator[Path]:
    """A copy of the app in a folder whose name Flower accepts, wherever it is installed."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "fl-sv"
        bundle.mkdir()
        for name in BUNDLED:
            source = app_folder() / name
            if source.is_dir():
                shutil.copytree(source, bundle / name)
            else:
                shutil.copy(source, bundle)
        yield bundle


def _json(folder: Path, *arguments: str) -> dict[str, Any]:
    """The answer of one of Flower's commands.

    Raises RunError with Flower's own message when the command failed.
    """
    command = _command(*arguments, "--format", "json")
    done = subprocess.run(
        command, env=program_environment(folder), capture_output=True, check=False, **_TEXT
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if done.returncode != 0 or not answer.get("success"):
        printed = answer.get("error-message") or done.stderr.strip() or done.stdout.strip()
        lines = str(printed).splitlines() or ["it printed nothing."]
        raise RunError(
            f"`flwr {' '.join(arguments[:2])}` failed: {lines[-1]} Is the SuperLink running? Try"
            " `fl-sv federation check`."
        )
    return answer


def _command(*arguments: str) -> list[str]:
    program = Path(sys.executable).parent / "flwr"
    if not program.exists():
        raise InputError(f"There is no {program}. `pip install 'fl-sv[federation]'` brings Flower.")
    return [str(program), *arguments]


def program_environment(folder: Path) -> dict[str, str]:
    """The environment of a program of the federation whose folder or kit this is."""
    # Flower prints emojis, and fails on a terminal that has none.
    return {**os.environ, "PYTHONIOENCODING": "utf-8", **environment(folder.absolute())}
