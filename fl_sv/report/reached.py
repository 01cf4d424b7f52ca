"""What the model reaches with all companies, without each one, and with each one alone.

In the measure that people know: the share of examples that are classified correctly; for a
regression the share of the variance that is explained.
"""

import math
from dataclasses import dataclass

from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.game.utilities import UtilityTable
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.wording import percent


@dataclass(frozen=True)
class Reached:
    """What one model reached, measured, as shares; higher is better."""

    model: str
    is_large: bool
    measure: str  # "of the examples are classified correctly"
    nobody: float
    everybody: float
    without: dict[str, float]  # by company: all others
    alone: dict[str, float]  # by company: this one only

    def text(self, share: float) -> str:
        """A share as the page writes it."""
        return percent(share)

    @property
    def model_text(self) -> str:
        """Which model was measured."""
        if self.is_large:
            return f"the large model {self.model}"
        return (
            f"the small model {self.model}, since the large model was not trained without each"
            " company"
        )


def reached(run: FinishedRun) -> Reached:
    """What the large model reached where it was measured on all these coalitions, else the largest
    small model, which is measured on them in every design.
    """
    table, companies = run.evidence.table, run.evidence.config.companies
    everybody = grand(len(companies))
    alone = {name: 1 << i for i, name in enumerate(companies)}
    without = {name: everybody & ~coalition for name, coalition in alone.items()}
    needed = {EMPTY, everybody, *alone.values(), *without.values()}
    is_large = needed <= {*table.coalitions(table.large)}
    model = table.large if is_large else table.largest_small
    shares = {coalition: _accuracy(table, model, coalition) for coalition in needed}
    of_texts = run.evidence.config.data.text is not None
    measure = f"of the {'next tokens predicted' if of_texts else 'examples classified'} correctly"
    if any(math.isnan(share) for share in shares.values()):
        losses = table.mean_losses(model)
        untrained = losses[EMPTY]
        shares = {c: 1 - losses[c] / untrained if untrained else 0.0 for c in needed}
        measure = "of the untrained model's loss removed"
    return Reached(
        model,
        is_large,
        measure,
        shares[EMPTY],
        shares[everybody],
        {name: shares[coalition] for name, coalition in without.items()},
        {name: shares[coalition] for name, coalition in alone.items()},
    )


def _accuracy(table: UtilityTable, model: str, coalition: int) -> float:
    """The mean over seeds; NaN where there is none."""
    seeds = table.seeds(model)
    found = [table.scores[model, seed, coalition].accuracy for seed in seeds]
    return math.fsum(math.nan if a is None else a for a in found) / len(seeds)
