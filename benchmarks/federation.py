"""A federation of real processes: what it costs, and what it survives.

    python -m benchmarks.federation [--json] [--rounds 3] [--only undisturbed node_killed ...]

Four companies of configs/smoke.yaml with files of their own, TLS, node authentication and the proxy (see
tests/deployment.py). Every case must give the payouts of the same config in one process, to the byte:

* undisturbed: wall time of each stage, bytes of each company, and the whole sweep (every coalition, two sizes, two
  seeds) beside the teacher, which is the federated training of one model for as many rounds;
* node_killed: `kill -9` of a SuperNode in the sweep, started again every 20 s as its unit says;
* server_app_killed, superlink_killed: `kill -9`, then `fl-sv federation run --resume`;
* garbage: a company whose training gives NaN is named and stops the run; mended, a new run is right (its rows changed,
  so `--resume` refuses).

`seconds_lost` is wall time beyond the undisturbed run, all tries together. Without nginx the proxy is a stand-in.
"""

import argparse
import json
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fl_sv.config import load_config
from fl_sv.federation import flower
from tests.deployment import NGINX, Deployment, own_files_config
from tests.runs import shell

CULPRIT = "Beech"
RESTART_SECONDS = 20.0  # as in deploy/fl-sv-supernode.service.j2


class Bench:
    """A deployment, the payouts that every run on it must give, and the runs."""

    def __init__(self, federation: Deployment, expected: dict[str, bytes], folder: Path) -> None:
        self.federation, self.expected, self.folder = federation, expected, folder
        self.words = ""

    def run(self, name: str, *, resume: bool = False, disturb: Callable[[], None] | None = None) -> tuple[int, float]:
        """Exit code and seconds of `fl-sv federation run`; `disturb` is called once the sweep has begun."""
        out, began = self.folder / name, time.monotonic()
        arguments = ("run", self.federation.config, "--out", out, "--dir", self.federation.operator)
        watcher = threading.Thread(target=self._when_the_sweep_begins, args=(out, disturb)) if disturb else None
        if watcher:
            watcher.start()
        answer = self.federation.fl_sv("federation", *arguments, *(["--resume"] if resume else []))
        if watcher:
            watcher.join()
        self.words = answer.err.strip().splitlines()[-1] if answer.err.strip() else ""
        return answer.code, time.monotonic() - began

    def is_right(self, name: str) -> bool:
        return all((self.folder / name / file).read_bytes() == data for file, data in self.expected.items())

    def _when_the_sweep_begins(self, out: Path, disturb: Callable[[], None]) -> None:
        """The journal holds what the teacher cost as soon as it is done."""
        while not _stage_is_done(out / "journal.sqlite", "teacher"):
            time.sleep(0.5)
        time.sleep(4.0)  # a message of the sweep is with the companies
        disturb()


def _stage_is_done(journal: Path, stage: str) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT 1 FROM cost WHERE stage = ?", (stage,)).fetchone())
    except sqlite3.Error:  # not there yet
        return False


@contextmanager
def bench(rounds: int) -> Iterator[Bench]:
    """Four companies online, and what the same config pays in one process."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "data").mkdir()
        config = own_files_config(folder / "data", rounds=rounds)
        assert shell("run", config, "--out", folder / "here", "--backend", "inline", "--quiet").code == 0
        tables = ("utilities.csv", "valuation.json", "payouts.csv")
        expected = {name: (folder / "here" / name).read_bytes() for name in tables}
        with Deployment(folder / "federation", config) as federation:
            federation.set_up()
            yield Bench(federation, expected, folder)


def undisturbed(bench: Bench) -> dict[str, Any]:
    code, seconds = bench.run("undisturbed")
    cost = json.loads((bench.folder / "undisturbed" / "cost.json").read_text())
    stages = cost["stages"]
    (run,) = flower.list_runs(bench.federation.operator)
    config = load_config(bench.federation.config)
    models = (2**config.n_companies - 1) * len(config.models.small) * config.training.seeds
    return {
        "right": code == 0 and bench.is_right("undisturbed"),
        "seconds": seconds,
        "stage_seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "sweep_models": models,
        "sweep_over_one_model": stages["sweep"]["seconds"] / stages["teacher"]["seconds"],
        "bytes_per_company": run.n_bytes / config.n_companies,
        "parameter_bytes_per_company": sum(stage["bytes"] for stage in stages.values()) / config.n_companies,
    }


def node_killed(bench: Bench) -> dict[str, Any]:
    federation = bench.federation

    def kill_and_supervise() -> None:
        federation.end(CULPRIT, signal.SIGKILL)
        while True:  # systemd's Restart=always, RestartSec=20
            time.sleep(RESTART_SECONDS)
            federation.start_node(CULPRIT)
            time.sleep(RESTART_SECONDS)
            if federation.processes[CULPRIT].poll() is None:
                return

    code, seconds = bench.run("node_killed", disturb=kill_and_supervise)
    return {"right": code == 0 and bench.is_right("node_killed"), "seconds": seconds}


def server_app_killed(bench: Bench) -> dict[str, Any]:
    def kill() -> None:
        superlink = psutil.Process(bench.federation.processes["superlink"].pid)
        for child in superlink.children(recursive=True):
            if any("flwr-serverapp" in word for word in child.cmdline()[:3]):
                child.kill()

    return _killed_and_resumed(bench, "server_app_killed", kill)


def superlink_killed(bench: Bench) -> dict[str, Any]:
    def kill() -> None:
        bench.federation.end("superlink", signal.SIGKILL)
        time.sleep(5)  # RestartSec of its unit
        bench.federation.start_superlink()

    return _killed_and_resumed(bench, "superlink_killed", kill)


def garbage(bench: Bench) -> dict[str, Any]:
    """Finite rows that are so large that training on them overflows."""
    path = bench.federation.data[CULPRIT]
    rows = path.read_bytes()
    with np.load(path) as arrays:
        np.savez(path, x=arrays["x"] * np.float32(1e30), y=arrays["y"])
    code, seconds = bench.run("garbage")
    words = bench.words
    path.write_bytes(rows)
    shutil.rmtree(bench.folder / "garbage")
    again, more = bench.run("garbage")
    return {
        "right": code == 1 and again == 0 and bench.is_right("garbage"),
        "seconds": seconds + more,
        "seconds_until_named": seconds,
        "words": words,
    }


def _killed_and_resumed(bench: Bench, name: str, kill: Callable[[], None]) -> dict[str, Any]:
    code, seconds = bench.run(name, disturb=kill)
    words = bench.words
    again, more = bench.run(name, resume=True)
    return {
        "right": code == 1 and again == 0 and bench.is_right(name),
        "seconds": seconds + more,
        "seconds_until_noticed": seconds,
        "words": words,
    }


CASES = {case.__name__: case for case in (undisturbed, node_killed, server_app_killed, superlink_killed, garbage)}


def measure(rounds: int, names: list[str]) -> dict[str, Any]:
    with bench(rounds) as ready:
        found = {name: CASES[name](ready) for name in names}
    times = psutil.Process().cpu_times()
    whole = found.get("undisturbed", {}).get("seconds")
    for case in found.values():
        if whole:
            case["seconds_lost"] = case["seconds"] - whole
    return {
        "rounds": rounds,
        "proxy": "nginx" if NGINX else "a stand-in",
        "load": psutil.getloadavg()[0],
        "processor_seconds": times.children_user + times.children_system,
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A federation of real processes: its cost, and its faults.")
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    options = parser.parse_args()
    print(json.dumps(measure(options.rounds, options.only), indent=None if options.json else 2))


if __name__ == "__main__":
    main()
