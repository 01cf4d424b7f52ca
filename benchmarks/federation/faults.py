"""What a federation must survive, one function a fault. Each begins with what is expected to
happen.

Every fault comes when a message of the sweep is with the companies. A fault that this machine does
not permit (no namespaces, no mount) is reported as skipped."""

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.federation.bench import STOPPED_AND_RESUMED, WHOLE, Bench
from benchmarks.federation.disk import fill, small_disk

CULPRIT = "Beech"
RESTART_SECONDS = 20.0  # as in deploy/fl-sv-supernode.service.j2
CUT_SECONDS = 30.0
OFFLINE_SECONDS = 120.0
SLOW_SECONDS = 60.0
SLOW_KILOBITS, QUICK_KILOBITS = 64, 1_000_000


def node_killed(bench: Bench) -> dict[str, Any]:
    """`kill -9` of a SuperNode, which is started again after 20 s as by its unit.

    The server waits for it and sends the message again.
    """
    federation = bench.federation

    def kill_and_supervise() -> None:
        federation.end(CULPRIT, signal.SIGKILL)
        while True:  # systemd's Restart=always, RestartSec=20
            time.sleep(RESTART_SECONDS)
            federation.start_node(CULPRIT)
            time.sleep(RESTART_SECONDS)
            if federation.processes[CULPRIT].poll() is None:
                return

    return bench.report(
        "node_killed", [bench.run("node_killed", disturb=kill_and_supervise)], WHOLE
    )


def node_offline(bench: Bench) -> dict[str, Any]:
    """A SuperNode is stopped and started again after two minutes: less than a run waits, so that it
    goes on.
    """

    def stop_and_start() -> None:
        bench.federation.end(CULPRIT)
        time.sleep(OFFLINE_SECONDS)
        bench.federation.start_node(CULPRIT)

    return bench.report("node_offline", [bench.run("node_offline", disturb=stop_and_start)], WHOLE)


def network_cut(bench: Bench) -> dict[str, Any]:
    """A company's cable is out for half a minute: less than the SuperLink's patience; nothing is
    sent twice.
    """
    if not bench.federation.has_namespaces:
        return {"skipped": "network namespaces are not permitted here"}

    def cut_and_heal() -> None:
        bench.federation.set_cable(CULPRIT, "down")
        time.sleep(CUT_SECONDS)
        bench.federation.set_cable(CULPRIT, "up")

    return bench.report("network_cut", [bench.run("network_cut", disturb=cut_and_heal)], WHOLE)


def slow_company(bench: Bench) -> dict[str, Any]:
    """For a minute a company's processes get a quarter of the time, in pulses: all wait,
    nothing else.
    """

    def slow_down() -> None:
        until = time.monotonic() + SLOW_SECONDS
        while time.monotonic() < until:
            node = psutil.Process(bench.federation.processes[CULPRIT].pid)
            processes = [node, *node.children(recursive=True)]
            for change, seconds in (("suspend", 3.0), ("resume", 1.0)):
                for process in processes:
                    with suppress(psutil.NoSuchProcess):
                        getattr(process, change)()
                time.sleep(seconds)

    return bench.report("slow_company", [bench.run("slow_company", disturb=slow_down)], WHOLE)


def slow_network(bench: Bench) -> dict[str, Any]:
    """From the sweep on a company's connection has 64 kbit/s: its messages take longer; nothing is
    sent twice.

    The cable is quick again afterwards.
    """
    if not bench.federation.has_namespaces or shutil.which("tc") is None:
        return {"skipped": "network namespaces or `tc` are not to be had here"}
    slow = bench.run(
        "slow_network", disturb=lambda: bench.federation.limit_bandwidth(CULPRIT, SLOW_KILOBITS)
    )
    bench.federation.limit_bandwidth(CULPRIT, QUICK_KILOBITS)
    return bench.report("slow_network", [slow], WHOLE)


def server_app_killed(bench: Bench) -> dict[str, Any]:
    """`kill -9` of the ServerApp: Flower lists the run as failed, and `--resume` trains the wave
    again.
    """

    def kill() -> None:
        superlink = psutil.Process(bench.federation.processes["superlink"].pid)
        for child in superlink.children(recursive=True):
            if any("flwr-serverapp" in word for word in child.cmdline()[:3]):
                child.kill()

    return _stopped_and_resumed(bench, "server_app_killed", kill)


def superlink_killed(bench: Bench) -> dict[str, Any]:
    """`kill -9` of the SuperLink, up again after 5 s: companies come back by themselves, the run
    needs `--resume`.
    """

    def kill() -> None:
        bench.federation.end("superlink", signal.SIGKILL)
        time.sleep(5)  # RestartSec of its unit
        bench.federation.start_superlink()

    return _stopped_and_resumed(bench, "superlink_killed", kill)


def disk_full(bench: Bench) -> dict[str, Any]:
    """The run directory's disk is full when the wave is to be kept: a sentence, and with space
    `--resume` goes on.
    """
    try:
        with small_disk(bench.folder / "disk") as disk:
            fillers: list[Path] = []
            return _stopped_and_resumed(
                bench,
                "disk/run",
                disturb=lambda: fillers.append(fill(disk)),
                between=lambda: fillers.pop().unlink(),
            )
    except PermissionError as reason:
        return {"skipped": str(reason)}


def garbage(bench: Bench) -> dict[str, Any]:
    """A company's training overflows: three tries, then an error with its name.

    With corrected rows a new run is needed, because its rows changed.
    """
    path = bench.federation.data[
        CULPRIT
    ]  # finite rows that are so large that training on them overflows
    rows = path.read_bytes()
    with np.load(path) as arrays:
        np.savez(path, x=arrays["x"] * np.float32(1e30), y=arrays["y"])
    first = bench.run("garbage")
    path.write_bytes(rows)
    shutil.rmtree(bench.folder / "garbage")
    return bench.report("garbage", [first, bench.run("garbage")], STOPPED_AND_RESUMED)


def _stopped_and_resumed(
    bench: Bench, name: str, disturb: Callable[[], None], between: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    first = bench.run(name, disturb=disturb)
    between()
    second = bench.run(name, resume=True)
    return {
        **bench.report(name, [first, second], STOPPED_AND_RESUMED),
        "seconds_until_stopped": first.seconds,
    }


FAULTS = (
    node_killed,
    node_offline,
    network_cut,
    slow_company,
    slow_network,
    server_app_killed,
    superlink_killed,
    disk_full,
    garbage,
)
