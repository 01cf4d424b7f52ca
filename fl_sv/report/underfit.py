"""How far the small models learned. The law carries their losses to the large model, best where
both learned as far.
"""

from collections.abc import Sized

from fl_sv.valuation.records import Valuation

AS_FAR = (0.95, 1.05)  # of the large model's gain
# benchmarks.truth on digits: error of the values in %, with the singletons as large runs. Nine
# games (seeds 3 to 5) where the largest small model was behind, and at a rate that took it as far;
# nine (seeds 0 to 2) at twice that rate, and at it.
BEHIND, CAUGHT_UP = 3.7, 2.8
AHEAD, HELD_BACK = 5.2, 3.8


def reach_remarks(valuation: Valuation, large: str, anchors: Sized) -> tuple[str, ...]:
    """A remark where the largest small model gained clearly less or more with all companies than
    the large one did.

    A gain is how much of its untrained loss a model lost; it is what the model's values sum to.
    large: the large model's name; anchors: the coalitions at which it was measured. If these are
    all, nothing is predicted, and there is nothing to say."""
    small, gain = valuation.small_model, valuation.utility_grand - valuation.utility_empty
    gained = sum(company.small_value for company in valuation.companies)
    low, high = AS_FAR
    if (
        gain <= 0
        or low * gain <= gained <= high * gain
        or len(anchors) == 1 << len(valuation.companies)
    ):
        return ()
    if gained < gain:
        rate, place, error, better = "higher", "behind", BEHIND, CAUGHT_UP
    else:
        rate, place, error, better = "lower", "ahead", AHEAD, HELD_BACK
    return (
        (
            f"With all companies {small} gains {gained / gain:.0%} of what {large} gains (fall in"
            " validation loss). The law may do better where small models learn about as far as the"
            f" large one: try a {rate} learning_rate of their own (models.small; twice or half). On"
            f" nine games of digits the values were off by {error} % where they were {place} and by"
            f" {better} % where they learned as far (docs/benchmarks.md)."
        ),
    )
