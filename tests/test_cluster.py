"""An existing Ray cluster serves a run as well as one that the run starts itself."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs import SMOKE, shell

RAY = Path(sys.executable).parent / "ray"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def cluster() -> Iterator[str]:
    """Address of a Ray head node on this machine, which ends with the process that holds it."""
    port = free_port()
    command = [RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    time.sleep(3)  # the head answers a moment before it takes drivers
    yield f"127.0.0.1:{port}"
    head.terminate()
    head.wait(timeout=60)


def test_run_on_an_existing_cluster_gives_the_same_bytes(cluster: str, finished_run: Path, tmp_path: Path) -> None:
    config = tmp_path / "cluster.yaml"
    config.write_text(SMOKE.read_text() + f'\nray: {{address: "{cluster}"}}\n')
    done = shell("run", config, "--out", tmp_path / "run", "--quiet")
    assert done.code == 0, done.err
    for name in ("utilities.csv", "valuation.json", "payouts.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished_run / name).read_bytes()
