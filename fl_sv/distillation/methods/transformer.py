"""A small transformer encoder that shows what recipes for transformers need: logits, hidden states,
attention scores.

Shapes: B texts, S tokens of a text, H hidden width, A attention heads, L layers, K entries of the
vocabulary."""

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
    """What an encoder computed: logits (B, S, K), L + 1 hidden states (B, S, H), the embeddings
    first, and L attention scores (B, A, S, S)."""

    logits: Tensor
    hidden: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]


class Encoder(nn.Module):
    """A BERT in small: embeddings of tokens and places, layers of self-attention, logits of every
    token. No dropout.
    """

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
        """Logits (B, S, K) of token ids (B, S); padding (B, S) is True where there is no token."""
        return self.states(tokens, padding).logits

    def states(self, tokens: Tensor, padding: Tensor | None = None) -> States:
        """All that a recipe compares. Raises InputError for a text longer than the encoder's
        longest.
        """
        if tokens.ndim != 2 or tokens.shape[1] > self.places.num_embeddings:
            raise InputError(
                f"tokens have shape {tuple(tokens.shape)}; they must be (B, S), S at most"
                f" {self.places.num_embeddings}."
            )
        hidden = [self.tokens(tokens) + self.places.weight[: tokens.shape[1]]]
        bias = None if padding is None else PADDING * padding.to(hidden[0].dtype)
        scores = []
        for layer in self.layers:
            scores.append(_scores(layer.self_attn, hidden[-1], bias))  # type: ignore[arg-type]
            hidden.append(layer(hidden[-1], src_key_padding_mask=bias))
        return States(self.head(hidden[-1]), tuple(hidden), tuple(scores))


def initialise_from(student: Encoder, teacher: Encoder, layers: Sequence[int]) -> None:
    """Copies the teacher's embeddings, head and the named layers into the student, in that order.

    DistilBERT takes layers 0, 2, 4, 7, 9, 11 of twelve. Raises InputError when widths or numbers of
    layers differ."""
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
    """(B, A, S, S) attention before the softmax, which torch's layer keeps to itself: Q K' / sqrt(H
    / A).
    """
    width, heads = attention.embed_dim, attention.num_heads
    weight, offset = attention.in_proj_weight[: 2 * width], attention.in_proj_bias[: 2 * width]
    both = functional.linear(hidden, weight, offset).reshape(
        *hidden.shape[:2], 2, heads, width // heads
    )
    query, key = both.permute(2, 0, 3, 1, 4)
    scores: Tensor = query @ key.mT / (width / heads) ** 0.5
    return scores if bias is None else scores + bias[:, None, None, :]
