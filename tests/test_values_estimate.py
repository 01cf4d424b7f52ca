"""Estimated Shapley values: budget, exact sum, interval, accuracy on games with known values, and
the parts of it.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sv.errors import InputError
from fl_sv.game.coalitions import members_matrix
from fl_sv.values import Estimate, estimate_shapley, shapley
from fl_sv.values.corrected import fit_estimator
from fl_sv.values.covariances import Linear, covariances_for
from fl_sv.values.estimate import METHODS
from fl_sv.values.pairs import draw_nested, draw_pairs
from fl_sv.values.surrogate import (
    MOST_JUDGED,
    RIDGES,
    _covariance_of_differences,
    _ridge_fits,
    _shapley_of_columns,
)

LARGE_GAMES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "games.json").read_text()
)["large_games"]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS)


class Counted:
    """A game that remembers how it was called."""

    def __init__(self, game):
        self.game, self.calls = game, []

    def __call__(self, member):
        self.calls.append(member)
        return self.game(member)

    @property
    def distinct(self):
        return len({row.tobytes() for member in self.calls for row in member})


def from_table(utilities):
    powers = 1 << np.arange(len(utilities).bit_length() - 1)
    return lambda member: utilities[member @ powers]


def diminishing(weights):
    return lambda member: 1 - (1 + member @ weights) ** -0.5


def coverage(n, seed):
    """Weighted coverage: each of 60 items counts once, for any number of owners."""
    generator = np.random.default_rng(seed)
    brings, worth = generator.random((n, 60)) < 0.25, generator.exponential(size=60)
    return lambda member: (member.astype(float) @ brings > 0) @ worth


def two_additive(n, seed):
    pairwise = np.triu(np.random.default_rng(seed).normal(size=(n, n)))
    return lambda member: np.einsum("ci,ij,cj->c", member, pairwise, member)


def diminishing_values(weights):
    """Exact values of `diminishing`: it is a mixture of product games (`about` of games.json),
    integrated by Gauss.
    """
    node, weight = np.polynomial.legendre.leggauss(120)
    q, q_weight = (node + 1) / 2, weight / 2
    node, weight = np.polynomial.legendre.leggauss(400)
    value = np.zeros(len(weights))
    for root_t, t_weight in zip((node + 1) * 3.5, weight * 3.5, strict=True):
        gone = 1 - np.exp(-(root_t**2) * weights)
        rest = 1 - q[:, None] * gone
        others = np.exp(np.log(rest).sum(axis=1))[:, None] / rest
        value += (
            t_weight * 2 * np.exp(-(root_t**2)) / math.sqrt(math.pi) * gone * (q_weight @ others)
        )
    return value


def all_values(game, n):
    return shapley(game(members_matrix(range(2**n), n)))


def relative_error(values, exact):
    return np.linalg.norm(values - exact) / np.linalg.norm(exact)


def mean_error(games, n, budget, method="auto"):
    return np.mean(
        [
            relative_error(
                estimate_shapley(game, n, budget, seed, method).values, all_values(game, n)
            )
            for seed, game in enumerate(games)
        ]
    )


def concave_games(n, count):
    return [diminishing(np.random.default_rng(seed).lognormal(0, 0.8, n)) for seed in range(count)]


# --- promises for every method --------------------------------------------------------------------


@EVERY_METHOD
@pytest.mark.parametrize("budget", [2, 3, 4, 5, 17, 64, 200, 255])
def test_budget_counts_distinct_coalitions_and_values_sum_exactly(method, budget):
    game = Counted(coverage(8, 0))
    estimate = estimate_shapley(game, 8, budget, method=method)
    assert len(game.calls) <= 8
    assert game.distinct == estimate.n_evaluations == sum(map(len, game.calls)) <= budget
    members = np.concatenate(game.calls)
    assert (~members.any(axis=1)).any() and members.all(axis=1).any()
    gain = game.game(np.ones((1, 8), dtype=bool))[0] - game.game(np.zeros((1, 8), dtype=bool))[0]
    assert estimate.values.sum() == pytest.approx(gain, rel=1e-12)
    assert (estimate.low <= estimate.values).all() and (estimate.values <= estimate.high).all()


@EVERY_METHOD
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_full_budget_enumerates(method, n):
    game = Counted(coverage(n, 3))
    for budget in (2**n, 10**9):
        estimate = estimate_shapley(game, n, budget, method=method)
        exact = all_values(game.game, n)
        np.testing.assert_array_equal(estimate.values, exact)
        np.testing.assert_array_equal(estimate.low, exact)
        np.testing.assert_array_equal(estimate.high, exact)
        assert estimate.n_evaluations == 2**n


@EVERY_METHOD
def test_equal_seeds_give_equal_values(method):
    first, again, other = (
        estimate_shapley(coverage(9, 1), 9, 100, seed, method) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.low, again.low)
    assert (first.values != other.values).any()


@EVERY_METHOD
def test_every_method_approaches_the_exact_values(method):
    games = [coverage(8, seed) for seed in range(8)]
    assert mean_error(games, 8, 200, method) < 0.12
    assert mean_error(games, 8, 200, method) < mean_error(games, 8, 50, method)


@pytest.mark.parametrize("method", ["auto", "kernelshap", "leverage"])
@pytest.mark.parametrize("n", [6, 12, 30])
def test_two_additive_games_are_exact_as_soon_as_the_slopes_are_determined(method, n):
    game = two_additive(n, n)
    pairwise = np.triu(np.random.default_rng(n).normal(size=(n, n)))
    exact = (
        np.diag(pairwise) + (pairwise + pairwise.T - 2 * np.diag(np.diag(pairwise))).sum(axis=1) / 2
    )
    budget = min(4 * n + 2, 2**n - 1)
    np.testing.assert_allclose(
        estimate_shapley(game, n, budget, method=method).values, exact, atol=1e-6
    )


@given(
    st.integers(1, 6),
    st.integers(2, 64),
    st.integers(0, 5),
    st.floats(-1e6, 1e6),
    st.sampled_from(list(METHODS)),
)
@settings(max_examples=60, deadline=None)
def test_any_small_game_and_budget_is_answered(n, budget, seed, offset, method):
    table = np.random.default_rng(seed).normal(size=2**n) + offset
    estimate = estimate_shapley(from_table(table), n, budget, seed, method)
    assert estimate.values.sum() == pytest.approx(table[-1] - table[0], abs=1e-8)
    assert (estimate.low <= estimate.values).all() and (estimate.values <= estimate.high).all()
    assert estimate.n_evaluations <= min(budget, 2**n)


@EVERY_METHOD
def test_a_constant_game_pays_nothing(method):
    estimate = estimate_shapley(lambda member: np.full(len(member), 3.0), 8, 60, method=method)
    np.testing.assert_array_equal(estimate.values, np.zeros(8))


@pytest.mark.parametrize("factor", [2.0**-600, 2.0**900])
def test_the_unit_of_utility_changes_no_digit(factor):
    game = coverage(8, 2)
    estimate = estimate_shapley(game, 8, 60)
    scaled = estimate_shapley(lambda member: game(member) * factor, 8, 60)
    np.testing.assert_array_equal(scaled.values, estimate.values * factor)


# --- accuracy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "error"), [(128, 0.03), (512, 0.01)])
def test_error_on_diminishing_returns(budget, error):
    assert mean_error(concave_games(12, 5), 12, budget) < error


def test_error_on_weighted_coverage():
    assert mean_error([coverage(12, seed) for seed in range(8)], 12, 128) < 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("n", "error"), [(50, 0.04), (100, 0.05)])
def test_error_for_many_companies(n, error):
    weights = np.random.default_rng(n).lognormal(0, 0.8, n)
    estimate = estimate_shapley(diminishing(weights), n, 40 * n)
    assert relative_error(estimate.values, diminishing_values(weights)) < error


def rule_of(game):
    """The batched game that `rule` and `params` describe."""
    params, name = game["params"], game["name"]
    if name.startswith("eec"):
        return lambda member: (member @ np.array(params["w"]) >= params["q"]).astype(float)
    if name.startswith("airport"):
        return lambda member: (member * np.array(params["c"])).max(axis=1)
    if name.startswith("quadratic"):
        return lambda member: (member @ np.array(params["w"])) ** 2.0
    if name.startswith("knn"):
        near, matches = params["K"], np.array(params["label_matches"])
        return lambda member: (member & (member.cumsum(axis=1) <= near)) @ matches / near
    assert name.startswith("scaling_law")
    return diminishing(np.array(params["w"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "budget", "error"),
    [
        (game, budget, error)
        for game, (budget, error) in zip(
            LARGE_GAMES,
            [(480, 0.25), (4000, 0.2), (400, 1e-6), (3200, 0.2), (480, 0.01), (2000, 0.04)],
            strict=True,
        )
    ],
    ids=[game["name"] for game in LARGE_GAMES],
)
def test_error_on_large_games_with_known_values(game, budget, error):
    exact, n = np.array(game["shapley_float"]), game["n"]
    assert exact.sum() == pytest.approx(game["sum_float"], abs=n * game.get("tolerance", 1e-12))
    estimate = estimate_shapley(rule_of(game), n, budget)
    assert estimate.values.sum() == pytest.approx(game["sum_float"], rel=1e-9)
    assert relative_error(estimate.values, exact) < error


def test_small_large_games_are_exact_at_full_budget():
    for game in LARGE_GAMES:
        if game["n"] == 12:
            estimate = estimate_shapley(rule_of(game), 12, 4096)
            np.testing.assert_allclose(
                estimate.values, game["shapley_float"], atol=game.get("tolerance", 1e-12)
            )


def test_our_estimator_beats_the_other_methods_where_returns_diminish():
    games = concave_games(10, 5)
    ours = mean_error(games, 10, 128)
    assert all(ours < mean_error(games, 10, 128, other) / 3 for other in METHODS if other != "auto")


def additive(worth):
    return lambda member: member @ worth


def triples(n, seed):
    """Companies with a worth each, and groups of three that are worth more once complete."""
    generator = np.random.default_rng(seed)
    worth, more = generator.random(n), generator.normal(size=n)
    groups = np.array([generator.choice(n, 3, replace=False) for _ in range(n)])
    values = worth.copy()
    np.add.at(values, groups, more[:, None] / 3)
    return (lambda member: member @ worth + member[:, groups].all(axis=2) @ more), values


@pytest.mark.parametrize(
    ("n", "budget"),
    [(5, 20), (12, 48), (64, 256), (64, 20_000), (599, 2396), (640, 2560), (1000, 4000)],
)
def test_additive_games_are_exact_for_any_number_of_companies_and_coalitions(n, budget):
    worth = np.random.default_rng(1).normal(size=n)
    estimate = estimate_shapley(additive(worth), n, budget)
    np.testing.assert_allclose(estimate.values, worth, atol=1e-9)
    assert (estimate.low <= worth).all() and (worth <= estimate.high).all()
    assert (estimate.high - estimate.low).max() < 1e-6


@pytest.mark.parametrize(
    ("n", "budget", "judged"),
    [
        (12, 100, MOST_JUDGED),
        (12, 1000, MOST_JUDGED),
        (40, 200, MOST_JUDGED),
        pytest.param(40, 2000, MOST_JUDGED, marks=pytest.mark.slow),
        (40, 2000, 400),  # of 1000 pairs
        pytest.param(650, 1600, MOST_JUDGED, marks=pytest.mark.slow),
    ],
)
def test_the_default_is_never_much_worse_than_the_best_other_method(n, budget, judged, monkeypatch):
    monkeypatch.setattr("fl_sv.values.surrogate.MOST_JUDGED", judged)
    game, exact = triples(n, 0)
    errors = {
        method: relative_error(estimate_shapley(game, n, budget, 0, method).values, exact)
        for method in METHODS
    }
    assert errors["auto"] <= 1.25 * min(errors.values()), errors


def test_a_part_of_many_pairs_decides_the_surrogate_and_all_of_them_the_values(monkeypatch):
    game, exact = triples(12, 1)
    whole = estimate_shapley(game, 12, 800, 1)
    monkeypatch.setattr("fl_sv.values.surrogate.MOST_JUDGED", 200)
    part = estimate_shapley(game, 12, 800, 1)
    errors = [relative_error(estimate.values, exact) for estimate in (whole, part)]
    assert errors[1] <= 1.25 * errors[0]
    assert np.mean((part.low <= exact) & (exact <= part.high)) > 0.7


# --- intervals ------------------------------------------------------------------------------------


def share_inside(games, n, budget, level=0.9, method="auto"):
    inside = []
    for seed, game in enumerate(games):
        estimate, exact = (
            estimate_shapley(game, n, budget, seed, method, level),
            all_values(game, n),
        )
        inside.append((estimate.low <= exact) & (exact <= estimate.high))
    return np.mean(inside)


@pytest.mark.parametrize("budget", [64, 128, 256])
def test_intervals_hold_what_they_promise(budget):
    games = concave_games(10, 15) + [coverage(10, seed) for seed in range(15)]
    assert 0.85 <= share_inside(games, 10, budget) <= 0.97


@pytest.mark.parametrize("method", ["kernelshap", "leverage", "permutation", "antithetic"])
def test_intervals_of_the_other_methods_are_not_absurd(method):
    assert (
        0.7 <= share_inside([coverage(8, seed) for seed in range(20)], 8, 100, method=method) <= 1
    )


def test_a_higher_level_is_a_wider_interval():
    narrow, wide = (estimate_shapley(coverage(8, 0), 8, 60, level=level) for level in (0.5, 0.99))
    np.testing.assert_array_equal(narrow.values, wide.values)
    assert (wide.high - wide.low > narrow.high - narrow.low).all()


@EVERY_METHOD
def test_nothing_known_about_the_shares_is_an_infinite_interval(method):
    estimate = estimate_shapley(coverage(6, 0), 6, 3, method=method)
    np.testing.assert_allclose(estimate.values, estimate.values.mean())
    assert np.isneginf(estimate.low).all() and np.isposinf(estimate.high).all()


# --- the parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.0, 1.0])
@pytest.mark.parametrize(
    ("n", "n_pairs"), [(2, 1), (3, 3), (6, 0), (6, 7), (6, 31), (7, 40), (20, 500), (1100, 60)]
)
def test_pairs_are_distinct_and_as_many_as_asked_for(n, n_pairs, exponent):
    pairs = draw_pairs(n, n_pairs, exponent, np.random.default_rng(0))
    assert pairs.members.shape == (n_pairs, n)
    both = np.concatenate([pairs.members, ~pairs.members])
    assert len({row.tobytes() for row in both}) == 2 * n_pairs
    np.testing.assert_array_equal(pairs.members.sum(axis=1), pairs.sizes)
    assert (pairs.sizes >= 1).all() and (2 * pairs.sizes <= n).all()
    assert ((pairs.unseen >= 0) & (pairs.unseen <= 1)).all()
    if n_pairs == 2 ** (n - 1) - 1:
        np.testing.assert_array_equal(pairs.unseen, np.zeros(n_pairs))


def test_pairs_of_a_size_are_equally_likely():
    drawn = [draw_pairs(6, 12, 0.0, np.random.default_rng(seed)).members for seed in range(2000)]
    rows, times = np.unique(np.concatenate(drawn), axis=0, return_counts=True)
    for size, existing in ((1, 6), (2, 15), (3, 10)):
        counts = times[rows.sum(axis=1) == size]
        assert len(counts) == existing
        assert np.ptp(counts) < 8 * np.sqrt(counts.mean())


WEIGHTS = np.array([0.05, 0.5, 0.9, 1.2, 1.3, 2.05])
EVERY_COVARIANCE = pytest.mark.parametrize("covariance", covariances_for(6), ids=str)


@EVERY_COVARIANCE
def test_shapley_values_of_the_surrogate_are_those_of_its_table(covariance):
    every = members_matrix(range(64), 6)
    table_CL = covariance.between(every, every, WEIGHTS) - covariance.between(
        every, ~every, WEIGHTS
    )
    expected = np.array([shapley(column) for column in table_CL.T])
    np.testing.assert_allclose(
        _shapley_of_columns(covariance, every, WEIGHTS), expected, atol=1e-12
    )


@EVERY_COVARIANCE
def test_a_covariance_is_symmetric_and_positive(covariance):
    every = members_matrix(range(64), 6)
    table_CC = covariance.between(every, every, WEIGHTS)
    np.testing.assert_allclose(table_CC, table_CC.T, atol=1e-12)
    assert np.linalg.eigvalsh(table_CC).min() > -1e-12


def test_steps_of_a_nested_draw_add_up_to_one_draw_and_begin_with_every_company_alone():
    n, totals = 9, [18, 30, 60]
    steps = draw_nested(n, totals, 1.5, np.random.default_rng(3))
    assert {tuple(row) for row in np.eye(n, dtype=bool)} <= {tuple(row) for row in steps[0]}
    together = np.concatenate(steps)
    assert np.cumsum([len(step) for step in steps]).tolist() == totals
    assert len(np.unique(together, axis=0)) == 60 and (together.sum(axis=1) <= 4).all()
    again = draw_nested(n, totals, 1.5, np.random.default_rng(3))
    assert all(np.array_equal(one, other) for one, other in zip(steps, again, strict=True))


def test_every_pair_of_a_size_is_as_likely_in_the_first_step_of_a_nested_draw():
    drawn = [
        draw_nested(6, [10, 14], 1.5, np.random.default_rng(seed))[0][6:] for seed in range(2000)
    ]
    of_two = np.concatenate([step[step.sum(axis=1) == 2] for step in drawn])
    count = np.unique(of_two @ (1 << np.arange(6)), return_counts=True)[1]
    assert len(count) == 15
    assert np.abs(count / count.mean() - 1).max() < 0.2


def test_the_estimator_of_one_game_reads_another_on_the_same_pairs():
    pairs = draw_pairs(6, 31, 1.5, np.random.default_rng(0))
    games = np.random.default_rng(1).normal(size=(64, 2)) + np.arange(64)[:, None]
    as_integer = pairs.members @ (1 << np.arange(6))
    difference = np.vstack([games[as_integer] - games[63 - as_integer], games[63] - games[0]])
    estimator = fit_estimator(pairs, difference[:, 0], np.random.default_rng(2))
    for column in range(2):  # all pairs are there, so the values are exact, for any surrogate
        values = difference[:, column] @ estimator.row_weights
        np.testing.assert_allclose(values, shapley(games[:, column]), atol=1e-12)


@EVERY_COVARIANCE
def test_left_out_residuals_are_those_of_a_fit_without_the_pair(covariance):
    member = draw_pairs(6, 20, 1.0, np.random.default_rng(0)).members
    target = np.random.default_rng(1).normal(size=20)
    covariance_RR = _covariance_of_differences(covariance, member, member, WEIGHTS)
    fits = _ridge_fits(covariance_RR, np.arange(20), np.zeros((20, 6)))
    for ridge, fit in zip(RIDGES, fits, strict=True):
        left_out = fit.left_out(target)
        if ridge < 1e-4:
            continue
        noise = ridge * np.trace(covariance_RR) / 20
        weights = np.linalg.solve(covariance_RR + noise * np.eye(20), target)
        np.testing.assert_allclose(
            left_out * fit.unexplained, target - covariance_RR @ weights, atol=1e-8
        )
        for row in range(20):
            kept = np.arange(20) != row
            weights = np.linalg.solve(
                covariance_RR[kept][:, kept] + noise * np.eye(19), target[kept]
            )
            assert left_out[row] == pytest.approx(
                target[row] - covariance_RR[row, kept] @ weights, abs=1e-7
            )


def test_linear_covariance_is_the_dot_product_of_signs():
    every = members_matrix(range(8), 3)
    signs = np.where(every, 1.0, -1.0)
    np.testing.assert_allclose(
        Linear().between(every, every, np.ones(3)), signs @ signs.T / 3, atol=1e-15
    )


def test_many_companies_need_no_more_nodes():
    n = 300
    member = np.random.default_rng(0).random((1, n)) < 0.02
    for covariance in covariances_for(n)[1:]:
        end_values = covariance.between(np.array([[True] * n, [False] * n]), member, np.ones(n))[
            :, 0
        ]
        total = covariance.shapley(member, np.ones(n)).sum()
        assert total == pytest.approx(end_values[0] - end_values[1], rel=1e-9)


# --- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 0, -5, 2.5, True, "64", math.nan, None])
def test_a_budget_below_two_is_refused(budget):
    with pytest.raises(ValueError, match="budget"):
        estimate_shapley(coverage(4, 0), 4, budget)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_clients": 0},
        {"n_clients": 2.0},
        {"n_clients": 1001},
        {"seed": -1},
        {"seed": 0.5},
        {"method": "svarm"},
        {"method": ["auto"]},
        {"level": 0},
        {"level": 1.0},
        {"level": math.nan},
        {"level": "0.9"},
        {"game": 3},
    ],
)
def test_a_wrong_argument_is_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        estimate_shapley(**{"game": coverage(4, 0), "n_clients": 4, "budget": 10} | wrong)


def test_more_companies_and_coalitions_than_memory_holds_are_refused():
    with pytest.raises(InputError, match="allowed are at most 134217 evaluations"):
        estimate_shapley(additive(np.ones(1000)), 1000, 200_000)


def test_more_evaluations_than_memory_are_refused():
    with pytest.raises(InputError, match="at most 16777216"):
        estimate_shapley(coverage(4, 0), 40, 10**9)


@pytest.mark.parametrize(
    ("game", "sentence"),
    [
        (lambda member: member.sum(), "shape"),
        (lambda member: member, "shape"),
        (lambda member: ["a"] * len(member), "real numbers"),
        (lambda member: None, "real numbers"),
        (
            lambda member: np.where(member.all(axis=1), np.nan, 1.0),
            r"1 of 10 .* nan for coalition 15 = \{0, 1, 2, 3\}",
        ),
        (lambda member: np.where(member.any(axis=1), 1.0, -np.inf), r"-inf for coalition 0 = \{\}"),
    ],
)
def test_a_game_that_returns_no_utilities_is_refused(game, sentence):
    with pytest.raises(InputError, match=sentence):
        estimate_shapley(game, 4, 10)


def test_an_exception_of_the_game_is_not_swallowed():
    def broken(member):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        estimate_shapley(broken, 4, 10)


def test_a_game_may_write_into_the_members_it_is_given():
    game = coverage(7, 0)

    def writing(member):
        utilities = game(member)
        member[:] = False
        return utilities

    np.testing.assert_array_equal(
        estimate_shapley(writing, 7, 50).values, estimate_shapley(game, 7, 50).values
    )


def test_an_estimate_cannot_be_changed():
    estimate = estimate_shapley(coverage(4, 0), 4, 16)
    assert isinstance(estimate, Estimate)
    with pytest.raises(AttributeError):
        estimate.values = np.zeros(4)
