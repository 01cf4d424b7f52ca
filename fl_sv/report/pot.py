"""Whose values a payment is by, and which pot it divides: sentences for screen and page."""

from fl_sv.config import Config
from fl_sv.config.valuation import FixedPot, Payouts, PerformancePot
from fl_sv.payment.payouts import money, pot_cents


def payment_words(config: Config, paid: Payouts, deployed_utility: float) -> tuple[str, ...]:
    """What a reader of a payment by the rules `paid` must know; nothing where all is the teacher's
    and the pot fixed.

    deployed_utility: of the model that earns the money.
    """
    words = _earlier_pot(config, paid, deployed_utility), _whose(config, paid, deployed_utility)
    return tuple(filter(None, words))


def divides_another(config: Config, paid: Payouts) -> bool:
    """Whether a payment divides another pot than the run's own; `fl-sv pay` may also accept an
    alarm with the same.
    """
    return paid.pot != config.payouts.pot


def _whose(config: Config, paid: Payouts, deployed_utility: float) -> str:
    """Whose values these are and which model the pot follows; empty where all is the teacher's and
    the pot fixed.
    """
    performance = isinstance(paid.pot, PerformancePot)
    said = []
    if config.deployed is not None or config.students is not None:
        said.append("The values are those of the teacher, the large model.")
    if config.students is not None:
        said.append("The small models, whose losses the law carries to it, are its students.")
    if config.deployed is not None:
        pot = "The pot follows" if performance else "The pot is fixed and does not follow"
        said.append(
            f"{pot} the student deployed in the teacher's place, with a utility of"
            f" {deployed_utility:.4f}."
        )
    elif performance:
        said.append(
            "The pot follows the deployed model: the teacher, with a utility of"
            f" {deployed_utility:.4f}."
        )
    return " ".join(said)


def _earlier_pot(config: Config, paid: Payouts, deployed_utility: float) -> str:
    """What the run's own pot was and why, for a payment with another; empty for one with the same."""
    if not divides_another(config, paid):
        return ""
    rules = config.payouts
    own = money(pot_cents(rules.pot, deployed_utility), rules.currency, rules.decimals)
    match rules.pot:
        case FixedPot():
            was = f"was fixed at {own}"
        case PerformancePot(cents_per_utility=rate, floor=floor):
            deployed = "teacher" if config.deployed is None else "student"
            was = (
                f"was {own}, by performance: {money(round(rate), rules.currency, rules.decimals)}"
                f" for each unit of utility above {floor:g}, and the deployed {deployed} has"
                f" {deployed_utility:.4f}"
            )
    return f"The run's own pot {was}. This payment divides another, by the same values."
