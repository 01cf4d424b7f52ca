"""One federation, its undisturbed run and its faults."""

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
