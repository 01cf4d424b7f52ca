"""Runs the valuation on this machine: by Flower's simulation engine on Ray, or in one process.

Only `on_ray` knows Ray, and Flower's deprecated `run_simulation`.
"""

import logging
import threading
import warnings
from collections.abc import Callable
from typing import TypeVar

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from clients.app import app as client_app
from fl_sv.config import Config
from fl_sv.errors import InputError, RunError, WorkerDied
from fl_sv.payment.settlement import Settlement
from fl_sv.progress import Progress
from fl_sv.runs.directory import RunDirectory
from server.inline import InlineGrid
from server.ray import join_cluster, start_ray
from server.valuation import value_companies

Outcome = TypeVar("Outcome")


def simulate(
    config: Config,
    run: RunDirectory,
    backend: str,
    progress: Progress,
    stop: threading.Event,
    companies: ClientApp = client_app,
) -> Settlement:
    """The whole flow with simulated companies.

    backend: `inline` or `ray`.
    stop: when it is set, the run is interrupted at the next look for replies.
    companies: the client app of every company.
    """

    def work(grid: Grid) -> Settlement:
        return value_companies(config, run, grid, progress, stop)

    _quieten(progress.detail == "verbose")
    if backend == "inline":
        compute = config.compute
        with InlineGrid(
            companies, range(config.n_companies), compute.threads_at_once, compute.threads
        ) as grid:
            return work(grid)
    return _with_restarts(config, work, progress, companies)


def _with_restarts(
    config: Config, work: Callable[[Grid], Settlement], progress: Progress, companies: ClientApp
) -> Settlement:
    """Does the work on Ray. After the death of a worker it starts again from the journal.

    A dead actor stays in Flower's pool, so a simulation that lost one cannot be continued.
    """
    where = f"the Ray cluster at {config.ray.address}" if config.ray.address else "a Ray of its own"
    progress.say(f"Starting Flower's simulation engine on {where}.")
    for restart in range(config.faults.restarts + 1):
        try:
            return on_ray(config, work, companies, verbose=progress.detail == "verbose")
        except WorkerDied as death:
            if restart == config.faults.restarts:
                raise RunError(
                    f"{death} The simulation was started {restart + 1} times and lost a worker each"
                    " time. Is there enough memory? Lower compute.workers and continue with"
                    " --resume."
                ) from death
            progress.say(f"{death} Starting the simulation again from the journal.")
    raise AssertionError("unreachable")


def on_ray(
    config: Config, work: Callable[[Grid], Outcome], companies: ClientApp, *, verbose: bool
) -> Outcome:
    """Does `work` as the ServerApp of a Flower simulation, with a virtual node for each company."""
    from flwr.simulation import run_simulation  # here, because it imports Ray

    server_app = ServerApp()
    gpus = 1.0 if config.compute.device.startswith("cuda") else 0.0
    outcome: list[Outcome] = []
    failure: list[BaseException] = []

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            outcome.append(work(grid))
        except BaseException as error:
            failure.append(error)
            raise

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray and Flower warn about their own future
            if config.ray.address:
                join_cluster(config.ray.address, verbose=verbose)
            else:
                start_ray(config.compute.at_once, verbose=verbose)
            run_simulation(
                server_app,
                companies,
                config.n_companies,
                backend_config={"client_resources": {"num_cpus": 1, "num_gpus": gpus}},
                verbose_logging=verbose,
            )
    except InputError:
        raise
    except Exception as error:
        if not failure:
            raise RunError(f"Flower's simulation engine could not run: {error}") from error
    if failure:
        raise failure[0]
    if not outcome:
        raise RunError("Flower's simulation engine ended before the server app did.")
    return outcome[0]


def _quieten(verbose: bool) -> None:
    """Silences Flower's log, which has a traceback for each try; failures end in one sentence."""
    if not verbose:
        logging.getLogger("flwr").setLevel(logging.CRITICAL)
