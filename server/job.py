"""The context of every federated stage of a run, and the training loop that the stages share."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from fl_sv.config import Config
from fl_sv.data import operator_data, read_source, rows_left_out
from fl_sv.design.rates import TriedRates
from fl_sv.design.workloads import Workload
from fl_sv.errors import InputError, listed
from fl_sv.game.scores import Score
from fl_sv.game.utilities import UtilityTable, planned_rows
from fl_sv.progress import Progress
from fl_sv.runs.journal import OPERATOR, Journal
from fl_sv.training.base import NO_BASE
from fl_sv.training.models import ModelSpec, bases_sha256, law_sizes, tensors
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.trial import tried_models
from fl_sv.valuation.groups import Groups, groups_of
from server.exchange import Federation, join
from server.interleave import Work
from server.meter import Meter
from strategies.coalitions import CoalitionStrategy
from strategies.teacher import TeacherStrategy


@dataclass(frozen=True)
class Job:
    """What every stage gets: config, companies, models, validation set, journal and meters."""

    config: Config
    federation: Federation
    small: tuple[ModelSpec, ...]
    large: ModelSpec
    validation: ValidationSet
    journal: Journal
    progress: Progress
    meter: Meter
    rows_left_out: int = 0  # of a shared source: those that belong to no company
    tuning: ValidationSet | None = None  # None where the config states all learning rates
    rates: TriedRates | None = None  # None before they are tried, and where none are

    def at(self, rates: TriedRates) -> Self:
        """The same job, in which every model trains at the learning rate that it takes."""
        chosen = rates.chosen

        def with_rate(model: ModelSpec) -> ModelSpec:
            return replace(model, learning_rate=chosen.get(model.name, model.learning_rate))

        return replace(
            self,
            federation=self.federation.telling(chosen),
            small=tuple(map(with_rate, self.small)),
            large=with_rate(self.large),
            rates=rates,
        )

    @property
    def examples(self) -> dict[str, int]:
        """The number of examples that each company registered."""
        return self.federation.roster.examples

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every model as the law reads it, ascending."""
        return law_sizes((*self.small, self.large))

    @property
    def groups(self) -> Groups | None:
        """The validation examples by class, or by quarter; None where one has several targets."""
        if self.large.task.places:
            return None
        classes = self.large.task.kind == "classification"
        return groups_of(self.validation.y.cpu().numpy(), classes=classes)

    def table(self, coalitions: Iterable[int], large_runs: Iterable[int]) -> UtilityTable:
        """The utilities so far: small models on `coalitions`, the large one on `large_runs`."""
        training = self.config.training
        models = [*self.sizes]
        *small, large = models
        seeds = dict.fromkeys(small, training.seeds) | {large: training.large_seeds}
        coalitions_of = dict.fromkeys(small, coalitions) | {large: large_runs}
        planned = planned_rows(models, seeds, coalitions_of)
        done = self.journal.scores().only(planned)
        return UtilityTable(self.config.companies, tuple(models), planned, done)

    def keep(self, score: Score) -> None:
        """Enters a score into the journal, unless it is there."""
        if not self.journal.has_score(score.key):
            self.journal.add_scores([score])

    def run_rounds(
        self,
        strategy: TeacherStrategy | CoalitionStrategy,
        arrays: ArrayRecord,
        first_round: int,
        what: str,
        after_round: Callable[[int, ArrayRecord], None],
        before_retry: Callable[[Collection[str]], None] = lambda companies: None,
        flops: float = 0.0,
    ) -> Work[ArrayRecord]:
        """Flower's training loop, from `first_round` to the last; returns the final parameters.

        Either every message gets a usable reply or the run stops. It yields when the messages of a
        round are on their way; `server.interleave` drives it.

        arrays: the parameters before `first_round`.
        what: the training, as error messages name it.
        after_round: called with the number of a round and its aggregated parameters.
        before_retry: called with the companies to which messages are about to be sent again.
        flops: floating-point operations of a round, for the meter.
        """
        for server_round in range(first_round, self.config.training.rounds + 1):
            if not arrays:
                break  # every training has diverged, which only learning rates on trial may
            replies = yield from self.federation.exchange(
                strategy.configure_train(
                    server_round, arrays, ConfigRecord(), self.federation.grid
                ),
                strategy.check_reply,
                f"round {server_round} of {what}",
                before_retry=before_retry,
            )
            del arrays  # they may be large, and so may the replies: each goes when it has served
            aggregated, _ = strategy.aggregate_train(server_round, replies)
            del replies
            assert aggregated is not None  # both strategies raise instead
            arrays = aggregated
            del aggregated
            self.meter.add(flops)
            after_round(server_round, arrays)
        return arrays

    def flops(self, workload: Workload) -> float:
        """Floating-point operations of a workload with the companies' registered examples."""
        rows_of = self.config.training.rows_of_a_round
        return workload.flops([rows_of(self.examples[c]) for c in self.config.companies])

    def flops_of_a_round(self, workload: Workload) -> float:
        """As `flops`, of one of its rounds."""
        return self.flops(replace(workload, rounds=1))


def open_job(
    config: Config,
    journal: Journal,
    grid: Grid,
    progress: Progress,
    stop: threading.Event,
    meter: Meter | None = None,
) -> Job:
    """Waits for the companies behind the grid and enters them into the journal.

    meter: of the whole run; without one the job has its own.
    """
    meter = meter or Meter(journal)
    source = read_source(config)
    operator = operator_data(config, source)
    x, y = tensors(operator.validation, config)
    # Before any message is sent: it refuses models that do not fit the task.
    small, large = tried_models(config, operator.task, x, y)
    federation = join(grid, config, operator, stop, meter.traffic, journal.folder)
    roster = federation.roster
    _require_bases((*small, large), roster.bases)
    holders = {c: (roster.examples[c], roster.fingerprints[c]) for c in config.companies}
    holders[OPERATOR] = operator.holding
    journal.register(holders)
    planted = operator.planted and tensors(operator.planted, config)
    validation = ValidationSet(config, x, y, planted)
    left_out = sum(rows_left_out(config, source).values())
    tuning = operator.tuning
    return Job(
        config,
        federation,
        small,
        large,
        validation,
        journal,
        progress,
        meter,
        left_out,
        tuning and ValidationSet(config, *tensors(tuning, config)),
    )


def _require_bases(models: Sequence[ModelSpec], bases: Mapping[str, str]) -> None:
    """Raises InputError unless every company has the base of every model that the server has.

    bases: the hash that each company registered.
    """
    ours = bases_sha256(models)
    if others := sorted(company for company, theirs in bases.items() if theirs != ours):
        names = [model.name for model in models if model.base_sha256 != NO_BASE]
        raise InputError(
            f"{listed(others)}: what is frozen in {listed(names) or 'the models'} (parameters with"
            " requires_grad=False, and buffers) is not what the operator has. Their averages would"
            " be of different models. Give every company the same files and the same versions."
        )
