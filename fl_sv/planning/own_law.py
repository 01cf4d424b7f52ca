"""A user's own law is tried before anything trains, and before a run is verified by it.

Shapes: C coalitions, M models: the small ones, then the large one.
"""

from collections.abc import Sequence

import numpy as np

from fl_sv.config import Config
from fl_sv.design.sample import design_steps
from fl_sv.errors import InputError
from fl_sv.game.coalitions import EMPTY
from fl_sv.law import fit_law
from fl_sv.valuation.fit import law_family

TRIED_COALITIONS = 1 << 10  # at most: more than half a second's work otherwise


def try_law(config: Config) -> None:
    """Fits a user's own law to an invented game, so that a fault shows before any training.

    The game has the run's coalitions, as far as a trial stays short, and its small sizes. Raises
    InputError when the law cannot be imported or is no law.
    """
    family = law_family(config)
    if isinstance(family, str):
        return
    if not callable(family):
        raise InputError(
            f"law.family: {config.law.family} is a {type(family).__name__}; it must be a function"
            " that takes a fl_sv.law.Game and returns a fl_sv.law.Family."
        )
    # A law must accept any game: sizes that rank the coalitions differently, some coalitions worse
    # than the empty one, some better than the grand one.
    coalitions = _tried_coalitions(config)
    n_models = len(config.models.small) + 1
    loss_CM = np.random.default_rng(0).uniform(0.2, 2.5, (len(coalitions), n_models))
    loss_CM[[0, -1]] = [[2.0], [0.5]]
    measured = {EMPTY, coalitions[-1], *(c for c in coalitions if c.bit_count() == 1)}
    large = {c: float(loss_CM[row, -1]) for row, c in enumerate(coalitions) if c in measured}
    small = dict(zip(coalitions, loss_CM[:, :-1], strict=True))
    fit_law(small, large, sizes=2.0 ** np.arange(n_models), family=family)


def _tried_coalitions(config: Config) -> Sequence[int]:
    """The coalitions of a run's first step; fewer companies where that would be too many."""
    step = design_steps(config)[0].coalitions
    return step if len(step) <= TRIED_COALITIONS else range(TRIED_COALITIONS)
