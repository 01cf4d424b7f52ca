"""The coalitions on which the large model is measured besides nobody and all: what `law.anchors`
asks for.

Single companies come first, then all companies but one, then whatever narrows the values most for
its price. The single companies are chosen by the small losses alone, all others by what the law
knows once the single ones are measured. Equally good choices go by size and names, so that the
config's order decides nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.config.checks import most_large_runs
from fl_sv.design.sample import design_steps
from fl_sv.design.waves import anchor_waves
from fl_sv.errors import VerificationError, listed
from fl_sv.game.coalitions import EMPTY, grand, member_names, members_of
from fl_sv.game.utilities import UtilityTable
from fl_sv.law import Law, NextRun
from fl_sv.valuation.appraise import weighting_of
from fl_sv.valuation.fit import fit_to_table
from fl_sv.values.weighting import Sampled


@dataclass(frozen=True)
class Wanted:
    """Number of extra large runs by kind."""

    alone: int
    all_but_one: int
    further: int

    @property
    def together(self) -> int:
        """Runs of two companies or more."""
        return self.all_but_one + self.further


def wanted(config: Config) -> Wanted:
    """What the config asks for. With two companies all but one is one alone."""
    n, asked = config.n_companies, config.law.anchors
    all_but_one = n if n > 2 else 0
    if not isinstance(asked, int):
        asked = {"none": 0, "singletons": n, "singletons+loo": n + all_but_one}[asked]
    alone = min(asked, n)
    rest = asked - alone
    return Wanted(alone, min(rest, all_but_one), max(0, rest - all_but_one))


@dataclass(frozen=True)
class NextAnchor(NextRun):
    """The large run that one more would be, and `anchors`: the number to ask for as `law.anchors`."""

    anchors: int


@dataclass(frozen=True)
class Load:
    """What the extra large runs will take, before it is known which they are.

    models: large models in messages, one way; rows: examples in one epoch of all trainings; widest:
    large models that are trained side by side; exchanges: how often the server waits for answers.
    """

    trainings: int
    messages: int
    models: int
    rows: float
    widest: int
    exchanges: int


def anchor_load(config: Config, n_params: int, n_examples: int) -> Load:
    """Single companies are taken to be of mean size, all others to be all but one of mean size.

    n_params: of the large model; n_examples: of all companies together.
    """
    n, seeds, rounds = config.n_companies, config.training.large_seeds, config.training.rounds
    counts = wanted(config)
    waves = anchor_waves(config, n_params, range(counts.together))
    return Load(
        trainings=seeds * (counts.alone + counts.together),
        messages=counts.alone + n * rounds * len(waves),
        # In its first round a wave's models are still the same.
        models=seeds * (counts.alone + n * len(waves) + (n - 1) * counts.together * (rounds - 1)),
        rows=seeds * n_examples * (counts.alone + (n - 1) * counts.together) / n,
        widest=seeds * max(map(len, waves), default=0),
        exchanges=bool(counts.alone) + rounds * len(waves),
    )


def alone(config: Config, small_loss: Mapping[int, float]) -> list[int]:
    """The single companies that train the large model: all, or those whose small losses lie
    farthest apart (maximin).

    small_loss: of the largest small model, by coalition.
    """
    left = in_order(config, (1 << i for i in range(config.n_companies)))
    chosen: list[int] = []
    taken = [small_loss[EMPTY], small_loss[grand(config.n_companies)]]
    while len(chosen) < wanted(config).alone:
        farthest = max(left, key=lambda c: min(abs(small_loss[c] - loss) for loss in taken))
        left.remove(farthest)
        chosen.append(farthest)
        taken.append(small_loss[farthest])
    return chosen


def together(config: Config, law: Law, weight_CN: NDArray[np.float64] | None = None) -> list[int]:
    """The coalitions of two companies or more that train the large model.

    law: fitted to the single companies; weight_CN: of the values of a sampled design.
    """
    counts, everybody = wanted(config), grand(config.n_companies)
    all_but_one = in_order(config, (everybody ^ 1 << i for i in range(config.n_companies)))
    chosen = [
        run.coalition for run in law.next_runs(all_but_one, counts.all_but_one, weight_CN=weight_CN)
    ]
    others = in_order(config, law.coalitions) if counts.further else []
    return chosen + [
        run.coalition for run in law.next_runs(others, counts.further, chosen, weight_CN)
    ]


def chosen_together(
    config: Config, table: UtilityTable, sizes: Mapping[str, int], examples: Mapping[str, int]
) -> list[int]:
    """`together`, from the table after the first step of the design and the single companies.

    sizes, examples: as `fit_to_table` has them.
    """
    if not wanted(config).together:
        return []
    return together(
        config, fit_to_table(config, table, sizes, examples), _sample_weights(config, table)
    )


def asked_for(
    config: Config, table: UtilityTable, sizes: Mapping[str, int], examples: Mapping[str, int]
) -> list[int]:
    """Every coalition on which `law.anchors` has the large model measured.

    Without those of two companies or more where a single company by which they are chosen has not
    been measured. sizes, examples: as `fit_to_table` has them."""
    *_, small, large = table.models
    asked = [EMPTY, grand(config.n_companies), *alone(config, table.mean_losses(small))]
    if not set(asked).issubset(table.coalitions(large)):
        return asked
    first = set(design_steps(config)[0].coalitions)
    known = tuple(key for key in table.planned if key[2] in (asked if key[0] == large else first))
    return asked + chosen_together(config, replace(table, planned=known), sizes, examples)


def require_anchors(
    config: Config, table: UtilityTable, sizes: Mapping[str, int], examples: Mapping[str, int]
) -> None:
    """Raises VerificationError unless the large model was measured on exactly what `law.anchors`
    asks for.

    Who chooses the coalitions of the large model could choose who is paid. sizes, examples: as
    fit_to_table has them."""
    *_, large = table.models
    measured, asked = set(table.coalitions(large)), set(asked_for(config, table, sizes, examples))
    if measured != asked:
        differing = [
            member_names(c, config.companies) or "nobody" for c in sorted(measured ^ asked)
        ]
        raise VerificationError(
            "the coalitions of the large model are not those that law.anchors asks for: they"
            f" differ in {listed(differing, 5)}"
        )


def next_anchor(
    config: Config,
    table: UtilityTable,
    law: Law,
    sizes: Mapping[str, int],
    examples: Mapping[str, int],
) -> NextAnchor | None:
    """What one large run more would tell; None when `law.anchors` may ask for no more.

    law: fitted to the whole table. sizes, examples: as `fit_to_table` has them.
    """
    number = len(law.anchors) - len({EMPTY, grand(config.n_companies)}) + 1
    if number > most_large_runs(config.n_companies, config.coalitions):
        return None
    asking = config.model_copy(update={"law": config.law.model_copy(update={"anchors": number})})
    new = [c for c in asked_for(asking, table, sizes, examples) if c not in law.anchors]
    (run,) = law.next_runs(new, weight_CN=_sample_weights(config, table))
    return NextAnchor(**asdict(run), anchors=number)


def in_order(config: Config, coalitions: Iterable[int]) -> list[int]:
    """By number of members, then by their names."""
    return sorted(
        coalitions,
        key=lambda c: (c.bit_count(), sorted(config.companies[i] for i in members_of(c))),
    )


def _sample_weights(config: Config, table: UtilityTable) -> NDArray[np.float64] | None:
    """(C, N) weights that make Shapley values of a sample's utilities; None where all coalitions
    are known.
    """
    weighting = weighting_of(config, table, "shapley")
    return weighting.weight_CN if isinstance(weighting, Sampled) else None
