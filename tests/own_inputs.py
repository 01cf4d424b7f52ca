"""Modules and losses for tests/test_inputs.py: token ids, mappings, a target at every place."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 12_000  # more than a scaled number may be


class Tagger(nn.Module):
    """Embeds ids; answers for the row, or at every place."""

    def __init__(self, width: int, n_outputs: int, every_place: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, width), nn.Linear(width, n_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.every_place = every_place

    def forward(self, ids: Tensor) -> Tensor:
        assert ids.dtype == torch.int64
        hidden = self.embed(ids).tanh()
        return self.head(hidden if self.every_place else hidden.mean(1))


def bag(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return Tagger(width, n_outputs, False)


def tagger(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return Tagger(width, n_outputs, True)


class Masked(nn.Module):
    """Takes a mapping: ids, a mask, and real numbers of the row."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], n_outputs: int, width: int) -> None:
        super().__init__()
        (numbers,) = shapes["numbers"]
        self.bag, self.side = Tagger(width, n_outputs, True), nn.Linear(numbers, n_outputs)

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        mask = given["attention_mask"][:, :, None]
        each = self.bag(given["input_ids"]) * mask
        return each.sum(1) / mask.sum(1) + self.side(given["numbers"])


def masked(input_shape: Any, n_outputs: int, width: int) -> nn.Module:
    return Masked(input_shape, n_outputs, width)


class Outputs(nn.Module):
    """Gives outputs of a shape of its own for rows of real numbers."""

    def __init__(self, inputs: int, width: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.a, self.shape = nn.Linear(inputs, width), shape
        self.b = nn.Linear(width, torch.Size(shape).numel())

    def forward(self, rows: Tensor) -> Tensor:
        return self.b(self.a(rows).tanh()).reshape(len(rows), *self.shape)


def pair(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return Outputs(input_shape[0], width, (2, n_outputs))


def quantiles(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return Outputs(input_shape[0], width, (3,))


# --- losses ---------------------------------------------------------------------------------------


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.1)


def both(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of two answers to one row."""
    return smoothed(outputs[:, 0], targets) + smoothed(outputs[:, 1], targets)


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of three quantiles."""
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=outputs.dtype)
    off = targets[:, None] - outputs
    return torch.maximum(levels * off, (levels - 1) * off).mean(1)


def in_python(outputs: Tensor, targets: Tensor) -> Tensor:
    """No vmap can follow it: it looks at a number."""
    scale = 2.0 if outputs.sum().item() > 1e9 else 1.0
    return scale * smoothed(outputs, targets)


def mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets)


def batch_mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets).expand(len(outputs))


def negative(outputs: Tensor, targets: Tensor) -> Tensor:
    return smoothed(outputs, targets) - 10


def detached(outputs: Tensor, targets: Tensor) -> Tensor:
    return smoothed(outputs.detach(), targets)


def drawing(outputs: Tensor, targets: Tensor) -> Tensor:
    return smoothed(outputs, targets) * torch.rand(1)


def in_place(outputs: Tensor, targets: Tensor) -> Tensor:
    return smoothed(outputs.detach().mul_(2) + 0 * outputs, targets)


def raising(outputs: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("no such column")
