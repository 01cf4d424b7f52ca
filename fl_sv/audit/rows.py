"""Do two companies hold the same rows?

A company's update is what its rows say, with the noise of a sample. Two companies whose rows were
drawn apart share no noise, however like their populations are; copies, jittered too, do. Let u_i be
company i's update in a round, from the model that all have trained together. For any four

    (u_i - u_k) (u_j - u_l)  =  the covariance of the noise of i and j, in the mean,

since what all have in common cancels, and k and l have noise of their own. In the first round most
of an update is common, and the rest a mix of classes; later the noise stands out. Parts of the
validation rows stand beside the companies' rows, and the operator trains on each. Their noise is
independent by how they were drawn: how they correlate with each other and with the companies shows
what chance makes of nothing in this game, with its data and models. What a mix of classes does to
an update is taken out first: companies with the same classes are no copies.

Shapes: N companies; parts are of the validation rows. "parties" are both, companies first.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]

MOST_PARTS, FEWEST_PARTS = 8, 4
LEAST_NOISE = 0.05  # of a party, as a share of the mean: an estimate may even be negative
RANK = 1e-6  # directions that are shorter than this share of the longest are none
LEAST_CHANCE = 1e-30


def shared_noise(updates: Iterable[tuple[Floats, Floats]], n_companies: int) -> Floats:
    """(N, N) how surprising it is how much noise each two companies share (`surprise`).

    updates: of each model, seed and round the updates (parties, numbers), and the directions
        (directions, numbers) in which a mix of classes moves an update.
    """
    products = [_products(update, directions) for update, directions in updates]
    covariance = _covariances(np.sum([each / np.trace(each) for each in products], axis=0))
    noise = np.diag(covariance)
    noise = np.maximum(noise, LEAST_NOISE * np.abs(noise).mean())
    squares = covariance**2 / np.outer(noise, noise)
    parts = squares[n_companies:, n_companies:][np.triu_indices(len(noise) - n_companies, 1)]
    # A company that trains on the validation rows shares noise with all parts: hence the median.
    with_parts = np.median(squares[:n_companies, n_companies:].mean(axis=1))
    by_chance = np.sqrt(max(parts.mean(), with_parts))
    deviations = (covariance / np.sqrt(np.outer(noise, noise)))[:n_companies, :n_companies]
    deviations = deviations / by_chance
    return surprise(student.sf(deviations, len(parts)), n_companies * (n_companies - 1) // 2)


def surprise(chance: Floats, n_tests: int) -> Floats:
    """Minus the decimal logarithm of the chance that one of so many tests is as far out: 2 where
    one run in a hundred has such a one, 0 where all have.

    chance: of each test alone.
    """
    figure: Floats = 0.0 - np.log10(np.clip(n_tests * chance, LEAST_CHANCE, 1.0))
    return figure


def _products(update: Floats, directions: Floats) -> Floats:
    """Inner products of the updates, each of length 1, without their parts along the directions."""
    length = np.linalg.norm(update, axis=1, keepdims=True)
    rest = update / np.where(length > 0, length, 1)
    if len(directions):
        _, size, basis = np.linalg.svd(directions, full_matrices=False)
        basis = basis[size > RANK * size[0]]
        rest = rest - rest @ basis.T @ basis
    return rest @ rest.T


def _covariances(product: Floats) -> Floats:
    """The mean over all k, l, different from each other and from i and j, of what is above."""
    n, row, own = len(product), product.sum(axis=1), np.diag(product)
    once, twice = row[:, None] + row, own[:, None] + own
    # The others of two: the sum of their products with i and j, and among each other.
    crossed = once - twice - 2 * product
    among = product.sum() - 2 * once + twice + 2 * product - (own.sum() - twice)
    covariance: Floats = product - crossed / (n - 2) + among / ((n - 2) * (n - 3))
    # The others of one.
    crossed_of_one = 2 * (row - own)
    among_of_one = product.sum() - 2 * row + own - (own.sum() - own)
    of_one = own - crossed_of_one / (n - 1) + among_of_one / ((n - 1) * (n - 2))
    np.fill_diagonal(covariance, of_one)
    return covariance
