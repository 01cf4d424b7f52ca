"""Networks of any width for benchmarks.truth, as a user would plug in his own.

All give zeros as long as they are untrained. Norms are per row, so that coalitions do not
mix.

Shapes: B rows, S characters of a window, A letters of the alphabet, W width, H heads.
"""

import torch
from torch import Tensor, nn

HEADS, WIDER = 2, 4  # a transformer's feed-forward layer is so much wider than the rest
BEFORE = -1e4  # the score of a character that is not to be seen yet


def cnn(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    """Images (B, channels, 28, 28): two convolutions that halve the image, of `width` and twice as
    many channels.
    """
    channels, height, rows = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2),
        nn.GroupNorm(1, width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.GroupNorm(1, 2 * width),
        nn.ReLU(),
        nn.Flatten(),
        _silent(nn.Linear(2 * width * (height // 4) * (rows // 4), n_outputs)),
    )


def transformer(input_shape: tuple[int, ...], n_outputs: int, width: int, layers: int) -> nn.Module:
    """One-hot windows (B, S, A) to the logits of the character after them, through causal
    self-attention.
    """
    window, letters = input_shape
    return Transformer(window, letters, n_outputs, width, layers)


def llama(input_shape: tuple[int, ...], n_outputs: int, width: int) -> nn.Module:
    """Ids (B, S) to the logits (B, S, K) of what follows each: a base of examples/finetune.py
    before it was trained on anything.
    """
    from fl_sv.projects.bases import PLACES, new_base

    base = new_base(width, n_outputs, PLACES)
    _silent(base.get_output_embeddings())
    return Llama(base)


class Llama(nn.Module):
    """A causal transformer of the package transformers that answers with its logits alone."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.base(input_ids=ids, use_cache=False).logits
        return logits


class Transformer(nn.Module):
    """Letters and places, blocks of attention, and the logits of what the last place leads to."""

    def __init__(self, window: int, letters: int, n_outputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.letters = nn.Linear(letters, width)
        self.places = nn.Parameter(0.02 * torch.randn(window, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), _silent(nn.Linear(width, n_outputs))

    def forward(self, windows: Tensor) -> Tensor:
        hidden = self.blocks(self.letters(windows) + self.places)
        result: Tensor = self.head(self.norm(hidden[:, -1]))
        return result


class Block(nn.Module):
    """Self-attention to what came before, then a feed-forward layer, each on normed input and added
    to it.

    Attention is written out: torch's own has no batching rule on a CPU, and a stack of models would
    fall apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_wide = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        heads = self.attention(self.norm_attention(hidden)).unflatten(-1, (3, HEADS, -1))
        query, key, value = heads.transpose(1, 3).unbind(2)  # (B, H, S, W / H) each
        later = query.new_full((query.shape[2],) * 2, BEFORE).triu(1)
        seen = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5 + later, dim=-1) @ value
        hidden = hidden + self.joined(seen.transpose(1, 2).flatten(2))
        return hidden + self.narrow(torch.relu(self.wide(self.norm_wide(hidden))))


def _silent(head: nn.Linear) -> nn.Linear:
    """An output layer that starts at zero."""
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head
