"""Learning rates that a run chooses itself: which are tried, and which follows (`auto`).

The grand coalition trains a model at every rate that is tried, by FedAvg. The operator scores these
models on its tuning set, rows that score nothing else. The large model takes the rate with the
lowest loss. A small model takes the one at which it gains nearest to what the large one gains: the
law predicts best where small models learn as far as the large one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fl_sv.config import Config
from fl_sv.config.models import model_name, rates_of, stated_rate
from fl_sv.errors import RunError, listed

# The seed of these trainings. Those of the game are 0, 1, ..., so it is none of them.
TUNING_SEED = -1


@dataclass(frozen=True)
class TriedRate:
    """A model that the grand coalition trained at one rate, on the tuning set.

    rounds: how many it trained; the last of them is the one in which it diverged.
    company: whose model was the first without finite parameters; empty where none was.
    loss: None where the training diverged.
    """

    model: str
    rate: float
    rounds: int
    company: str
    untrained_loss: float
    loss: float | None

    @property
    def status(self) -> str:
        return "diverged" if self.loss is None else "done"

    @property
    def gain(self) -> float:
        """The fall of the loss from the untrained model; minus infinity where it diverged."""
        return -math.inf if self.loss is None else self.untrained_loss - self.loss


@dataclass(frozen=True)
class TriedRates:
    """All rates that a run tried, and those that it takes.

    rows: of the tuning set.
    """

    config: Config
    rows: int
    tried: tuple[TriedRate, ...]

    def of(self, model: str) -> tuple[TriedRate, ...]:
        """What was tried for a model, by ascending rate."""
        return tuple(each for each in self.tried if each.model == model)

    @cached_property
    def taken(self) -> Mapping[str, TriedRate]:
        """By model: the rate that it takes. Raises RunError when all rates of a model diverged."""
        large = model_name(self.config.models.large)
        finished = {model: self._finished(model) for model in rates_to_try(self.config)}
        # Of equal ones the lower rate, which comes first.
        best = min(finished[large], key=lambda each: -each.gain)

        def distance(each: TriedRate) -> float:
            return abs(each.gain - best.gain)

        small = {m: min(tried, key=distance) for m, tried in finished.items() if m != large}
        return {**small, large: best}

    def takes(self, each: TriedRate) -> bool:
        """Whether the run takes this rate. Raises RunError as `taken` does."""
        return self.taken[each.model] == each

    @property
    def chosen(self) -> dict[str, float]:
        """The learning rate of each model whose rate the config leaves to the run."""
        return {
            model_name(model): self.taken[model_name(model)].rate
            for model in (*self.config.models.small, self.config.models.large)
            if stated_rate(model, self.config.training) is None
        }

    def _finished(self, model: str) -> list[TriedRate]:
        finished = [each for each in self.of(model) if each.loss is not None]
        if not finished:
            raise RunError(
                f"{model} has no learning rate: with every one that was tried"
                f" ({listed([f'{each.rate:g}' for each in self.of(model)])}) the training of all"
                " companies diverged. Start a new run with a lower training.learning_rate, around"
                " which rates are tried, or a learning_rate of this model's own."
            )
        return finished


def rates_to_try(config: Config) -> dict[str, tuple[float, ...]]:
    """The rates that are tried, ascending, by model; none where the config states all rates.

    A large model with a stated rate is tried at that rate alone: the small ones are compared with
    what it gains.
    """
    if not config.tries_rates:
        return {}
    training, large = config.training, config.models.large
    small = [model for model in config.models.small if stated_rate(model, training) is None]
    return {model_name(model): rates_of(model, training) for model in (*small, large)}


def rates_in_force(config: Config, rates: TriedRates | None) -> dict[str, float]:
    """The learning rate of every model: stated by the config, or chosen."""
    stated = {
        model_name(model): stated_rate(model, config.training)
        for model in (*config.models.small, config.models.large)
    }
    chosen = {} if rates is None else rates.chosen
    return {model: chosen[model] if rate is None else rate for model, rate in stated.items()}
