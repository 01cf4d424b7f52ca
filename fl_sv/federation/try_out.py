"""`fl-sv federation try`: a federation of three companies on one machine, from nothing to payouts.

The very commands of the operator's and the companies' pages, each company in a folder of its own:

DIR/operator/             what `init` makes
DIR/Ash/ ...              a company's kit and its rows
DIR/config.yaml           the smoke config with files of the companies' own; validation.npz
DIR/logs/                 what each process printed
DIR/run/                  the run directory
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from fl_sv.app import app_folder
from fl_sv.config import Config, load_config
from fl_sv.config.dialect import parse_yaml, yaml_text
from fl_sv.data import all_company_data, operator_data
from fl_sv.errors import InputError, RunError
from fl_sv.federation import flower
from fl_sv.federation.folder import KIT, NODE_SCRIPT, PROXY_SCRIPT, SUPERLINK_SCRIPT, init, join
from fl_sv.federation.settings import add_node
from fl_sv.files import read_text

N_COMPANIES = 3
ADDRESS = "localhost"
START_SECONDS = 180.0  # until a process listens, or a company is online; the machine may be busy
END_SECONDS = 10.0  # until a process that is asked to end is killed
LOOK_SECONDS = 0.2
# How often Flower looks for work: a second, else, for every message.
POLLING = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5"}

Say = Callable[[str], None]


def try_out(folder: Path, say: Say, rounds: int | None = None) -> Path:
    """Sets the federation up, runs the smoke config across it, and ends all that it started.

    folder: new or empty. say: called with each step and its seconds. rounds: in place of the
    config's.

    Returns the run directory. Raises InputError when the folder cannot be used, RunError when a
    step failed.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty. Give --dir a new folder.")
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    with _step("data, certificates and the operator's folder", say):
        try:
            (folder / "logs").mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made: {error.strerror}.") from None
        config = _write_config(folder, rounds)
        operator, superlink_port = folder / "operator", _free_port()
        port = _free_port() if nginx else superlink_port
        init(operator, ADDRESS, config, port, superlink_port)
    if not nginx:
        say(
            "nginx is not installed: the companies connect to the SuperLink itself, which only a"
            " trial may. A federation needs the proxy before it."
        )
    with _Processes(folder / "logs") as processes:
        with _step("SuperLink" + " and proxy" * bool(nginx), say):
            processes.start("superlink", operator, operator / SUPERLINK_SCRIPT)
            processes.wait(lambda: _listens(superlink_port), "the SuperLink listens")
            if nginx:
                processes.start("proxy", operator, operator / PROXY_SCRIPT)
                processes.wait(lambda: _listens(port), "the proxy listens")
        with _step("keys, kits and registrations of the companies", say):
            for company in config.companies:
                _let_in(folder, operator, company)
        with _step("their SuperNodes, until all are online", say):
            for company in config.companies:
                kit = folder / company
                port_of_node = str(_free_port())  # each SuperNode of a machine needs its own
                processes.start(company, kit, kit / NODE_SCRIPT, "--port", port_of_node)
            processes.wait(lambda: _all_online(operator), "all companies are online")
        with _step("the run", say):
            out = folder / "run"
            flower.run_app(operator, folder / "config.yaml", out, resume=False)
    return out


def _write_config(folder: Path, rounds: int | None) -> Config:
    """The smoke config for three companies, each with a file of its own, and these files."""
    text = read_text(app_folder() / "configs" / "smoke.yaml")
    content = parse_yaml(text, "smoke.yaml")
    content["companies"] = content["companies"][:N_COMPANIES]
    sizes = content["data"]["partition"]["sizes"]
    content["data"]["partition"]["sizes"] = {c: sizes[c] for c in content["companies"]}
    content["training"]["rounds"] = rounds or content["training"]["rounds"]
    path = folder / "config.yaml"
    path.write_text(yaml_text(content), encoding="utf-8")
    shared = load_config(path)
    operator = operator_data(shared)
    for company, rows in all_company_data(shared, operator.scaling).items():
        (folder / company).mkdir()
        np.savez(folder / company / "rows.npz", x=rows.x, y=rows.y)
    np.savez(folder / "validation.npz", x=operator.validation.x, y=operator.validation.y)
    content["data"] = {
        "source": "own",
        "classes": 10,
        "standardise": False,
        "files": {company: f"{company}/rows.npz" for company in content["companies"]},
        "validation": {"file": "validation.npz"},
    }
    path.write_text(yaml_text(content), encoding="utf-8")
    return load_config(path)


def _let_in(folder: Path, operator: Path, company: str) -> None:
    """A company joins with the kit that it got, and the operator registers its key."""
    kit = folder / company
    shutil.copytree(operator / KIT, kit, dirs_exist_ok=True)
    public = join(kit, company, kit / "rows.npz")
    add_node(operator, company, flower.register_node(operator, public, company))


def _all_online(operator: Path) -> bool:
    nodes = flower.list_nodes(operator).values()
    return [node.get("status") for node in nodes] == ["online"] * N_COMPANIES


class _Processes:
    """Programs in process groups of their own. Leaving the `with` block ends all of them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave half of them behind; this takes seconds at most.
        before = {each: signal.signal(each, signal.SIG_IGN) for each in _STOPPING}
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                deadline = time.monotonic() + END_SECONDS
                for process in self._started.values():
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                for process in self._started.values():
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def start(self, name: str, home: Path, *command: str | Path) -> None:
        """Starts a script with its arguments; what it prints goes to a log."""
        environment = {**flower.program_environment(home), **POLLING}
        with (self._logs / f"{name}.log").open("ab") as log:
            self._started[name] = subprocess.Popen(
                ["/bin/sh", *map(str, command)],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for a condition. Raises RunError when a process ends first, or in vain."""
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            for name, process in self._started.items():
                if process.poll() is not None:
                    raise RunError(f"{name} ended before {what}: {self._last_line(name)}")
            if time.monotonic() > deadline:
                raise RunError(f"In vain for {START_SECONDS:.0f} s: {what}. See {self._logs}.")
            time.sleep(LOOK_SECONDS)

    def _last_line(self, name: str) -> str:
        path = self._logs / f"{name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        return f"{next((line for line in reversed(lines) if line.strip()), '')} ({path})"


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """A context in which SIGTERM and a closed terminal end the work as Ctrl-C does."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in _STOPPING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _step(what: str, say: Say) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:5.0f} s  {what}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), 1).close()
    except OSError:
        return False
    return True
