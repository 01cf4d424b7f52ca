"""What the demo costs, and how far its values are from brute force: configs/demo.yaml.

    python -m benchmarks.demo [--json] [--backend ray inline]
    python -m benchmarks.demo --truth [--trainings 4] [--tables FOLDER] [--config FILE] [--json]

Without --truth: wall seconds of the whole command, start-up included, those of the stages of
cost.json, and processor seconds of all its processes, by backend.

With --truth: the large model is trained on every coalition `trainings` times, by the product's own
sweep. As in benchmarks.truth the law is given one training of each of its large runs, and the truth
is the mean of the others; figures are means over which training was given.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.law.brute_force import brute_force
from benchmarks.law.truth import judged
from benchmarks.sweep.sweeps import quietly
from fl_sv.config import load_config
from fl_sv.machine import keep_freed_memory, use_threads

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "demo.yaml"
TRAININGS = 4
SHOWN = ("law_0", "law_n", "law_2n", "one_brute_force", "small_mapped", "equal", "by_size")


def measure(backend: str) -> dict[str, Any]:
    """Wall and processor seconds of the whole command, and the stages of its cost.json."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started, before = time.perf_counter(), _processor_seconds()
        command = [
            sys.executable,
            "-m",
            "fl_sv.cli",
            "run",
            CONFIG,
            "--out",
            out,
            "--backend",
            backend,
            "--quiet",
        ]
        subprocess.run(command, check=True)
        seconds, processor = time.perf_counter() - started, _processor_seconds() - before
        cost = json.loads((out / "cost.json").read_text())
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "stages": {name: round(s["seconds"], 2) for name, s in cost["stages"].items()},
        "sweep_share_of_teacher_flops": cost["sweep_share_of_teacher_flops"],
    }


def _processor_seconds() -> float:
    """Of all processes that this one started and that have ended, and of those that they started.

    Processes that outlive their parent, as some of Ray do, are not in it.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def truth(config_file: Path, trainings: int, tables: Path | None) -> dict[str, Any]:
    """Errors of the values of our law, and of simpler rules, on the game of the config."""
    config = load_config(config_file)
    training = config.training.model_copy(update={"large_seeds": trainings})
    config = config.model_copy(update={"training": training})
    game = brute_force(config, "the demo", tables, updates=False, workers=2)
    found = judged(game, 1, config.seed)
    return {
        "trainings": trainings,
        "errors": {name: found["errors"][name] for name in SHOWN},
        "noise_floor": found["noise_floor"],
        "by_law": found["by_law"],
        "first": found["first"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What the demo costs, and how far it is off.")
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument(
        "--backend", nargs="+", choices=("ray", "inline"), default=("ray", "inline")
    )
    parser.add_argument("--truth", action="store_true", help="brute force instead of seconds")
    parser.add_argument("--trainings", type=int, default=TRAININGS, help="of the large model")
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="keep the game's losses")
    parser.add_argument("--config", type=Path, default=CONFIG, help="another config for --truth")
    options = parser.parse_args()
    if options.truth:
        quietly()
        use_threads(1)
        keep_freed_memory()
        found = truth(options.config, options.trainings, options.tables)
    else:
        found = {backend: measure(backend) for backend in options.backend}
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
