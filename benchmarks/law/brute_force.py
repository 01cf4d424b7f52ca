"""Every model of a game on every coalition, the large one too, by the product's own sweep.

The tables can be kept, so that another law, or another rule, is judged on the same trainings within
seconds."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sweep.sweeps import swept_job
from clients.app import app as client_app
from fl_sv.config import Config, config_hash
from fl_sv.config.models import Mlp, Models
from fl_sv.data import all_company_data, operator_data
from fl_sv.game.scores import Scores
from fl_sv.game.utilities import UtilityTable, planned_rows, read_utilities, utilities_csv
from fl_sv.machine import library_hash
from fl_sv.training.models import model_specs
from server.inline import InlineGrid

REPOSITORY = Path(__file__).resolve().parents[2]
DECISIVE = (
    "benchmarks/law/networks.py",
    "benchmarks/law/sources.py",
    "clients/*.py",
    "server/*.py",
    "strategies/*.py",
)


@dataclass(frozen=True)
class BruteForced:
    """A game of which everything is known. sizes: parameters of every model, ascending; examples:
    of every company.
    """

    config: Config
    table: UtilityTable
    sizes: Mapping[str, int]
    examples: Mapping[str, int]

    @property
    def large(self) -> str:
        return self.table.models[-1]

    def shown(self, runs: Iterable[int]) -> UtilityTable:
        """The utility table of a run whose large model trained on `runs` only."""
        given = set(runs)
        everything = range(1 << self.config.n_companies)
        return self.table.only(dict.fromkeys(self.table.models, everything) | {self.large: given})


def brute_force(config: Config, task: str, kept: Path | None) -> BruteForced:
    """All trainings of the game, or those that the folder `kept` holds of it; new ones are added to
    the folder.
    """
    operator = operator_data(config)
    small, large = model_specs(config, operator.task)
    examples = {
        company: len(rows) for company, rows in all_company_data(config, operator.scaling).items()
    }
    sizes = {model.name: model.n_params for model in (*small, large)}
    file = (
        kept
        and kept / f"{task}, seed {config.seed} ({config_hash(config)[:8]}-{code_hash()[:8]}).csv"
    )
    if file and file.exists():
        table = read_utilities(file, config.companies)
    else:
        scores = Scores({**sweep(config).columns, **sweep_large(config).columns})
        table = _table(config, list(sizes), scores)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(f".{os.getpid()}")
            unfinished.write_text("".join(utilities_csv(table)), encoding="utf-8")
            unfinished.replace(file)
    return BruteForced(config, table, sizes, examples)


def code_hash() -> str:
    """sha256 over the code that decides the losses: the library, the app, and what the configs plug
    in.
    """
    digest = hashlib.sha256(library_hash().encode())
    for pattern in DECISIVE:
        for path in sorted(REPOSITORY.glob(pattern)):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def sweep(config: Config) -> Scores:
    """The sweep stage of a run, in this process."""
    with swept_job(config, InlineGrid(client_app, range(config.n_companies))) as job:
        return job.journal.scores()


def sweep_large(config: Config) -> Scores:
    """The large model takes the small ones' place. Above it stands one that is never trained."""
    models = Models(small=(config.models.large,), large=Mlp(kind="mlp", hidden=(16_384, 16_384)))
    training = config.training.model_copy(update={"seeds": config.training.large_seeds})
    return sweep(config.model_copy(update={"models": models, "training": training}))


def _table(config: Config, models: list[str], scores: Scores) -> UtilityTable:
    everything = range(1 << config.n_companies)
    seeds = dict.fromkeys(models[:-1], config.training.seeds) | {
        models[-1]: config.training.large_seeds
    }
    planned = planned_rows(models, seeds, dict.fromkeys(models, everything))
    return UtilityTable(config.companies, tuple(models), planned, scores.only(planned))
