"""Every model of a game on every coalition, the large one too, by the product's own sweep.

The games can be kept, so that another law, or another rule, is judged on the same trainings within
seconds.

Shapes: C = 2**N coalitions, M small sizes, R seeds.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.law.known import KnownGame, read, write
from benchmarks.law.merging import with_merged_models
from benchmarks.law.updates import reconstruct
from benchmarks.sweep.sweeps import swept_job
from clients.app import app as client_app
from fl_sv.config import Config, config_hash
from fl_sv.config.models import Mlp, Model, Models, Module
from fl_sv.game.utilities import UtilityTable
from server.averages import average_singletons
from server.inline import InlineGrid
from server.job import Job

Floats = NDArray[np.float64]

REPOSITORY = Path(__file__).resolve().parents[2]
DECISIVE = (
    "fl_sv/**/*.py",
    "benchmarks/law/merging.py",
    "benchmarks/law/networks.py",
    "benchmarks/law/sources.py",
    "benchmarks/law/updates.py",
    "clients/*.py",
    "server/*.py",
    "strategies/*.py",
)
LATER = ("law", "values", "valuation", "payment", "planning", "report", "federation")


def brute_force(
    config: Config,
    task: str,
    kept: Path | None,
    *,
    updates: bool = True,
    merged: bool = False,
    workers: int = 1,
) -> KnownGame:
    """All trainings of the game, or those that the folder `kept` holds of it; new ones are added to
    the folder.

    updates: whether the losses of models that are put together from updates are wanted, too.
    merged: whether those of models are that are merged from the companies' own (merging.py).
    workers: threads of companies.
    """
    name = f"{task}, seed {config.seed} ({config_hash(config)[:8]}-{code_hash()[:8]})"
    file = kept and kept / f"{name}.npz"
    if file and file.exists():
        return read(file)
    game = _trained(config, name, updates=updates, workers=workers)
    if merged:
        game = with_merged_models(game, config)
    if file:
        write(game, file)
    return game


def code_hash() -> str:
    """sha256 over the code that decides the losses: the library but for what follows on them, the
    app, and what the configs plug in.
    """
    paths = {path for pattern in DECISIVE for path in REPOSITORY.glob(pattern)}
    later = {path for room in LATER for path in (REPOSITORY / "fl_sv" / room).rglob("*.py")}
    digest = hashlib.sha256()
    for path in sorted(paths - later):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _trained(config: Config, name: str, *, updates: bool, workers: int) -> KnownGame:
    small, large = swept(config, workers), swept(with_large_as_small(config), workers)
    seeds = range(config.training.large_seeds) if updates else ()
    found = [reconstruct(config, seed) for seed in seeds]
    return KnownGame(
        name=name,
        small_RCM=small.loss_RCM,
        large_RC=large.loss_RCM[:, :, 0],
        averaged_small_RCM=small.averaged_RCM,
        averaged_large_RC=large.averaged_RCM[:, :, 0],
        sizes=np.append(small.size_M, large.size_M),
        examples_N=small.examples_N,
        one_round_RC=-np.array([each.one_round_C for each in found]) if found else None,
        by_round=-np.array([each.by_round for each in found]) if found else None,
    )


@dataclass(frozen=True)
class SweptLosses:
    """The small models of a game on every coalition: their losses, those of averages of the
    members' own models, their parameters, and the rows of every company.
    """

    loss_RCM: Floats
    averaged_RCM: Floats
    size_M: Floats
    examples_N: Floats


def swept(config: Config, workers: int = 1) -> SweptLosses:
    """The sweep and the averages of a run, in this process, with so many threads of companies."""
    with swept_job(config, InlineGrid(client_app, range(config.n_companies), workers)) as job:
        table = job.table(range(1 << config.n_companies), ())
        small = [model.name for model in job.small]
        return SweptLosses(
            loss_RCM=np.stack([table.loss_by_seed(model) for model in small], axis=2),
            averaged_RCM=np.stack(
                [_averages(job, table, seed) for seed in range(config.training.seeds)]
            ),
            size_M=np.array([job.sizes[model] for model in small], dtype=np.float64),
            examples_N=np.array([job.examples[c] for c in config.companies], dtype=np.float64),
        )


def _averages(job: Job, table: UtilityTable, seed: int) -> Floats:
    """(C, M) losses of the averages of one seed's own models."""
    planned = {key: coalitions for key, coalitions in table.planned.items() if key[1] == seed}
    of_seed = UtilityTable(table.companies, table.models, planned, table.scores.only(planned))
    averaged = average_singletons(job, of_seed)
    assert averaged is not None, "a sweep keeps the outputs of the companies' own models"
    return averaged.loss_CM[:, :-1]  # the large model was not trained


def with_large_as_small(config: Config) -> Config:
    """The large model takes the small ones' place. Above it stands one that is never trained."""
    models = Models(small=(config.models.large,), large=_larger(config))
    training = config.training.model_copy(update={"seeds": config.training.large_seeds})
    return config.model_copy(update={"models": models, "training": training})


def _larger(config: Config) -> Model:
    """A model of more parameters than any of ours; where rows have places, it answers at each."""
    if config.data.task != "next_token":
        return Mlp(kind="mlp", hidden=(16_384, 16_384))
    return Module(
        kind="module",
        name="larger",
        factory="benchmarks.law.networks:llama",
        options={"width": 128},
    )
