"""Which coalitions train the small models, step by step.

`all` is one step with every coalition. `sampled` grows: after each step the run looks at its payouts and stops when
they are certain enough (`fl_sv.stopping`). The steps are nested, so what was trained is never trained again.

A sample is drawn by the companies' names: their order in the config decides only bits.
"""

from collections.abc import Sequence

from fl_sv.coalitions import EMPTY, grand
from fl_sv.config import Config
from fl_sv.errors import VerificationError
from fl_sv.streams import stream
from fl_sv.values.corrected import SPREAD
from fl_sv.values.pairs import draw_nested

# A company needs about four coalitions before the estimator tells it from the others (docs/log.md, 2026-11-21). From
# there the steps grow, so that looking at the payouts costs little beside the training.
FIRST = 4
GROWTH = 1.5
ENDS = 2  # the empty and the grand coalition are always there


def design_steps(config: Config) -> list[Sequence[int]]:
    """The coalitions that each step adds, ascending; the empty one is never trained and in none."""
    n_companies = config.n_companies
    if config.coalitions.stop is None:
        return [range(1, 1 << n_companies)]
    by_name = sorted(range(n_companies), key=config.companies.__getitem__)
    everybody = grand(n_companies)
    n_pairs = [(evaluations - ENDS) // 2 for evaluations in _evaluations_by_step(config)]
    steps: list[Sequence[int]] = []
    for member_PN in draw_nested(n_companies, n_pairs, SPREAD, stream(config.seed, "coalitions")):
        drawn = [sum(1 << by_name[j] for j in row.nonzero()[0].tolist()) for row in member_PN]
        steps.append(sorted([*drawn, *(everybody & ~coalition for coalition in drawn)]))
    steps[0] = [*steps[0], everybody]
    return steps


def require_design(config: Config, coalitions: Sequence[int]) -> None:
    """Raises VerificationError unless `coalitions` are those of the design, up to the end of one of its steps.

    Who chooses the sample could choose who is paid.
    """
    planned = {EMPTY}
    for step in design_steps(config):
        planned.update(step)
        if len(planned) == len(coalitions):
            break
    if planned != set(coalitions):
        raise VerificationError(
            f"the {len(coalitions)} coalitions of the small models are not those that the config and its seed draw"
        )


def _evaluations_by_step(config: Config) -> list[int]:
    """Ascending, the last the most that the config allows."""
    assert config.coalitions.stop is not None
    most = config.coalitions.stop.max_evaluations
    steps = [max(FIRST * config.n_companies, 2 * config.n_companies + ENDS)]
    while steps[-1] < most:
        steps.append(int(GROWTH * steps[-1]))
    below = [evaluations for evaluations in steps if evaluations * GROWTH**0.5 < most]  # no tiny step at the end
    return [*below, most]
