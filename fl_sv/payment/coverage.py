"""Whether the values account for the gain that the pot is paid for.

Shapley values add up to the gain, u(grand) - u(empty). Other semivalues need not. Leave-one-out
values are nearly zero where the companies can replace one another; then the pot is divided by what
is left, and a company may get all of it for a hundredth of the gain.
"""

import math

from fl_sv.law.alarms import Alarm
from fl_sv.valuation.axioms import TOLERANCE
from fl_sv.valuation.records import Valuation

NOT_COVERED = "P2"  # the alarm that the values do not account for the gain
# The least sum of the values, as a share of the gain: below it, three quarters of what was gained
# have no part in the payouts. On sixteen games of real data (2026-11) Banzhaf values covered 35 %
# and more of it, leave-one-out values mostly 3 to 23 %.
LEAST_COVERED = 0.25


def coverage_alarms(valuation: Valuation) -> list[Alarm]:
    """An alarm where the values add up to too little of the gain, or to more than N times the gain.

    No company can have added more to the model than all of the gain, so N companies cannot be worth
    more than N times as much.
    """
    value_N = valuation.values.tolist()
    total, gain = math.fsum(value_N), valuation.utility_grand - valuation.utility_empty
    if abs(total - gain) <= TOLERANCE * max(1.0, *map(abs, value_N)):
        return []
    covered = total / gain if gain else math.copysign(math.inf, total)
    if LEAST_COVERED <= covered <= len(value_N):
        return []
    figures = {"sum": total, "gain": gain}
    if math.isfinite(covered):
        figures["covered"] = covered
        part = f"{100 * covered:.3g} % of the total improvement of {gain:.6g}"
    else:
        part = "and there is no improvement"
    why = (
        "Most of what was gained has no part in the payouts"
        if covered < LEAST_COVERED
        else "That is more than if every company had brought all of it"
    )
    return [
        Alarm(
            NOT_COVERED,
            f"the values ({valuation.semivalue}) add up to {total:.6g}, {part}. {why}.",
            figures=figures,
        )
    ]
