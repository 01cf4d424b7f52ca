"""The teacher's strategies by name, and what fl-sv must know of each before Flower is imported.

`strategies/flower.py` finds Flower's class by the name given here, and the description of
`teacher.strategy` lists these names: a new strategy is one more entry of `STRATEGIES`.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StrategyFacts:
    """What holds for one of Flower's strategies.

    flower_class: its class in `flwr.serverapp.strategy`.
    options: the arguments that a config may set, by Flower's names.
    minimum: the fewest companies it can aggregate, given the number of malicious ones.
    why: the reason for this minimum, as the end of a sentence.
    is_the_game: whether the utilities are those of this very aggregation.
    """

    flower_class: str
    options: tuple[str, ...] = ()
    minimum: Callable[[int], int] = lambda _malicious: 1
    why: str = ""
    is_the_game: bool = False


_ADAPTIVE = ("eta", "eta_l", "beta_1", "beta_2", "tau")
_KRUM = "its score needs the n - f - 2 nearest neighbours (Blanchard et al. 2017)"

STRATEGIES: dict[str, StrategyFacts] = {
    "fedavg": StrategyFacts("FedAvg", is_the_game=True),
    "fedprox": StrategyFacts("FedProx", ("proximal_mu",), is_the_game=True),
    "fedadam": StrategyFacts("FedAdam", _ADAPTIVE),
    "fedyogi": StrategyFacts("FedYogi", _ADAPTIVE),
    "fedadagrad": StrategyFacts("FedAdagrad", ("eta", "eta_l", "tau")),
    "fedavgm": StrategyFacts("FedAvgM", ("server_learning_rate", "server_momentum")),
    "fedmedian": StrategyFacts("FedMedian"),
    "fedtrimmedavg": StrategyFacts("FedTrimmedAvg", ("beta",)),
    "krum": StrategyFacts("Krum", ("num_malicious_nodes",), lambda f: 2 * f + 3, _KRUM),
    "multikrum": StrategyFacts(
        "MultiKrum",
        ("num_malicious_nodes", "num_nodes_to_select"),
        lambda f: 2 * f + 3,
        _KRUM,
    ),
    "bulyan": StrategyFacts(
        "Bulyan",
        ("num_malicious_nodes",),
        lambda f: 4 * f + 3,
        "it trims 2f updates twice (El Mhamdi et al. 2018)",
    ),
    "qfedavg": StrategyFacts("QFedAvg", ("client_learning_rate", "q")),
}


def is_the_game(strategy: str) -> bool:
    """Whether the teacher is trained by the game's own aggregation.

    Then the teacher's loss is the large model's loss of the grand coalition. For any other strategy
    that loss comes from an additional run by FedAvg.
    """
    return strategy in STRATEGIES and STRATEGIES[strategy].is_the_game
