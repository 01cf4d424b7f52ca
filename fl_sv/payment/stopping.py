"""When a growing sample of coalitions is large enough: the rule `coalitions.stop` of the config."""

from dataclasses import dataclass

from fl_sv.config.valuation import Payouts
from fl_sv.design.sample import design_steps
from fl_sv.errors import VerificationError
from fl_sv.payment.intervals import money_intervals
from fl_sv.payment.payouts import money
from fl_sv.payment.settlement import NOT_DIVIDED, Evidence, divide_pot, fitted_law, values_by
from fl_sv.progress import Progress

# Share of a value's variance. Below it all other coalitions together would narrow no interval by
# more than 5 %.
NEGLIGIBLE = 0.1

LARGE_ENOUGH = "every payout is as certain as coalitions.stop demands"
LARGEST = "coalitions.stop.max_evaluations is reached"
OTHER_CAUSES = "more coalitions would hardly narrow any interval"


@dataclass(frozen=True)
class SampleState:
    """How certain the payouts are with the coalitions measured so far."""

    measured: int  # coalitions
    widest_cents: int | None  # width of the widest interval; None: nothing can be divided yet
    company: str  # the name of the company with that interval
    reason: str | None  # why the sample ends; None: it grows


def sample_state(evidence: Evidence) -> SampleState:
    """How certain a sample makes the payouts, and whether it is large enough.

    Raises InputError when the law cannot be fitted.
    """
    config, stop = evidence.config, evidence.config.coalitions.stop
    assert stop is not None, "a design of all coalitions does not grow"
    valuation = values_by(fitted_law(evidence), evidence)
    measured = len(evidence.table.coalitions(valuation.small_model))
    is_largest = measured >= len(design_steps(config)[-1].coalitions)
    payment = divide_pot(evidence, valuation, (), config.payouts, ())
    if any(alarm.code == NOT_DIVIDED for alarm in payment.alarms):
        return SampleState(measured, None, "", LARGEST if is_largest else None)
    intervals = money_intervals(valuation, payment.amounts, config.payouts)
    width, company = max((high - low, name) for name, (low, high) in intervals.items())
    company = config.legal_name(company)
    if stop.widest_interval_cents is not None and width <= stop.widest_interval_cents:
        reason = LARGE_ENOUGH
    elif is_largest:
        reason = LARGEST
    elif stop.widest_interval_cents is not None and valuation.sampling_share < NEGLIGIBLE:
        reason = OTHER_CAUSES
    else:
        reason = None
    return SampleState(measured, width, company, reason)


def is_large_enough(evidence: Evidence, progress: Progress) -> bool:
    """Whether the design ends here. A design of all coalitions always does."""
    config = evidence.config
    if config.coalitions.stop is None:
        return True
    with progress.step("law"):
        state = sample_state(evidence)
    progress.say(
        f"{state.measured:,} coalitions measured: {sample_state_text(state, config.payouts)}."
    )
    return state.reason is not None


def require_large_enough(evidence: Evidence) -> None:
    """Raises VerificationError when a sample ended before it was large enough.

    An operator who could choose when to stop could choose who is paid. Whether the sample grew too
    long is not checked.
    """
    if evidence.config.coalitions.stop is not None and sample_state(evidence).reason is None:
        raise VerificationError(
            "the sample of coalitions ended before the rule of coalitions.stop was met"
        )


def sample_state_text(state: SampleState, rules: Payouts) -> str:
    """The widest interval, and why the sample ends: a sentence without its full stop."""
    if state.widest_cents is None:
        text = "the pot cannot be divided yet"
    else:
        width = money(state.widest_cents, rules.currency, rules.decimals)
        text = f"the widest interval of a payout is {width} ({state.company})"
    return text if state.reason is None else f"{text}; the sample ends because {state.reason}"
