"""Plug-ins that live outside the package, as a user's would: modules, data and a strategy."""

import numpy as np
import torch
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn

from fl_sv.law import Family, Game


class TinyTransformer(nn.Module):
    """Rows of the image are tokens; one attention layer, mean over tokens."""

    def __init__(self, tokens: int, features: int, width: int, n_outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.position = nn.Parameter(torch.zeros(tokens, width))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(1, -2)) + self.position
        mixed = nn.functional.scaled_dot_product_attention(
            self.query(tokens), self.key(tokens), self.value(tokens)
        )
        return self.head(self.norm(tokens + mixed).mean(1))


def tiny_transformer(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return TinyTransformer(input_shape[-2], input_shape[-1], width, n_outputs)


def dropout_mlp(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    inputs = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(width, n_outputs),
    )


def batchnorm_mlp(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    inputs = int(np.prod(input_shape))
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(inputs), nn.Linear(inputs, n_outputs))


def two_moons(rows: int = 200) -> dict[str, np.ndarray]:
    """A data source: two half circles, and a column that says who owns a row."""
    from sklearn.datasets import make_moons

    x, y = make_moons(rows, noise=0.1, random_state=0)
    return {"x": x, "y": y, "owner": np.where(np.arange(rows) % 3 == 0, "Ash", "Beech")}


def two_sizes(game: Game) -> Family:
    """A law that continues the line from the second largest small size to the largest."""
    normalized_CM = game.normalized_CM
    return Family(
        "line",
        (),
        np.zeros(0),
        np.zeros(0),
        False,
        lambda _: 2 * normalized_CM[:, -1] - normalized_CM[:, -2],
    )


def without_the_worse(game: Game) -> Family:
    """A law that fails where a coalition is worse than the empty one."""
    small_C = game.normalized_CM[:, -1]
    with np.errstate(invalid="ignore"):
        curve_C = np.sqrt(small_C)
    return Family("root", ("unused",), np.zeros(1), np.ones(1), True, lambda _: curve_C)


class HalfStep(FedAvg):
    """A user's strategy: goes half way to the average."""

    def configure_train(self, server_round, arrays, config, grid):
        self.before = {key: array.numpy() for key, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        from flwr.app import Array, ArrayRecord

        arrays, metrics = super().aggregate_train(server_round, replies)
        half = {key: Array((array.numpy() + self.before[key]) / 2) for key, array in arrays.items()}
        return ArrayRecord(half), metrics


class RulesOut(nn.Module):
    """An MLP that knows rows without the mark (first column) as none of the first class: minus
    infinity.
    """

    def __init__(self, inputs: int, width: int, n_outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        first, others = self.body(x).tensor_split([1], dim=1)
        return torch.cat([torch.where(x[:, :1] != 0, first, -torch.inf), others], dim=1)


def rules_out(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return RulesOut(*input_shape, width, n_outputs)


def marked(rows: int = 90) -> dict[str, np.ndarray]:
    """A data source: three classes, the first with a mark in the first column."""
    y = np.arange(rows) % 3
    noise = np.random.default_rng(0).normal(y[:, None], 1.0, (rows, 3))
    return {"x": np.column_stack([y == 0, noise]).astype(float), "y": y}


RAN: list[str] = []


def evil(command: str = "id") -> dict[str, np.ndarray]:
    """A function that somebody else wants to run on a company's machine."""
    RAN.append(command)
    return two_moons()
