"""Which coalitions train the small models, step by step.

The design `all` is one step with every coalition. The design `sampled` grows: after each step the
run looks at its payouts and stops when they are certain enough (`fl_sv.payment.stopping`). A step
contains all steps before it, so nothing is trained twice.

A sample is drawn by the companies' names. Their order in the config changes no coalition, only the
bits that stand for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fl_sv.config import Config
from fl_sv.errors import VerificationError
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.streams import stream
from fl_sv.values.corrected import SPREAD
from fl_sv.values.pairs import draw_nested

# The estimator needs about four coalitions a company to separate the companies (docs/log.md,
# 2026-11-21). Later steps grow by a factor, so that computing the payouts costs little beside the
# training.
FIRST = 4
GROWTH = 1.5
ENDS = 2  # the empty and the grand coalition are always there


@dataclass(frozen=True)
class Step:
    """A step of the design. Coalitions are ascending."""

    added: Sequence[int]  # trained in this step; never the empty coalition
    coalitions: Sequence[int]  # of this step and all before it, the empty one included


def design_steps(config: Config) -> list[Step]:
    """The steps of the config's design, in order."""
    n_companies = config.n_companies
    if config.coalitions.stop is None:
        return [Step(range(1, 1 << n_companies), range(1 << n_companies))]
    by_name = sorted(range(n_companies), key=config.companies.__getitem__)
    grand_coalition = grand(n_companies)
    n_pairs = [(evaluations - ENDS) // 2 for evaluations in _evaluations_by_step(config)]
    steps: list[Step] = []
    coalitions = [EMPTY]
    for members in draw_nested(n_companies, n_pairs, SPREAD, stream(config.seed, "coalitions")):
        drawn = [sum(1 << by_name[j] for j in row.nonzero()[0].tolist()) for row in members]
        ends = [] if steps else [grand_coalition]
        complements = [grand_coalition & ~coalition for coalition in drawn]
        added = sorted([*drawn, *complements, *ends])
        coalitions = sorted([*coalitions, *added])
        steps.append(Step(added, coalitions))
    return steps


def require_design(config: Config, coalitions: Sequence[int]) -> None:
    """Raises VerificationError unless these are the coalitions of a step of the design.

    An operator who could choose the sample could choose who is paid. coalitions: ascending.
    """
    if not any([*step.coalitions] == [*coalitions] for step in design_steps(config)):
        raise VerificationError(
            f"the {len(coalitions)} coalitions of the small models are not those that the config"
            " draws with its seed"
        )


def _evaluations_by_step(config: Config) -> list[int]:
    """How many coalitions there are after each step; after the last, `max_evaluations`."""
    assert config.coalitions.stop is not None
    most = config.coalitions.stop.max_evaluations
    steps = [FIRST * config.n_companies]
    while steps[-1] < most:
        steps.append(int(GROWTH * steps[-1]))
    # A step just below the maximum is left out: the last step would add almost nothing.
    below = [evaluations for evaluations in steps if evaluations * GROWTH**0.5 < most]
    return [*below, most]
