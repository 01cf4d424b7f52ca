"""Waves: sets of coalitions that are trained together from start to finish.

The size of a wave bounds memory, messages and what a crash loses, however many coalitions there
are.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import numpy as np

from fl_sv.config import Config

IN_FLIGHT = 2  # waves at the same time: one with the companies, one with the server
MEGABYTE = 1_000_000
FULL_WAVES = 50  # companies up to whose number a message may have all of `wave_megabytes`


def bytes_per_coalition(config: Config, n_params: Sequence[int]) -> int:
    """Bytes of one coalition's small models in a message: of every size and every replicate.

    n_params: parameters of every small size.
    """
    itemsize = np.dtype(config.compute.dtype).itemsize
    return sum(n_params) * config.training.seeds * itemsize


def plan_waves(
    config: Config, n_params: Sequence[int], coalitions: Iterable[int], known: Collection[int] = ()
) -> list[list[int]]:
    """The waves of the small models: the coalitions, without the known ones, ascending.

    The messages of a wave stay within `coalitions.wave_megabytes`. There are at least
    `coalitions.waves` waves. Of more than FULL_WAVES companies a message is smaller, so that
    those of all companies together take no more memory.

    n_params: parameters of every small size. known: coalitions that are trained already.
    """
    known = frozenset(known)
    todo = sorted(coalition for coalition in coalitions if coalition not in known)
    n_bytes = bytes_per_coalition(config, n_params) * max(1, config.n_companies / FULL_WAVES)
    return _split(config, todo, n_bytes, config.coalitions.waves)


def large_run_waves(config: Config, n_params: int, coalitions: Iterable[int]) -> list[list[int]]:
    """The waves of the large model: the coalitions, ascending.

    The messages of a wave stay within `coalitions.wave_megabytes`.

    n_params: parameters of the large model.
    """
    itemsize = np.dtype(config.compute.dtype).itemsize
    return _split(config, sorted(coalitions), n_params * config.training.large_seeds * itemsize, 1)


def split_models(config: Config, n_params: Sequence[int]) -> list[tuple[int, int]]:
    """Divides models into runs of neighbours, each as (first, last + 1), one model or more.

    The models of a run together stay within `coalitions.wave_megabytes`.

    n_params: parameters of every model.
    """
    itemsize = np.dtype(config.compute.dtype).itemsize
    most = config.coalitions.wave_megabytes * MEGABYTE / itemsize
    bounds, filled = [0], 0
    for i, params in enumerate(n_params):
        if i > bounds[-1] and filled + params > most:
            bounds.append(i)
            filled = 0
        filled += params
    return [*pairwise([*bounds, len(n_params)])] if n_params else []


def _split(config: Config, coalitions: list[int], n_bytes: float, least: int) -> list[list[int]]:
    """At least `least` waves of nearly equal length.

    n_bytes: of one coalition's models in a message.
    """
    per_wave = max(1, int(config.coalitions.wave_megabytes * MEGABYTE / n_bytes))
    n_waves = min(len(coalitions), max(least, math.ceil(len(coalitions) / per_wave)))
    # Python's integers, not numpy's: there may be more companies than bits in a word.
    bounds = [len(coalitions) * wave // n_waves for wave in range(n_waves + 1)] if n_waves else []
    return [coalitions[start:end] for start, end in pairwise(bounds)]
