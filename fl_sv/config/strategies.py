"""The teacher's strategies by name, and what fl-sv must know of each before Flower is imported.

`strategies/flower.py` finds Flower's class by the name given here, and the description of
`teacher.strategy` lists these names: a new strategy is one more entry of `STRATEGIES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Numbers:
    """The numbers that an option takes: from `low` to `high`, both included if not said otherwise.

    above, below: exclude `low`, or `high`. whole: only whole numbers.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return (
            self.low <= value <= self.high
            and not (self.above and value == self.low)
            and not (self.below and value == self.high)
        )

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'of at least'} {self.low:g}"
        high = f"{'below' if self.below else 'at most'} {self.high:g}"
        return f"a {'whole ' if self.whole else ''}number {low} and {high}"


@dataclass(frozen=True)
class StrategyFacts:
    """What holds for one of Flower's strategies.

    flower_class: its class in `flwr.serverapp.strategy`.
    options: the arguments that a config may set, by Flower's names, with the numbers that make
        sense. Flower itself takes most of the others without a word, and averages by them.
    minimum: the fewest companies it can aggregate, given the number of malicious ones.
    why: the reason for this minimum, as the end of a sentence.
    is_the_game: whether the utilities are those of this very aggregation.
    """

    flower_class: str
    options: Mapping[str, Numbers] = field(default_factory=dict)
    minimum: Callable[[int], int] = lambda _malicious: 1
    why: str = ""
    is_the_game: bool = False


_STEP = Numbers(0, 100, above=True)
_DECAY = Numbers(0, 1, below=True)  # of a mean over rounds
_COUNT = Numbers(0, 1000, whole=True)
_ADAGRAD = {"eta": _STEP, "eta_l": _STEP, "tau": Numbers(0, 1e6, above=True)}
_ADAPTIVE = _ADAGRAD | {"beta_1": _DECAY, "beta_2": _DECAY}
_MALICIOUS = {"num_malicious_nodes": _COUNT}
_KRUM = "its score needs the n - f - 2 nearest neighbours (Blanchard et al. 2017)"

STRATEGIES: dict[str, StrategyFacts] = {
    "fedavg": StrategyFacts("FedAvg", is_the_game=True),
    "fedprox": StrategyFacts("FedProx", {"proximal_mu": Numbers(0, 1e6)}, is_the_game=True),
    "fedadam": StrategyFacts("FedAdam", _ADAPTIVE),
    "fedyogi": StrategyFacts("FedYogi", _ADAPTIVE),
    "fedadagrad": StrategyFacts("FedAdagrad", _ADAGRAD),
    "fedavgm": StrategyFacts("FedAvgM", {"server_learning_rate": _STEP, "server_momentum": _DECAY}),
    "fedmedian": StrategyFacts("FedMedian"),
    "fedtrimmedavg": StrategyFacts("FedTrimmedAvg", {"beta": Numbers(0, 0.5, below=True)}),
    "krum": StrategyFacts("Krum", _MALICIOUS, lambda f: 2 * f + 3, _KRUM),
    "multikrum": StrategyFacts(
        "MultiKrum",
        _MALICIOUS | {"num_nodes_to_select": Numbers(1, 1000, whole=True)},
        lambda f: 2 * f + 3,
        _KRUM,
    ),
    "bulyan": StrategyFacts(
        "Bulyan",
        _MALICIOUS,
        lambda f: 4 * f + 3,
        "it trims 2f updates twice (El Mhamdi et al. 2018)",
    ),
    "qfedavg": StrategyFacts("QFedAvg", {"client_learning_rate": _STEP, "q": Numbers(0, 100)}),
}


def is_the_game(strategy: str) -> bool:
    """Whether the teacher is trained by the game's own aggregation.

    Then the teacher's loss is the large model's loss of the grand coalition. For any other strategy
    that loss comes from an additional run by FedAvg.
    """
    return strategy in STRATEGIES and STRATEGIES[strategy].is_the_game
