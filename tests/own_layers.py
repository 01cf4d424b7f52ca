"""Modules made of the usual layers, as users write them, for tests/test_layers.py.

All take rows of shape (2, 8, 8).
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Factory = Callable[..., nn.Module]


def _factory(*layers: Callable[[], nn.Module], width: int) -> Factory:
    def factory(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        return nn.Sequential(*(make() for make in layers), nn.Linear(width, n_outputs))

    return factory


class Written(nn.Module):
    """Layers by name, and a forward function over them."""

    def __init__(self, forward: Callable[..., Tensor], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def _written(forward: Callable[..., Tensor], layers: Callable[[int], dict[str, Any]]) -> Factory:
    def factory(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        return Written(forward, **layers(n_outputs))

    return factory


class Rows(nn.Module):
    """The rows of an image as places of a sentence."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def _encoder(**options: Any) -> Factory:
    return _factory(
        Rows,
        lambda: nn.Linear(16, 8),
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options),
            num_layers=2,
            enable_nested_tensor=False,
        ),
        Mean,
        width=8,
    )


def _by_hand(m: Any, x: Tensor) -> Tensor:
    ids = (x.flatten(1)[:, :12] * 2).round().long() % 7
    h = m.embedding(ids) + m.place
    n_rows, places, width = h.shape
    for norm, qkv, out, after, wide, narrow in m.blocks:
        q, k, v = qkv(norm(h)).view(n_rows, places, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / (width // 2) ** 0.5).softmax(-1)
        h = h + out((weights @ v).transpose(1, 2).reshape(n_rows, places, width))
        h = h + narrow(functional.gelu(wide(after(h))))
    return m.head(h[:, 0])


def _block(width: int, norm: Callable[[int], nn.Module]) -> nn.ModuleList:
    return nn.ModuleList(
        [
            *(norm(width), nn.Linear(width, 3 * width), nn.Linear(width, width, bias=False)),
            *(norm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)),
        ]
    )


def _parts_by_hand(norm: Callable[[int], nn.Module]) -> Callable[[int], dict[str, Any]]:
    return lambda n_outputs: {
        "embedding": nn.Embedding(7, 8, padding_idx=3),
        "place": nn.Parameter(torch.randn(12, 8) / 9),
        "blocks": nn.ModuleList([_block(8, norm), _block(8, norm)]),
        "head": nn.Linear(8, n_outputs),
    }


def _causal(m: Any, x: Tensor) -> Tensor:
    h = m.a(x.transpose(1, 2).flatten(2))
    mask = nn.Transformer.generate_square_subsequent_mask(8, dtype=x.dtype)
    mixed, _ = m.attention(h, h, h, attn_mask=mask, is_causal=True, need_weights=False)
    again, weights = m.attention(mixed, h, h, key_padding_mask=x[:, 0, 0] > 1.5)
    fused = functional.scaled_dot_product_attention(h, again, h, is_causal=True)
    return m.head(torch.cat([again[:, -1], fused[:, 3], weights[:, 2]], dim=1))


def _residual(m: Any, x: Tensor) -> Tensor:
    h = functional.relu(m.stem(x))
    h = functional.relu(h + m.norm(m.conv(h)))
    h = functional.max_pool2d(h, 2) + functional.avg_pool2d(h, 2)
    h = functional.silu(m.grouped(h)) * m.by_channel(h).sigmoid()
    return m.head(functional.adaptive_avg_pool2d(h, 1).view(len(x), -1))


def _tied(m: Any, x: Tensor) -> Tensor:
    """The embedding is the output layer, as in language models."""
    ids = (x.flatten(1)[:, :9] * 2).round().long() % 3
    return functional.linear(m.embedding(ids).mean(1), m.embedding.weight)


def _frozen_layers(n_outputs: int) -> dict[str, Any]:
    frozen = nn.Linear(128, 12)
    conv = nn.Conv2d(3, 3, 3, padding=1)
    for parameter in (*frozen.parameters(), *conv.parameters()):
        parameter.requires_grad_(False)
    return {
        "stem": nn.Conv2d(2, 3, 1),
        "conv": conv,
        "frozen": frozen,
        "down": nn.Linear(192, 2, bias=False),
        "up": nn.Linear(2, 12, bias=False),
        "again": nn.Linear(12, 12),
        "head": nn.Linear(12, n_outputs),
    }


def _frozen(m: Any, x: Tensor) -> Tensor:
    """Adapters beside a frozen layer."""
    h = m.conv(m.stem(x)).flatten(1)
    h = m.frozen(x.flatten(1)) + m.up(m.down(h))
    return m.head(functional.linear(h.tanh(), m.frozen.weight[:, :12], m.frozen.bias) + m.again(h))


def _drops(m: Any, x: Tensor) -> Tensor:
    h = functional.dropout2d(m.conv(x).relu(), 0.4, m.training)
    h = functional.dropout(h.flatten(1), 0.3, m.training)
    return m.head(h * (1 + torch.rand_like(h) * m.training))


def _own_products(m: Any, x: Tensor) -> Tensor:
    """Parameters of its own, no layers; in place and by einsum."""
    h = torch.einsum("bchw,ck->bkhw", x, m.mix)
    h = h.clone()
    h += m.shift[:, None, None]
    h[:, 0] *= 2
    return torch.matmul(h.amax((2, 3)), m.out)


def _reads_a_constant(m: Any, x: Tensor) -> Tensor:
    """As transformers does: what it reads depends on sizes and on a frozen weight alone."""
    places = torch.arange(x.shape[-1])
    scale = 2 if (places.diff() == 1).all() else float(m.frozen.max())
    return m.a(x.flatten(1)) * scale * max(m.frozen.tolist())


class Meeting:
    """Where two trainings wait for each other, in the middle of a forward pass."""

    barrier: threading.Barrier | None = None


def _meets(m: Any, x: Tensor) -> Tensor:
    if m.training and Meeting.barrier is not None:
        Meeting.barrier.wait(timeout=30)
    return _drops(m, x)


MODULES: dict[str, Factory] = {
    "cnn": _factory(
        lambda: nn.Conv2d(2, 4, 3, padding=1),
        lambda: nn.GroupNorm(2, 4),
        nn.ReLU,
        lambda: nn.AvgPool2d(2),
        lambda: nn.Conv2d(4, 6, 3, bias=False),
        nn.GELU,
        lambda: nn.MaxPool2d(2),
        nn.Flatten,
        width=6,
    ),
    "cnn, other sizes": _factory(
        lambda: nn.Conv2d(2, 5, (3, 2), stride=2, padding=(0, 1), dilation=(2, 1)),
        lambda: nn.InstanceNorm2d(5, affine=True),
        nn.LeakyReLU,
        lambda: nn.Conv2d(5, 4, 3, padding="same"),
        lambda: nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
        lambda: nn.MaxPool2d(2, ceil_mode=True),
        lambda: nn.AdaptiveAvgPool2d(1),
        nn.Flatten,
        width=4,
    ),
    "conv1d": _factory(
        Rows,
        lambda: nn.Conv1d(8, 6, 3, padding=1),
        lambda: nn.GroupNorm(3, 6, affine=False),
        nn.Tanh,
        lambda: nn.Conv1d(6, 4, 3, groups=2, stride=2),
        lambda: nn.MaxPool1d(2),
        lambda: nn.AvgPool1d(2),
        nn.Flatten,
        width=4,
    ),
    "residual": _written(
        _residual,
        lambda n_outputs: {
            "stem": nn.Conv2d(2, 4, 3, padding=1),
            "conv": nn.Conv2d(4, 4, 3, padding=1),
            "norm": nn.GroupNorm(1, 4),
            "grouped": nn.Conv2d(4, 8, 3, padding=1, groups=4),
            "by_channel": nn.Conv2d(4, 8, 1),
            "head": nn.Linear(8, n_outputs),
        },
    ),
    "encoder": _encoder(dropout=0.0),
    "encoder, norm first": _encoder(dropout=0.0, norm_first=True, activation="gelu"),
    "encoder with dropout": _encoder(dropout=0.2),
    "transformer by hand": _written(_by_hand, _parts_by_hand(nn.LayerNorm)),
    "transformer by hand, RMSNorm": _written(_by_hand, _parts_by_hand(nn.RMSNorm)),
    "attention with masks": _written(
        _causal,
        lambda n_outputs: {
            "a": nn.Linear(16, 8),
            "attention": nn.MultiheadAttention(8, 2, batch_first=True, bias=False),
            "head": nn.Linear(24, n_outputs),
        },
    ),
    "tied": _written(_tied, lambda n_outputs: {"embedding": nn.Embedding(n_outputs, 5)}),
    "frozen": _written(_frozen, _frozen_layers),
    "dropout": _written(
        _drops, lambda n_outputs: {"conv": nn.Conv2d(2, 3, 3), "head": nn.Linear(108, n_outputs)}
    ),
    "meeting": _written(
        _meets, lambda n_outputs: {"conv": nn.Conv2d(2, 3, 3), "head": nn.Linear(108, n_outputs)}
    ),
    "products": _written(
        _own_products,
        lambda n_outputs: {
            "mix": nn.Parameter(torch.randn(2, 4)),
            "shift": nn.Parameter(torch.randn(4)),
            "out": nn.Parameter(torch.randn(4, n_outputs)),
        },
    ),
    "layer norm of images": _factory(
        lambda: nn.LayerNorm([2, 8, 8]),
        nn.Flatten,
        lambda: nn.LayerNorm(128, bias=False),
        lambda: nn.Linear(128, 6),
        nn.SiLU,
        width=6,
    ),
    "reads a constant": _written(
        _reads_a_constant,
        lambda n_outputs: {
            "a": nn.Linear(128, n_outputs),
            "frozen": nn.Parameter(torch.arange(1.0, 4.0), requires_grad=False),
        },
    ),
    "bilinear": _factory(nn.Flatten, lambda: nn.Linear(128, 8), lambda: nn.GLU(), width=4),
}


DRAWING_BY_NUMPY = _written(
    lambda m, x: m.a(x.flatten(1)) * (1 + m.training * np.random.rand()),  # noqa: NPY002
    lambda n_outputs: {"a": nn.Linear(128, n_outputs)},
)


def _reading(scale: Callable[[Tensor], Any]) -> Factory:
    """The scale of a layer's outputs depends on the numbers of the rows."""
    return _written(
        lambda m, x: m.a(x.flatten(1)) * scale(x),
        lambda n_outputs: {"a": nn.Linear(128, n_outputs)},
    )


# Numbers that they read decide what they compute: no sequence of operations is that of all rows.
READING: dict[str, Factory] = {
    "a branch": _reading(lambda x: 2 if x.mean() > 0 else 1),
    "item": _reading(lambda x: x.abs().max().item()),
    "a list": _reading(lambda x: max(x.flatten().tolist())),
    "numpy": _reading(lambda x: float(x.numpy().max())),
    "an array": _reading(lambda x: float(np.asarray(x).max())),
    "a mask": _reading(lambda x: x[x > 0].sum()),
    "places": _reading(lambda x: len(torch.nonzero(x > 1)) / 9),
    "equality": _reading(lambda x: 1 + torch.equal(x, x.abs())),
}


def make(input_shape: tuple[int, ...], n_outputs: int, which: str) -> nn.Module:
    others = {**MODULES, **READING, "numpy draws": DRAWING_BY_NUMPY}
    return others[which](input_shape, n_outputs)
