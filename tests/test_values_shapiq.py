"""shapiq's methods by name, and shapiq as an oracle for our exact values. The oracle runs where
shapiq is installed.
"""

import importlib.util
import sys
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest

from fl_sv.errors import InputError
from fl_sv.values import banzhaf, estimate_shapley, interactions, shapley
from fl_sv.values.shapiq_methods import SHAPIQ_METHODS

WITH_SHAPIQ = pytest.mark.skipif(
    not importlib.util.find_spec("shapiq"), reason="needs the extra shapiq"
)
# Its dependencies warn on import, and it warns of budgets below the number of its unknowns.
pytestmark = pytest.mark.filterwarnings("ignore")

TABLE = np.random.default_rng(0).normal(size=2**6).cumsum()


def game(member):
    return TABLE[np.atleast_2d(member) @ (1 << np.arange(6))]


class OneAtATime:
    """As shapiq's Owen sampling asks: one row a call, without its first axis, some twice, never the
    grand coalition.
    """

    def __init__(self, n, random_state):
        self.n, self.random_state = n, random_state

    def approximate(self, budget, game):
        rows = np.random.default_rng(self.random_state).random((budget - 1, self.n)) < 0.5
        self.seen = np.array(
            [game(row)[0] for row in [np.zeros(self.n, dtype=bool), *rows, rows[0]]]
        )
        return self

    def get_n_order_values(self, order):
        return self.seen[:6]


@pytest.fixture
def pretended(monkeypatch):
    approximator = SimpleNamespace(OwenSamplingSV=OneAtATime)
    monkeypatch.setitem(sys.modules, "shapiq", SimpleNamespace(approximator=approximator))
    return "shapiq:OwenSamplingSV"


def test_all_coalitions_are_evaluated_in_one_call_and_values_sum_exactly(pretended):
    calls = []
    estimate = estimate_shapley(
        lambda member: calls.append(member) or game(member), 6, 20, method=pretended
    )
    (member,) = calls
    assert len({row.tobytes() for row in member}) == len(member) == estimate.n_evaluations <= 20
    assert estimate.values.sum() == pytest.approx(TABLE[-1] - TABLE[0], rel=1e-12)
    seen = (
        OneAtATime(6, int(np.random.default_rng(0).integers(1 << 31)))
        .approximate(20, game)
        .seen[:6]
    )
    np.testing.assert_allclose(np.diff(estimate.values), np.diff(seen), atol=1e-12)
    assert np.isneginf(estimate.low).all() and np.isposinf(estimate.high).all()


def test_a_method_that_the_installed_version_lacks_is_named(pretended):
    with pytest.raises(InputError, match=r"'shapiq:SVARM' is not in the installed version"):
        estimate_shapley(game, 6, 20, method="shapiq:SVARM")


def test_a_missing_package_is_named_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "shapiq", None)
    with pytest.raises(InputError, match=r"pip install 'fl-sv\[shapiq\]'"):
        estimate_shapley(game, 6, 20, method="shapiq:SVARM")


@WITH_SHAPIQ
@pytest.mark.parametrize("method", SHAPIQ_METHODS)
@pytest.mark.parametrize("budget", [20, 50])
def test_every_method_answers_within_the_budget(method, budget):
    from shapiq import approximator

    if not hasattr(approximator, SHAPIQ_METHODS[method][0]):
        pytest.skip("not in this version of shapiq")
    if method == "shapiq:ProxySPEX" and version("shapiq").startswith("1.4."):
        pytest.skip("shapiq 1.4 fails on samples so small that no tree of its proxy splits")
    first, again = (estimate_shapley(game, 6, budget, 3, method) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.n_evaluations <= budget
    assert first.values.sum() == pytest.approx(TABLE[-1] - TABLE[0], rel=1e-9)


@WITH_SHAPIQ
@pytest.mark.parametrize("n", [2, 4, 7])
def test_exact_values_are_those_of_shapiq(n):
    from shapiq import ExactComputer

    table = np.random.default_rng(n).normal(size=2**n)
    oracle = ExactComputer(lambda member: table[np.atleast_2d(member) @ (1 << np.arange(n))], n)
    np.testing.assert_allclose(
        shapley(table), oracle("SV", order=1).get_n_order_values(1), atol=1e-12
    )
    np.testing.assert_allclose(
        banzhaf(table), oracle("BV", order=1).get_n_order_values(1), atol=1e-12
    )
    np.testing.assert_allclose(
        interactions(table), oracle("SII", order=2).get_n_order_values(2), atol=1e-12
    )
