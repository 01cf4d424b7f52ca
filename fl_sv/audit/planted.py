"""Did a company train on the operator's validation rows?

Some rows of the validation file have labels that were drawn at random, and score nothing. A company
that trains on a copy of the file makes the drawn labels more likely. Whatever an honest company
does, all labels are alike to it: the chance of what its models say is that of labels drawn anew,
exactly. In a regression the planted rows' targets were exchanged among them at random.

What is looked at is what remains of a company's outputs once those of the others on the same row
are taken out: how hard a row is, and what it looks like, all models see.

Shapes: K outputs; (rows, ...) has one entry for each row, (planted, ...) for each planted one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl_sv.audit.sketch import WIDTH, sketch

Floats = NDArray[np.float64]

RIDGE = 0.3  # of the mean square of a direction
MOST_LEVERAGE = 0.99
LEAST_LOG = -30.0  # of a probability
MOST_AT_ONCE = 1 << 20  # targets that are exchanged at once


def log_probabilities(logits: Floats) -> Floats:
    """Of each class (..., K), from outputs."""
    apart = logits - logits.max(axis=-1, keepdims=True)
    log: Floats = apart - np.log(np.exp(apart).sum(axis=-1, keepdims=True))
    np.maximum(log, LEAST_LOG, out=log)
    return log


def remains(own: Floats, others: Sequence[Floats]) -> Floats:
    """(rows, K) what the others' outputs do not say of a company's own.

    Each row is predicted by ridge regression on all other rows. own, others: outputs (rows, K) on
    the same rows.
    """
    said = np.concatenate(others, axis=1)
    said = sketch(said) if said.shape[1] > WIDTH else said
    left, size, _ = np.linalg.svd(said - said.mean(axis=0), full_matrices=False)
    kept = size**2 / (size**2 + RIDGE * max((size**2).mean(), np.finfo(float).tiny))
    centred = own - own.mean(axis=0)
    missed = centred - left @ (kept[:, None] * (left.T @ centred))
    leverage = left**2 @ kept + 1 / len(own)
    apart: Floats = missed / (1 - np.minimum(leverage, MOST_LEVERAGE))[:, None]
    return apart


def chance_of_labels(
    remaining: Floats, labels: NDArray[np.int64], n_draws: int, generator: np.random.Generator
) -> float:
    """How likely labels drawn evenly from all classes suit the company as well as these do.

    remaining: (planted, K) what `remains` of its outputs. labels: (planted,).
    """
    rows = np.arange(len(labels))
    drawn = np.zeros(n_draws)
    for of_row in remaining:
        drawn += of_row[generator.integers(len(of_row), size=n_draws)]
    return _share(float(remaining[rows, labels].sum()), drawn)


def chance_of_targets(
    remaining: Floats, targets: Floats, n_draws: int, generator: np.random.Generator
) -> float:
    """How likely targets exchanged at random suit the company as well as these do.

    remaining, targets: (planted,).
    """
    size = max(1, MOST_AT_ONCE // len(targets))
    drawn = [
        generator.permuted(np.tile(targets, (min(size, n_draws - done), 1)), axis=1) @ remaining
        for done in range(0, n_draws, size)
    ]
    return _share(float(targets @ remaining), np.concatenate(drawn))


def _share(found: float, drawn: Floats) -> float:
    """Of draws that reach what was found, which is one of them."""
    tolerance = 1e-9 * max(1.0, abs(found))
    return float(1 + (drawn >= found - tolerance).sum()) / (1 + len(drawn))
