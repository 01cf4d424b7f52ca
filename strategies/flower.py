"""Flower's own strategies by name and the user's by `package.module:Class`.

All are set up so that every company takes part in every round.
"""

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Strategy

from fl_sv.config import Config
from fl_sv.config.models import usual_rate
from fl_sv.config.strategies import STRATEGIES
from fl_sv.errors import InputError
from fl_sv.plugins import ANY_ERROR, resolve


def make_strategy(config: Config, learning_rate: float | None = None) -> Strategy:
    """The teacher's strategy that the config names.

    learning_rate: of the large model, where the run has chosen it.

    Raises InputError when a `package.module:Class` cannot be imported, is no Strategy, or refuses
    its options.
    """
    name = config.teacher.strategy
    options = dict(config.teacher.options)
    if name in STRATEGIES:
        strategy_class = getattr(flower, STRATEGIES[name].flower_class)
    else:
        strategy_class = resolve(name, "teacher.strategy")
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, Strategy)):
        raise InputError(
            f"teacher.strategy: {name} is not a subclass of flwr.serverapp.strategy.Strategy."
        )
    if name == "qfedavg":
        own = usual_rate(config.models.large, config.training)
        options.setdefault("client_learning_rate", learning_rate or own)
    all_nodes = every_node(config.n_companies) if issubclass(strategy_class, FedAvg) else {}
    try:
        return strategy_class(**all_nodes, **options)
    except ANY_ERROR as error:
        raise InputError(
            f"teacher.options: {name} refuses {options}: {type(error).__name__}: {error}."
        ) from None


def every_node(n_companies: int) -> dict[str, int]:
    """Arguments by which FedAvg takes all companies, and waits for no other node.

    By default it wants two nodes, and would wait for ever for the second.
    """
    counts = ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes")
    return dict.fromkeys(counts, n_companies)
