"""A small transformer encoder with what the recipes need: logits, hidden states, attention scores.

Shapes: B texts, K entries of the vocabulary; words for the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from fl_sv.distillation.checks import count
from fl_sv.errors import InputError

# What is added to the scores of padding; scores at or below MASKED are not compared between models.
PADDING, MASKED = -10_000.0, -100.0


@dataclass(frozen=True, eq=False)
class States:
    """What an encoder computes.

    logits: (B, tokens, K). hidden: the embeddings, then a state (B, tokens, width) for each layer.
    scores: attention (B, heads, tokens, tokens) of each layer, before the softmax.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]


class Encoder(nn.Module):
    """A small BERT without dropout: embeddings, layers of self-attention, logits of every token."""

    def __init__(self, vocabulary: int, longest: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        if count(width, "width") % count(heads, "heads"):
            raise InputError(
                f"a width of {width} cannot be parted among {heads} heads; take a multiple."
            )
        self.tokens = nn.Embedding(count(vocabulary, "vocabulary"), width)
        self.places = nn.Embedding(count(longest, "longest"), width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(count(layers, "layers"))
        )
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor, padding: Tensor | None = None) -> Tensor:
        """Logits (B, tokens, K) of token ids (B, tokens); `padding`: True where there is none."""
        return self.states(tokens, padding).logits

    def states(self, tokens: Tensor, padding: Tensor | None = None) -> States:
        """All that a recipe compares; arguments as for `forward`.

        Raises InputError for a text longer than the encoder's longest.
        """
        if tokens.ndim != 2 or tokens.shape[1] > self.places.num_embeddings:
            raise InputError(
                f"tokens have shape {tuple(tokens.shape)}; they must be (B, tokens), at most"
                f" {self.places.num_embeddings} tokens."
            )
        hidden = [self.tokens(tokens) + self.places.weight[: tokens.shape[1]]]
        bias = None if padding is None else PADDING * padding.to(hidden[0].dtype)
        scores = []
        for layer in self.layers:
            scores.append(_scores(layer.self_attn, hidden[-1], bias))  # type: ignore[arg-type]
            hidden.append(layer(hidden[-1], src_key_padding_mask=bias))
        return States(self.head(hidden[-1]), tuple(hidden), tuple(scores))


def initialise_from(student: Encoder, teacher: Encoder, layers: Sequence[int]) -> None:
    """Copies the teacher's embeddings, its head and the given layers into the student.

    layers: one of the teacher's for each of the student's; DistilBERT takes 0, 2, 4, 7, 9, 11 of
    twelve. Raises InputError when widths or numbers of layers differ.
    """
    if len(layers) != len(student.layers) or not set(layers) <= set(range(len(teacher.layers))):
        raise InputError(
            f"layers are {list(layers)}; name {len(student.layers)} of the teacher's, 0 to"
            f" {len(teacher.layers) - 1}."
        )
    pairs = [
        (student.tokens, teacher.tokens),
        (student.places, teacher.places),
        (student.head, teacher.head),
    ]
    pairs += [(own, teacher.layers[i]) for own, i in zip(student.layers, layers, strict=True)]
    try:
        for own, original in pairs:
            own.load_state_dict(original.state_dict())
    except RuntimeError as error:
        raise InputError(f"the teacher's layers do not fit into the student: {error}") from error


def _scores(attention: nn.MultiheadAttention, hidden: Tensor, bias: Tensor | None) -> Tensor:
    """(B, heads, tokens, tokens) attention before the softmax: Q K' / sqrt(width / heads).

    torch's layer does not return it.
    """
    width, heads = attention.embed_dim, attention.num_heads
    weight, offset = attention.in_proj_weight[: 2 * width], attention.in_proj_bias[: 2 * width]
    both = functional.linear(hidden, weight, offset).reshape(
        *hidden.shape[:2], 2, heads, width // heads
    )
    query, key = both.permute(2, 0, 3, 1, 4)
    scores: Tensor = query @ key.mT / (width / heads) ** 0.5
    return scores if bias is None else scores + bias[:, None, None, :]
