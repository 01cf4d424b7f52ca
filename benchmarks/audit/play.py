"""One game by the product's own flow, with or without an attacker: what everybody is paid."""

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import clients.app
from benchmarks.audit.attacks import Attack, Attacker, Rows
from benchmarks.audit.tasks import Planted
from clients.app import app as client_app
from clients.company import Company, Identity, LoadedCompanies
from fl_sv.config import Config
from fl_sv.data import Dataset, operator_data
from fl_sv.design.sample import design_steps
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.progress import Progress
from fl_sv.runs.files import JOURNAL
from fl_sv.runs.journal import Journal
from fl_sv.training.kept import KeptStates
from fl_sv.training.models import tensors
from fl_sv.training.trial import tried_models
from server.audit import audit
from server.averages import average_singletons
from server.inline import InlineGrid
from server.job import open_job
from server.large_runs import measure_large_runs
from server.sweep import sweep_coalitions
from server.teacher import train_teacher
from server.valuation import gather


def play(
    config: Config,
    rows: Rows,
    cheats: Mapping[str, tuple[Attack, str]],
    operator: Planted | None = None,
    small: Rows | None = None,
) -> dict[str, Any]:
    """Plays one game in this process: shares of the pot by company, codes of the alarms, every line
    of the audit, and how well the deployed model does.

    rows: of every company. cheats: the attack and the partner of each company that cheats.
    operator: the validation file, where it has planted rows. small: with which rows a company that
    cheats trains small models, where they are others.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = operator.in_files(config, Path(folder)) if operator else config
        with _companies(config, rows, cheats, small or {}):
            evidence = _evidence(config)
    settlement = settle(evidence)
    amounts, last = settlement.payment.amounts, evidence.curve[-1]
    total = sum(amounts.values())
    return {
        "shares": {company: amount / total for company, amount in amounts.items()},
        "alarms": sorted({alarm.code for alarm in settlement.payment.alarms}),
        "audit": [[each.check, each.company, each.other, each.figure] for each in evidence.audit],
        "accuracy": last.accuracy,
        "loss": last.loss,
    }


def _evidence(config: Config) -> Evidence:
    """Everything that a run of this config would settle, without its files."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / JOURNAL)) as journal,
        InlineGrid(client_app, range(config.n_companies)) as grid,
    ):
        job = open_job(config, journal, grid, Progress("quiet"), threading.Event())
        curve = train_teacher(job)
        (step,) = design_steps(config)
        sweep_coalitions(job, step)
        table = job.table(step.coalitions, measure_large_runs(job))
        evidence = gather(job, table, average_singletons(job, table), curve, None)
        return replace(evidence, audit=audit(job))


@contextmanager
def _companies(
    config: Config, rows: Rows, cheats: Mapping[str, tuple[Attack, str]], small: Rows
) -> Iterator[None]:
    """The client app plays these companies with these rows."""
    made: dict[str, Company] = {}
    task = operator_data(config).task

    def company(name: str, data: Dataset) -> Company:
        x, y = tensors(data, config)
        small_ones, large = tried_models(config, task, x, y)
        by_name = {model.name: model for model in (*small_ones, large)}
        kept = KeptStates(x, config.compute.states_megabytes)
        return Company(name, config, data, by_name, x, y, kept)

    for name, data in rows.items():
        made[name] = company(name, data)
        if name in cheats:
            held = {each.name: getattr(made[name], each.name) for each in fields(Company)}
            attack, partner = cheats[name]
            other = company(name, small[name]) if name in small else None
            made[name] = Attacker(**held, attack=attack, partner=partner, small=other)

    class Made(LoadedCompanies):
        def get(self, identity: Identity, *_: object) -> Company:
            return made[identity.name]

    before, clients.app.loaded_companies = clients.app.loaded_companies, Made()
    try:
        yield
    finally:
        clients.app.loaded_companies = before
