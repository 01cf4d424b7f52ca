"""The memory and time of a company whose rows are larger than a computer's memory.

    python -m benchmarks.big_data [--rows N] [--columns N] [--json]

It makes a folder of x.npy (float32) and y.npy, block by block, and lets a company do each step in a
process of its own: register (read, check, scale, fingerprint), train a round of a large model and
of eight small ones, and `fl-sv data check`. In a simulation four companies share the folder.

The peak is that of anonymous memory (`RssAnon` of Linux), which has no file behind it and cannot be
dropped; pages of mapped files can. The process may not take more than the limit of 4 GiB of it at
all: the system refuses more (RLIMIT_DATA). The peak of everything (`VmHWM`) counts mapped pages
that happen to be in memory, too.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from benchmarks.common.command_line import REPOSITORY
from benchmarks.common.machine import machine_text
from benchmarks.common.markdown import table

LIMIT = 4 << 30
BLOCK = 100_000  # rows that are made at a time
LOOK_SECONDS = 0.02
STEPS = {
    "start": "a process that has imported fl-sv and torch",
    "register": "a company registers",
    "train": "and trains one round of 9 models",
    "check": "`fl-sv data check`",
    "simulation": "a simulation's process loads 4 companies of one source",
}


class Cost(NamedTuple):
    """What a step took: peaks in bytes, and seconds by the clock."""

    step: str
    anonymous: int
    resident: int
    seconds: float


def make(folder: Path, rows: int, columns: int) -> None:
    """x.npy and y.npy for a company, a validation set of 10,000 rows, and two configs."""
    weights = np.random.default_rng(0).normal(size=columns)
    for name, count in (("rows", rows), ("validation", 10_000)):
        (folder / name).mkdir()
        generator = np.random.default_rng(count)
        x = open_memmap(folder / name / "x.npy", "w+", np.float32, (count, columns))
        y = np.empty(count, dtype=np.int64)
        for first in range(0, count, BLOCK):
            some = generator.normal(size=(min(BLOCK, count - first), columns))
            x[first : first + BLOCK] = some
            y[first : first + BLOCK] = some @ weights > 0
        np.save(folder / name / "y.npy", y)
    names = ["Ash", "Beech", "Cedar", "Dogwood"]
    for source in ("own", "shared"):
        own = {"source": "own", "classes": 2, "files": dict.fromkeys(names, "rows/")}
        data: dict[str, Any] = own
        if source == "shared":
            data = {"source": "rows/", "partition": {"kind": "iid"}, "standardise": True}
        content = {
            "companies": names,
            "data": {**data, "validation": {"file": "validation/"}},
            "models": {
                "small": [{"kind": "mlp", "hidden": [8]}],
                "large": {"kind": "mlp", "hidden": [64]},
            },
            "training": {"rounds": 1, "batch_size": 8192},
            "compute": {"threads": 1},
            "payouts": {"pot": {"kind": "fixed", "cents": 1_000_000}},
        }
        (folder / f"{source}.yaml").write_text(json.dumps(content), encoding="utf-8")


def carry_out(step: str, folder: Path) -> None:
    """One step, in this process."""
    import torch

    from clients.company import load_company
    from fl_sv.config.load import load_config
    from fl_sv.data import operator_data, shared_rows
    from fl_sv.planning.inspection import inspect_company
    from fl_sv.training.models import model_specs

    torch.set_num_threads(1)
    if step == "start":
        return
    if step == "check":
        print("\n".join(inspect_company(folder / "own.yaml", "Ash")))
        return
    config = load_config(folder / ("shared.yaml" if step == "simulation" else "own.yaml"))
    scaling = operator_data(config).scaling
    if step == "simulation":
        shared = shared_rows(config, scaling)
        companies = [load_company(c, config, scaling, None, shared) for c in config.companies]
        print(sum(company.n_examples for company in companies))
        return
    company = load_company("Ash", config, scaling, None)
    print(company.n_examples, company.fingerprint)
    if step == "train":
        small, large = model_specs(config, scaling.task)
        for model, count in ((*small, 8), (large, 1)):
            start = model.initial_params(config.seed, 0).numpy()
            stack = np.repeat(start[None], count, axis=0)
            (key,) = (f"{model.name}/0",)
            print(company.loss(key, start))
            company.train_round({key: stack}, 1)


def measured(step: str, folder: Path) -> Cost:
    """A step in a process of its own, which the system holds to the limit."""
    command = [sys.executable, "-m", "benchmarks.big_data", "--step", step, "--folder", str(folder)]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (LIMIT, LIMIT))
    anonymous = resident = 0
    while process.poll() is None:
        status = _status(process.pid)
        anonymous = max(anonymous, status.get("RssAnon", 0))
        resident = max(resident, status.get("VmHWM", 0))
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(step, anonymous, resident, time.perf_counter() - started)


def _status(pid: int) -> dict[str, int]:
    """The sizes that Linux keeps of a process, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {key.rstrip(":"): int(number) * 1024 for key, number, _ in sizes}


def costs(rows: int, columns: int, steps: list[str]) -> Iterator[Cost]:
    """Every step on rows of its own making."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        make(Path(folder), rows, columns)
        yield Cost("make", 0, 0, time.perf_counter() - started)
        for step in steps:
            yield measured(step, Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description="A company with rows larger than memory.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--step", choices=[*STEPS], action="append", help="of all these steps")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # for a process of one step
    options = parser.parse_args()
    if options.folder:
        carry_out(options.step[0], options.folder)
        return
    found = []
    for cost in costs(options.rows, options.columns, options.step or [*STEPS]):
        found.append(cost)
        if options.json:
            print(json.dumps(cost._asdict()), flush=True)
    if not options.json:
        print(f"{machine_text()}, {options.rows:,} rows of {options.columns} columns")
        lines = [
            [
                STEPS[c.step],
                f"{c.anonymous / 1e9:.2f}",
                f"{c.resident / 1e9:.2f}",
                f"{c.seconds:.0f}",
            ]
            for c in found
            if c.step in STEPS
        ]
        print(table(["step", "anonymous, GB", "resident, GB", "seconds"], lines))


if __name__ == "__main__":
    main()
