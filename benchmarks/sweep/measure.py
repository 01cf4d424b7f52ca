"""The sweep of all coalitions, side by side with the ways in which it is done today.

    python -m benchmarks.sweep [--json] [--companies 10] [--rounds 30] [--width 32]
    python -m benchmarks.sweep --table [N ...] [--backend ray|inline]

Digits, equal shares, one small model, one seed. Our time is the whole sweep on Ray, start-up
included. The baselines train a sample of coalitions of every size, and their time is extrapolated
by the number of members:

* one Flower simulation for each coalition, the start of Ray included, as each really pays it;
* one Flower simulation in which coalition after coalition is trained;
* plain torch, one coalition after the other, against our sweep in one process on the same number of threads.

Every process has imported everything before its clock starts. What the sampled coalitions reached
(loss on the validation set) must be the same in all of them. `gemm_fraction` counts the operations
that the training needs (not the gradient of its input, which nobody needs) by the seconds that the
companies report for it; `..._of_everything` by those of the whole sweep in one process: messages,
aggregation and scoring, too. Both are fractions of the best square matrix product in float32 on the
same thread."""

import argparse
import json
import logging
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from benchmarks.sweep import flower
from clients.app import app as client_app
from fl_sv.config import Config
from fl_sv.data import company_data, operator_data
from fl_sv.design.sample import design_steps
from fl_sv.game.coalitions import members_of
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.progress import Progress
from fl_sv.runs.journal import Journal
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.sgd import make_recipe, train
from server.inline import InlineGrid
from server.job import Job, open_job
from server.simulation import on_ray
from server.sweep import sweep_coalitions

SAMPLE = 12
GROWTH_COMPANIES = range(8, 15)
GROWTH_ROUNDS = 3
LOOK_SECONDS = 5.0
TABLE_COMPANIES = (6, 8, 10, 12, 14, 16)


def game(companies: int, rounds: int, width: int, *, threads: int = 1) -> Config:
    """Digits, divided evenly; the large model is there because a config has one, and is never
    trained.
    """
    return Config.model_validate(
        {
            "companies": [f"Company {i:02}" for i in range(companies)],
            "data": {"source": "digits", "partition": {"kind": "iid"}},
            "models": {
                "small": [{"kind": "mlp", "hidden": [width]}],
                "large": {"kind": "mlp", "hidden": [4096]},
            },
            "training": {"rounds": rounds, "seeds": 1},
            "law": {"anchors": "none"},
            "compute": {"workers": 2, "threads": threads},
            "payouts": {"pot": {"kind": "fixed", "cents": 1}},
        }
    )


@dataclass(frozen=True)
class Swept:
    """One sweep of all coalitions by the product's own code."""

    losses: np.ndarray  # (2**N,)
    company_seconds: float  # of training, as the companies report it
    sweep_seconds: float  # of the stage, once everybody is there
    seconds: float = math.nan  # of everything


@contextmanager
def swept_job(config: Config, grid: Grid) -> Iterator[Job]:
    """The sweep stage of a run alone, done, in a journal of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / "journal.sqlite")) as journal,
    ):
        job = open_job(config, journal, grid, Progress("quiet"), threading.Event())
        sweep_coalitions(job, design_steps(job.config)[0])
        yield job


def sweep(config: Config, grid: Grid) -> Swept:
    """Losses and seconds of the sweep stage."""
    with swept_job(config, grid) as job:
        scores, cost = job.journal.scores().values(), job.journal.costs()["sweep"]
    losses = np.array([score.loss for score in sorted(scores, key=lambda score: score.coalition)])
    return Swept(losses, cost["company_seconds"], cost["seconds"])


def on_ray_whole(config: Config) -> Swept:
    """The sweep on Ray, its start and end included in the seconds."""
    started = time.perf_counter()
    swept = on_ray(config, lambda grid: sweep(config, grid), client_app, verbose=False)
    return replace(swept, seconds=time.perf_counter() - started)


def in_one_process(config: Config, workers: int = 1, companies: ClientApp = client_app) -> Swept:
    """The sweep in this process."""
    started = time.perf_counter()
    with InlineGrid(companies, range(config.n_companies), workers) as grid:
        swept = sweep(config, grid)
    return replace(swept, seconds=time.perf_counter() - started)


def plain_torch(
    config: Config, coalitions: Sequence[int]
) -> tuple[list[float], list[torch.Tensor]]:
    """FedAvg as a textbook writes it: seconds by coalition, and the trained models (P,)."""
    model, operator = _model(config), operator_data(config)
    data = {c: tensors(company_data(config, c, operator.scaling), config) for c in config.companies}
    seconds, models = [], []
    for coalition in coalitions:
        started = time.perf_counter()
        members = [config.companies[i] for i in members_of(coalition)]
        total = sum(len(data[name][1]) for name in members)
        params = model.initial_params(config.seed, 0)
        for server_round in range(1, config.training.rounds + 1):
            mean = torch.zeros(model.n_params, dtype=torch.float64)
            for name in members:
                x, y = data[name]
                recipe = make_recipe(config, model, name, len(y), 0, server_round)
                mean += train(model, params, x, y, recipe).double() * (len(y) / total)
            params = mean.to(params.dtype)
        seconds.append(time.perf_counter() - started)
        models.append(params)
    return seconds, models


def sample_coalitions(n_companies: int, seed: int = 0) -> list[int]:
    """At least SAMPLE coalitions, one of every size and the others of the commonest sizes."""
    random = np.random.default_rng(seed)
    commonest = sorted(range(1, n_companies + 1), key=lambda k: -math.comb(n_companies, k))
    sizes = sorted([*commonest, *commonest[: max(0, SAMPLE - n_companies)]])
    return [
        sum(1 << int(i) for i in random.choice(n_companies, size, replace=False)) for size in sizes
    ]


def extrapolated(coalitions: Sequence[int], seconds: Sequence[float], n_companies: int) -> float:
    """Seconds of all coalitions from those of a sample that holds every size."""
    by_size: dict[int, list[float]] = {}
    for coalition, duration in zip(coalitions, seconds, strict=True):
        by_size.setdefault(coalition.bit_count(), []).append(duration)
    return sum(
        math.comb(n_companies, size) * float(np.mean(found)) for size, found in by_size.items()
    )


def training_flops(config: Config) -> float:
    """Operations that the whole sweep's training needs: forward, and backward without the input's
    gradient.
    """
    model = _model(config)
    weights = [math.prod(shape) for shape in model.shapes.values() if len(shape) == 2]
    scaling = operator_data(config).scaling
    rows = sum(len(company_data(config, company, scaling)) for company in config.companies)
    per_row = 2 * (3 * sum(weights) - weights[0])
    return (
        per_row
        * rows
        * 2.0 ** (config.n_companies - 1)
        * config.training.rounds
        * config.training.local_epochs
    )


def matrix_peak() -> float:
    """FLOP/s of the best square matrix product in float32 on the threads in use."""
    best = 0.0
    for size in (512, 1024, 2048, 4096):
        left, right = torch.randn(size, size), torch.randn(size, size)
        left @ right
        for _ in range(3):
            started = time.perf_counter()
            left @ right
            best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def quietly() -> None:
    """Nothing but the result: Flower logs every round."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)


def growth(rounds: int, width: int) -> dict[int, float]:
    """Seconds of the sweep in one process by number of companies, the same rows divided among them."""
    return {n: in_one_process(game(n, rounds, width)).seconds for n in GROWTH_COMPANIES}


def table(
    companies: Sequence[int], backend: str, rounds: int, width: int
) -> Iterator[dict[str, str | float]]:
    """The whole sweep by number of companies: seconds, and the most memory of all its processes at
    once.
    """
    for n in companies:
        config = game(n, rounds, width)
        with peak_memory() as peak:
            swept = (
                on_ray_whole(config)
                if backend == "ray"
                else in_one_process(config, config.compute.at_once)
            )
        gigabytes = max(peak) / 1e9
        yield {
            "backend": backend,
            "companies": n,
            "coalitions": 2**n,
            "seconds": swept.seconds,
            "gigabytes": gigabytes,
        }


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Bytes of this process and its children (unique set size), at the looks: each goes through all
    pages.
    """
    found, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            with suppress(psutil.Error):
                found.append(sum(process.memory_full_info().uss for process in processes))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def measure(companies: int, rounds: int, width: int) -> dict[str, Any]:
    config = game(companies, rounds, width)
    sample = sample_coalitions(companies)
    in_one_process(game(4, 1, width))  # warms torch up
    ray, inline = on_ray_whole(config), in_one_process(config)
    flops, peak = training_flops(config), matrix_peak()
    torch_seconds, torch_models = plain_torch(config, sample)
    runs_seconds, runs_models = flower.one_simulation_each(config, sample)
    start, loop_seconds, loop_models = flower.one_simulation_for_all(config, sample)
    everyone = {
        "torch_loop": extrapolated(sample, torch_seconds, companies),
        "flower_runs": extrapolated(sample, runs_seconds, companies),
        "flower_loop": start + extrapolated(sample, loop_seconds, companies),
    }
    differences = [
        np.abs(_losses(config, models) - swept.losses[sample]).max()
        for models in (torch_models, runs_models, loop_models)
        for swept in (ray, inline)
    ]
    growth_seconds = growth(GROWTH_ROUNDS, width)
    first, last = min(growth_seconds), max(growth_seconds)
    return {
        "speedup_vs_flower_runs": everyone["flower_runs"] / ray.seconds,
        "speedup_vs_flower_loop": everyone["flower_loop"] / ray.seconds,
        "speedup_vs_torch_loop": everyone["torch_loop"] / inline.seconds,
        "gemm_fraction": flops / inline.company_seconds / peak,
        "gemm_fraction_of_everything": flops / inline.seconds / peak,
        "growth_per_company": (growth_seconds[last] / growth_seconds[first])
        ** (1 / (last - first)),
        "max_abs_difference": float(max(differences)),
        "seconds": {"ray": ray.seconds, "inline": inline.seconds, **everyone},
        "growth_seconds": growth_seconds,
        "matrix_peak_gflops": peak / 1e9,
        "companies": companies,
        "rounds": rounds,
        "width": width,
    }


def _model(config: Config) -> ModelSpec:
    return model_specs(config, operator_data(config).task)[0][0]


def _losses(config: Config, models: Sequence[torch.Tensor]) -> np.ndarray:
    validation = ValidationSet(config, *tensors(operator_data(config).validation, config))
    return np.array(
        [
            loss
            for loss, _ in validation.means(_model(config), torch.stack(list(models)), "the sample")
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Our sweep of all coalitions against today's ways."
    )
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--companies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument(
        "--table", nargs="*", type=int, metavar="N", help="seconds and memory of N companies"
    )
    parser.add_argument("--backend", choices=["ray", "inline"], default="ray", help="of the table")
    options = parser.parse_args()
    quietly()
    use_threads(1)
    keep_freed_memory()  # as `fl-sv run` does
    if options.table is not None:
        for row in table(
            options.table or TABLE_COMPANIES, options.backend, options.rounds, options.width
        ):
            print(json.dumps(row), flush=True)
        return
    found = measure(options.companies, options.rounds, options.width)
    print(json.dumps(found, indent=None if options.json else 2))
