"""Which coalitions train the large model besides the empty and the grand one, by `law.anchors`.

Singletons come first, then leave-one-out coalitions, then any others. The singletons are chosen by
the losses of the largest small model. All others are chosen by the law that is fitted to the
singletons: a large run that reduces the uncertainty of the values more for its price comes earlier.
Ties go to the smaller coalition, then to the members' names. So the order of the companies in the
config has no influence.

Shapes: N companies, C coalitions of the design.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.config.checks import most_large_runs
from fl_sv.config.training import MOST_SEEDS
from fl_sv.design.sample import design_steps
from fl_sv.errors import VerificationError, listed
from fl_sv.game.averaged import AveragedLosses
from fl_sv.game.coalitions import EMPTY, grand, member_names, members_of
from fl_sv.game.utilities import UtilityTable
from fl_sv.law import Law, NextRun
from fl_sv.valuation.appraise import shapley_weighting
from fl_sv.valuation.fit import fit_to_table
from fl_sv.values.weighting import Sampled, Weighting


@dataclass(frozen=True)
class LargeRunCounts:
    """How many large runs `law.anchors` plans besides the empty and the grand coalition."""

    singletons: int
    leave_one_out: int
    others: int

    @property
    def larger(self) -> int:
        """Large runs of coalitions of two companies or more."""
        return self.leave_one_out + self.others


def large_run_counts(config: Config) -> LargeRunCounts:
    """The number of large runs of each kind.

    With two companies every leave-one-out coalition is a singleton. They are counted once.
    """
    n, anchors = config.n_companies, config.law.anchors
    most_leave_one_out = n if n > 2 else 0
    if not isinstance(anchors, int):
        anchors = {"none": 0, "singletons": n, "singletons+loo": n + most_leave_one_out}[anchors]
    singletons = min(anchors, n)
    leave_one_out = min(anchors - singletons, most_leave_one_out)
    return LargeRunCounts(singletons, leave_one_out, anchors - singletons - leave_one_out)


@dataclass(frozen=True)
class NextLargeRun(NextRun):
    """The large run to add next, and the value of `law.anchors` that adds it."""

    anchors: int


@dataclass(frozen=True)
class MoreSeeds:
    """More seeds of every large run.

    large_seeds: the value of `training.large_seeds` that adds them.
    narrower: share by which they cut the part of the values' standard deviations that comes from
        the law and from training seeds.
    price: in large trainings of all companies.
    """

    large_seeds: int
    narrower: float
    price: float


FURTHER_SEEDS = 2


def further_seeds(config: Config) -> int:
    """How many more seeds of the large runs are proposed: two, or as many as a config may add."""
    return min(FURTHER_SEEDS, MOST_SEEDS - config.training.large_seeds)


def planned_large_runs(
    config: Config,
    table: UtilityTable,
    sizes: Mapping[str, int],
    examples: Mapping[str, int],
    averaged: AveragedLosses | None,
    law: Law | None = None,
) -> list[int]:
    """Every coalition on which `law.anchors` plans a large run, in the order of the choice.

    The larger coalitions are chosen from the large runs of the singletons. As long as one of these
    is missing from the table, the result ends with the singletons.

    The choice uses only the small losses of the design's first step, the large runs of the
    singletons and their averages. So it stays the same while the table grows.

    sizes: parameters of every model, by name.
    examples: rows of every company, by name.
    averaged: losses of averages of the companies' own models; None where they are unknown.
    law: fitted to the whole table, if there is one; it is taken where the choice needs no other.

    Returns bitmasks, the empty and the grand coalition first.
    """
    small, large = table.largest_small, table.large
    ends = [EMPTY, grand(config.n_companies)]
    planned = ends + choose_singletons(config, table.mean_losses(small))
    if not large_run_counts(config).larger or not {*planned} <= {*table.coalitions(large)}:
        return planned
    first_step = design_steps(config)[0].coalitions
    known_table = table.only(dict.fromkeys(table.models, first_step) | {large: planned})
    if law is None or known_table.planned != table.planned:
        law = fit_to_table(config, known_table, sizes, examples, averaged)
    weighting = shapley_weighting(config, known_table)
    return planned + choose_larger_coalitions(config, law, _sample_weights(weighting))


def choose_singletons(config: Config, small_loss: Mapping[int, float]) -> list[int]:
    """The singletons that train the large model, in the order of the choice.

    If not all are planned, those are taken whose small losses lie farthest from each other and from
    the losses of the empty and the grand coalition (maximin).

    small_loss: mean loss of the largest small model, by coalition.
    """
    candidates = by_size_and_names(config, (1 << i for i in range(config.n_companies)))
    chosen: list[int] = []
    chosen_losses = [small_loss[EMPTY], small_loss[grand(config.n_companies)]]
    while len(chosen) < large_run_counts(config).singletons:
        farthest = max(
            candidates, key=lambda c: min(abs(small_loss[c] - loss) for loss in chosen_losses)
        )
        candidates.remove(farthest)
        chosen.append(farthest)
        chosen_losses.append(small_loss[farthest])
    return chosen


def choose_larger_coalitions(
    config: Config, law: Law, weight_CN: NDArray[np.float64] | None = None
) -> list[int]:
    """The coalitions of two companies or more that train the large model.

    law: fitted to the singletons.
    weight_CN: weights of the utilities in the values of a sampled design; None for all coalitions.
    """
    counts, grand_coalition = large_run_counts(config), grand(config.n_companies)
    leave_one_out = by_size_and_names(
        config, (grand_coalition ^ 1 << i for i in range(config.n_companies))
    )
    runs = law.next_runs(leave_one_out, counts.leave_one_out, weight_CN=weight_CN)
    chosen = [run.coalition for run in runs]
    if counts.others:
        others = by_size_and_names(config, law.coalitions)
        runs = law.next_runs(others, counts.others, chosen, weight_CN)
        chosen += [run.coalition for run in runs]
    return chosen


def require_planned_large_runs(
    config: Config,
    table: UtilityTable,
    sizes: Mapping[str, int],
    examples: Mapping[str, int],
    averaged: AveragedLosses | None,
) -> None:
    """Raises VerificationError unless the large runs are exactly those of `planned_large_runs`.

    An operator who could choose the coalitions of the large model could choose who is paid.
    """
    *_, large = table.models
    measured = set(table.coalitions(large))
    planned = set(planned_large_runs(config, table, sizes, examples, averaged))
    if measured != planned:
        differing = [
            member_names(c, config.companies) or "nobody" for c in sorted(measured ^ planned)
        ]
        raise VerificationError(
            "the large runs are not those that law.anchors plans. Missing or in excess:"
            f" {listed(differing, 5)}"
        )


def next_large_run(
    config: Config,
    table: UtilityTable,
    law: Law,
    weighting: Weighting,
    sizes: Mapping[str, int],
    examples: Mapping[str, int],
    averaged: AveragedLosses | None,
) -> NextLargeRun | None:
    """The large run to add next; None when `law.anchors` is at its maximum.

    law: fitted to the whole table.
    weighting: how Shapley values follow from the table.
    sizes, examples, averaged: as in `planned_large_runs`.
    """
    number = len(law.anchors) - len({EMPTY, grand(config.n_companies)}) + 1
    if number > most_large_runs(config.n_companies, config.coalitions):
        return None
    one_more = config.model_copy(update={"law": config.law.model_copy(update={"anchors": number})})
    planned = planned_large_runs(one_more, table, sizes, examples, averaged, law)
    new = [coalition for coalition in planned if coalition not in law.anchors]
    (run,) = law.next_runs(new, weight_CN=_sample_weights(weighting))
    return NextLargeRun(**asdict(run), anchors=number)


def more_large_seeds(
    config: Config, law: Law, weighting: Weighting, examples: Mapping[str, int]
) -> MoreSeeds:
    """What `further_seeds` of every large run would bring.

    law, weighting, examples: as in `next_large_run`.
    """
    seeds, further = config.training.large_seeds, further_seeds(config)
    total = sum(examples.values())
    trained = sum(
        examples[config.companies[i]] for coalition in law.anchors for i in members_of(coalition)
    )
    return MoreSeeds(
        large_seeds=seeds + further,
        narrower=law.narrower_with_seeds((seeds + further) / seeds, _sample_weights(weighting)),
        price=further * trained / total,
    )


def by_size_and_names(config: Config, coalitions: Iterable[int]) -> list[int]:
    """The coalitions by number of members, then by their members' names."""
    return sorted(
        coalitions,
        key=lambda c: (c.bit_count(), sorted(config.companies[i] for i in members_of(c))),
    )


def _sample_weights(weighting: Weighting) -> NDArray[np.float64] | None:
    """(C, N) weights of a sample; None for all coalitions, whose weights the law knows."""
    return weighting.weight_CN if isinstance(weighting, Sampled) else None
