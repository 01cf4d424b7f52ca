"""Does a company do the same work in every coalition?

In a round a company goes through the same batches for all its coalitions, so its update is one
function of the model from which it starts: the same in the first round, where all start from one
model, and later a smooth one. Near enough to a straight line in what the members weigh, as models
of coalitions are means: the update of each coalition follows from those of the others, up to a
residual. More steps in some coalitions, or a poisoned half of them, do not.

Shapes: C coalitions of a company, N companies, V validation examples, K outputs.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What N numbers fit exactly leaves nothing to predict; so many coalitions more are needed.
LEAST_MORE = 1
USUAL = 0.25  # a residual that says nothing, in lengths of an update
MOST_LEVERAGE = 0.95
LEAST_UNLIKE = 0.02  # models of the same rows


def deviation(weight_CN: Floats, updates: Floats) -> tuple[float, int] | None:
    """How far the updates are from what the others predict, and which of them stands out.

    The first is the largest distance of an update from its prediction by all others, over the
    median update's length. The second is the row of the update that, changed, explains most.

    weight_CN: what each member weighs in the coalition; rows sum to 1.
    updates: sketches (C, numbers).

    None where there are too few coalitions, or no update at all.
    """
    share_CN = weight_CN[:, weight_CN.any(axis=0)]
    if len(updates) < share_CN.shape[1] + LEAST_MORE:
        return None
    length = float(np.median(np.linalg.norm(updates, axis=1)))
    if length == 0:
        return None
    fit_NC = np.linalg.pinv(share_CN)
    free_C = 1 - np.minimum((share_CN * fit_NC.T).sum(axis=1), MOST_LEVERAGE)
    missed_C = np.linalg.norm(updates - share_CN @ (fit_NC @ updates), axis=1)
    return float((missed_C / free_C).max()) / length, int((missed_C / np.sqrt(free_C)).argmax())


def log_lengths(updates: Floats) -> float:
    """The median of the logarithm of the updates' lengths; NaN where one is nothing."""
    length_C = np.linalg.norm(updates, axis=1)
    return float(np.median(np.log(length_C))) if length_C.all() else float("nan")


def difference(update: Floats, other: Floats) -> float:
    """How far two updates are apart, over the length of the longer one; 0 if both are nothing."""
    longest = max(np.linalg.norm(update), np.linalg.norm(other))
    return float(np.linalg.norm(update - other) / longest) if longest else 0.0


def beside_others(residual_N: Floats) -> Floats:
    """(N,) each company's largest residual over the median of the others', or USUAL.

    Where one company's work changes from coalition to coalition, so do the models from which the
    others start, and all residuals rise; that company's most.
    """
    others = [np.median(np.delete(residual_N, i)) for i in range(len(residual_N))]
    beside_N: Floats = residual_N / np.maximum(others, USUAL)
    return beside_N


def factors(log_N: Floats) -> Floats:
    """(N,) the factor, at least 1, between each company's figure and the median of the others'.

    log_N: logarithms of positive figures.
    """
    apart = [log_N[i] - np.median(np.delete(log_N, i)) for i in range(len(log_N))]
    return np.exp(np.abs(apart))


def strangeness(small: Sequence[Floats], large: Sequence[Floats]) -> Floats:
    """(N,) how unlike the answers of each company's large model and small ones are, over how unlike
    those of its small ones are to each other.

    small, large: outputs (N, V, K) of the companies' own models, of each size and seed.
    """
    small, large = [*map(_peculiar, small)], [*map(_peculiar, large)]
    among = [_unlike(one, other) for one, other in combinations(small, 2)]
    across = [_unlike(one, other) for one in small for other in large]
    strange_N: Floats = np.mean(across, axis=0) / np.maximum(np.mean(among, axis=0), LEAST_UNLIKE)
    return strange_N


def _peculiar(outputs_NVK: Floats) -> Floats:
    """What each company's own rows taught its model, of length 1: its outputs without the mean of
    all companies' outputs.
    """
    own = outputs_NVK - outputs_NVK.mean(axis=0)
    own = own - own.mean(axis=1, keepdims=True)
    length = np.linalg.norm(own, axis=(1, 2), keepdims=True)
    peculiar: Floats = own / np.where(length > 0, length, 1)
    return peculiar


def _unlike(one_NVK: Floats, other_NVK: Floats) -> Floats:
    """(N,) 1 less the correlation."""
    unlike_N: Floats = 1 - (one_NVK * other_NVK).sum(axis=(1, 2))
    return unlike_N
