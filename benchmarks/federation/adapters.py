"""A federation that fine-tunes: real processes, and at each company a base of its own.

    python -m benchmarks.federation.adapters [--json] [--rounds 1]

Two companies with files of token ids fine-tune a tiny Llama with random weights, with adapters in
its last block. The operator's paths reach no company: each has copies of the bases in the folder
`bases` of its kit. The tables must be those of the same config in one process, to the byte, and the
tuned model answers at the operator. A message costs the import of transformers, so that this is a
script and no test of the suite.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import fl_sv
from benchmarks.common.command_line import shell
from benchmarks.federation.deployment import Deployment
from fl_sv.config.redact import BASES
from fl_sv.projects.bases import new_base
from fl_sv.training.pretrained import quiet

COMPANIES, TOKENS, PLACES = ("Ash", "Beech"), 12, 8
TABLES = ("utilities.csv", "valuation.json", "payouts.csv")
WIDTHS = {"tiny": 8, "large": 16}


def write(folder: Path, rounds: int) -> Path:
    """The config, the rows of all, and the operator's bases."""
    rng = np.random.default_rng(0)
    for name, rows in (*((company, 24) for company in COMPANIES), ("validation", 40)):
        tokens = rng.integers(0, TOKENS, (rows, PLACES + 1))
        tokens[:, 1::2] = tokens[:, ::2][
            :, : PLACES // 2
        ]  # every second one repeats the one before
        np.savez(folder / f"{name}.npz", x=tokens[:, :-1], y=tokens[:, 1:])
    models = {name: _model(folder, name, width) for name, width in WIDTHS.items()}
    content = {
        "companies": [*COMPANIES],
        "data": {
            "source": "own",
            "inputs": "ids",
            "classes": TOKENS,
            "files": {name: f"{name}.npz" for name in COMPANIES},
            "validation": {"file": "validation.npz"},
        },
        "models": {"small": [models["tiny"]], "large": models["large"]},
        "training": {
            "optimizer": "adamw",
            "learning_rate": 0.02,
            "rounds": rounds,
            "batch_size": 8,
            "seeds": 1,
        },
        "payouts": {"pot": {"kind": "fixed", "cents": 1000}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _model(folder: Path, name: str, width: int) -> dict[str, Any]:
    torch.manual_seed(width)
    with quiet():
        new_base(width, TOKENS, PLACES).save_pretrained(folder / BASES / name)
    adapter = {"kind": "lora", "rank": 2, "layers": [1]}
    path = str(folder / BASES / name)
    return {"kind": "pretrained", "name": name, "path": path, "adapter": adapter}


def measure(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write(folder, rounds)
        here = shell("run", config, "--out", folder / "here", "--backend", "inline", "--quiet")
        assert here.code == 0, here
        began = time.monotonic()
        with Deployment(folder / "machines", config, folder / BASES) as federation:
            federation.set_up()
            online = time.monotonic()
            where = ("--out", folder / "there", "--dir", federation.operator)
            ran = federation.fl_sv("federation", "run", config, *where)
            assert ran.code == 0, (ran, *(federation.log(name) for name in COMPANIES))
            ended = time.monotonic()
        same = {
            file: (folder / "here" / file).read_bytes() == (folder / "there" / file).read_bytes()
            for file in TABLES
        }
        tuned = fl_sv.load_model(folder / "there")
        logits = tuned(torch.from_numpy(np.load(folder / "validation.npz")["x"]))
        return {
            "companies": len(COMPANIES),
            "rounds": rounds,
            "seconds_to_online": online - began,
            "seconds_of_the_run": ended - online,
            "same_bytes": same,
            "logits": [*logits.shape],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="A federation that fine-tunes.")
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(measure(options.rounds), indent=None if options.json else 2))


if __name__ == "__main__":
    main()
