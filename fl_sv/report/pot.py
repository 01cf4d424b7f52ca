"""Sentences about a payment's pot and the models behind it, for screen and page."""

from fl_sv.config import Config
from fl_sv.config.valuation import FixedPot, Payouts, PerformancePot
from fl_sv.payment.payouts import money, pot_cents


def pot_sentences(config: Config, paid: Payouts, deployed_utility: float) -> tuple[str, ...]:
    """What a reader of a payment must know about its pot.

    paid: the rules of the payment. deployed_utility: of the model that earns the money. Empty where
    the run's own pot is fixed, the teacher is deployed and no small model is a student.
    """
    texts = _own_pot(config, paid, deployed_utility), _models(config, paid, deployed_utility)
    return tuple(filter(None, texts))


def is_different_pot(config: Config, paid: Payouts) -> bool:
    """Whether a payment divides a different pot from the run's own.

    `fl-sv pay` may also divide the same pot again, to accept an alarm.
    """
    return paid.pot != config.payouts.pot


def _own_pot(config: Config, paid: Payouts, deployed_utility: float) -> str:
    """What the run's own pot was, where the payment divides a different one."""
    if not is_different_pot(config, paid):
        return ""
    rules = config.payouts

    def amount(cents: int) -> str:
        return money(cents, rules.currency, rules.decimals)

    own = amount(pot_cents(rules.pot, deployed_utility))
    match rules.pot:
        case FixedPot():
            own_pot = f"The run's own pot was fixed at {own}."
        case PerformancePot(cents_per_utility=rate, floor=floor):
            deployed = "teacher" if config.deployed is None else "student"
            own_pot = (
                f"The run's own pot was {own}, by performance: {amount(round(rate))} for each unit"
                f" of utility above {floor:g}. The deployed {deployed} has {deployed_utility:.4f}."
            )
    return f"{own_pot} This payment divides a different pot. The values are the same."


def _models(config: Config, paid: Payouts, deployed_utility: float) -> str:
    """Which model the values and the pot follow; empty where it is the teacher without students."""
    by_performance = isinstance(paid.pot, PerformancePot)
    sentences = []
    if config.deployed is not None or config.students is not None:
        sentences.append("The values are those of the teacher, the large model.")
    if config.students is not None:
        sentences.append(
            "The small models are students of the teacher. The law predicts the large model from"
            " their losses."
        )
    if config.deployed is not None:
        pot = "follows" if by_performance else "is fixed and does not follow"
        sentences.append(
            f"A student is deployed instead of the teacher; its utility is {deployed_utility:.4f}."
            f" The pot {pot} the student."
        )
    elif by_performance:
        sentences.append(
            "The pot follows the deployed model, the teacher; its utility is"
            f" {deployed_utility:.4f}."
        )
    return " ".join(sentences)
