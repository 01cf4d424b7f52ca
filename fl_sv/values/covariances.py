"""Random games whose Shapley values have a closed form: the covariances of the surrogate.

`Decay` falls exponentially with the weight of the companies that count: those of the union of S and
T, or those in which S and T differ. The first kind suits data that overlap, where each item counts
once: the items that are in neither coalition are what the losses of both have in common. The second
kind has no direction and suits any game.

Both are products over companies. The Shapley values of a product S -> prod_i f_i(i in S) are one
integral (Owen 1972, multilinear extension):

    phi_i = int_0^1 (f_i(1) - f_i(0)) prod_{j != i} (q f_j(1) + (1-q) f_j(0)) dq

Shapes: N companies, C coalitions. "landmarks" are the coalitions T, "nodes" those of the integral.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Members = NDArray[np.bool_]

# Exact up to N = 96. Beyond, the integrand is as smooth, and 48 nodes leave only rounding.
MOST_NODES = 48


class Covariance(Protocol):
    """Covariance k of the utilities of two coalitions.

    landmarks: (landmarks, N) members. weight_N: how much each company counts, 1 on average.
    """

    def between(self, members_CN: Members, landmarks: Members, weight_N: Floats) -> Floats:
        """(C, landmarks) covariance of the coalitions with the landmarks."""

    def shapley(self, landmarks: Members, weight_N: Floats) -> Floats:
        """(landmarks, N) Shapley values of the games S -> k(S, T), one for each landmark T."""


@dataclass(frozen=True)
class Linear:
    """Dot product of the two coalitions written as -1 and +1, divided by N: additive games."""

    def between(self, members_CN: Members, landmarks: Members, weight_N: Floats) -> Floats:
        return 1 - 2 * _counted_weight(members_CN, landmarks, weight_N, 2) / len(weight_N)

    def shapley(self, landmarks: Members, weight_N: Floats) -> Floats:
        values: Floats = np.where(landmarks, 2.0, -2.0) * weight_N / len(weight_N)
        return values


@dataclass(frozen=True)
class Decay:
    """Mean of exp(-rate * weight that counts) over rates, each times rate**power.

    shared: 1 counts the union of S and T, 2 what they differ in.
    slowest, fastest: the rates double from one to the other.
    """

    shared: int
    slowest: float
    fastest: float
    power: float = 0.0

    def between(self, members_CN: Members, landmarks: Members, weight_N: Floats) -> Floats:
        decayed = np.exp(
            -self.slowest * _counted_weight(members_CN, landmarks, weight_N, self.shared)
        )
        covariance = np.zeros_like(decayed)
        for rate in self._rates():
            covariance += rate**self.power * decayed
            decayed *= decayed
        return covariance

    def shapley(self, landmarks: Members, weight_N: Floats) -> Floats:
        # chances, mean_inside, mean_outside: (nodes, 1 or N); products: (landmarks, nodes)
        nodes, node_weights = np.polynomial.legendre.leggauss(
            min(len(weight_N) // 2 + 1, MOST_NODES)
        )
        chances = (nodes[:, None] + 1) / 2
        values = np.zeros(landmarks.shape)
        inside, outside = landmarks.astype(float), (~landmarks).astype(float)
        for rate in self._rates():
            counts_N = np.exp(-rate * weight_N)
            # Factor of a company by whether it is in S. Outside T it counts when it is in S; in T
            # it counts always (union), or when it is not in S (difference).
            in_both_N = counts_N ** (2 - self.shared)
            mean_inside = chances * in_both_N + (1 - chances) * counts_N
            mean_outside = chances * counts_N + (1 - chances)
            products = np.exp(inside @ np.log(mean_inside).T + outside @ np.log(mean_outside).T)
            products *= rate**self.power * node_weights / 2
            values += inside * (products @ ((in_both_N - counts_N) / mean_inside))
            values += outside * (products @ ((counts_N - 1) / mean_outside))
        return values

    def _rates(self) -> list[float]:
        n_rates = 1 + round(np.log2(self.fastest / self.slowest))
        return [self.slowest * 2.0**k for k in range(n_rates)]


def covariances_for(n_companies: int) -> list[Covariance]:
    """The candidates for the surrogate's covariance, the simplest first.

    Linear is exact on 2-additive games as soon as the pairs determine N slopes. The rates of the
    union range from one at which all companies together count little to one at which a single
    company counts much.
    """
    slowest = 2.0 ** -(3 + np.ceil(np.log2(n_companies)))
    return [
        Linear(),
        *(Decay(2, rate / n_companies, rate / n_companies) for rate in (1.0, 2.0, 4.0)),
        *(Decay(1, slowest, 2.0, power) for power in (0.0, 0.5)),
    ]


def _counted_weight(
    members_CN: Members, landmarks: Members, weight_N: Floats, shared: int
) -> Floats:
    """(C, landmarks) weight of S plus that of T, minus `shared` times that of what both have."""
    weighted_CN = members_CN * weight_N
    counted: Floats = weighted_CN @ (-float(shared) * landmarks.T)
    counted += weighted_CN.sum(axis=1)[:, None]
    counted += (landmarks * weight_N).sum(axis=1)
    return np.maximum(counted, 0)
