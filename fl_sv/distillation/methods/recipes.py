"""Small BERTs: the losses of DistilBERT (Sanh et al. 2019) and TinyBERT (Jiao et al. 2020).

The terms are means over different things (masked tokens, all tokens, scores), so a recipe returns
one number for a batch. TinyBERT trains in two stages: first layers (attention, hidden states), then
predictions with `loss("cross_entropy", temperature=1)`. The published code divides the latter by K.

Shapes: B texts, K entries of the vocabulary; words for the rest.
"""

import torch
from torch import Tensor, nn

from fl_sv.distillation.checks import number, reals, same_shape
from fl_sv.distillation.losses import loss
from fl_sv.distillation.methods.hints import cosine, hint
from fl_sv.distillation.methods.transformer import MASKED, States
from fl_sv.errors import InputError


def distilbert(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    features: Tensor,
    teacher_features: Tensor,
    *,
    temperature: float = 2.0,
    weights: tuple[float, float, float] = (5.0, 2.0, 1.0),
) -> Tensor:
    """w_ce T^2 KL(p_t || p_s) + w_mlm CE(s, y) + w_cos (1 - cos(h_s, h_t)): a number.

    Each term is a mean. Logits are (masked tokens, K), targets (masked tokens,), features the last
    hidden states (tokens, width). weights: (w_ce, w_mlm, w_cos). Raises InputError for bad input.
    """
    w_ce, w_mlm, w_cos = (number(weight, "a weight", 0) for weight in weights)
    soft = loss("hinton", temperature=temperature, alpha=1)(student_logits, teacher_logits).mean()
    hard = loss("hinton", alpha=0)(student_logits, teacher_logits, targets).mean()
    return w_ce * soft + w_mlm * hard + w_cos * cosine(features, teacher_features).mean()


def attention(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """(B,) mean squared difference of attention scores (B, heads, tokens, tokens).

    Scores of padding, at most -100, count as 0.
    """
    s, t = reals(scores, "scores", "BASS"), reals(teacher_scores, "teacher_scores", "BASS")
    same_shape(s, t, "scores and teacher_scores")
    return hint(*(torch.where(score <= MASKED, 0, score) for score in (s, t)))


def tinybert(student: States, teacher: States, projection: nn.Module) -> Tensor:
    """TinyBERT's first stage, a number: attention and hidden states, summed over layers.

    projection: one layer from the student's width to the teacher's for all hidden states, trained
    with the student. Raises InputError when the teacher's number of layers is no multiple of the
    student's, or the shapes differ.
    """
    n_student, n_teacher = len(student.scores), len(teacher.scores)
    maps = attention_layers(n_student, n_teacher)
    from_attention = [
        attention(s, teacher.scores[i]).mean() for s, i in zip(student.scores, maps, strict=True)
    ]
    maps = hidden_layers(n_student, n_teacher)
    from_hidden = [
        hint(projection(s), teacher.hidden[i]).mean()
        for s, i in zip(student.hidden, maps, strict=True)
    ]
    return torch.stack(from_attention + from_hidden).sum()


def attention_layers(n_student: int, n_teacher: int) -> list[int]:
    """The teacher's layer for each layer i of the student: (i + 1) n_teacher / n_student - 1.

    >>> attention_layers(2, 6)
    [2, 5]
    """
    every = _every(n_student, n_teacher)
    return [(i + 1) * every - 1 for i in range(n_student)]


def hidden_layers(n_student: int, n_teacher: int) -> list[int]:
    """The same for hidden states, of which the embeddings are number 0: i n_teacher / n_student.

    >>> hidden_layers(2, 6)
    [0, 3, 6]
    """
    every = _every(n_student, n_teacher)
    return [i * every for i in range(n_student + 1)]


def _every(n_student: int, n_teacher: int) -> int:
    if n_student < 1 or n_teacher < 1 or n_teacher % n_student:
        raise InputError(
            f"a teacher of {n_teacher} layers cannot be mapped evenly on {n_student}; it must have"
            " a multiple."
        )
    return n_teacher // n_student
