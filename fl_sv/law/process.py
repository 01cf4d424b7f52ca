"""The deviations from the law: a random game whose covariance depends only on set sizes.

The large game's deviation from a law is the sum of two independent parts, each with a scale of its
own. Between coalitions S and T with s and t members the covariances are, at scale 1:

    common     0.7 alike + 0.18 average + 0.12 level: what coalitions share with each other
        alike      d J(S, T) J(N - S, N - T): coalitions deviate alike as far as they have the same
                   members and the same absentees
        average    |S & T| N / (s t (N - 1)) - 1 / (N - 1): a mean over members
        level      d min(s, t) / max(s, t): what coalitions of the same size, or of sizes near each
                   other, have in common
    singleton  1 for S = T of one member, otherwise 0: a model of one company's rows alone may go
               its own way, and no larger coalition follows it

J is Jaccard's similarity, which is positive definite (Gower and Legendre 1986). d(s) =
(N / s - 1) / (N - 1) is the finite-population variance of a mean over s members; d is the geometric
mean of d(s) and d(t). The shares of the common part were fitted by least squares to the deviations
of brute-forced games of digits.

Both parts are positive definite, 1 for a singleton, and 0 at the empty and the grand coalition.
Because they depend only on set sizes, the covariance of the N Shapley values is a multiple of
I - 1/N. It is computed by counting pairs of coalitions, without a 2**N x 2**N matrix.

Shapes: N companies, C coalitions.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

# Shares of the common part in the variance of a singleton.
ALIKE, AVERAGE, LEVEL = 0.7, 0.18, 0.12

Floats = NDArray[np.float64]
# A part: the covariance from the two sizes, the number of common members, and N.
Part = Callable[[Floats, Floats, Floats, int], Floats]


def common(s: Floats, t: Floats, both: Floats, n_companies: int) -> Floats:
    """The covariance of the common part; the arrays broadcast."""
    if n_companies == 1:
        return np.zeros(np.broadcast_shapes(s.shape, t.shape))
    rest = n_companies - 1
    proper = (s > 0) & (s < n_companies) & (t > 0) & (t < n_companies)
    s, t = np.where(proper, s, 1), np.where(proper, t, 1)
    both = np.where(proper, both, 0)
    either = s + t - both
    depth = np.sqrt((n_companies / s - 1) * (n_companies / t - 1)) / rest
    # The second factor is Jaccard's similarity of the absentees. Its denominator is zero only at
    # the grand coalition, which is not proper.
    alike = depth * both / either * (n_companies - either) / (n_companies - both)
    average = both * n_companies / (s * t * rest) - 1 / rest
    level = depth * np.minimum(s, t) / np.maximum(s, t)
    return np.where(proper, ALIKE * alike + AVERAGE * average + LEVEL * level, 0.0)


def singleton(s: Floats, t: Floats, both: Floats, n_companies: int) -> Floats:
    """The covariance of the singletons' part; the arrays broadcast."""
    alone = (s == 1) & (t == 1) & (both == 1)
    return alone.astype(np.float64) if n_companies > 1 else np.zeros(alone.shape)


def covariance(part: Part, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Floats:
    """Covariance of the deviations of two lists of coalitions, at scale 1.

    first, second: members of the coalitions, (rows, N) and (columns, N). Returns (rows, columns).
    """
    n_companies = first.shape[1]
    both = first.astype(np.float64) @ second.T.astype(np.float64)
    first_sizes = first.sum(axis=1).astype(np.float64)
    second_sizes = second.sum(axis=1).astype(np.float64)
    return part(first_sizes[:, None], second_sizes[None, :], both, n_companies)


def variance(part: Part, members_CN: NDArray[np.bool_]) -> Floats:
    """(C,) variance of each coalition's deviation: the diagonal of `covariance`."""
    size_C = members_CN.sum(axis=1).astype(np.float64)
    return part(size_C, size_C, size_C, members_CN.shape[1])


def value_covariance(part: Part, n_companies: int) -> Floats:
    """(N, N) covariance of the Shapley values of a game drawn from the part, at scale 1.

    The values are exchangeable and sum to zero, so the variance of one company determines all of
    it.
    """
    if n_companies == 1:
        return np.zeros((1, 1))
    rest = n_companies - 1
    # Pairs of coalitions S and T of the other companies, counted by the sizes s, t and |S & T|.
    s, t, both = np.meshgrid(*[np.arange(rest + 1.0)] * 3, indexing="ij")
    possible = (both <= s) & (both <= t) & (s + t - both <= rest)
    s, t, both = s[possible], t[possible], both[possible]
    groups = np.stack([both, s - both, t - both, rest - s - t + both])
    log_pairs = gammaln(rest + 1) - gammaln(groups + 1).sum(axis=0)
    # A company's value is a sum over coalitions of the rest, of size s, each with the weight
    # s! (N - 1 - s)! / N!.
    log_weight = gammaln(s + 1) + gammaln(rest - s + 1) + gammaln(t + 1) + gammaln(rest - t + 1)
    weight = np.exp(log_pairs + log_weight - 2 * gammaln(n_companies + 1))
    marginal = (
        part(s + 1, t + 1, both + 1, n_companies)
        - part(s + 1, t, both, n_companies)
        - part(s, t + 1, both, n_companies)
        + part(s, t, both, n_companies)
    )
    return float(weight @ marginal) * (n_companies * np.eye(n_companies) - 1) / rest


def value_cross_covariance(part: Part, members_CN: NDArray[np.bool_]) -> Floats:
    """(N, C) covariance of the Shapley values with the coalitions' deviations, at scale 1.

    It depends on the coalition's size, and on whether the company is a member. Summed over
    companies it is zero: the values sum to the deviation of the grand coalition minus that of the
    empty one, and both are zero.
    """
    n_companies = members_CN.shape[1]
    by_size = np.array(
        [_member_cross_covariance(part, size, n_companies) for size in range(n_companies + 1)]
    )
    size_C = members_CN.sum(axis=1)
    absent_C = -by_size[size_C] * size_C / np.maximum(n_companies - size_C, 1)
    cross_NC: Floats = np.where(members_CN.T, by_size[size_C], absent_C)
    return cross_NC


def _member_cross_covariance(part: Part, size: int, n_companies: int) -> float:
    """Covariance of a company's Shapley value with a coalition of `size` that it belongs to."""
    if size in (0, n_companies):
        return 0.0
    rest = n_companies - 1
    t, both = np.meshgrid(np.arange(rest + 1.0), np.arange(size + 0.0), indexing="ij")
    possible = (both <= t) & (t - both <= n_companies - size)
    t, both = t[possible], both[possible]
    chosen = np.stack([both, size - 1 - both])
    others = np.stack([t - both, n_companies - size - t + both])
    log_ways = gammaln(size) - gammaln(chosen + 1).sum(axis=0)
    log_ways += gammaln(n_companies - size + 1) - gammaln(others + 1).sum(axis=0)
    weight = np.exp(log_ways + gammaln(t + 1) + gammaln(rest - t + 1) - gammaln(n_companies + 1))
    s = np.full_like(t, size)
    return float(weight @ (part(t + 1, s, both + 1, n_companies) - part(t, s, both, n_companies)))
