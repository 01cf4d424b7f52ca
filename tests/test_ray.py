"""An existing Ray cluster of two nodes serves a run as well as one that the run starts itself."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, DistributionFinder, PathDistribution
from pathlib import Path
from typing import NamedTuple

import pytest
from flwr.app import Context, Message

from benchmarks.common.command_line import SMOKE, shell
from clients.app import app as honest_app
from fl_sv.config import Config, load_config
from fl_sv.errors import InputError
from fl_sv.flower import wire
from fl_sv.progress import Progress
from fl_sv.runs.directory import start_or_resume
from server.ray import join_cluster
from server.simulation import simulate
from tests.runs import with_sections

RAY = Path(sys.executable).parent / "ray"
TABLES = (
    "utilities.csv",
    "averaged.csv",
    "valuation.json",
    "payouts.csv",
    "model.safetensors",
)
pytestmark = pytest.mark.ray


PATIENCE = 600.0  # a busy machine may take its time


class Cluster(NamedTuple):
    """A head node and a second one with a CPU each. They end with the processes that hold them."""

    address: str
    second: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def ray_start(number: int, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Node `number` of a machine. Without ports of their own, workers of two nodes take the same
    ones and die of it.
    """
    ports = (
        f"--min-worker-port={20_000 + 1000 * number}",
        f"--max-worker-port={20_999 + 1000 * number}",
    )
    return subprocess.Popen(
        [RAY, "start", "--block", "--num-cpus=1", *ports, *arguments],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One for all tests of this file; the last of them kills the second node."""
    address = f"127.0.0.1:{(port := free_port())}"
    head = ray_start(0, "--head", f"--port={port}", "--include-dashboard=false")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    time.sleep(3)  # the head answers a moment before it takes nodes
    second = ray_start(1, f"--address={address}")
    wait_for_nodes(address, 2)
    yield Cluster(address, second)
    for node in (second, head):
        node.terminate()
        node.wait(timeout=PATIENCE)


def wait_for_nodes(address: str, count: int) -> None:
    """Runs in a process of its own, so that this one stays unconnected."""
    code = f"""
import ray, time
ray.init(address={address!r}, logging_level=40)
deadline = time.monotonic() + {PATIENCE}
while sum(node["Alive"] for node in ray.nodes()) < {count} and time.monotonic() < deadline:
    time.sleep(0.2)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


class Watched:
    """The honest client app; leaves a file named after the Ray node on which a message of the sweep
    was answered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, message: Message, context: Context) -> Message:
        import ray

        reply = honest_app(message, context)
        if message.metadata.message_type == wire.COALITIONS:
            (self.folder / ray.get_runtime_context().get_node_id()).touch()
        return reply


def on_cluster(cluster: Cluster) -> Config:
    return with_sections(load_config(SMOKE), ray={"address": cluster.address})


def test_run_on_a_cluster_of_two_nodes_gives_the_same_bytes(
    cluster: Cluster, finished_run: Path, tmp_path: Path
) -> None:
    config = tmp_path / "cluster.yaml"
    config.write_text(SMOKE.read_text() + f'\nray: {{address: "{cluster.address}"}}\n')
    done = shell("run", config, "--out", tmp_path / "run", "--quiet")
    assert done.code == 0, done.err
    for name in TABLES:
        assert (tmp_path / "run" / name).read_bytes() == (finished_run / name).read_bytes()


class OtherNumpy(DistributionFinder):
    """Lets the metadata of this process, and of no other, report another numpy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "numpy-0.1.dist-info"
        self.folder.mkdir()
        (self.folder / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n")

    def find_spec(self, *_: object) -> None:
        """It finds no modules."""

    def find_distributions(self, context: DistributionFinder.Context) -> Iterator[Distribution]:
        if context.name == "numpy":
            yield PathDistribution(self.folder)


def test_node_with_other_software_is_named(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [OtherNumpy(tmp_path), *sys.meta_path])
    with pytest.raises(
        InputError, match=r"the Ray node .* has numpy 2\..*; this machine has 0\.1\."
    ):
        join_cluster(cluster.address, verbose=False)


def test_an_address_without_a_cluster_is_said_so() -> None:
    with pytest.raises(InputError, match=r"the cluster at 127\.0\.0\.1:\d+ cannot be joined"):
        join_cluster(f"127.0.0.1:{free_port()}", verbose=False)


def test_work_is_spread_over_the_nodes_and_a_dead_node_costs_nothing_but_time(
    cluster: Cluster, finished_run: Path, tmp_path: Path
) -> None:
    (seen := tmp_path / "nodes").mkdir()

    def kill_second_node() -> None:
        while len(list(seen.iterdir())) < 2:
            time.sleep(0.05)
        cluster.second.kill()  # its raylet goes with it, and the actor on it

    killer = threading.Thread(target=kill_second_node, daemon=True)
    killer.start()
    config = on_cluster(cluster)
    with start_or_resume(tmp_path / "run", config, resume=False) as run:
        simulate(config, run, "ray", Progress("quiet"), threading.Event(), Watched(seen))
    assert not killer.is_alive()
    for name in TABLES:
        assert (tmp_path / "run" / name).read_bytes() == (finished_run / name).read_bytes()
