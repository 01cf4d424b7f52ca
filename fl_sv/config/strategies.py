"""What fl-sv must know of a teacher strategy before Flower is imported: its options and its
smallest federation.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fl_sv.config.schema import Config
from fl_sv.errors import InputError


@dataclass(frozen=True)
class StrategyFacts:
    """Options of a built-in strategy, by Flower's names, and the fewest companies it can aggregate."""

    options: tuple[str, ...] = ()
    minimum: Callable[[int], int] = lambda _malicious: 1
    why: str = ""
    is_the_game: bool = False  # the utilities are those of this very aggregation


_ADAPTIVE = ("eta", "eta_l", "beta_1", "beta_2", "tau")
_KRUM = "its score needs the n - f - 2 nearest neighbours (Blanchard et al. 2017)"

FACTS: dict[str, StrategyFacts] = {
    "fedavg": StrategyFacts(is_the_game=True),
    "fedprox": StrategyFacts(("proximal_mu",), is_the_game=True),
    "fedadam": StrategyFacts(_ADAPTIVE),
    "fedyogi": StrategyFacts(_ADAPTIVE),
    "fedadagrad": StrategyFacts(("eta", "eta_l", "tau")),
    "fedavgm": StrategyFacts(("server_learning_rate", "server_momentum")),
    "fedmedian": StrategyFacts(),
    "fedtrimmedavg": StrategyFacts(("beta",)),
    "krum": StrategyFacts(("num_malicious_nodes",), lambda f: 2 * f + 3, _KRUM),
    "multikrum": StrategyFacts(
        ("num_malicious_nodes", "num_nodes_to_select"), lambda f: 2 * f + 3, _KRUM
    ),
    "bulyan": StrategyFacts(
        ("num_malicious_nodes",),
        lambda f: 4 * f + 3,
        "it trims 2f updates twice (El Mhamdi et al. 2018)",
    ),
    "qfedavg": StrategyFacts(("client_learning_rate", "q")),
}


def is_the_game(strategy: str) -> bool:
    """Whether the teacher itself is a run of the game's aggregation, so that its loss is
    L_large(N).
    """
    return strategy in FACTS and FACTS[strategy].is_the_game


def check_strategy(config: Config) -> None:
    """Raises InputError when the teacher's strategy is unknown, has unknown options, or needs more
    companies.
    """
    name, options = config.teacher.strategy, config.teacher.options
    if ":" in name:
        return
    if name not in FACTS:
        raise InputError(
            f"teacher.strategy: there is no strategy {name!r}. Built in are {', '.join(FACTS)}; "
            "any other Flower Strategy is given as package.module:Class."
        )
    facts = FACTS[name]
    unknown = [option for option in options if option not in facts.options]
    if unknown:
        allowed = ", ".join(facts.options) or "no options"
        raise InputError(
            f"teacher.options: {name} has no option {unknown[0]!r}; it takes {allowed}."
        )
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InputError(
                f"teacher.options.{option}: {value!r} given; {name} takes a number of at least 0."
            )
        if option.startswith("num_") and not isinstance(value, int):
            raise InputError(
                f"teacher.options.{option}: {value!r} given; a whole number is needed."
            )
    malicious = int(options.get("num_malicious_nodes", 0))
    if config.n_companies < facts.minimum(malicious):
        raise InputError(
            f"teacher.strategy: {name} with num_malicious_nodes={malicious} needs at least "
            f"{facts.minimum(malicious)} companies, {facts.why}; there are {config.n_companies}. "
            "Choose another strategy or fewer malicious nodes."
        )
