"""Who owns which rows: an array of row numbers for each company.

Random numbers are keyed by the companies' *names*, so their order in the config changes no row.

Shapes: N companies, K classes; (rows,) has one entry for each row.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.data import (
    ColumnPartition,
    DirichletPartition,
    IidPartition,
    Partition,
    PathologicalPartition,
    ShardsPartition,
    SizesPartition,
)
from fl_sv.data.owners import owned_rows
from fl_sv.errors import InputError, listed
from fl_sv.streams import stream

RowNumbers = NDArray[np.int64]

# A label distribution that leaves less than this to the remaining classes no longer decides.
USED_UP = 1e-12
MOST_EXPONENTIAL = 100  # companies whose sizes grow by e from each to the next


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
        case DirichletPartition() | PathologicalPartition() | ShardsPartition() if labels.ndim > 1:
            raise InputError(
                f"data.partition: {partition.kind} skews class labels, one a row; these rows have"
                f" targets of shape {labels.shape[1:]}. Take iid, sizes or column."
            )
        case DirichletPartition():
            shares = dirichlet(
                labels,
                sizes_of(len(labels), _relative(partition, companies)),
                partition.alpha,
                seed,
                even=partition.prior == "even",
            )
        case PathologicalPartition():
            shares = pathological(labels, companies, partition.classes, seed)
        case ShardsPartition():
            shares = shards(labels, companies, partition.shards, seed)
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
    labels: NDArray[Any],
    sizes: Mapping[str, int],
    alpha: float,
    seed: int,
    *,
    even: bool = False,
) -> dict[str, RowNumbers]:
    """Label skew with exact sizes: each company draws rows from a label distribution of its own.

    The distribution of company i over the K classes is q_i ~ Dirichlet(alpha * K * prior), where
    `prior` are the labels' frequencies. With balanced classes this is the Dirichlet(alpha, ...,
    alpha) of Hsu, Qi and Brown (2019, "Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification", arXiv:1909.06335). With alpha 1 all label distributions are
    equally likely; with 0.1 most companies hold one or two classes; 100 is nearly iid.

    labels: (rows,) class labels. sizes: rows of each company. alpha: concentration, above 0.
    even: whether `prior` is the same for all classes, whatever their frequencies: q_i ~
        Dirichlet(alpha, ..., alpha), as in Acar et al. (2021, "Federated Learning Based on Dynamic
        Regularization", arXiv:2111.04263) and in flwr-datasets' InnerDirichletPartitioner.

    The rows are dealt one by one, in a random order of the companies: each row comes from a class
    drawn from q_i among the classes that have rows left. So no company comes last and gets only
    what the others left.
    """
    names = sorted(sizes)
    pile_of = _piles(labels, seed)
    counts = np.array([*map(len, pile_of)])
    prior = np.ones(len(counts)) if even else counts / counts.mean()
    streams = [stream(seed, "partition", "labels", name) for name in names]
    q_NK = np.array([rng.dirichlet(alpha * prior) for rng in streams])
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


def pathological(
    labels: NDArray[Any], companies: Sequence[str], n_classes: int, seed: int
) -> dict[str, RowNumbers]:
    """Label skew: each company holds rows of `n_classes` classes, and every class is held.

    The classes, in a random order, go round the companies, so each is held by as many of them as
    any other, give or take one; its rows are divided evenly among those. It is the partition of
    McMahan et al. (2017, "Communication-Efficient Learning of Deep Networks from Decentralized
    Data", arXiv:1602.05629) by classes; flwr-datasets' PathologicalPartitioner assigns classes in
    this way in its mode `deterministic`, there in the order of the labels.

    labels: (rows,) class labels.

    Raises InputError when a class would be held by nobody, or by more companies than it has rows.
    """
    names, pile_of = sorted(companies), _piles(labels, seed)
    if not n_classes <= len(pile_of) <= n_classes * len(names):
        least = -(-len(pile_of) // len(names))
        raise InputError(
            f"data.partition: {len(names)} companies with {n_classes} classes each cannot hold the"
            f" {len(pile_of)} classes; allowed are {least} to {len(pile_of)} for each company."
        )
    order = stream(seed, "partition", "classes").permutation(len(pile_of))
    slots = [order[slot % len(order)] for slot in range(n_classes * len(names))]
    shares: dict[str, list[RowNumbers]] = {name: [] for name in names}
    for label, pile in enumerate(pile_of):
        holders = [names[slot // n_classes] for slot, held in enumerate(slots) if held == label]
        if len(pile) < len(holders):
            raise InputError(
                f"data.partition: {len(holders)} companies would share the {len(pile)} rows of a"
                " class. Give each company fewer classes, take fewer companies, or give more rows."
            )
        for name, part in zip(holders, np.array_split(pile, len(holders)), strict=True):
            shares[name].append(part)
    return {name: np.concatenate(parts) for name, parts in shares.items()}


def shards(
    labels: NDArray[Any], companies: Sequence[str], n_shards: int, seed: int
) -> dict[str, RowNumbers]:
    """Label skew: the rows in the order of their labels, cut into shards that are dealt at random.

    Source: McMahan et al. (2017), as in `pathological`: 200 shards of 300 rows, two a company.
    Shards are as even as can be, and no row is left out.

    labels: (rows,) class labels. n_shards: of each company.

    Raises InputError when there are more shards than rows.
    """
    names, rows = sorted(companies), np.concatenate(_piles(labels, seed))
    count = n_shards * len(names)
    if count > len(rows):
        raise InputError(
            f"data.partition: {len(names)} companies with {n_shards} shards each are {count:,}"
            f" shards, and there are {len(rows):,} rows. Give fewer shards, or more rows."
        )
    pieces = np.array_split(rows, count)
    dealt = np.split(stream(seed, "partition", "deal").permutation(count), len(names))
    return {
        name: np.concatenate([pieces[piece] for piece in mine])
        for name, mine in zip(names, dealt, strict=True)
    }


def _piles(labels: NDArray[Any], seed: int) -> list[RowNumbers]:
    """The rows of each class, in a random order; the classes ascend."""
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shuffled = stream(seed, "partition", "rows").permutation(len(labels))
    return np.split(shuffled[np.argsort(codes[shuffled], kind="stable")], np.cumsum(counts)[:-1])


GROWTH: Mapping[str, Callable[[int], float]] = {
    "linear": float,
    "square": lambda rank: float(rank**2),
    "exponential": math.exp,
}


def _relative(
    partition: IidPartition | SizesPartition | DirichletPartition, companies: Sequence[str]
) -> Mapping[str, float]:
    if isinstance(partition.sizes, str):
        if partition.sizes == "exponential" and len(companies) > MOST_EXPONENTIAL:
            raise InputError(
                f"data.partition.sizes: exponential sizes of {len(companies)} companies leave most"
                f" of them no row; at most {MOST_EXPONENTIAL} companies are allowed."
            )
        grows = GROWTH[partition.sizes]
        return {name: grows(rank) for rank, name in enumerate(sorted(companies), start=1)}
    return partition.sizes or dict.fromkeys(companies, 1.0)


def _draw(weights: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices drawn in proportion to `weights`, one for each of `uniforms` in [0, 1)."""
    cumulative = np.cumsum(weights)
    indices: NDArray[np.intp] = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
    return indices
