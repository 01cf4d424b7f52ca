"""The simplest rules from small losses and large runs; every part of the law must earn its place
against them.

They get what law_n gets: both ends and the singletons. Known runs are put in as they are.

Shapes: N companies, C = 2**N coalitions, M small sizes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.law.protocol import Seen
from fl_sv.game.coalitions import EMPTY
from fl_sv.values import shapley

Floats = NDArray[np.float64]

RIDGE = 0.2  # of the sum of squares


def simple_rules(seen: Seen, runs: Sequence[int]) -> dict[str, Floats]:
    """Values by each rule, from these large runs."""
    known = np.array(sorted(runs))
    predicted = {
        "small_mapped": mapped(seen.small[:, -1], known, seen.large[known]),
        "log_line": log_line(seen.small[:, -1], known, seen.large[known]),
        "averaged_difference": averaged_difference(seen.small, seen.averaged(runs)),
    }
    value = {}
    for name, loss_C in predicted.items():
        loss_C[known] = seen.large[known]
        value[name] = shapley(-loss_C)
    value["mean_of_two"] = (value["log_line"] + value["averaged_difference"]) / 2
    return value


def mapped(small_C: Floats, known: NDArray[np.intp], large: Floats) -> Floats:
    """The small losses mapped affinely, so that both ends are right."""
    share_C = (small_C[EMPTY] - small_C) / (small_C[EMPTY] - small_C[-1])
    loss_C: Floats = large[0] - share_C * (large[0] - large[-1])
    return loss_C


def log_line(small_C: Floats, known: NDArray[np.intp], large: Floats) -> Floats:
    """The line of log large loss on log small loss through the known runs, by least squares."""
    slope, start = np.polyfit(np.log(small_C[known]), np.log(large), 1)
    loss_C: Floats = np.exp(start + slope * np.log(small_C))
    return loss_C


def averaged_difference(small_CM: Floats, averaged: Floats) -> Floats:
    """The small loss, and by how much the averages of the members' own models differ at the large
    size: L(S) + c_|S| (E_large(S) - E(S)).

    c is 1 for one member and 0 for all; between them it is what the ladder's last step shows,
    shrunk to (N/s - 1)/(N - 1).
    """
    n = len(small_CM).bit_length() - 1
    size_C = np.array([c.bit_count() for c in range(len(small_CM))])
    largest, below = small_CM.shape[1] - 1, small_CM.shape[1] - 2
    loss_C = small_CM[:, largest].copy()
    for size in range(1, n):
        here = size_C == size
        share = (n / size - 1) / (n - 1)
        if below >= 0 and size > 1:
            x = (averaged[:, largest] - averaged[:, below])[here]
            y = (small_CM[:, largest] - small_CM[:, below])[here]
            weight = RIDGE * float(x @ x) + 1e-12
            share = (float(x @ y) + weight * share) / (float(x @ x) + weight)
        loss_C[here] += share * (averaged[:, -1] - averaged[:, largest])[here]
    return loss_C


def merging_rules(seen: Seen, runs: Sequence[int]) -> dict[str, Floats]:
    """Values by the models that are put together from the members' own, for each way to do so.

    `as they are`: their losses alone. `scaled`: to the measured gain, known runs put in.
    `corrected`: plus one factor times what the largest small model's losses say more than its own
    averages do; the factor is right for the grand coalition. Known runs are put in.
    """
    known = np.array(sorted(runs))
    small_C, value = seen.small[:, -1], {}
    gain = float(seen.large[EMPTY] - seen.large[-1])
    for column in seen.game.columns():
        below_C, here_C = seen.averaged(runs, column)[:, -2:].T
        scaled_C = seen.large[EMPTY] - (here_C[EMPTY] - here_C) * gain / (
            here_C[EMPTY] - here_C[-1]
        )
        factor = (seen.large[-1] - here_C[-1]) / (small_C[-1] - below_C[-1])
        corrected_C = here_C + factor * (small_C - below_C)
        value[f"{column} as they are"] = shapley(-here_C)
        for name, loss_C in (("scaled", scaled_C), ("corrected", corrected_C)):
            loss_C[known] = seen.large[known]
            value[f"{column} {name}"] = shapley(-loss_C)
    return value
