"""Sketches: a few numbers that keep the inner products of long vectors.

Each parameter is added to one of WIDTH sums, in turn, with a sign that is drawn (a count sketch,
Charikar, Chen and Farach-Colton 2002). Inner products of sketches are those of the vectors in the
mean, with a relative error of about 1 / sqrt(WIDTH). WIDTH is prime, so that the weights of one
input or one unit, which stand at regular distances, fall into different sums. A sketch is linear,
so that of a difference is the difference of two.

Shapes: C models of a stack.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fl_sv.streams import stream

Floats = NDArray[np.float64]

WIDTH = 257
MOST_LINES = 1 << 10  # of WIDTH parameters, which are summed in the stack's own precision
BLOCK = 1 << 20  # parameters that are summed at once


def sketch(stack: NDArray[np.floating]) -> Floats:
    """The sketches (C, WIDTH) of a stack (C, parameters)."""
    n_rows, n_params = stack.shape
    sums = np.zeros((n_rows, WIDTH))
    if n_params <= WIDTH:
        sums[:, :n_params] = stack
        return sums
    sign = _signs(n_params, stack.dtype)
    whole = n_params - n_params % WIDTH
    lines, signs = stack[:, :whole].reshape(n_rows, -1, WIDTH), sign[:whole].reshape(-1, WIDTH)
    for first in range(0, lines.shape[1], MOST_LINES):
        block = slice(first, first + MOST_LINES)
        sums += np.einsum("clw,lw->cw", lines[:, block], signs[block])
    sums[:, : n_params - whole] += stack[:, whole:] * sign[whole:]
    return sums


@lru_cache(maxsize=8)
def _signs(n_params: int, dtype: DTypeLike) -> NDArray[np.floating]:
    return stream("audit", n_params).choice([-1, 1], n_params).astype(dtype)
