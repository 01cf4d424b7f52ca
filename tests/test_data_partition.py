"""Partitions: from labels to rows, by name, with exact sizes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sv.config.data import (
    ColumnPartition,
    DirichletPartition,
    IidPartition,
    Partition,
    PathologicalPartition,
    ShardsPartition,
    SizesPartition,
)
from fl_sv.data.partition import dirichlet, divide_rows, pathological, shards, sizes_of
from fl_sv.errors import InputError

COMPANIES = ("Ash", "Beech", "Chestnut", "Damson")
SIZES = {"Ash": 8.0, "Beech": 4.0, "Chestnut": 2.0, "Damson": 1.0}
LABELS = np.repeat(np.arange(10), 60)
KINDS: list[Partition] = [
    IidPartition(kind="iid"),
    IidPartition(kind="iid", sizes=SIZES),
    SizesPartition(kind="sizes", sizes=SIZES),
    DirichletPartition(kind="dirichlet", alpha=0.1),
    DirichletPartition(kind="dirichlet", alpha=1.0, sizes=SIZES),
    DirichletPartition(kind="dirichlet", alpha=100.0, sizes=SIZES),
    DirichletPartition(kind="dirichlet", alpha=0.5, prior="even", sizes="linear"),
    SizesPartition(kind="sizes", sizes="square"),
    IidPartition(kind="iid", sizes="exponential"),
]
SKEWED: list[Partition] = [
    PathologicalPartition(kind="pathological", classes=3),
    ShardsPartition(kind="shards", shards=2),
]
by_any_kind = pytest.mark.parametrize("partition", KINDS + SKEWED, ids=lambda each: f"{each.kind}")
by_kind = pytest.mark.parametrize("partition", KINDS, ids=lambda partition: f"{partition.kind}")


def skew(shares: dict[str, np.ndarray]) -> float:
    """Mean total variation distance between a company's label distribution and that of all rows."""
    overall = np.bincount(LABELS) / len(LABELS)
    own = [np.bincount(LABELS[rows], minlength=10) / len(rows) for rows in shares.values()]
    return float(np.mean([np.abs(q - overall).sum() / 2 for q in own]))


@by_any_kind
def test_every_row_has_exactly_one_owner(partition: Partition) -> None:
    shares = divide_rows(partition, COMPANIES, LABELS, seed=3)
    assert sorted(itertools.chain(*shares.values())) == list(range(len(LABELS)))


@by_kind
def test_sizes_are_exact(partition: Partition) -> None:
    shares = divide_rows(partition, COMPANIES, LABELS, seed=3)
    relative = getattr(partition, "sizes", None) or dict.fromkeys(COMPANIES, 1.0)
    if isinstance(relative, str):  # by rank; flwr-datasets gives its ids 1 to N these sizes
        of_rank = {"linear": [1, 2, 3, 4], "square": [1, 4, 9, 16]}
        units = of_rank.get(relative, [2.718281828459045**rank for rank in (1, 2, 3, 4)])
        relative = dict(zip(COMPANIES, units, strict=True))
    assert {name: len(rows) for name, rows in shares.items()} == sizes_of(len(LABELS), relative)


@by_any_kind
def test_the_order_of_the_companies_in_the_config_decides_no_row(partition: Partition) -> None:
    forward = divide_rows(partition, COMPANIES, LABELS, seed=3)
    backward = divide_rows(partition, COMPANIES[::-1], LABELS, seed=3)
    assert list(backward) == list(COMPANIES[::-1])
    for name in COMPANIES:
        np.testing.assert_array_equal(forward[name], backward[name])


@by_kind
def test_equal_seeds_give_equal_rows_and_others_different_ones(partition: Partition) -> None:
    first, again, other = (divide_rows(partition, COMPANIES, LABELS, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in COMPANIES)
    assert not all(np.array_equal(first[name], other[name]) for name in COMPANIES)


def test_an_iid_partition_takes_every_label_in_proportion() -> None:
    shares = divide_rows(KINDS[0], COMPANIES, LABELS, seed=3)
    counts = np.array([np.bincount(LABELS[rows], minlength=10) for rows in shares.values()])
    assert counts.min() >= 4  # hypergeometric, mean 15, standard deviation 3.2
    assert counts.max() <= 28


def test_a_smaller_alpha_is_a_stronger_skew() -> None:
    skews = [
        np.mean(
            [
                skew(dirichlet(LABELS, dict.fromkeys(COMPANIES, 150), alpha, seed))
                for seed in range(10)
            ]
        )
        for alpha in (0.05, 0.5, 5.0, 500.0)
    ]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.45  # 0.9 minus what exact sizes and dealing every row take away
    assert skews[-1] < 0.12  # no more than the noise of drawing 150 rows


# A small company among ten others hardly ever finds a class used up: its counts are nearly
# Dirichlet-multinomial.
SMALL_AMONG_TEN = {"small": 20, **{f"other {i}": 58 for i in range(10)}}


def test_a_companys_label_distribution_follows_the_dirichlet_distribution() -> None:
    """The probability that two of its rows share a label is (alpha + 1) / (K alpha + 1)."""
    shares = [dirichlet(LABELS, SMALL_AMONG_TEN, 1.0, seed)["small"] for seed in range(200)]
    counts = np.array([np.bincount(LABELS[rows], minlength=10) for rows in shares])
    together = (counts * (counts - 1)).sum(axis=1) / (20 * 19)
    assert together.mean() == pytest.approx(2 / 11, abs=0.025)


def test_the_prior_of_the_labels_is_kept_on_average() -> None:
    labels = np.repeat([0, 1], [450, 150])
    ones = [
        labels[dirichlet(labels, SMALL_AMONG_TEN, 1.0, seed)["small"]].mean() for seed in range(200)
    ]
    assert np.mean(ones) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("alpha", [1e-300, 1e-6, 1e6])
def test_extreme_alphas_still_deal_every_row(alpha: float) -> None:
    shares = dirichlet(LABELS, sizes_of(len(LABELS), SIZES), alpha, seed=0)
    assert sorted(itertools.chain(*shares.values())) == list(range(len(LABELS)))


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.sampled_from([0, 1, 2, 7]), min_size=3, max_size=40),
    alpha=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_labels_are_dealt_without_loss(labels: list[int], alpha: float, seed: int) -> None:
    sizes = sizes_of(len(labels), dict.fromkeys("abc", 1.0))
    shares = dirichlet(np.array(labels), sizes, alpha, seed)
    assert {name: len(rows) for name, rows in shares.items()} == sizes
    assert sorted(itertools.chain(*shares.values())) == list(range(len(labels)))


@given(st.integers(1, 10_000), st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=12))
def test_whole_sizes_sum_to_the_rows_and_miss_their_quota_by_less_than_one(
    n_rows: int, relative: list[float]
) -> None:
    named = {f"c{i:02}": size for i, size in enumerate(relative)}
    try:
        sizes = sizes_of(n_rows, named)
    except InputError:
        assert min(relative) / sum(relative) * n_rows < 1
        return
    assert sum(sizes.values()) == n_rows
    assert all(
        abs(sizes[name] - n_rows * size / sum(relative)) < 1 + 1e-6 for name, size in named.items()
    )


def test_rows_left_over_go_by_largest_remainder_and_ties_by_name() -> None:
    assert sizes_of(10, {"c": 1.0, "a": 1.0, "b": 1.0}) == {"a": 4, "b": 3, "c": 3}
    assert sizes_of(10, {"a": 54.0, "b": 26.0, "c": 20.0}) == {"a": 5, "b": 3, "c": 2}


def test_a_company_without_a_row_is_named_with_the_cure() -> None:
    partition = SizesPartition(kind="sizes", sizes={**SIZES, "Damson": 0.001})
    with pytest.raises(
        InputError, match=r"Damson would get none of the 600 rows.*raise its relative size"
    ):
        divide_rows(partition, COMPANIES, LABELS, seed=0)


def test_fewer_rows_than_companies_are_refused() -> None:
    with pytest.raises(InputError, match="Damson would get none of the 3 rows"):
        divide_rows(KINDS[0], COMPANIES, LABELS[:3], seed=0)


def test_natural_owners_get_their_own_rows_and_strangers_rows_are_left_out() -> None:
    owner = np.array(["Ash", "nobody", "Beech", "Ash"])
    shares = divide_rows(
        ColumnPartition(kind="column", column="owner"),
        ("Ash", "Beech"),
        np.zeros(4),
        0,
        {"owner": owner},
    )
    assert {name: rows.tolist() for name, rows in shares.items()} == {"Ash": [0, 3], "Beech": [2]}


def test_owners_may_be_numbers_with_names_given_in_the_config() -> None:
    partition = ColumnPartition(kind="column", column="store", owners={"Ash": "1", "Beech": "7"})
    shares = divide_rows(
        partition, ("Ash", "Beech"), np.zeros(3), 0, {"store": np.array([7, 1, 7])}
    )
    assert {name: rows.tolist() for name, rows in shares.items()} == {"Ash": [1], "Beech": [0, 2]}


def test_an_unknown_owner_column_names_its_nearest_relative() -> None:
    with pytest.raises(InputError, match=r"no column 'ower'.*Did you mean owner\?"):
        divide_rows(
            ColumnPartition(kind="column", column="ower"), COMPANIES, LABELS, 0, {"owner": LABELS}
        )


def test_a_company_that_owns_no_row_is_named_with_the_values_there_are() -> None:
    columns = {"owner": np.array(["Ash", "beech"])}
    with pytest.raises(
        InputError, match=r"Beech would get no row.*'Beech'; it holds 'Ash', 'beech'.*owners"
    ):
        divide_rows(
            ColumnPartition(kind="column", column="owner"),
            ("Ash", "Beech"),
            np.zeros(2),
            0,
            columns,
        )


# --- few classes for each company -----------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [3, 5, 10])
def test_each_company_holds_so_many_classes_and_every_class_is_held(n_classes: int) -> None:
    shares = pathological(LABELS, COMPANIES, n_classes, seed=3)
    held = [{*LABELS[rows].tolist()} for rows in shares.values()]
    assert {len(classes) for classes in held} == {n_classes}
    holders = [sum(label in classes for classes in held) for label in range(10)]
    assert min(holders) == 4 * n_classes // 10 and max(holders) - min(holders) <= 1
    for rows in shares.values():  # a class is divided evenly among those who hold it
        for label, count in zip(*np.unique(LABELS[rows], return_counts=True), strict=True):
            assert abs(count - 60 / holders[label]) < 1


@pytest.mark.parametrize("n_classes", [1, 2, 11])
def test_classes_that_nobody_would_hold_are_refused(n_classes: int) -> None:
    with pytest.raises(InputError, match="cannot hold the 10 classes; allowed are 3 to 10 for"):
        pathological(LABELS, COMPANIES, n_classes, seed=3)


def test_a_class_of_fewer_rows_than_holders_is_refused() -> None:
    with pytest.raises(InputError, match="4 companies would share the 2 rows of a class"):
        pathological(np.array([0, 0, 1, 1, 1, 1]), COMPANIES, 2, seed=3)


def test_a_company_of_two_shards_holds_few_classes() -> None:
    shares = shards(LABELS, COMPANIES, 2, seed=3)
    assert {len(rows) for rows in shares.values()} == {150}
    # A shard of 75 rows touches at most three classes of 60.
    assert all(len(np.unique(LABELS[rows])) <= 6 for rows in shares.values())
    with pytest.raises(InputError, match="are 800 shards, and there are 600 rows"):
        shards(LABELS, COMPANIES, 200, seed=3)


def test_an_even_prior_is_that_of_balanced_classes() -> None:
    def rows(labels: np.ndarray, *, even: bool) -> list[list[int]]:
        shares = dirichlet(labels, dict.fromkeys(COMPANIES, 150), 1.0, seed=3, even=even)
        return [share.tolist() for share in shares.values()]

    assert rows(LABELS, even=True) == rows(LABELS, even=False)
    unbalanced = np.repeat([0, 1, 2], [400, 150, 50])
    assert rows(unbalanced, even=True) != rows(unbalanced, even=False)


def test_exponential_sizes_of_many_companies_are_refused() -> None:
    partition = SizesPartition(kind="sizes", sizes="exponential")
    with pytest.raises(InputError, match="at most 100 companies are allowed"):
        divide_rows(partition, [f"c{i}" for i in range(900)], LABELS, seed=3)
    with pytest.raises(InputError, match="would get none of the 600 rows"):
        divide_rows(partition, [f"c{i}" for i in range(20)], LABELS, seed=3)
