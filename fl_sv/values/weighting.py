"""Values as weights of utilities: value_N = weight_CN.T @ utility_C.

There are weights for a whole game and for a sample of it. The same weights are applied to
everything that enters a value or its interval: the predicted utilities, the small model's, those
of every single validation example, and the law's errors.

Shapes: N companies, C coalitions of the design (ascending). "pairs" are a coalition and its
complement, "rows" the pairs and, last, the grand and the empty coalition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.game.coalitions import EMPTY, grand, members_matrix
from fl_sv.streams import stream
from fl_sv.values.corrected import Estimator, fit_estimator
from fl_sv.values.exact import semivalue, semivalue_weights
from fl_sv.values.inputs import spelled
from fl_sv.values.pairs import pairs_of

Floats = NDArray[np.float64]


class Weighting(Protocol):
    """How values follow from the utilities of a design's coalitions.

    Utilities are given for all coalitions of the design, ascending.
    """

    def weights(self, coalitions: Sequence[int]) -> Floats:
        """(C, N) weight of each of these coalitions' utility in each company's value."""

    def values(self, utility_C: Floats) -> Floats:
        """(N,) values of a game, from its utilities on the design's coalitions."""

    def sampling_covariance(self, utility_C: Floats) -> Floats:
        """(N, N) covariance of the values by the draw of the coalitions.

        Where the values of every draw have the same sum, every row sums to zero.
        """


@dataclass(frozen=True)
class Enumerated:
    """A semivalue of a game of which every coalition's utility is known."""

    n_companies: int
    semivalue: str

    def weights(self, coalitions: Sequence[int]) -> Floats:
        weight_by_size = semivalue_weights(self.n_companies, self.semivalue)
        members_CN = members_matrix(coalitions, self.n_companies)
        size_C = members_CN.sum(axis=1)
        joined_C = weight_by_size[np.maximum(size_C - 1, 0)]
        absent_C = weight_by_size[np.minimum(size_C, self.n_companies - 1)]
        weight_CN: Floats = np.where(members_CN, joined_C[:, None], -absent_C[:, None])
        return weight_CN

    def values(self, utility_C: Floats) -> Floats:
        return semivalue(utility_C, self.semivalue)  # never 2**N x N numbers in memory

    def sampling_covariance(self, utility_C: Floats) -> Floats:
        return np.zeros((self.n_companies, self.n_companies))


@dataclass(frozen=True, eq=False)
class Sampled:
    """The Shapley value, estimated from pairs of a coalition and its complement."""

    weight_CN: Floats
    _row_of: Mapping[int, int]
    _smaller: NDArray[np.intp]  # (pairs,) places of the pairs' smaller coalitions in the design
    _larger: NDArray[np.intp]  # (pairs,) and of their complements
    _by_name: NDArray[np.intp]
    _estimator: Estimator

    def weights(self, coalitions: Sequence[int]) -> Floats:
        rows_CN: Floats = self.weight_CN[[self._row_of[coalition] for coalition in coalitions]]
        return rows_CN

    def values(self, utility_C: Floats) -> Floats:
        value_N: Floats = utility_C @ self.weight_CN
        return value_N

    def sampling_covariance(self, utility_C: Floats) -> Floats:
        covariance_NN = np.empty((len(self._by_name), len(self._by_name)))
        differences = _differences(utility_C, self._smaller, self._larger)
        by_name = np.ix_(self._by_name, self._by_name)
        covariance_NN[by_name] = self._estimator.covariance(differences)
        return covariance_NN


def sampled(
    coalitions: Sequence[int], utility_C: Floats, companies: Sequence[str], seed: int
) -> Sampled:
    """The weights for a sample of coalitions, chosen by a game on it.

    coalitions: ascending, with the complement of every one of them.
    utility_C: their utilities.
    companies: names, in the order of the bits. The weights are computed in the order of the names,
        so that the config's order changes no bit.
    seed: of the landmarks.

    Raises InputError when a complement is missing.
    """
    grand_coalition = grand(len(companies))
    row_of = {coalition: row for row, coalition in enumerate(coalitions)}
    for coalition in coalitions:
        complement = grand_coalition & ~coalition
        if complement not in row_of:
            raise InputError(
                f"the sample has no utility of coalition {spelled(complement)}, the"
                f" complement of coalition {spelled(coalition)}; values are estimated from pairs"
            )
    by_name = np.array(sorted(range(len(companies)), key=companies.__getitem__))
    members_CN = members_matrix(coalitions, len(companies))[:, by_name]
    twice_size_C = 2 * members_CN.sum(axis=1)
    # As in `Pairs`: the smaller coalition, or of two halves the one with the first company by name.
    represents_C = (twice_size_C < len(companies)) | (
        (twice_size_C == len(companies)) & members_CN[:, 0]
    )
    represents_C[row_of[EMPTY]] = False
    smaller = np.flatnonzero(represents_C)
    smaller = smaller[np.lexsort([*members_CN[smaller].T, twice_size_C[smaller]])]
    larger = np.array(
        [row_of[grand_coalition & ~coalitions[row]] for row in smaller.tolist()], dtype=np.intp
    )
    estimator = fit_estimator(
        pairs_of(members_CN[smaller]),
        _differences(utility_C, smaller, larger),
        stream(seed, "landmarks"),
    )
    weight_CN = np.zeros(members_CN.shape)
    weight_CN[np.append(smaller, row_of[grand_coalition])[:, None], by_name] = estimator.row_weights
    weight_CN[np.append(larger, row_of[EMPTY])[:, None], by_name] = -estimator.row_weights
    return Sampled(weight_CN, row_of, smaller, larger, by_name, estimator)


def _differences(utility_C: Floats, smaller: NDArray[np.intp], larger: NDArray[np.intp]) -> Floats:
    """(rows,): v(S) - v(complement) of each pair, then v(grand) - v(empty)."""
    return np.append(utility_C[smaller] - utility_C[larger], utility_C[-1] - utility_C[0])
