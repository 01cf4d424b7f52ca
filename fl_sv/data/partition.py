"""Who owns which rows: an array of row numbers for each company.

Random numbers are keyed by the companies' *names*, so their order in the config changes no row.

Shapes: N companies, K classes; (rows,) has one entry for each row.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.data import (
    ColumnPartition,
    DirichletPartition,
    IidPartition,
    Partition,
    SizesPartition,
)
from fl_sv.data.owners import owned_rows
from fl_sv.errors import InputError, listed
from fl_sv.streams import stream

RowNumbers = NDArray[np.int64]

# A label distribution that leaves less than this to the remaining classes no longer decides.
USED_UP = 1e-12


def divide_rows(
    partition: Partition,
    companies: Sequence[str],
    labels: NDArray[Any],
    seed: int,
    columns: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, RowNumbers]:
    """The row numbers of each company, ascending.

    Every row has one owner. Only with `kind: column` some rows may have none.

    labels: (rows,) targets.
    seed: of the run.
    columns: other columns of the data by name, (rows,) each; `kind: column` takes one of them.

    Raises InputError when a company would be left without a row.
    """
    match partition:
        case IidPartition() | SizesPartition():
            shares = iid(sizes_of(len(labels), _relative(partition, companies)), seed)
        case DirichletPartition() if labels.ndim > 1:
            raise InputError(
                "data.partition: dirichlet skews class labels, one a row; these rows have targets"
                f" of shape {labels.shape[1:]}. Take iid, sizes or column."
            )
        case DirichletPartition():
            shares = dirichlet(
                labels,
                sizes_of(len(labels), _relative(partition, companies)),
                partition.alpha,
                seed,
            )
        case ColumnPartition():
            shares = owned_rows(partition, companies, columns or {})
    return {company: np.sort(shares[company]) for company in companies}


def sizes_of(n_rows: int, relative: Mapping[str, float]) -> dict[str, int]:
    """How many rows each company gets: `n_rows` in all, in proportion to `relative`.

    Rows that are left over after rounding down go to the largest remainders, ties by name. Raises
    InputError when a company gets none.

    >>> sizes_of(10, {"Ash": 2.0, "Beech": 1.0})
    {'Ash': 7, 'Beech': 3}
    """
    total = sum(map(Fraction, relative.values()))
    quotas = {name: n_rows * Fraction(size) / total for name, size in relative.items()}
    sizes = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (sizes[name] - quotas[name], name))
    for name in by_remainder[: n_rows - sum(sizes.values())]:
        sizes[name] += 1
    empty = sorted(name for name, size in sizes.items() if size == 0)
    if empty:
        raise InputError(
            f"data.partition: {listed(empty)} would get none of the {n_rows} rows. Every company"
            " needs at least one: raise its relative size in `sizes`, take fewer companies, or give"
            " more rows."
        )
    return sizes


def iid(sizes: Mapping[str, int], seed: int) -> dict[str, RowNumbers]:
    """A random permutation of the rows, cut into pieces of the given sizes."""
    names = sorted(sizes)
    rows = stream(seed, "partition", "rows").permutation(sum(sizes.values()))
    return dict(
        zip(names, np.split(rows, np.cumsum([sizes[name] for name in names])[:-1]), strict=True)
    )


def dirichlet(
    labels: NDArray[Any], sizes: Mapping[str, int], alpha: float, seed: int
) -> dict[str, RowNumbers]:
    """Label skew with exact sizes: each company draws rows from a label distribution of its own.

    The distribution of company i over the K classes is q_i ~ Dirichlet(alpha * K * prior), where
    `prior` are the labels' frequencies. With balanced classes this is the Dirichlet(alpha, ...,
    alpha) of Hsu, Qi and Brown (2019, "Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification", arXiv:1909.06335). With alpha 1 all label distributions are
    equally likely; with 0.1 most companies hold one or two classes; 100 is nearly iid.

    labels: (rows,) class labels. sizes: rows of each company. alpha: concentration, above 0.

    The rows are dealt one by one, in a random order of the companies: each row comes from a class
    drawn from q_i among the classes that have rows left. So no company comes last and gets only
    what the others left.
    """
    names = sorted(sizes)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shuffled = stream(seed, "partition", "rows").permutation(len(labels))
    pile_of = np.split(shuffled[np.argsort(codes[shuffled], kind="stable")], np.cumsum(counts)[:-1])
    streams = [stream(seed, "partition", "labels", name) for name in names]
    q_NK = np.array([rng.dirichlet(alpha * counts / counts.mean()) for rng in streams])
    wishes = [
        iter(_draw(q, rng.random(sizes[name])))
        for q, rng, name in zip(q_NK, streams, names, strict=True)
    ]

    left = counts.copy()
    shares: list[list[int]] = [[] for _ in names]
    owners = np.repeat(np.arange(len(names)), [sizes[name] for name in names])  # of each row
    for i in stream(seed, "partition", "deal").permutation(owners):
        label = next(wishes[i])
        if left[label] == 0:
            rest = np.where(left > 0, q_NK[i], 0.0)
            weights = rest if rest.sum() > USED_UP else left.astype(np.float64)
            label = _draw(weights, streams[i].random(1))[0]
        left[label] -= 1
        shares[i].append(int(pile_of[label][left[label]]))
    return {
        name: np.array(share, dtype=np.int64) for name, share in zip(names, shares, strict=True)
    }


def _relative(
    partition: IidPartition | SizesPartition | DirichletPartition, companies: Sequence[str]
) -> Mapping[str, float]:
    return partition.sizes or dict.fromkeys(companies, 1.0)


def _draw(weights: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices drawn in proportion to `weights`, one for each of `uniforms` in [0, 1)."""
    cumulative = np.cumsum(weights)
    indices: NDArray[np.intp] = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
    return indices
