"""The Flower App itself: `flwr run` on Flower's own local SuperLink gives the tables of `fl-sv
run`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLWR = Path(sys.executable).parent / "flwr"
pytestmark = pytest.mark.ray  # Flower's local SuperLink simulates on it
BUNDLED = ("clients", "server", "strategies", "configs", "pyproject.toml", "README.md", "LICENSE")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment with a Flower home and a local SuperLink of its own, which `flwr run` starts
    and leaves behind.
    """
    home = tmp_path_factory.mktemp("flower")
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FL_SV_HOME": str(home / "keys"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # else Flower's ray.init joins any cluster that it finds on this machine
        "RAY_ADDRESS": "local",
        "PATH": f"{FLWR.parent}{os.pathsep}{os.environ['PATH']}",
    }
    yield environment
    for process in psutil.process_iter():
        try:
            if process.environ().get("FLWR_HOME") == str(home):
                process.send_signal(signal.SIGTERM)
        except psutil.Error:
            continue


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app in a folder whose name Flower accepts, for any name of the checkout."""
    folder = tmp_path_factory.mktemp("bundle") / "fl-sv"
    folder.mkdir()
    for name in BUNDLED:
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(
            source, folder / name
        )
    return folder


def flwr_run(flower: dict[str, str], bundle: Path, nodes: int, settings: str) -> tuple[str, str]:
    """The log, and the status that Flower lists for the newest run."""
    federation = f"num-supernodes={nodes} client-resources-num-cpus=1"
    command = [
        FLWR,
        "run",
        bundle,
        "local",
        "--stream",
        "--federation-config",
        federation,
        "-c",
        settings,
    ]
    log = subprocess.run(
        command, env=flower, capture_output=True, text=True, timeout=1200, check=False
    )
    listing = [FLWR, "list", "local", "--format", "json"]
    listed = subprocess.run(listing, env=flower, capture_output=True, text=True, check=True)
    runs = json.loads(listed.stdout)["runs"]
    return log.stdout + log.stderr, max(runs, key=lambda run: run["pending-at"])["status"]


def test_flwr_run_gives_the_same_bytes_as_fl_sv_run(
    flower: dict[str, str], bundle: Path, finished_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    log, status = flwr_run(flower, bundle, 4, f'config="configs/smoke.yaml" out="{out}"')
    assert status == "finished:completed", log
    for name in ("utilities.csv", "averaged.csv", "valuation.json", "payouts.csv"):
        assert (out / name).read_bytes() == (finished_run / name).read_bytes()


def test_run_that_is_refused_is_listed_as_failed_and_says_why(
    flower: dict[str, str], bundle: Path, tmp_path: Path
) -> None:
    smoke = (ROOT / "configs" / "smoke.yaml").read_text()
    (tmp_path / "long.yaml").write_text(f"{smoke}\ncompute: {{max_hours: 1.0e-6}}\n")
    log, status = flwr_run(
        flower, bundle, 4, f'config="{tmp_path / "long.yaml"}" out="{tmp_path / "run"}"'
    )
    assert status == "finished:failed"
    assert "compute.max_hours is 1e-06" in log
    assert "Traceback" not in log
    assert not (tmp_path / "run").exists()
