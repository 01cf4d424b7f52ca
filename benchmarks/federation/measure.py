"""A federation of real processes: what it costs, and what it survives.

    python -m benchmarks.federation [--json] [--companies 4] [--rounds 3] [--only undisturbed
    node_killed ...]

Companies with files of their own, TLS, node authentication and the proxy (see benchmarks/federation/deployment.py):
the four of configs/smoke.yaml with every fault of benchmarks/federation/faults.py; or undisturbed the eight
of configs/demo.yaml, or ten with all 1,024 coalitions of one small size. Every case must give the
tables of the same config in one process, to the byte.

* `sweep_over_one_model`: wall time of the sweep of all coalitions, sizes and seeds over that of the teacher, which is
  the federated training of one model for as many rounds (with ten companies a model of the small size).
* `seconds_lost`, `bytes_again`: wall time and traffic beyond the undisturbed run, all tries of a case together. On a
  machine that others use, compare `stages` instead: a fault comes in the sweep, and the teacher before it took as many
  rounds.
* `words`: the sentence with which a try stopped.

Without nginx the proxy is a stand-in.
"""

import argparse
import json
from typing import Any

import psutil

from benchmarks.federation.bench import WHOLE, Bench, bench
from benchmarks.federation.deployment import NGINX
from benchmarks.federation.faults import FAULTS
from fl_sv.config import load_config


def undisturbed(bench: Bench) -> dict[str, Any]:
    """Wall time of each stage, and the bytes of each company."""
    report = bench.report("undisturbed", [bench.run("undisturbed")], WHOLE)
    config, stages = load_config(bench.federation.config), report["stages"]
    models = (2**config.n_companies - 1) * len(config.models.small) * config.training.seeds
    return {
        **report,
        "sweep_models": models,
        "sweep_over_one_model": stages["sweep"]["seconds"] / stages["teacher"]["seconds"],
        "bytes_per_company": report["bytes"] / config.n_companies,
        "parameter_bytes_per_company": (
            sum(stage["bytes"] for stage in stages.values()) / config.n_companies
        ),
    }


CASES = {case.__name__: case for case in (undisturbed, *FAULTS)}


def measure(n_companies: int, rounds: int, names: list[str]) -> dict[str, Any]:
    with bench(n_companies, rounds) as ready:
        found = {name: CASES[name](ready) for name in names}
    whole = found.get("undisturbed")
    for name, case in found.items():
        if whole and name != "undisturbed" and "skipped" not in case:
            case["seconds_lost"] = case["seconds"] - whole["seconds"]
            case["bytes_again"] = case["bytes"] - whole["bytes"]
    times = psutil.Process().cpu_times()
    return {
        "companies": n_companies,
        "rounds": rounds,
        "proxy": "nginx" if NGINX else "a stand-in",
        "load": psutil.getloadavg()[0],
        "processor_seconds": times.children_user + times.children_system,
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A federation of real processes: its cost, and its faults."
    )
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--companies", type=int, choices=(4, 8, 10), default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE")
    options = parser.parse_args()
    names = options.only or (list(CASES) if options.companies == 4 else ["undisturbed"])
    print(
        json.dumps(
            measure(options.companies, options.rounds, names), indent=None if options.json else 2
        )
    )
