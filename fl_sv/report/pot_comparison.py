"""Fixed pot and performance pot compared, for a deployed model as good as measured or worse."""

from dataclasses import dataclass

from fl_sv.config.valuation import FixedPot, Payouts, PerformancePot
from fl_sv.payment.payouts import pot_cents
from fl_sv.report.blocks import PageTable
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.pot import pot_sentences
from fl_sv.report.wording import percent

# Shares of the deployed model's measured improvement over the untrained model.
SCENARIOS = (1.0, 0.9, 0.5, 0.0)


@dataclass(frozen=True)
class Scenario:
    """What both kinds of pot pay in total if the deployed model is this good."""

    share: float  # of the measured improvement
    utility: float
    fixed_cents: int
    performance_cents: int


@dataclass(frozen=True)
class PotComparison:
    """A fixed pot beside the performance pot that pays the same for the model as measured."""

    performance: PerformancePot
    scenarios: tuple[Scenario, ...]


def compare_pots(rules: Payouts, untrained: float, deployed: float) -> PotComparison | None:
    """Both kinds of pot for a deployed model as good as measured, or worse.

    untrained, deployed: utilities of the two models. A fixed pot is compared with the performance
    pot that pays the same for the measured model and nothing for the untrained one. None when the
    deployed model is not better than the untrained one: then no rate makes the two equal.
    """
    gain = deployed - untrained
    if gain <= 0:
        return None
    fixed = pot_cents(rules.pot, deployed)
    if isinstance(rules.pot, FixedPot):
        # Not validated: the rate is only compared, and may lie beyond what a config may ask for.
        performance = PerformancePot.model_construct(
            kind="performance", cents_per_utility=fixed / gain, floor=untrained
        )
    else:
        performance = rules.pot
    utilities = [deployed if share == 1 else untrained + share * gain for share in SCENARIOS]
    return PotComparison(
        performance,
        tuple(
            Scenario(share, utility, fixed, pot_cents(performance, utility))
            for share, utility in zip(SCENARIOS, utilities, strict=True)
        ),
    )


def pot_table(run: FinishedRun, notation: Notation) -> PageTable | None:
    """Both kinds of pot by how good the deployed model is; None when they cannot be compared."""
    found = _compared(run)
    if found is None:
        return None
    deployed_in = "teacher.csv" if run.evidence.student is None else "student.csv"
    names = {1.0: "as measured", 0.0: "none: the untrained model"}
    return PageTable(
        caption="What each kind of pot pays",
        head=(
            "Deployed model's improvement",
            f"Its loss, {notation.unit}",
            f"Fixed pot, {notation.currency}",
            f"Performance pot, {notation.currency}",
        ),
        rows=tuple(
            (
                names.get(scenario.share, f"{percent(1 - scenario.share, 0)} smaller"),
                notation.value(-scenario.utility),
                notation.amount(scenario.fixed_cents),
                notation.amount(scenario.performance_cents),
            )
            for scenario in found.scenarios
        ),
        source=f"{deployed_in}, valuation.json, rules of payment in ledger.jsonl",
    )


def pot_comparison_sentences(run: FinishedRun, notation: Notation) -> tuple[str, ...]:
    """Which kind of pot this payment has, what it is compared with, and what the kind changes."""
    config, rules = run.evidence.config, run.payment.rules
    deployed, found = run.evidence.deployed_utility, _compared(run)
    before = pot_sentences(config, rules, deployed)
    if found is None:
        kind = "is fixed" if isinstance(rules.pot, FixedPot) else "depends on performance"
        return (
            *before,
            f"This payment's pot {kind}. The deployed model is not better than the untrained one,"
            " so no performance pot equals a fixed one.",
        )
    rate = notation.money(round(found.performance.cents_per_utility))
    floor = notation.value(-found.performance.floor)
    if isinstance(rules.pot, FixedPot):
        kind = (
            f"This payment's pot is fixed: {notation.money(rules.pot.cents)}, however good the"
            " model is. The table compares it with a performance pot that pays the same for the"
            f" model as measured. The rate of that pot is {rate} for each unit ({notation.unit}) by"
            f" which the loss lies below {floor}, the loss of the untrained model."
        )
    else:
        kind = (
            f"This payment's pot depends on performance: it pays {rate} for each unit"
            f" ({notation.unit}) by which the deployed model's loss lies below {floor}. The"
            f" measured loss is {notation.value(-deployed)}. The table compares this pot with a"
            " fixed pot of the same sum."
        )
    return (
        *before,
        kind,
        "The kind of pot changes the sum, not the shares: each company's part of the pot is the"
        " same under both. With a fixed pot the payer bears the risk of a poor model. With a"
        " performance pot the companies share this risk.",
    )


def _compared(run: FinishedRun) -> PotComparison | None:
    evidence, untrained = run.evidence, run.valuation.utility_empty
    return compare_pots(run.payment.rules, untrained, evidence.deployed_utility)
