"""Random games whose Shapley values have a closed form: the covariances of the surrogate.

A covariance k(S, T) says how much the utilities of two coalitions have to do with each other.
`Decay` falls exponentially with the weight of the companies that count: those of the union of S and
T, or those in which S and T differ. Data that overlap, each item of which counts once, have a
covariance of the first kind: what is in neither coalition is what the losses of both have in
common. The second kind has no direction and takes any game.

Either is a product over companies, and the Shapley values of a product S -> prod_i f_i(i in S) are
one integral, phi_i = int_0^1 (f_i(1) - f_i(0)) prod_{j != i} (q f_j(1) + (1-q) f_j(0)) dq (Owen
1972, multilinear extension).

Shapes: N companies, C coalitions, L landmarks (coalitions T), Q nodes of the integral.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Members = NDArray[np.bool_]

# Exact up to N = 96; beyond, the integrand is as smooth and 48 nodes leave rounding.
MOST_NODES = 48


class Covariance(Protocol):
    """Covariance k of the utilities of two coalitions; weight_N says how much a company counts, 1
    on average.
    """

    def between(self, member_CN: Members, member_LN: Members, weight_N: Floats) -> Floats:
        """covariance_CL."""

    def shapley(self, member_LN: Members, weight_N: Floats) -> Floats:
        """value_LN: Shapley values of the games S -> k(S, T), one for each T."""


@dataclass(frozen=True)
class Linear:
    """Dot product of the two coalitions written as -1 and +1, divided by N: additive games."""

    def between(self, member_CN: Members, member_LN: Members, weight_N: Floats) -> Floats:
        return 1 - 2 * _counted_weight(member_CN, member_LN, weight_N, 2) / len(weight_N)

    def shapley(self, member_LN: Members, weight_N: Floats) -> Floats:
        value_LN: Floats = np.where(member_LN, 2.0, -2.0) * weight_N / len(weight_N)
        return value_LN


@dataclass(frozen=True)
class Decay:
    """Mean of exp(-rate * weight that counts) over rates, each times rate**power.

    shared: 1 counts the union of S and T, 2 what they differ in. Rates double, from `slowest` to
    `fastest`."""

    shared: int
    slowest: float
    fastest: float
    power: float = 0.0

    def between(self, member_CN: Members, member_LN: Members, weight_N: Floats) -> Floats:
        decayed_CL = np.exp(
            -self.slowest * _counted_weight(member_CN, member_LN, weight_N, self.shared)
        )
        covariance_CL = np.zeros_like(decayed_CL)
        for rate in self._rates():
            covariance_CL += rate**self.power * decayed_CL
            decayed_CL *= decayed_CL
        return covariance_CL

    def shapley(self, member_LN: Members, weight_N: Floats) -> Floats:
        node_Q, node_weight_Q = np.polynomial.legendre.leggauss(
            min(len(weight_N) // 2 + 1, MOST_NODES)
        )
        chance_Q1 = (node_Q[:, None] + 1) / 2
        value_LN = np.zeros(member_LN.shape)
        inside_LN, outside_LN = member_LN.astype(float), (~member_LN).astype(float)
        for rate in self._rates():
            counts_N = np.exp(-rate * weight_N)
            # Factor of a company by whether it is in S: outside T it counts when in S; in T always,
            # or when not in S.
            in_both_N = counts_N ** (2 - self.shared)
            mean_inside_QN = chance_Q1 * in_both_N + (1 - chance_Q1) * counts_N
            mean_outside_QN = chance_Q1 * counts_N + (1 - chance_Q1)
            product_LQ = np.exp(
                inside_LN @ np.log(mean_inside_QN).T + outside_LN @ np.log(mean_outside_QN).T
            )
            product_LQ *= rate**self.power * node_weight_Q / 2
            value_LN += inside_LN * (product_LQ @ ((in_both_N - counts_N) / mean_inside_QN))
            value_LN += outside_LN * (product_LQ @ ((counts_N - 1) / mean_outside_QN))
        return value_LN

    def _rates(self) -> list[float]:
        n_rates = 1 + round(np.log2(self.fastest / self.slowest))
        return [self.slowest * 2.0**k for k in range(n_rates)]


def covariances_for(n_companies: int) -> list[Covariance]:
    """What the surrogate is chosen from, the simplest first.

    Linear is exact on 2-additive games as soon as the pairs determine N slopes. Rates of the union
    range from one at which all companies together count little to one at which a single company
    counts much."""
    slowest = 2.0 ** -(3 + np.ceil(np.log2(n_companies)))
    return [
        Linear(),
        *(Decay(2, rate / n_companies, rate / n_companies) for rate in (1.0, 2.0, 4.0)),
        *(Decay(1, slowest, 2.0, power) for power in (0.0, 0.5)),
    ]


def _counted_weight(
    member_CN: Members, member_LN: Members, weight_N: Floats, shared: int
) -> Floats:
    """weight_CL of S plus that of T, less `shared` times that of both."""
    weighted_CN = member_CN * weight_N
    counted_CL: Floats = weighted_CN @ (-float(shared) * member_LN.T)
    counted_CL += weighted_CN.sum(axis=1)[:, None]
    counted_CL += (member_LN * weight_N).sum(axis=1)
    return np.maximum(counted_CL, 0)
