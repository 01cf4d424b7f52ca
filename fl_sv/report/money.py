"""Money beside the payouts: other ways to split, and the pot of the other kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fl_sv.config.valuation import FixedPot, Payouts, PerformancePot
from fl_sv.payment.payouts import allocate, pot_cents

SCENARIOS = (
    1.0,
    0.9,
    0.5,
    0.0,
)  # share of the teacher's measured improvement over the untrained model


@dataclass(frozen=True)
class Splits:
    """The same sum by company: as paid, equally, and by number of examples; in cents."""

    paid: dict[str, int]
    equal: dict[str, int]
    by_size: dict[str, int]


@dataclass(frozen=True)
class Pots:
    """What a fixed pot and a performance pot pay in total, by how much the teacher improved."""

    performance: PerformancePot
    rows: tuple[
        tuple[float, float, int, int], ...
    ]  # share of the improvement, utility, fixed cents, performance cents


def splits(amounts: Mapping[str, int], examples: Mapping[str, int]) -> Splits:
    """Every column adds up to the same cent."""
    names, total = list(amounts), sum(amounts.values())

    def divided(weights: Sequence[float]) -> dict[str, int]:
        return dict(zip(names, allocate(weights, total, names=names).tolist(), strict=True))

    return Splits(
        dict(amounts), divided([1.0] * len(names)), divided([examples[name] for name in names])
    )


def pots(rules: Payouts, untrained: float, deployed: float) -> Pots | None:
    """Both kinds of pot for a teacher as good as measured, or less so.

    A fixed pot is set beside the performance pot that pays the same for the measured teacher and
    nothing for the untrained model. None when the teacher is not above the untrained model: then no
    rate makes them equal."""
    gain = deployed - untrained
    if gain <= 0:
        return None
    fixed = pot_cents(rules.pot, deployed)
    if isinstance(rules.pot, FixedPot):
        # Not validated: the rate is a comparison's, and may lie beyond what a config may ask for.
        performance = PerformancePot.model_construct(
            kind="performance", cents_per_utility=fixed / gain, floor=untrained
        )
    else:
        performance = rules.pot
    utilities = [deployed if share == 1 else untrained + share * gain for share in SCENARIOS]
    rows = [
        (s, u, fixed, pot_cents(performance, u)) for s, u in zip(SCENARIOS, utilities, strict=True)
    ]
    return Pots(performance, tuple(rows))
