"""Losses of distillation that live outside the package, as a user's would."""

from collections.abc import Callable

from torch import Tensor

Rows = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def hellinger(power: float = 0.5) -> Rows:
    """Squared distance of the probabilities to a power; 0.5 gives twice Hellinger's."""
    return lambda s_BK, t_BK, targets_B: (
        (s_BK.softmax(1) ** power - t_BK.softmax(1) ** power) ** 2
    ).sum(1)


def mean_over_everything() -> Rows:
    """Not a loss of rows."""
    return lambda s_BK, t_BK, targets_B: (s_BK - t_BK).abs().mean()


def scaled(**options: float) -> Rows:
    """A factory that takes any options."""
    return lambda s_BK, t_BK, targets_B: options["by"] * (s_BK - t_BK).abs().sum(1)
