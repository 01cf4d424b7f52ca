"""What a run trains, as a list of workloads.

The stages of the server carry out this list, and the forecast sums over it. So forecast and run
cannot differ.

Shapes: N companies, C coalitions.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations, islice
from operator import or_
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from fl_sv.config import Config
from fl_sv.config.models import model_name
from fl_sv.config.strategies import is_the_game
from fl_sv.design.large_runs import by_size_and_names, large_run_counts
from fl_sv.design.rates import TUNING_SEED, rates_to_try
from fl_sv.design.sample import Step, design_steps
from fl_sv.design.waves import large_run_waves, plan_waves, split_models
from fl_sv.game.coalitions import grand, members_matrix

RATES = "rates"
TEACHER, SWEEP, LARGE_RUNS = "teacher", "sweep", "anchors"  # stages, as cost.json names them
DEPLOYED = "teacher/0"  # the run whose model earns the money


class ModelCost(Protocol):
    """What the training of a model costs; `fl_sv.training.models.ModelSpec` has these members."""

    @property
    def n_params(self) -> int: ...

    def training_flops(self, rows: float) -> float: ...


@dataclass(frozen=True)
class Workload:
    """Models that are trained together, from their first round to their last.

    Every model is trained at every seed of `replicates` on every coalition.

    stage: its name in cost.json.
    name: its name in the journal.
    by_itself: whether the coalitions are singletons whose companies train all rounds for one
        message. All others get a message a round, however few rounds there are.
    """

    stage: str
    name: str
    models: tuple[ModelCost, ...]
    replicates: tuple[int, ...]
    coalitions: Sequence[int]
    rounds: int
    by_itself: bool = False

    @property
    def exchanges(self) -> int:
        """How often the server sends a message to each company that takes part."""
        return 1 if self.by_itself else self.rounds

    @property
    def trainings(self) -> int:
        """Trainings of whole models."""
        return len(self.models) * len(self.replicates) * len(self.coalitions)

    @property
    def companies(self) -> int:
        """The companies that take part, as a bitmask."""
        return reduce(or_, self.coalitions, 0)

    @property
    def messages(self) -> int:
        """Messages from the server to companies."""
        return self.exchanges * self.companies.bit_count()

    @property
    def params_of_a_coalition(self) -> int:
        """Parameters of one coalition's models, over all sizes and seeds."""
        return len(self.replicates) * sum(model.n_params for model in self.models)

    @property
    def params_sent(self) -> int:
        """Parameters in the messages to companies; as many come back.

        In the first exchange all coalitions still have the same model, so one travels for all.
        """
        memberships = sum(coalition.bit_count() for coalition in self.coalitions)
        stacks = self.companies.bit_count() + (self.exchanges - 1) * memberships
        return self.params_of_a_coalition * stacks

    def after(self, rounds: int) -> Self:
        """What is left of the workload when `rounds` are done."""
        return replace(self, rounds=self.rounds - rounds)

    def of(self, coalitions: Sequence[int]) -> Self:
        """The same workload on only these of its coalitions."""
        return replace(self, coalitions=coalitions)

    def rows(self, examples: ArrayLike) -> float:
        """Rows of one model and seed, over all coalitions.

        examples: (N,) rows of each company, all or those of a round.
        """
        examples_N = np.asarray(examples, dtype=np.float64)
        return float((members_matrix(self.coalitions, len(examples_N)) @ examples_N).sum())

    def flops(self, rows_of_a_round: ArrayLike) -> float:
        """Floating-point operations of all trainings.

        rows_of_a_round: (N,) rows through which each company goes in a round.
        """
        rows = self.rows(rows_of_a_round) * self.rounds * len(self.replicates)
        return sum(model.training_flops(rows) for model in self.models)


@dataclass(frozen=True)
class TeacherWorkload(Workload):
    """One training of the large model by the grand coalition.

    by_strategy: whether it is aggregated by the config's `teacher.strategy`, or else by FedAvg.
    in_the_game: whether its loss is the large model's loss of the grand coalition, to which the law
        is fitted.
    """

    by_strategy: bool = True
    in_the_game: bool = True

    @property
    def replicate(self) -> int:
        (replicate,) = self.replicates
        return replicate


@dataclass(frozen=True)
class RatesWorkload(Workload):
    """Trainings by the grand coalition at learning rates that are tried.

    candidates: (model, rate) of each entry of `models`.
    """

    candidates: tuple[tuple[str, float], ...] = ()

    def only(self, candidates: Collection[tuple[str, float]]) -> Self:
        """The same workload with only these of its candidates."""
        kept = [i for i, each in enumerate(self.candidates) if each in candidates]
        return replace(
            self,
            models=tuple(self.models[i] for i in kept),
            candidates=tuple(self.candidates[i] for i in kept),
        )


def rates_workloads(
    config: Config, small: Sequence[ModelCost], large: ModelCost
) -> list[RatesWorkload]:
    """The trainings at which learning rates are chosen, in waves of bounded messages."""
    names = map(model_name, (*config.models.small, config.models.large))
    costs = dict(zip(names, (*small, large), strict=True))
    pairs = [(m, rate) for m, rates in rates_to_try(config).items() for rate in rates]
    waves = split_models(config, [costs[model].n_params for model, _ in pairs])
    return [
        RatesWorkload(
            stage=RATES,
            name=f"{RATES}/{number}",
            models=tuple(costs[model] for model, _ in pairs[start:end]),
            replicates=(TUNING_SEED,),
            coalitions=(grand(config.n_companies),),
            rounds=config.training.rounds,
            candidates=tuple(pairs[start:end]),
        )
        for number, (start, end) in enumerate(waves)
    ]


def teacher_workloads(config: Config, large: ModelCost) -> list[TeacherWorkload]:
    """The trainings of the large model by the grand coalition, the deployed teacher first.

    If the teacher's strategy aggregates as the game does, each of its seeds is a run of the game.
    Otherwise the game needs runs of its own, by FedAvg.
    """
    rounds, replicates = config.training.rounds, range(config.training.large_seeds)

    def workload(
        name: str, replicate: int, *, by_strategy: bool, in_the_game: bool
    ) -> TeacherWorkload:
        return TeacherWorkload(
            stage=TEACHER,
            name=f"{name}/{replicate}",
            models=(large,),
            replicates=(replicate,),
            coalitions=(grand(config.n_companies),),
            rounds=rounds,
            by_strategy=by_strategy,
            in_the_game=in_the_game,
        )

    if is_the_game(config.teacher.strategy):
        return [workload("teacher", r, by_strategy=True, in_the_game=True) for r in replicates]
    game = [workload("fedavg", r, by_strategy=False, in_the_game=True) for r in replicates]
    return [workload("teacher", 0, by_strategy=True, in_the_game=False), *game]


def sweep_workloads(
    config: Config, small: Sequence[ModelCost], step: Step, known: Collection[int] = ()
) -> list[Workload]:
    """The waves in which a step of the design trains the small models on its coalitions.

    known: coalitions that another run has trained.
    """
    rounds = config.training.rounds
    waves = plan_waves(config, [model.n_params for model in small], step.added, known)
    return [
        Workload(
            stage=SWEEP,
            name=f"sweep/{number}",
            models=tuple(small),
            replicates=tuple(range(config.training.seeds)),
            coalitions=wave,
            rounds=rounds,
        )
        for number, wave in enumerate(waves)
    ]


def large_run_workloads(
    config: Config, large: ModelCost, coalitions: Collection[int]
) -> list[Workload]:
    """The large runs on `coalitions`: the singletons in one message each, the others in waves."""
    replicates, rounds = tuple(range(config.training.large_seeds)), config.training.rounds
    singletons = [coalition for coalition in coalitions if coalition.bit_count() == 1]
    others = [coalition for coalition in coalitions if coalition.bit_count() > 1]
    by_themselves = Workload(
        stage=LARGE_RUNS,
        name="anchors/singletons",
        models=(large,),
        replicates=replicates,
        coalitions=singletons,
        rounds=rounds,
        by_itself=True,
    )
    waves = [
        Workload(
            stage=LARGE_RUNS,
            name=f"anchors/{number}",
            models=(large,),
            replicates=replicates,
            coalitions=wave,
            rounds=rounds,
        )
        for number, wave in enumerate(large_run_waves(config, large.n_params, others))
    ]
    return [by_themselves, *waves] if singletons else waves


def expected_large_runs(config: Config) -> list[int]:
    """Coalitions with which the forecast replaces the large runs, before they are chosen.

    There are as many of each kind as the config plans. Those of more than one company are the
    largest ones, so that the forecast is not too low.
    """
    n, counts = config.n_companies, large_run_counts(config)
    singletons = by_size_and_names(config, (1 << i for i in range(n)))[: counts.singletons]
    grand_coalition = grand(n)
    larger = (
        grand_coalition & ~sum(1 << i for i in absent)
        for n_absent in range(1, n - 1)
        for absent in combinations(range(n), n_absent)
    )
    return [*singletons, *islice(larger, counts.larger)]


def averaged_evaluations(config: Config) -> int:
    """How many averages of the companies' own models a run evaluates, over all sizes and seeds.

    A sampled design is taken to grow to its end. Where only some singletons train the large model,
    it may have fewer averages.
    """
    coalitions = len(design_steps(config)[-1].coalitions) - 1  # nothing is averaged for nobody
    singletons = large_run_counts(config).singletons
    by_large = coalitions if singletons == config.n_companies else 2**singletons - 1
    training = config.training
    return len(config.models.small) * training.seeds * coalitions + training.large_seeds * min(
        by_large, coalitions
    )


@dataclass(frozen=True)
class PlannedRun:
    """All workloads of a run, of a sampled design that grows to its end."""

    rates: list[RatesWorkload]
    teacher: list[TeacherWorkload]
    sweep: list[list[Workload]]  # by step of the design
    large_runs: list[Workload]

    @property
    def all(self) -> list[Workload]:
        sweep = (wave for step in self.sweep for wave in step)
        return [*self.rates, *self.teacher, *sweep, *self.large_runs]


def planned_run(config: Config, small: Sequence[ModelCost], large: ModelCost) -> PlannedRun:
    """The workloads of a run before it begins, with `expected_large_runs` as its large runs."""
    return PlannedRun(
        rates=rates_workloads(config, small, large),
        teacher=teacher_workloads(config, large),
        sweep=[sweep_workloads(config, small, step) for step in design_steps(config)],
        large_runs=large_run_workloads(config, large, expected_large_runs(config)),
    )
