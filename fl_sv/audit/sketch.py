"""Sketches: a few numbers that keep the inner products of long vectors.

Each parameter is added to one of WIDTH sums, with a sign; both are drawn (a count sketch, Charikar,
Chen and Farach-Colton 2002). Inner products of sketches are those of the vectors in the mean, with
a relative error of about 1 / sqrt(WIDTH). A sketch is linear, so that of a difference is the
difference of two.

Shapes: C models of a stack.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fl_sv.streams import stream

Floats = NDArray[np.float64]

WIDTH = 256
BLOCK = 1 << 20  # parameters that are summed at once


def sketch(stack: NDArray[np.floating]) -> Floats:
    """The sketches (C, WIDTH) of a stack (C, parameters)."""
    n_params = stack.shape[1]
    if n_params <= WIDTH:
        short = np.zeros((len(stack), WIDTH))
        short[:, :n_params] = stack
        return short
    order, sign, start = _drawn(n_params)
    size = max(1, BLOCK // n_params)
    parts = [
        np.add.reduceat(stack[first : first + size, order] * sign, start, axis=1)
        for first in range(0, len(stack), size)
    ]
    return np.concatenate(parts)


@lru_cache(maxsize=8)
def _drawn(n_params: int) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """The parameters in the order of their sums, the sign of each, and where each sum begins.

    Every sum has at least one parameter: they are dealt like cards.
    """
    draw = stream("audit", n_params)
    order = draw.permutation(n_params)
    sign = draw.choice([-1.0, 1.0], n_params)
    start = np.arange(WIDTH) * n_params // WIDTH
    return order, sign, start
