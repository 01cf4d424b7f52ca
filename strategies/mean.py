"""Weighted means of parameters in float64, block by block.

The sums of a block stay in the second cache of a core. So a mean of gigabytes needs no memory but
that of its result, and parts of what is averaged may lie on disk.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.spool import Reader

# Sums that are in work at a time, 1 MiB. Ten times as many take a third more time.
CACHE_NUMBERS = 1 << 17


def blocks(length: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of `size` into which a length is divided, as (start, end); the last is shorter.

    >>> [*blocks(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, length, size):
        yield start, min(start + size, length)


def fedavg(
    readers: Sequence[Reader], weights: Sequence[int], length: int
) -> Iterator[NDArray[np.float64]]:
    """The weighted mean of vectors, block by block.

    readers: of each vector. weights: above 0. length: of the vectors.

    To every bit it is what Flower's FedAvg makes of the vectors in float64 and this order: each is
    multiplied by its share of the weights, and then added.
    """
    shares = [weight / sum(weights) for weight in weights]
    for start, end in blocks(length, CACHE_NUMBERS):
        parts = (
            np.multiply(read(start, end), share, dtype=np.float64)
            for read, share in zip(readers, shares, strict=True)
        )
        mean = next(parts)
        for part in parts:
            mean += part
        yield mean
