"""Waves: bounded sets of coalitions that are trained from start to finish, so that memory, messages and what a crash
loses are bounded by the wave and not by 2**N."""

import math
from collections.abc import Collection, Sequence

import numpy as np

from fl_sv.config import Config

MEGABYTE = 1_000_000


def bytes_per_coalition(config: Config, n_params: Sequence[int]) -> int:
    """Bytes of one coalition's models in a message: every small size (n_params of each) and every replicate."""
    itemsize = np.dtype(config.compute.dtype).itemsize
    return sum(n_params) * config.training.seeds * itemsize


def plan_waves(config: Config, n_params: Sequence[int], known: Collection[int] = ()) -> list[list[int]]:
    """All coalitions but the empty and the known ones, ascending, in waves of messages within the configured size."""
    per_wave = max(1, int(config.coalitions.wave_megabytes * MEGABYTE / bytes_per_coalition(config, n_params)))
    todo = np.setdiff1d(np.arange(1, 2**config.n_companies), list(known), assume_unique=True)
    n_waves = min(len(todo), max(config.coalitions.waves, math.ceil(len(todo) / per_wave)))
    return [part.tolist() for part in np.array_split(todo, n_waves)] if n_waves else []
