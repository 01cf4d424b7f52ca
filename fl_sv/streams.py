"""Named streams of random numbers: one seed, no global state.

A stream is keyed by the seed and by names: the replicate, the company's *name*, the round and the
purpose. It never depends on the coalition that trains (common random numbers: what cancels in a
marginal contribution cannot become pay), nor on the company's place in the config, the number of
companies, or the process that draws."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_torch_generator = threading.RLock()


def stream(*key: int | str) -> np.random.Generator:
    """The generator of the stream named `key`; equal keys, equal numbers, on every machine.

    >>> key = (7, "Alder Post", 3, "batches")
    >>> bool(stream(*key).random() == stream(*key).random())
    True
    """
    return np.random.default_rng(stream_seed(*key))


def stream_seed(*key: int | str) -> int:
    """A 64-bit seed for generators other than numpy's (torch), from the same keys."""
    text = "\x1f".join(
        f"{type(part).__name__}:{part}" for part in key
    )  # 1 and "1" are different keys
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@contextmanager
def torch_draws(seed: int) -> Iterator[None]:
    """Modules draw from torch's one global generator: inside the block it has this seed and belongs
    to this thread.
    """
    import torch  # `fl-sv pay` and `verify` do without

    with _torch_generator, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
