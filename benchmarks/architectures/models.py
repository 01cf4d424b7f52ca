"""The modules that are timed, as a user writes them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Transformer(nn.Module):
    """Tokens, places, one or more of torch's encoder layers, the mean over places."""

    def __init__(self, places: int, n_outputs: int, width: int, **options: Any) -> None:
        super().__init__()
        layers = options.pop("layers", 1)
        self.tokens = nn.Embedding(IDS, width)
        self.places = nn.Parameter(torch.randn(places, width) / 10)
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, 2, 4 * width, batch_first=True, **options)
                for _ in range(layers)
            )
        )
        self.head = nn.Linear(width, n_outputs)

    def forward(self, ids: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.blocks(self.tokens(ids) + self.places).mean(1))
        return outputs


class Causal(nn.Module):
    """A small language model's block by hand: RMSNorm, gated units, the last place answers."""

    def __init__(self, places: int, n_outputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.tokens, self.head = nn.Embedding(IDS, width), nn.Linear(width, n_outputs)
        self.before, self.after = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = (
            nn.Linear(width, 3 * width, bias=False),
            nn.Linear(width, width, bias=False),
        )
        self.gate, self.up = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.tokens(ids)
        n_rows, places, width = h.shape
        joined = self.qkv(self.before(h)).view(n_rows, places, 3, self.heads, -1)
        mixed = functional.scaled_dot_product_attention(
            *joined.permute(2, 0, 3, 1, 4), is_causal=True
        )
        h = h + self.out(mixed.transpose(1, 2).reshape(n_rows, places, width))
        inner = self.after(h)
        h = h + self.down(functional.silu(self.gate(inner)) * self.up(inner))
        outputs: Tensor = self.head(h[:, -1])
        return outputs


class Residual(nn.Module):
    """A small residual network on colour images."""

    def __init__(self, n_outputs: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(4)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(width // 4, width) for _ in range(4))
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.max_pool2d(self.stem(x).relu(), 2)
        for i in (0, 2):
            inner = self.norms[i](self.convs[i](h)).relu()
            h = (h + self.norms[i + 1](self.convs[i + 1](inner))).relu()
        outputs: Tensor = self.head(h.mean((2, 3)))
        return outputs


IDS = 32


def transformer(input_shape: tuple[int, ...], n_outputs: int, **options: Any) -> nn.Module:
    return Transformer(input_shape[0], n_outputs, **options)


def causal(input_shape: tuple[int, ...], n_outputs: int, width: int, heads: int) -> nn.Module:
    return Causal(input_shape[0], n_outputs, width, heads)


def residual(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    return Residual(n_outputs, width)


def lenet(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """LeCun et al. 1998, with ReLU and maxima."""
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, n_outputs)),
    )


def signals(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    """Convolutions along one axis."""
    return nn.Sequential(
        *(nn.Conv1d(input_shape[0], width, 5, padding=2), nn.GroupNorm(1, width), nn.GELU()),
        *(nn.MaxPool1d(2), nn.Conv1d(width, width, 5, padding=2), nn.GELU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, n_outputs)),
    )


def tower(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    """Layers with LayerNorm and dropout, for tables."""
    return nn.Sequential(
        *(nn.Linear(input_shape[0], width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(0.1)),
        *(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(0.1)),
        nn.Linear(width, n_outputs),
    )
