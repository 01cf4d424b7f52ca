"""The sweep of all coalitions by the product's own code, in this process or on Ray."""

import logging
import math
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from clients.app import app as client_app
from fl_sv.config import Config
from fl_sv.design.sample import design_steps
from fl_sv.progress import Progress
from fl_sv.runs.journal import Journal
from server.inline import InlineGrid
from server.job import Job, open_job
from server.simulation import on_ray
from server.sweep import sweep_coalitions


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
    sweep_seconds: float  # of the stage, once all companies are online
    seconds: float = math.nan  # of everything


@contextmanager
def swept_job(config: Config, grid: Grid) -> Iterator[Job]:
    """The sweep stage of a run by itself, in a journal of its own."""
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


def quietly() -> None:
    """Nothing but the result: Flower logs every round."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
