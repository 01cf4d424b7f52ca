"""The peak memory of whole runs beside what `fl-sv plan` forecasts.

    python -m benchmarks.memory [--json] [NAME ...]

Each game is one `fl-sv run` in a process of its own, and one on Ray. The peak is that of all its
processes together. In one process it is exact, as the kernel counts it. On Ray it is the largest
sum of the processes' shares (proportional set size) at the looks, four a second.

The games are made to be large in one thing: coalitions, the messages of a wave, seeds, validation
rows, the large model, or a sample. Training is as short as possible, as its length needs no memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.common.command_line import REPOSITORY
from benchmarks.common.machine import machine_text
from benchmarks.common.markdown import table
from fl_sv.api import as_config
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast

LOOK_SECONDS = 0.25


class Peak(NamedTuple):
    """One run: its forecast and its real peak, in bytes."""

    name: str
    forecast: int
    peak: int
    seconds: float

    @property
    def ratio(self) -> float:
        """The forecast over the peak."""
        return self.forecast / self.peak


def game(
    companies: int,
    hidden: Sequence[int] = (2, 4),
    large: Sequence[int] = (16,),
    *,
    source: str = "diabetes",
    validation: float = 0.2,
    rounds: int = 1,
    seeds: int = 1,
    sample: int | None = None,
    anchors: str = "singletons",
    strategy: str = "fedavg",
) -> dict[str, Any]:
    """The config of a game whose training is short."""
    design = {} if sample is None else {"design": "sampled", "stop": {"max_evaluations": sample}}
    return {
        "companies": [f"Company {i:02}" for i in range(companies)],
        "data": {
            "source": source,
            "partition": {"kind": "iid"},
            "validation": {"fraction": validation},
        },
        "models": {
            "small": [{"kind": "mlp", "hidden": [units]} for units in hidden],
            "large": {"kind": "mlp", "hidden": [*large]},
        },
        "training": {"rounds": rounds, "seeds": seeds, "batch_size": 256},
        "teacher": {"strategy": strategy},
        "coalitions": design,
        "law": {"anchors": anchors},
        "compute": {"workers": 1, "threads": 1},
        "payouts": {"pot": {"kind": "fixed", "cents": 1_000_000}},
    }


GAMES: dict[str, dict[str, Any]] = {
    "4 companies": game(4),
    "14 companies": game(14),
    "16 companies": game(16),
    "18 companies": game(18),
    "14 companies, 3 sizes, 3 seeds": game(14, (2, 4, 8), seeds=3),
    "16 companies, 3 sizes, 2 seeds, singletons+loo": game(
        16, (2, 4, 8), seeds=2, anchors="singletons+loo"
    ),
    "12 companies, wide models": game(12, (32, 256), (512,), rounds=2),
    "14 companies, wide models": game(14, (32, 256), (512,), rounds=2),
    "12 companies, 1,000 validation rows": game(12, source="digits", validation=0.55),
    "8 companies, a large model of 4 million": game(8, large=(2048, 2048)),
    "8 companies, a large model of 17 million": game(8, large=(4096, 4096)),
    "8 companies, a large model of 17 million, FedAdam": game(
        8, large=(4096, 4096), strategy="fedadam"
    ),
    "40 companies, a sample of 4,000": game(40, source="digits", sample=4_000),
}
ON_RAY = ("4 companies", "12 companies, wide models")


def measure(name: str, backend: str = "inline") -> Peak:
    """A whole run of the game: the forecast before it, and its peak."""
    config = as_config(GAMES[name])
    expected = forecast(config, check(config), on_ray=backend == "ray").peak_memory_bytes
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(GAMES[name]), encoding="utf-8")
        command = [sys.executable, "-m", "fl_sv.cli", "run", str(file)]
        command += ["--out", str(Path(folder) / "run"), "--backend", backend, "--quiet"]
        started = time.perf_counter()
        peak = _peak_of(command, tree=backend == "ray")
        seconds = time.perf_counter() - started
    label = name if backend == "inline" else f"{name}, on Ray"
    return Peak(label, expected, peak, seconds)


def _peak_of(command: list[str], *, tree: bool) -> int:
    """Bytes of the process, or of it and all its children, at the peak."""
    process = subprocess.Popen(command, cwd=REPOSITORY)
    highest = 0
    while tree and process.poll() is None:
        highest = max(highest, _shares(process.pid))
        time.sleep(LOOK_SECONDS)
    if not tree:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode, highest = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return highest


def _shares(pid: int) -> int:
    total = 0
    with suppress(psutil.Error):
        for each in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_full_info().pss
    return total


def peaks(names: Sequence[str]) -> Iterator[Peak]:
    """The chosen games in one process, then those that also run on Ray."""
    for name in names:
        yield measure(name)
    for name in names:
        if name in ON_RAY:
            yield measure(name, "ray")


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of runs, forecast and measured.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GAMES)}")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    found = []
    for peak in peaks(options.names or [*GAMES]):
        found.append(peak)
        if options.json:
            print(json.dumps({**peak._asdict(), "ratio": peak.ratio}), flush=True)
    if not options.json:
        print(machine_text())
        rows = [
            [p.name, f"{p.forecast / 1e6:,.0f}", f"{p.peak / 1e6:,.0f}", f"{p.ratio:.2f}"]
            for p in found
        ]
        print(table(["game", "forecast, MB", "peak, MB", "forecast / peak"], rows))


if __name__ == "__main__":
    main()
