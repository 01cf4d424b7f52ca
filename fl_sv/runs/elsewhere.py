"""The same evidence as other processors would round it.

Processors differ in the last digits of a sum. A decision that lies on its threshold may then fall
the other way: an alarm, the choice of the curve, the next large run, a printed digit. Where exactly
the thresholds of a law lie only the law knows. So `fl-sv verify` tries it: it changes the losses by
rounding and computes again.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.game.scores import Scores
from fl_sv.payment.settlement import Evidence
from fl_sv.valuation.appraise import shapley_weighting

# Standard deviations of the changes, relative to each loss. Rounding is some 1e-16, and a sum or a
# small difference makes it a few thousand times larger.
ROUNDING = (1e-12, 1e-11)
# A decision on its threshold falls either way about equally often: one in 4,096 is not seen.
TRIALS = 12


def rounded_elsewhere(evidence: Evidence) -> Iterator[Evidence]:
    """TRIALS times the evidence with every loss changed by rounding."""
    for trial in range(TRIALS):
        yield _changed(evidence, trial)


def _changed(evidence: Evidence, trial: int) -> Evidence:
    """In every other trial equal losses stay equal: what is a tie here may be none elsewhere."""
    generator, size = np.random.default_rng(trial), ROUNDING[trial // 2 % len(ROUNDING)]
    columns = evidence.table.scores.columns
    losses = np.concatenate([column.loss_C for column in columns.values()])
    kinds = np.unique(losses, return_inverse=True)[1] if trial % 2 else np.arange(len(losses))
    factors = 1 + size * generator.standard_normal(len(losses))[kinds]
    changed = np.split(losses * factors, np.cumsum([len(c.coalitions) for c in columns.values()]))
    scores = Scores(
        {
            key: replace(column, loss_C=loss_C)
            for (key, column), loss_C in zip(columns.items(), changed[:-1], strict=True)
        }
    )
    table = replace(evidence.table, scores=scores)

    def noisy(number: NDArray[np.float64]) -> NDArray[np.float64]:
        return number * (1 + size * generator.standard_normal(number.shape))

    averaged = evidence.averaged
    return replace(
        evidence,
        table=table,
        weighting=shapley_weighting(evidence.config, table),
        averaged=averaged and replace(averaged, loss_CM=noisy(averaged.loss_CM)),
        validation_NV=noisy(evidence.validation_NV),
    )
