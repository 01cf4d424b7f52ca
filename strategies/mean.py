"""Weighted means of parameters in float64, block by block.

The sums of a block stay in the second cache of a core. So a mean of gigabytes needs no memory but
that of its result, and parts of what is averaged may lie on disk.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fl_sv.training.pairs import Pair
from strategies.products import put_products
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


def cuts(length: int, size: int, pairs: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """As `blocks`, but that no adapter is divided: one that does not fit is a part by itself.

    >>> [*cuts(9, 4, [Pair(start=2, rank=1, inputs=3, outputs=3)])]
    [(0, 2), (2, 8), (8, 9)]
    """
    if length <= size:
        yield from blocks(length, size)
        return
    done = 0
    for pair in pairs:
        yield from ((done + a, done + b) for a, b in blocks(pair.start - done, size))
        yield pair.start, pair.end
        done = pair.end
    yield from ((done + a, done + b) for a, b in blocks(length - done, size))


def within(pairs: Sequence[Pair], start: int, end: int) -> list[Pair]:
    """The adapters that lie in a part of the vectors."""
    return [pair for pair in pairs if start <= pair.start < end]


def fedavg(
    readers: Sequence[Reader], weights: Sequence[int], length: int, pairs: Sequence[Pair] = ()
) -> Iterator[NDArray[np.float64]]:
    """The weighted mean of vectors, block by block.

    readers: of each vector. weights: above 0. length: of the vectors.
    pairs: the adapters of which the products are averaged.

    To every bit it is what Flower's FedAvg makes of the vectors in float64 and this order: each is
    multiplied by its share of the weights, and then added.
    """
    shares = [weight / sum(weights) for weight in weights]
    for start, end in cuts(length, CACHE_NUMBERS, pairs):
        parts = (
            np.multiply(read(start, end), share, dtype=np.float64)
            for read, share in zip(readers, shares, strict=True)
        )
        mean = next(parts)
        for part in parts:
            mean += part
        if here := within(pairs, start, end):
            models = torch.stack([torch.tensor(read(start, end)).double() for read in readers])
            put_products(torch.from_numpy(mean), start, here, weights, models)
        yield mean
