"""Values from a complete table: the axioms, the cases with known answers, and a slow twin for every
fast formula.
"""

import json
import math
import re
import tracemalloc
from fractions import Fraction
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sv.errors import InputError
from fl_sv.game.coalitions import members_matrix
from fl_sv.values import (
    banzhaf,
    interactions,
    least_core,
    moebius,
    owen,
    prenucleolus,
    semivalue,
    semivalue_weights,
    shapley,
)

GAMES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "games.json").read_text()
)["games"]
EVERY_GAME = pytest.mark.parametrize("game", GAMES, ids=[g["name"] for g in GAMES])
SEMIVALUES = ["shapley", "banzhaf", "loo", "beta:16,1", "beta:1,4", "beta:0.5,2"]

TABLES = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.integers(-1000, 1000), min_size=2**n, max_size=2**n).map(
        lambda v: np.array(v, dtype=float)
    )
)


def random_table(n, seed=0):
    return np.random.default_rng(seed).normal(size=2**n)


def exact(fractions):
    return np.array([float(Fraction(text)) for text in fractions])


def without(i, n):
    """Coalitions of n companies without company i."""
    return [c for c in range(2**n) if not c >> i & 1]


# --- the cases ------------------------------------------------------------------------------------


@EVERY_GAME
def test_values_of_known_games(game):
    utilities = game["v_float"]
    assert len(utilities) == 2 ** game["n"]
    np.testing.assert_allclose(utilities, exact(game["v"]), rtol=1e-15)
    np.testing.assert_allclose(shapley(utilities), exact(game["shapley"]), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(shapley(utilities), game["shapley_float"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(banzhaf(utilities), exact(game["banzhaf"]), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(banzhaf(utilities), game["banzhaf_float"], rtol=1e-12, atol=1e-13)


@EVERY_GAME
def test_core_of_known_games(game):
    utilities, scale = game["v_float"], np.ptp(game["v_float"])
    epsilon, allocation = least_core(utilities)
    assert epsilon == pytest.approx(game["least_core_eps"], abs=1e-9 * scale)
    assert (epsilon > 1e-9 * scale) == game["core_empty"]
    np.testing.assert_allclose(allocation, game["prenucleolus_float"], atol=1e-8 * scale)
    if game["prenucleolus_from_literature"] is not None:
        np.testing.assert_allclose(
            prenucleolus(utilities), exact(game["prenucleolus_from_literature"]), atol=1e-9
        )


@EVERY_GAME
def test_stated_properties_of_known_games(game):
    v, n = np.array(game["v_float"]), game["n"]
    marginals = [v[[c | 1 << i for c in without(i, n)]] - v[without(i, n)] for i in range(n)]
    assert bool(min(m.min() for m in marginals) >= -1e-12) == game["monotone"]
    mixed = [
        v[c | 1 << i | 1 << j] - v[c | 1 << i] - v[c | 1 << j] + v[c]
        for i, j in combinations(range(n), 2)
        for c in without(i, n)
        if not c >> j & 1
    ]
    assert bool(min(mixed) >= -1e-9) == game["supermodular"]
    assert bool(max(mixed) <= 1e-9) == game["submodular"]
    assert bool((excesses(v, shapley(v)) <= 1e-9 * np.ptp(v)).all()) == game["shapley_in_core"]


# --- slow twins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 7))
def test_shapley_by_subsets_is_shapley_by_all_permutations(n):
    v = random_table(n, seed=n)
    value = np.zeros(n)
    for order in permutations(range(n)):
        path = np.cumsum([0] + [1 << i for i in order])
        value[list(order)] += np.diff(v[path]) / math.factorial(n)
    np.testing.assert_allclose(shapley(v), value, atol=1e-12)


@pytest.mark.parametrize("name", SEMIVALUES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_semivalue_is_its_weighted_marginal_contributions(name, n):
    v, weight = random_table(n), semivalue_weights(n, name)
    value = [
        sum(weight[c.bit_count()] * (v[c | 1 << i] - v[c]) for c in without(i, n)) for i in range(n)
    ]
    np.testing.assert_allclose(semivalue(v, name), value, atol=1e-12)


@pytest.mark.parametrize("name", SEMIVALUES)
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_weights_of_a_company_add_up_to_one(name, n):
    binomials = [math.comb(n - 1, s) for s in range(n)]
    assert semivalue_weights(n, name) @ binomials == pytest.approx(1, rel=1e-10)


def test_weights_for_a_thousand_companies_are_finite():
    weight = semivalue_weights(1000, "shapley")
    assert weight[0] == weight[-1] == 1 / 1000
    assert np.isfinite(weight).all()


def test_weights_by_formula():
    n, a, b = 4, 3, 2

    def beta(x, y):
        return math.factorial(x - 1) * math.factorial(y - 1) / math.factorial(x + y - 1)

    expected = [beta(s + b, n - 1 - s + a) / beta(a, b) for s in range(n)]
    np.testing.assert_allclose(semivalue_weights(n, "beta:3,2"), expected, rtol=1e-12)
    np.testing.assert_allclose(
        semivalue_weights(n, "beta:1,1"), semivalue_weights(n, "shapley"), rtol=1e-12
    )
    np.testing.assert_array_equal(semivalue_weights(n, "banzhaf"), [1 / 8] * 4)


def test_leave_one_out_is_what_the_grand_coalition_loses():
    v = random_table(4)
    np.testing.assert_array_equal(semivalue(v, "loo"), [v[15] - v[15 ^ 1 << i] for i in range(4)])


def test_large_a_of_beta_stresses_small_coalitions():
    weight = semivalue_weights(6, "beta:16,1") * [math.comb(5, s) for s in range(6)]
    assert (np.diff(weight) < 0).all()


def test_dividends_add_up_to_the_utilities_and_share_to_the_shapley_value():
    v = random_table(5)
    dividend, member = moebius(v), members_matrix(range(32), 5)
    np.testing.assert_allclose(
        [sum(dividend[t] for t in range(32) if t & s == t) for s in range(32)], v, atol=1e-12
    )
    np.testing.assert_allclose(
        dividend[1:] / member[1:].sum(axis=1) @ member[1:], shapley(v), atol=1e-12
    )


def test_moebius_leaves_its_input_alone():
    v = random_table(3)
    before = v.copy()
    moebius(v)
    np.testing.assert_array_equal(v, before)


def test_interactions_are_shared_dividends():
    v, n = random_table(5), 5
    dividend = moebius(v)
    index = interactions(v)
    for i, j in combinations(range(n), 2):
        both = 1 << i | 1 << j
        expected = sum(dividend[t] / (t.bit_count() - 1) for t in range(2**n) if t & both == both)
        assert index[i, j] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(index, index.T)
    np.testing.assert_array_equal(np.diag(index), np.zeros(n))
    np.testing.assert_array_equal(interactions([1, 2]), [[0.0]])


def test_companies_that_replace_each_other_interact_negatively():
    assert interactions([0, 1, 1, 1])[0, 1] == -1
    assert interactions([0, 0, 0, 1])[0, 1] == 1


# --- axioms ---------------------------------------------------------------------------------------


@given(TABLES)
def test_values_sum_to_what_the_grand_coalition_gains(v):
    assert shapley(v).sum() == pytest.approx(v[-1] - v[0], abs=1e-9)


@given(TABLES, st.sampled_from(SEMIVALUES))
def test_null_company_is_paid_nothing(v, name):
    with_null = np.concatenate([v, v])  # the last company changes nothing
    assert semivalue(with_null, name)[-1] == 0


@given(TABLES, st.sampled_from(SEMIVALUES))
def test_copies_are_paid_alike(v, name):
    n = len(v).bit_length() - 1
    # Company n copies company 0: either of them is company 0 of `v`.
    copied = np.array([v[c % 2**n | c >> n] for c in range(2 ** (n + 1))])
    value = semivalue(copied, name)
    assert value[0] == pytest.approx(value[n], abs=1e-9)


@given(TABLES, st.floats(-10, 10), st.floats(-10, 10), st.sampled_from(SEMIVALUES))
def test_values_are_linear_in_the_utilities(v, a, b, name):
    u = np.sin(np.arange(len(v)))
    combined = semivalue(a * v + b * u, name)
    np.testing.assert_allclose(combined, a * semivalue(v, name) + b * semivalue(u, name), atol=1e-7)


@given(TABLES, st.randoms(use_true_random=False), st.sampled_from(SEMIVALUES))
def test_values_follow_the_companies_when_they_are_renamed(v, random, name):
    n = len(v).bit_length() - 1
    renamed = random.sample(range(n), n)  # company i becomes renamed[i]
    moved = np.empty_like(v)
    for c in range(2**n):
        moved[sum(1 << renamed[i] for i in range(n) if c >> i & 1)] = v[c]
    np.testing.assert_allclose(semivalue(moved, name)[renamed], semivalue(v, name), atol=1e-9)


@given(TABLES, st.sampled_from(SEMIVALUES))
def test_the_utility_of_nobody_cancels(v, name):
    np.testing.assert_allclose(semivalue(v + 7, name), semivalue(v, name), atol=1e-9)


# --- unions ---------------------------------------------------------------------------------------


def test_owen_values_are_the_mean_over_orders_in_which_unions_arrive_together():
    v, unions = random_table(5), [[3, 0], [1], [4, 2]]
    value, n_orders = np.zeros(5), 0
    for order in permutations(range(5)):
        place = {i: k for k, i in enumerate(order)}
        if all(max(place[i] for i in u) - min(place[i] for i in u) == len(u) - 1 for u in unions):
            value[list(order)] += np.diff(v[np.cumsum([0] + [1 << i for i in order])])
            n_orders += 1
    np.testing.assert_allclose(owen(v, unions), value / n_orders, atol=1e-12)


def test_owen_with_one_union_or_with_singletons_is_shapley():
    v = random_table(4)
    np.testing.assert_allclose(owen(v, [[0, 1, 2, 3]]), shapley(v), atol=1e-12)
    np.testing.assert_allclose(owen(v, [[2], [0], [3], [1]]), shapley(v), atol=1e-12)


def test_a_union_gets_its_shapley_value_between_the_unions():
    v = random_table(4)
    value = owen(v, [[0, 2], [1, 3]])
    between = shapley(v[[0b0000, 0b0101, 0b1010, 0b1111]])
    np.testing.assert_allclose([value[[0, 2]].sum(), value[[1, 3]].sum()], between, atol=1e-12)


@pytest.mark.parametrize(
    "unions",
    [
        [[0, 1]],
        [[0], [1], [1, 2]],
        [[0, 1, 2], []],
        [[0, 1, 3]],
        [["a"]],
        [0, 1, 2],
        3,
        [[0.0, 1, 2]],
    ],
)
def test_unions_that_are_no_partition_are_refused(unions):
    with pytest.raises(InputError, match="unions"):
        owen(random_table(3), unions)


# --- least core and prenucleolus ------------------------------------------------------------------


def excesses(v, allocation):
    member = members_matrix(range(1, len(v) - 1), len(allocation))
    return v[1:-1] - v[0] - member @ allocation


@settings(max_examples=50, deadline=None)
@given(TABLES.filter(lambda v: len(v) > 2))
def test_epsilon_is_the_largest_excess_and_the_allocation_hands_out_all(v):
    epsilon, allocation = least_core(v)
    assert allocation.sum() == pytest.approx(v[-1] - v[0], abs=1e-6)
    assert epsilon == pytest.approx(excesses(v, allocation).max(), abs=1e-6)
    # No division of the same sum does better: not Shapley's, not the equal one.
    for other in (shapley(v), np.full(len(allocation), allocation.mean())):
        assert epsilon <= excesses(v, other).max() + 1e-6


@settings(max_examples=50, deadline=None)
@given(
    TABLES.filter(lambda v: len(v) > 2), st.integers(0, 4), st.integers(0, 4), st.floats(0.01, 10)
)
def test_no_transfer_betters_the_sorted_excesses_of_the_prenucleolus(v, giver, taker, amount):
    allocation = prenucleolus(v)
    moved = allocation.copy()
    moved[giver % len(moved)] -= amount
    moved[taker % len(moved)] += amount
    best, other = (-np.sort(-excesses(v, x)) for x in (allocation, moved))
    differing = np.flatnonzero(np.abs(best - other) > 1e-6)
    assert len(differing) == 0 or best[differing[0]] < other[differing[0]]


def test_copies_get_the_same_from_the_least_core():
    size = np.bitwise_count(np.arange(2**6))
    for v in (np.sqrt(size), size**2.0, size >= 4, np.zeros(2**6)):
        allocation = least_core(v)[1]
        np.testing.assert_allclose(allocation, allocation.mean(), atol=1e-9)


def test_one_company_has_nobody_to_leave_with():
    epsilon, allocation = least_core([3, 5])
    assert epsilon == 0
    np.testing.assert_array_equal(allocation, [2.0])


def test_core_of_too_many_companies_is_refused():
    with pytest.raises(InputError, match="17 companies"):
        least_core(np.zeros(2**17))


# --- input ----------------------------------------------------------------------------------------

FUNCTIONS = [
    shapley,
    banzhaf,
    interactions,
    moebius,
    least_core,
    prenucleolus,
    lambda v: owen(v, [[0]]),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ([], "0 entries"),
        ([1.0], "1 entries"),
        ([1.0, 2.0, 3.0], "3 entries"),
        (5.0, "shape ()"),
        ([[1.0, 2.0]], "shape (1, 2)"),
        (["1", "2"], "real numbers"),
        ([1.0, "2"], "real numbers"),
        ([1.0, None], "real numbers"),
        ([1.0, 2j], "real numbers"),
        ([[1.0], [1.0, 2.0]], "array of numbers"),
        ({0: 1.0, 1: 2.0}, "real numbers"),
        (None, "real numbers"),
        (np.ma.array([0.0, 1.0], mask=[False, True]), "masked"),
        ([0.0, math.nan], "coalition 1 = {0} is nan"),
        ([math.inf, 1.0], "coalition 0 = {} is inf"),
        ([0.0, 1e300], "coalition 1 = {0} is 1e"),
    ],
)
def test_a_bad_table_is_refused_with_a_sentence(function, bad, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        function(bad)


def test_a_missing_utility_is_named_by_bitmask_and_members():
    v = np.zeros(16)
    v[[5, 14]] = np.nan
    with pytest.raises(
        InputError,
        match=r"2 of 16 .*coalition 5 = {0, 2} is nan; coalition 14 = {1, 2, 3} is nan\.",
    ):
        shapley(v)
    with pytest.raises(InputError, match="and 6 more"):
        shapley(np.full(16, np.nan))


@pytest.mark.parametrize(
    "name",
    [
        "Shapley",
        "beta",
        "beta:1",
        "beta:0,1",
        "beta:1,-1",
        "beta:nan,1",
        "beta:1,2,3",
        "",
        3,
        "beta:1_0,1",
        "beta:010,1",
        "beta:\u0661,1",
    ],
)
def test_an_unknown_semivalue_is_refused_with_the_list(name):
    with pytest.raises(InputError, match="shapley, banzhaf, loo or beta:A,B"):
        semivalue([0.0, 1.0], name)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3"])
def test_weights_need_a_number_of_companies(n):
    with pytest.raises(InputError, match="n_companies"):
        semivalue_weights(n, "shapley")


def test_any_array_like_is_a_table():
    for table in (
        [0, 1, 1, 3],
        (0, 1, 1, 3),
        np.array([0, 1, 1, 3], dtype=np.float32),
        np.array([0, 1, 1, 3]),
    ):
        np.testing.assert_array_equal(shapley(table), [1.5, 1.5])
    np.testing.assert_array_equal(shapley([False, False, False, True]), [0.5, 0.5])


def test_utilities_of_any_size_keep_their_digits():
    v = np.array([0.0, 1, 2, 6])
    for scale in (1e-200, 1e280):
        np.testing.assert_allclose(shapley(v * scale), np.array([2.5, 3.5]) * scale, rtol=1e-12)


def test_a_million_coalitions_need_no_more_than_their_table_again():
    v = random_table(20)
    tracemalloc.start()
    try:
        value = shapley(v)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * v.nbytes
    assert value.sum() == pytest.approx(v[-1] - v[0])
