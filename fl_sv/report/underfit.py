"""A remark where the small models improved clearly less or more than the large one."""

from collections.abc import Sized

from fl_sv.design.rates import TriedRates
from fl_sv.report.wording import percent
from fl_sv.valuation.records import Valuation

# The small model's gain as a share of the large model's, within which they learned equally far.
EQUALLY_FAR = (0.95, 1.05)
# benchmarks.truth on digits, with the singletons as large runs: error of the values in %. First
# nine games (seeds 3 to 5) with an underfit small model, and again at a learning rate at which it
# improved as far as the large one. Then nine games (seeds 0 to 2) at twice that rate, and again at
# that rate.
UNDERFIT, CAUGHT_UP = 3.7, 2.8
AHEAD, HELD_BACK = 5.2, 3.8


def learning_remarks(
    valuation: Valuation, large: str, large_runs: Sized, rates: TriedRates | None = None
) -> tuple[str, ...]:
    """A remark where the largest small model gained clearly less or more than the large model.

    The gain is the fall of a model's loss from untrained to all companies; the model's values add
    up to it.

    large: name of the large model.
    large_runs: the coalitions on which it was measured. If these are all, nothing is predicted, and
        there is no remark.
    rates: those that the run tried, where it chose some.
    """
    small, large_gain = valuation.small_model, valuation.utility_grand - valuation.utility_empty
    small_gain = sum(company.small_value for company in valuation.companies)
    low, high = EQUALLY_FAR
    everything_measured = len(large_runs) == 1 << len(valuation.companies)
    if large_gain <= 0 or low * large_gain <= small_gain <= high * large_gain:
        return ()
    if everything_measured:
        return ()
    if small_gain < large_gain:
        state, rate, share = "is underfit", "higher", "twice"
        before, after = UNDERFIT, CAUGHT_UP
    else:
        state, rate, share = "learned further than the large one", "lower", "half"
        before, after = AHEAD, HELD_BACK
    what_to_do = (
        f"give the small models a {rate} learning_rate of their own (models.small), such as {share}"
        " the present one, or let the run choose it (auto)"
    )
    if rates is not None and small in rates.chosen:
        what_to_do = (
            f"state a learning_rate of its own (models.small) that is {rate} than"
            f" {rates.chosen[small]:g}, which came nearest of those that the run tried"
        )
    return (
        f"The small model {small} {state}: with all companies it gains"
        f" {percent(small_gain / large_gain, 0)} of what {large} gains (fall in validation loss)."
        " The law predicts best where the small models learn as far as the large one. What to do:"
        f" {what_to_do}. In a study on digits this reduced the error of the values from {before} %"
        f" to {after} % (docs/benchmarks.md).",
    )
