"""Which coalitions train the small models, step by step.

`all` is one step with every coalition. `sampled` grows: after each step the run looks at its
payouts and stops when they are certain enough (`fl_sv.payment.stopping`). The steps are nested, so
what was trained is never trained again.

A sample is drawn by the companies' names: their order in the config decides only bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fl_sv.config import Config
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.streams import stream
from fl_sv.values.corrected import SPREAD
from fl_sv.values.pairs import draw_nested

MAX_COMPANIES_FOR_ALL = 20  # 2**20 trainings of each small model; the aim of the fastest machines
# A company needs about four coalitions before the estimator tells it from the others (docs/log.md,
# 2026-11-21). From there the steps grow, so that looking at the payouts costs little beside the
# training.
FIRST = 4
GROWTH = 1.5
ENDS = 2  # the empty and the grand coalition are always there


def check_design(config: Config) -> None:
    """Raises InputError when there are more coalitions than anybody trains."""
    if config.coalitions.design == "all" and config.n_companies > MAX_COMPANIES_FOR_ALL:
        raise InputError(
            f"{config.n_companies} companies mean 2**{config.n_companies} coalitions; with"
            f" coalitions.design = all the limit is 2**{MAX_COMPANIES_FOR_ALL}"
            f" ({MAX_COMPANIES_FOR_ALL} companies). Take a sample: coalitions: {{design: sampled,"
            f" stop: {{max_evaluations: {40 * config.n_companies}}}}}."
        )


@dataclass(frozen=True)
class Step:
    """A step of the design: the coalitions that it adds (the empty one is never trained), and all
    up to here, the empty one included; both ascending."""

    added: Sequence[int]
    coalitions: Sequence[int]


def design_steps(config: Config) -> list[Step]:
    """The steps of the config's design, in order."""
    n_companies = config.n_companies
    if config.coalitions.stop is None:
        return [Step(range(1, 1 << n_companies), range(1 << n_companies))]
    by_name = sorted(range(n_companies), key=config.companies.__getitem__)
    everybody = grand(n_companies)
    n_pairs = [(evaluations - ENDS) // 2 for evaluations in _evaluations_by_step(config)]
    steps: list[Step] = []
    coalitions = [EMPTY]
    for members in draw_nested(n_companies, n_pairs, SPREAD, stream(config.seed, "coalitions")):
        drawn = [sum(1 << by_name[j] for j in row.nonzero()[0].tolist()) for row in members]
        ends = [] if steps else [everybody]
        added = sorted([*drawn, *(everybody & ~coalition for coalition in drawn), *ends])
        coalitions = sorted([*coalitions, *added])
        steps.append(Step(added, coalitions))
    return steps


def require_design(config: Config, coalitions: Sequence[int]) -> None:
    """Raises VerificationError unless `coalitions` (ascending) are those of the design, up to the
    end of a step.

    Who chooses the sample could choose who is paid.
    """
    if not any([*step.coalitions] == [*coalitions] for step in design_steps(config)):
        raise VerificationError(
            f"the {len(coalitions)} coalitions of the small models are not those that the config"
            " and its seed draw"
        )


def _evaluations_by_step(config: Config) -> list[int]:
    """Ascending, the last the most that the config allows."""
    assert config.coalitions.stop is not None
    most = config.coalitions.stop.max_evaluations
    steps = [FIRST * config.n_companies]
    while steps[-1] < most:
        steps.append(int(GROWTH * steps[-1]))
    below = [
        evaluations for evaluations in steps if evaluations * GROWTH**0.5 < most
    ]  # no tiny step at the end
    return [*below, most]
