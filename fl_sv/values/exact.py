"""Semivalues and interactions from a complete utility table, exact up to rounding.

A semivalue pays company i its marginal contributions v(S+i) - v(S), averaged with a weight that
depends only on the size s of S. In the shape (high bits, bit i, low bits) the table gives all
marginal contributions of i by one subtraction. Dropping bit i leaves the other companies in the
same order for every i, so one vector of weights serves all companies.

Shapes: N companies, C = 2**N coalitions (index = bitmask). "rest" are the 2**(N-1) coalitions of
the other companies (bit i dropped).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

from fl_sv.config.semivalues import beta_parameters
from fl_sv.errors import InputError
from fl_sv.values.inputs import as_table


def shapley(utilities: ArrayLike) -> NDArray[np.float64]:
    """Exact Shapley value of each company (Shapley 1953).

        value_i = sum over S without i of  s! (N - 1 - s)! / N!  (v(S+i) - v(S)),  s = |S|

    utilities: (2**N,) utility of every coalition, index = bitmask: bit i set, company i is in it.

    Returns the values (N,) in the unit of the utilities; they sum to v(grand) - v(empty). Raises
    InputError when a coalition is missing. `semivalue` states time and memory.

    >>> shapley([0, 1, 2, 6])  # nobody, company 0, company 1, both
    array([2.5, 3.5])
    """
    return semivalue(utilities, "shapley")


def banzhaf(utilities: ArrayLike) -> NDArray[np.float64]:
    """Exact raw Banzhaf value of each company: its mean marginal contribution (Banzhaf 1965).

    utilities: (2**N,) utility of every coalition, index = bitmask.

    Returns the values (N,), means over the 2**(N-1) coalitions of the others. In general they do
    not sum to v(grand) - v(empty).

    >>> banzhaf([0, 0, 0, 4, 0, 0, 0, 4])  # companies 0 and 1 need each other, not 2
    array([2., 2., 0.])
    """
    return semivalue(utilities, "banzhaf")


def semivalue(utilities: ArrayLike, name: str) -> NDArray[np.float64]:
    """Exact semivalue of each company, by name.

    utilities: (2**N,) utility of every coalition, index = bitmask.
    name: shapley, banzhaf, loo (leave-one-out) or beta:A,B (Beta Shapley, Kwon and Zou 2022).

    Returns the values (N,) in the unit of the utilities. Raises InputError for a bad table or name.

    Besides the table it needs as much memory again, twice as much where the table must be converted
    to float64. 2**20 coalitions are 8 MiB and take 0.1 s, 2**24 are 128 MiB and take 2 s (2 cores,
    2026-11).

    >>> semivalue([0, 1, 2, 6], "loo")  # what the grand coalition loses without the company
    array([4., 5.])
    """
    utility_C, n_companies = as_table(utilities)
    return _semivalue(utility_C, n_companies, semivalue_weights(n_companies, name))


def semivalue_weights(n_companies: int, name: str) -> NDArray[np.float64]:
    """Weight of one marginal contribution, by the size s = 0 .. N-1 of the coalition joined.

    The semivalue of company i is the sum over S without i of weight[|S|] * (v(S+i) - v(S)). The
    weights satisfy: sum over s of C(N-1, s) * weight[s] = 1. Callers whose table does not fit into
    memory use these weights to accumulate the values piece by piece.

    Returns (N,). Raises InputError for an unknown name.

    >>> semivalue_weights(3, "shapley") * 6
    array([2., 1., 2.])
    """
    if (
        isinstance(n_companies, bool)
        or not isinstance(n_companies, int | np.integer)
        or n_companies < 1
    ):
        raise InputError(f"n_companies is {n_companies!r}; allowed is a whole number of at least 1")
    rest = int(n_companies) - 1
    if name == "shapley":
        # Division of whole numbers: exact for any number of companies, where float factorials
        # overflow at 171.
        return np.array([1 / (n_companies * math.comb(rest, s)) for s in range(n_companies)])
    if name == "banzhaf":
        return np.full(n_companies, 0.5**rest)
    if name == "loo":
        return np.concatenate([np.zeros(rest), [1.0]])
    a, b = beta_parameters(name)
    size = np.arange(n_companies)
    # In logarithms: the beta functions themselves underflow for large A, B and N.
    log_weight_N: NDArray[np.float64] = betaln(size + b, rest - size + a) - betaln(a, b)
    return np.exp(log_weight_N)


def interactions(utilities: ArrayLike) -> NDArray[np.float64]:
    """Pairwise Shapley interaction index (Grabisch and Roubens 1999).

    The interaction of i and j is the Shapley value of j in the game of i's marginal contributions.
    It is negative where two companies replace each other.

    utilities: (2**N,) utility of every coalition, index = bitmask.

    Returns (N, N), symmetric with a zero diagonal, in the unit of the utilities.

    >>> interactions([0, 1, 2, 6])  # the utility of both is 3 more than the sum of each
    array([[0., 3.],
           [3., 0.]])
    """
    utility_C, n_companies = as_table(utilities)
    interaction_NN = np.zeros((n_companies, n_companies))
    if n_companies == 1:
        return interaction_NN
    weight_N = semivalue_weights(n_companies - 1, "shapley")
    for i in range(1, n_companies):
        # The companies below i keep their bit when bit i is dropped, so the first i values are
        # theirs. The others follow by symmetry.
        interaction_NN[i, :i] = _semivalue(_marginals(utility_C, i), n_companies - 1, weight_N)[:i]
    return interaction_NN + interaction_NN.T


def moebius(utilities: ArrayLike) -> NDArray[np.float64]:
    """Moebius transform of a game: the Harsanyi dividends (Harsanyi 1963).

        v(S) = sum over T within S of dividend(T)

    The Shapley value of i is the sum over the coalitions T with i of dividend(T) / |T|.

    utilities: (2**N,) utility of every coalition, index = bitmask. Returns (2**N,).

    >>> moebius([0, 1, 2, 6])
    array([0., 1., 2., 3.])
    """
    utility_C, n_companies = as_table(utilities)
    dividend_C = utility_C.copy()
    # One company at a time: S with i becomes S with i minus S without i. After all companies this
    # is the alternating sum over subsets, in N * 2**N steps instead of 3**N.
    for i in range(n_companies):
        halves = dividend_C.reshape(-1, 2, 1 << i)
        halves[:, 1] -= halves[:, 0]
    return dividend_C


def _semivalue(
    utility_C: NDArray[np.float64], n_companies: int, weight_N: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) sum of every company's marginal contributions, weighted by the size it joins."""
    # By the number of members of each coalition of the rest.
    rest_weights = weight_N[np.bitwise_count(np.arange(1 << (n_companies - 1), dtype=np.uint32))]
    return np.array([_weighted_marginals(utility_C, i, rest_weights) for i in range(n_companies)])


def _weighted_marginals(
    utility_C: NDArray[np.float64], i: int, rest_weights: NDArray[np.float64]
) -> float:
    """Weighted sum of the marginal contributions of company i.

    A function of its own, so that the marginals of one company are freed before the next are made.
    """
    marginals = _marginals(utility_C, i)
    marginals *= rest_weights
    # Not a dot product: BLAS adds in an order that depends on its threads. This sum always gives
    # the same bits.
    return float(marginals.sum())


def _marginals(utility_C: NDArray[np.float64], i: int) -> NDArray[np.float64]:
    """v(S+i) - v(S) for the coalitions S of the rest, ascending with bit i dropped: (2**(N-1),)."""
    halves = utility_C.reshape(-1, 2, 1 << i)
    return (halves[:, 1] - halves[:, 0]).reshape(-1)
