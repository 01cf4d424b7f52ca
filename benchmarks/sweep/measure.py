"""Seconds of the sweep beside those of plain torch and of Flower, its memory, and its growth."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.sweep import flower
from benchmarks.sweep.sweeps import game, in_one_process, on_ray_whole
from fl_sv.config import Config
from fl_sv.data import all_company_data, operator_data
from fl_sv.game.coalitions import members_of
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.sgd import make_recipe, train

SAMPLE = 12
GROWTH_COMPANIES = range(8, 15)
GROWTH_ROUNDS = 3
LOOK_SECONDS = 5.0
TABLE_COMPANIES = (6, 8, 10, 12, 14, 16)


def plain_torch(
    config: Config, coalitions: Sequence[int]
) -> tuple[list[float], list[torch.Tensor]]:
    """FedAvg as a textbook writes it: seconds by coalition, and the trained models (P,)."""
    model, operator = _model(config), operator_data(config)
    data = {
        company: tensors(rows, config)
        for company, rows in all_company_data(config, operator.scaling).items()
    }
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
    rows = sum(map(len, all_company_data(config, scaling).values()))
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


def growth(rounds: int, width: int) -> dict[int, float]:
    """Seconds of the sweep in one process by number of companies, which divide the same rows."""
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
