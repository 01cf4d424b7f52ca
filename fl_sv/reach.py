"""How far the small models learned. The law carries their losses to the large model, best where both learned as far."""

from fl_sv.coalitions import EMPTY, grand
from fl_sv.utilities import UtilityTable

AS_FAR = (0.95, 1.05)  # of the large model's gain
# benchmarks.truth on digits: error of the values in %, with the singletons as large runs. Nine games (seeds 3 to 5)
# where the largest small model was behind, and at a rate that took it as far; three at twice that rate, and at it.
BEHIND, CAUGHT_UP = 4.1, 2.9
AHEAD, HELD_BACK = 7.5, 3.7


def reach_remarks(table: UtilityTable) -> tuple[str, ...]:
    """A remark where the largest small model gained clearly less or more with all companies than the large one did.

    A gain is how much of its untrained loss a model lost. There is nothing to say where the large model was trained on
    all coalitions that the small ones were, for then nothing is predicted.
    """
    *_, small, large = table.models
    gained, gain = (_gain(table, model) for model in (small, large))
    low, high = AS_FAR
    if gain <= 0 or low * gain <= gained <= high * gain or table.coalitions(small) == table.coalitions(large):
        return ()
    if gained < gain:
        rate, games, place, error, better = "higher", "nine", "behind", BEHIND, CAUGHT_UP
    else:
        rate, games, place, error, better = "lower", "three", "ahead", AHEAD, HELD_BACK
    return (
        f"With all companies {small} gains {gained / gain:.0%} of what {large} gains (fall in validation loss). The "
        "law may do better where small models learn about as far as the large one: try a "
        f"{rate} learning_rate of their own (models.small; twice or half). On {games} games of digits the values were "
        f"off by {error} % where they were {place} and by {better} % where they learned as far (docs/benchmarks.md).",
    )


def _gain(table: UtilityTable, model: str) -> float:
    losses = table.mean_losses(model)
    return losses[EMPTY] - losses[grand(len(table.companies))]
