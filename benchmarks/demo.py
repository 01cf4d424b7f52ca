"""Seconds of the main job on this machine: `fl-sv run configs/demo.yaml` on Ray and in one process,
start-up included.

    python -m benchmarks.demo [--json]

One JSON object: wall seconds and the stages of cost.json, by backend.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "demo.yaml"


def measure(backend: str) -> dict[str, Any]:
    """Wall seconds of the whole command, and of its stages."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started = time.perf_counter()
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
        seconds = time.perf_counter() - started
        stages = json.loads((out / "cost.json").read_text())["stages"]
    return {
        "seconds": round(seconds, 1),
        "stages": {name: round(s["seconds"], 2) for name, s in stages.items()},
    }


def main() -> None:
    found = {backend: measure(backend) for backend in ("ray", "inline")}
    print(json.dumps(found, indent=None if "--json" in sys.argv else 2))


if __name__ == "__main__":
    main()
