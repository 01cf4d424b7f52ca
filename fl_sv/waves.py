"""Waves: bounded sets of coalitions that are trained from start to finish, so that memory, messages and what a crash
loses are bounded by the wave and not by 2**N."""

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import numpy as np

from fl_sv.config import Config

MEGABYTE = 1_000_000


def bytes_per_coalition(config: Config, n_params: Sequence[int]) -> int:
    """Bytes of one coalition's models in a message: every small size (n_params of each) and every replicate."""
    itemsize = np.dtype(config.compute.dtype).itemsize
    return sum(n_params) * config.training.seeds * itemsize


def plan_waves(
    config: Config, n_params: Sequence[int], coalitions: Iterable[int], known: Collection[int] = ()
) -> list[list[int]]:
    """The coalitions but the known ones, ascending, in waves of messages within the configured size."""
    per_wave = max(1, int(config.coalitions.wave_megabytes * MEGABYTE / bytes_per_coalition(config, n_params)))
    known = frozenset(known)
    todo = sorted(coalition for coalition in coalitions if coalition not in known)
    n_waves = min(len(todo), max(config.coalitions.waves, math.ceil(len(todo) / per_wave)))
    # Python's integers, not numpy's: there may be more companies than bits in a word.
    bounds = [len(todo) * wave // n_waves for wave in range(n_waves + 1)] if n_waves else []
    return [todo[start:end] for start, end in pairwise(bounds)]
