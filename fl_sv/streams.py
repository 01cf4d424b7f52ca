"""Named streams of random numbers, from one seed and without global state.

A stream is keyed by the seed and by names: the replicate, the company's *name*, the round and the
purpose. It depends neither on the coalition that trains, nor on the company's place in the config,
the number of companies, or the process that draws. So all coalitions train with common random
numbers: they cancel in a marginal contribution, and chance cannot become pay.
"""

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_global_generators = threading.RLock()


def stream(*key: int | str) -> np.random.Generator:
    """The generator of the stream `key`; equal keys give equal numbers on every machine.

    >>> key = (7, "Alder Post", 3, "batches")
    >>> bool(stream(*key).random() == stream(*key).random())
    True
    """
    return np.random.default_rng(stream_seed(*key))


def stream_seed(*key: int | str) -> int:
    """A seed of 63 bits from the same key, for generators other than numpy's, such as torch's."""
    # With its type, so that 1 and "1" are different keys.
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextmanager
def global_draws(seed: int) -> Iterator[None]:
    """A context in which the global generators have this seed and belong to this thread.

    Modules draw from torch's, as in dropout; a user's module may draw from numpy's or Python's.
    """
    import torch  # here, since `fl-sv pay` and `verify` need no torch

    # torch seeds the generators of all GPUs; afterwards each is as it was.
    gpus = range(torch.cuda.device_count())
    with _global_generators, torch.random.fork_rng(devices=gpus):
        before = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
