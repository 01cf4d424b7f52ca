"""A federation on one machine, the ways to start it, and who may own it."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.common.command_line import REPOSITORY, SMOKE
from benchmarks.federation.deployment import OWN, own_files_config, unit_command
from fl_sv.config import load_config
from fl_sv.federation import folder
from tests.runs import Command


def exported(script: str) -> dict[str, str]:
    pairs = (
        shlex.split(line)[1].partition("=") for line in re.findall(r"^export .*", script, re.M)
    )
    return {name: value for name, _, value in pairs}


def started(script: str) -> list[str]:
    (line,) = re.findall(r"^exec (.*)", script, re.M)
    return shlex.split(line)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("try")
    config = own_files_config(made)
    folder.init(made / "operator", "localhost", load_config(config), 8443, 8100)
    for number, company in enumerate(("Ash", "Beech")):
        kit = made / company
        kit.mkdir()
        for file in (made / "operator" / "company").iterdir():
            (kit / file.name).write_bytes(file.read_bytes())
        folder.join(kit, company, made / f"{company}.npz", 9200 + number if number else None)
    return made


def test_scripts_start_what_the_units_start(federation: Path) -> None:
    operator, ash = federation / "operator", federation / "Ash"
    for unit, script in (
        (operator / "systemd" / "fl-sv-superlink.service", operator / "start-superlink.sh"),
        (operator / "systemd" / "fl-sv-proxy.service", operator / "start-proxy.sh"),
        (ash / "fl-sv-supernode.service", ash / "start-supernode.sh"),
    ):
        text = script.read_text()
        assert started(text) == [*unit_command(unit), "$@"]
        pairs = re.findall(r'^Environment="(\w+)=(.*)"$', unit.read_text(), re.M)
        assert exported(text) == dict(pairs)
        assert "umask 0077" in text
        assert os.access(script, os.X_OK) and script.stat().st_mode & 0o077 == 0
        subprocess.run(["/bin/sh", "-n", script], check=True)


def test_a_node_has_the_port_that_its_company_gave_and_flowers_else(federation: Path) -> None:
    ash, beech = (federation / name / "start-supernode.sh" for name in ("Ash", "Beech"))
    assert "--port" not in started(ash.read_text())
    command = started(beech.read_text())
    assert command[command.index("--port") + 1] == "9201"
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_root_names_a_user_and_nobody_gives_files_away(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = ("federation", "init", tmp_path / "new", "--config", SMOKE, "--address", "a.example")
    join = ("federation", "join", "--dir", tmp_path, "--company", "Ash", "--data-path", "x.npz")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for verb in (init, join):
        answer = command(*verb)
        assert (answer.code, answer.out) == (2, "")
        assert "You are root" in answer.err and "--user" in answer.err
        assert "no such user" in command(*verb, "--user", "nobody at all").err
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "only root can give files" in command(*init, "--user", "root").err
    assert not (tmp_path / "new").exists()


def test_the_unit_runs_as_the_user_that_was_named(command: Command, tmp_path: Path) -> None:
    init = ("federation", "init", tmp_path / "new", "--address", "a.example", "--config")
    answer = command(*init, own_files_config(tmp_path), *OWN)
    assert answer.code == 0, answer
    for unit in (tmp_path / "new" / "systemd").iterdir():
        assert f"\nUser={OWN[1]}\n" in unit.read_text()


def test_a_trial_refuses_a_folder_that_holds_something(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    answer = command("federation", "try", "--dir", tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert "is not empty. Give --dir a new folder." in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.federation
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_trial_that_is_ended_leaves_no_process(number: int, tmp_path: Path) -> None:
    place = tmp_path / "trial"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "fl_sv.cli", "federation", "try", "--dir", str(place)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as trial:
        assert trial.stdout is not None and trial.stderr is not None
        for line in trial.stdout:
            if "SuperLink" in line and " s  " in line:  # it listens
                break
        assert processes_of(place)
        trial.send_signal(number)
        err = trial.stderr.read()
        assert trial.wait() == 1, err
    assert err.splitlines()[-1] == (
        "fl-sv: Interrupted. All that this trial had started has ended."
    )
    assert not processes_of(place)


def processes_of(place: Path) -> list[psutil.Process]:
    """Those that have the folder in their environment, but for the trial itself."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(place) in process.environ().get("FLWR_HOME", ""):
                found.append(process)
        except psutil.Error:
            continue
    return found
