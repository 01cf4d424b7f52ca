"""A federation on this machine with real processes: SuperLink, nginx before it, and a SuperNode for
each company.

As root each company lives in a network namespace of its own, joined to the server by a cable (a
veth pair), and can connect only to the server's address. Elsewhere all use loopback."""

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, Self

import numpy as np
import yaml

from benchmarks.common.command_line import REPOSITORY, SMOKE, Answer
from fl_sv.config import load_config
from fl_sv.config.redact import BASES
from fl_sv.data import all_company_data, operator_data
from fl_sv.federation.node import PROGRAMS
from fl_sv.federation.settings import environment

BIN = Path(sys.executable).parent
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
PATIENCE = 600.0
OWN = ("--user", pwd.getpwuid(os.geteuid()).pw_name)  # as root too, who lays the cables


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def own_files_config(folder: Path, base: Path = SMOKE, **training: int) -> Path:
    """The rows of a config in files, one for each company and the operator, with their config."""
    shared = load_config(base)
    operator = operator_data(shared)
    for name, rows in all_company_data(shared, operator.scaling).items():
        np.savez(folder / f"{name}.npz", x=rows.x, y=rows.y)
    np.savez(folder / "validation.npz", x=operator.validation.x, y=operator.validation.y)
    content = yaml.safe_load(base.read_text(encoding="utf-8"))
    content["data"] = {
        "source": "own",
        "classes": 10,
        "standardise": False,
        "files": {name: f"{name}.npz" for name in shared.companies},
        "validation": {"file": "validation.npz"},
    }
    content["training"].update(training)
    content["coalitions"] = {"waves": 2}  # both in flight
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class Deployment:
    """The machines of a federation. Leaving the block ends every process and namespace that it
    started.
    """

    def __init__(self, folder: Path, config: Path, bases: Path | None = None) -> None:
        """bases: a folder of pretrained models, of which each company gets a copy of its own."""
        self.config, self.bases = config, bases
        self.companies = load_config(config).companies
        self.data = {company: config.parent / f"{company}.npz" for company in self.companies}
        self.operator = folder / "operator"
        self.kits = {
            company: folder / f"kit-{number}" for number, company in enumerate(self.companies)
        }
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.port, self.superlink_port = free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._net = f"10.{100 + os.getpid() % 100}"  # two of these may run on one machine
        self._namespaces: dict[str, list[str]] = {}
        self._cables: dict[str, tuple[str, str]] = {}  # its ends at the server and at the company
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._lay_cables()
        except (OSError, subprocess.CalledProcessError):  # not root, or a container that may not
            self._stack.close()
            self._namespaces.clear()
        self.address = f"{self._net}.0.1" if self._namespaces else "localhost"
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(
                    process.pid, signal.SIGTERM
                )  # all of them end while the first is waited for
        for name in list(self.processes):
            self.end(name)
        self._stack.close()

    @property
    def has_namespaces(self) -> bool:
        return bool(self._namespaces)

    @property
    def other_address(self) -> str:
        """The server's too, as the first company sees it, but not in its certificate."""
        return f"{self._net}.1.1" if self._namespaces else "127.0.0.2"

    def fl_sv(self, *arguments: object, at: str = "") -> Answer:
        """`fl-sv ARGUMENTS` on the operator's machine, or on a company's."""
        running = self.start_fl_sv(*arguments, at=at)
        out, err = running.communicate()
        return Answer(running.returncode, out, err)

    def flwr(self, *arguments: str) -> Answer:
        """A command of Flower's own on the operator's machine."""
        command = [str(BIN / "flwr"), *arguments]
        environment = self._environment(self.operator)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    def start_fl_sv(self, *arguments: object, at: str = "") -> subprocess.Popen[str]:
        command = [
            *self._namespaces.get(at, []),
            sys.executable,
            "-m",
            "fl_sv.cli",
            *map(str, arguments),
        ]
        environment, pipe = self._environment(self.operator), subprocess.PIPE
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True
        )

    def set_up(self) -> None:
        """Brings all companies online, by the commands of deploy/operator.md and deploy/company.md.

        Each company's file is moved into its kit, under a name that no other machine may learn.
        """
        ports = ("--port", self.port, "--superlink-port", self.superlink_port)
        where = ("--address", self.address, "--config", self.config, *ports)
        self._done("init", self.operator, *where, *OWN)
        self.start_server()
        for company, kit in self.kits.items():
            shutil.copytree(self.operator / "company", kit)
            if self.bases is not None:
                shutil.copytree(self.bases, kit / BASES)
            self.data[company] = Path(
                shutil.move(self.data[company], kit / f"rows-of-{kit.name}.npz")
            )
            what = ("--company", company, "--data-path", self.data[company])
            self._done("join", "--dir", kit, *what, *OWN)
            self._done(
                "register", kit / f"{company}.pub", "--name", company, "--dir", self.operator
            )
        for company in self.companies:
            self.start_node(company)
        # A look at the logs costs nothing; one at the status starts two processes.
        self.wait(
            lambda: all("SuperNode ID" in self.log(company) for company in self.companies),
            "all companies have joined",
        )
        self.wait(
            lambda: self.status().count("online") == len(self.companies), "all companies are online"
        )

    def status(self) -> str:
        return self._done("status", "--dir", self.operator)

    def _done(self, *arguments: object) -> str:
        answer = self.fl_sv("federation", *arguments)
        assert answer.code == 0, answer
        return answer.out

    def start_server(self) -> None:
        """The SuperLink and the proxy, by the command lines of their units."""
        self.start_superlink()
        if NGINX:
            command = [
                NGINX,
                "-e",
                "stderr",
                "-c",
                str(self.operator / "nginx.conf"),
                "-g",
                "daemon off;",
            ]
        else:
            command = [
                sys.executable,
                "-m",
                "benchmarks.federation.proxy",
                str(self.operator),
                str(self.port),
                str(self.superlink_port),
            ]
        self._start("proxy", command, self.operator)
        self.wait(lambda: listens(self.address, self.port), "the proxy listens")

    def start_superlink(self) -> None:
        self._start(
            "superlink",
            unit_command(self.operator / "systemd" / "fl-sv-superlink.service"),
            self.operator,
        )
        self.wait(lambda: listens("127.0.0.1", self.superlink_port), "the SuperLink listens")

    def start_node(self, company: str, kit: Path | None = None, name: str = "") -> None:
        """A company's SuperNode, by the command line of its unit; `name` is that of the process and
        its log.
        """
        kit = kit or self.kits[company]
        own_port = ["--port", str(free_port())]  # several SuperNodes on one machine
        command = [*unit_command(kit / "fl-sv-supernode.service"), *own_port]
        programs = ["env", f"PATH={kit / PROGRAMS}"]  # as in the unit
        self._start(name or company, [*self._namespaces.get(company, []), *programs, *command], kit)

    def run_at(self, company: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Any program on a company's machine."""
        return subprocess.run(
            [*self._namespaces.get(company, []), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def set_cable(self, company: str, state: Literal["up", "down"]) -> None:
        """Cuts or heals the connection between a company in its namespace and the server."""
        self._ip("link", "set", self._cables[company][0], state)

    def limit_bandwidth(self, company: str, kilobits: int) -> None:
        """From now on a company's connection has this rate, each way."""
        here, there = self._cables[company]
        limit = ["root", "tbf", "rate", f"{kilobits}kbit", "burst", "16k", "latency", "5s"]
        subprocess.run(
            ["tc", "qdisc", "replace", "dev", here, *limit], check=True, capture_output=True
        )
        assert (
            self.run_at(company, ["tc", "qdisc", "replace", "dev", there, *limit]).returncode == 0
        )

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """Ends a process and what it started, by the group that was made for it."""
        process = self.processes.pop(name)
        for each in (number, signal.SIGKILL):
            try:
                os.killpg(process.pid, each)
                process.wait(timeout=10)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait(timeout=PATIENCE)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"in vain: {what}\n" + "\n".join(
                f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.logs.iterdir()
            )
            time.sleep(0.2)

    def _start(self, name: str, command: list[str], home: Path) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=home,
                env=self._environment(home),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @staticmethod
    def _environment(home: Path) -> dict[str, str]:
        mine = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **environment(home), **mine}

    def _lay_cables(self) -> None:
        """Company i at NET.i.2, its end of the cable to the server at NET.i.1, the server's own
        address NET.0.1.
        """
        server = f"{self._net}.0.1"
        self._ip(
            "addr",
            "add",
            f"{server}/32",
            "dev",
            "lo",
            undo=("addr", "del", f"{server}/32", "dev", "lo"),
        )
        for number, company in enumerate(self.companies, start=1):
            space, here, there = (f"fl{end}{os.getpid()}-{number}" for end in "sab")
            self._ip("netns", "add", space, undo=("netns", "del", space))
            self._ip(
                "link",
                "add",
                here,
                "type",
                "veth",
                "peer",
                "name",
                there,
                undo=("link", "del", here),
            )
            self._ip("link", "set", there, "netns", space)
            self._ip("addr", "add", f"{self._net}.{number}.1/30", "dev", here)
            self._ip("link", "set", here, "up")
            self._ip("-n", space, "addr", "add", f"{self._net}.{number}.2/30", "dev", there)
            self._ip("-n", space, "link", "set", there, "up")
            self._ip("-n", space, "link", "set", "lo", "up")
            self._ip("-n", space, "route", "add", server, "via", f"{self._net}.{number}.1")
            self._cables[company] = here, there
            self._namespaces[company] = ["ip", "netns", "exec", space]

    def _ip(self, *arguments: str, undo: tuple[str, ...] = ()) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)
        if undo:
            self._stack.callback(subprocess.run, ["ip", *undo], check=False, capture_output=True)


def unit_command(unit: Path) -> list[str]:
    """The command line of a systemd unit, for a machine without systemd."""

    text = unit.read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


def listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True
