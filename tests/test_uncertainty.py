"""Intervals of values and the probability of an order, against draws of what they are about."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from fl_sv.config import Config
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.appraise import of_large_model, paid_weighting
from fl_sv.valuation.uncertainty import Uncertainty
from fl_sv.values.exact import semivalue
from tests.runs import with_sections

SEMIVALUES = ["shapley", "banzhaf", "loo", "beta:4,1"]
NOTHING = np.zeros((2, 2))
NO_ROWS = np.zeros((2, 2))  # which do not differ


def of_rows(example_NV: np.ndarray) -> Uncertainty:
    """Nothing but the rows is uncertain."""
    nothing = np.zeros((len(example_NV), len(example_NV)))
    return Uncertainty(nothing, nothing, example_NV)


def even(variance: float, n_rows: int) -> np.ndarray:
    """(V,) values of single examples, not skew, whose mean has this variance."""
    one_V = np.resize([-1.0, 1.0], n_rows)
    return one_V * math.sqrt(variance * (n_rows - 1))


# --- Student's t ----------------------------------------------------------------------------------


def test_an_interval_from_two_rows_is_as_wide_as_students_t_with_one_degree_of_freedom() -> None:
    half_N = of_rows(np.array([[1.0, 3.0], [0.0, 0.0]])).half_widths(0.9)
    assert half_N == pytest.approx([t.ppf(0.95, 1) * 1.0, 0.0])  # std 2**0.5, of a mean of two 1
    assert half_N[0] > 6


def test_what_is_known_has_a_normal_interval() -> None:
    half_N = Uncertainty(NOTHING, np.diag([4.0, 9.0]), NO_ROWS).half_widths(0.9)
    assert half_N == pytest.approx(norm.ppf(0.95) * np.array([2.0, 3.0]))


def test_parts_share_their_degrees_of_freedom_as_welch_and_satterthwaite_say() -> None:
    """Half the variance with 3 degrees of freedom: (1 + 1)**2 / (1 / 3) = 12."""
    first_V = even(1.0, 4)
    both = Uncertainty(NOTHING, np.eye(2), np.array([first_V, np.roll(first_V, 1)]))
    assert both.half_widths(0.9) == pytest.approx([math.sqrt(2) * t.ppf(0.95, 12)] * 2)
    # The rows of the second are minus those of the first: their difference has the variance 4.
    freedom = (2 + 4) ** 2 / (4**2 / 3)
    assert both.probability(0, 1, 1.0) == pytest.approx(t.cdf(1 / math.sqrt(6), freedom))
    assert both.variances() == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("n_rows", [2, 5, 30])
def test_intervals_from_few_rows_cover_as_often_as_they_say(n_rows: int) -> None:
    generator, inside = np.random.default_rng(0), []
    for _ in range(2000):
        drawn_NV = generator.normal([[0.3], [0.1]], [[1.0], [2.0]], size=(2, n_rows))
        half_N = of_rows(drawn_NV).half_widths(0.9)
        inside.append(np.abs(drawn_NV.mean(axis=1) - [0.3, 0.1]) <= half_N)
    assert 0.885 < np.mean(inside) < 0.95


@pytest.mark.parametrize("n_rows", [10, 30, 100])
def test_intervals_hold_where_few_rows_decide_the_loss(n_rows: int) -> None:
    """The losses are lognormal: one row in twenty has more than five times the median."""
    generator, inside, students = np.random.default_rng(0), [], []
    for _ in range(2000):
        loss_V = generator.lognormal(0.0, 1.0, n_rows)
        error = abs(loss_V.mean() - math.exp(0.5))
        inside.append(error <= of_rows(loss_V[None, :]).half_widths(0.9)[0])
        stderr = loss_V.std(ddof=1) / math.sqrt(n_rows)
        students.append(error <= t.ppf(0.95, n_rows - 1) * stderr)
    assert 0.85 < np.mean(inside) < 0.95
    assert np.mean(students) < 0.88


def test_the_order_is_as_probable_as_the_interval_of_the_difference_that_ends_at_zero() -> None:
    example_NV = np.random.default_rng(2).lognormal(size=(2, 12)) * [[1.0], [2.0]]
    uncertainty = of_rows(example_NV)
    difference_V = example_NV[1] - example_NV[0]
    for level in (0.5, 0.9, 0.99):
        (half,) = of_rows(difference_V[None, :]).half_widths(level)
        assert uncertainty.probability(1, 0, half) == pytest.approx((1 + level) / 2)
        assert uncertainty.probability(1, 0, -half) == pytest.approx((1 - level) / 2)
        assert uncertainty.probability(0, 1, half) == pytest.approx((1 + level) / 2)


# --- the order ------------------------------------------------------------------------------------


def test_an_order_is_wrong_as_often_as_its_probability_says() -> None:
    """Two companies of one worth, whose errors vary together: any order is right half the time, and
    is called certain (95 %) in at most a twentieth of the draws on either side.
    """
    generator, chances = np.random.default_rng(1), []
    mixing = np.array([[1.0, 0.0], [0.8, 0.6]])
    for _ in range(2000):
        drawn_NV = mixing @ generator.normal(size=(2, 4))
        difference = float(drawn_NV[0].mean() - drawn_NV[1].mean())
        chances.append(of_rows(drawn_NV).probability(0, 1, difference))
    for chance in (0.05, 0.25, 0.75, 0.95):  # on the safe side, for four rows may be skew
        share = np.mean(np.abs(np.array(chances) - 0.5) > abs(chance - 0.5)) / 2
        assert 0.8 * min(chance, 1 - chance) - 0.02 < share < min(chance, 1 - chance) + 0.02


def test_equal_values_are_a_coin_toss_and_without_any_error_the_order_is_certain() -> None:
    skew_NV = np.array([[0.0, 0.0, 9.0], [1.0, 0.0, 0.0]])
    assert of_rows(skew_NV).probability(0, 1, 0.0) == 0.5
    for law_NN in (NOTHING, np.eye(2), np.ones((2, 2))):
        assert Uncertainty(NOTHING, law_NN, NO_ROWS).probability(0, 1, 0.0) == 0.5
    alike = Uncertainty(NOTHING, np.ones((2, 2)), NO_ROWS)
    assert alike.probability(0, 1, 1e-9) == 1.0  # both err by the same
    assert of_rows(NO_ROWS).probability(0, 1, -1e-9) == 0.0


def test_what_one_gains_and_the_other_loses_makes_their_order_less_certain() -> None:
    opposed = Uncertainty(np.array([[1.0, -1.0], [-1.0, 1.0]]), NOTHING, NO_ROWS)
    apart = Uncertainty(np.eye(2), NOTHING, NO_ROWS)
    assert opposed.probability(0, 1, 2.0) == pytest.approx(norm.cdf(1.0))
    assert apart.probability(0, 1, 2.0) == pytest.approx(norm.cdf(2 / math.sqrt(2)))


# --- the validation part of every semivalue -------------------------------------------------------


def by_example(n_rows: int) -> np.ndarray:
    """(C, V) utilities of four companies that add up, but for the first two, which hold the same
    rows. Rows differ in how much each company teaches about them.
    """
    generator = np.random.default_rng(3)
    worth_NV = generator.gamma(2.0, 0.5, size=(4, n_rows))
    worth_NV[1] = worth_NV[0]
    members_CN = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(float)
    utility_CV: np.ndarray = members_CN @ worth_NV
    utility_CV -= (members_CN[:, 0] * members_CN[:, 1])[:, None] * worth_NV[0]
    return utility_CV


@pytest.mark.parametrize("name", SEMIVALUES)
def test_the_validation_part_of_a_semivalue_is_what_other_rows_would_change(name: str) -> None:
    """The large model gains three times as much on every row."""
    utility_CV = by_example(20_000)
    value_NV = np.array([semivalue(column, name) for column in utility_CV.T[:4000]]).T
    generator, n_rows = np.random.default_rng(4), 25
    values, stated = [], []
    for _ in range(400):
        drawn = generator.integers(4000, size=n_rows)
        gain = float((utility_CV[-1] - utility_CV[0])[drawn].mean())
        values.append(3 * value_NV[:, drawn].mean(axis=1))
        stated.append(of_rows(of_large_model(value_NV[:, drawn], gain, 3 * gain)).variances())
    np.testing.assert_allclose(
        np.mean(stated, axis=0), np.var(values, axis=0), rtol=0.25, atol=0.003
    )


def with_semivalue(evidence: Evidence, name: str) -> Evidence:
    config: Config = with_sections(evidence.config, values={"semivalue": name})
    return replace(evidence, config=config)


def test_a_semivalue_whose_sum_is_nearly_zero_has_a_finite_interval(run: RunDirectory) -> None:
    """All companies hold the same rows, so none is missed: the leave-one-out values are zero."""
    evidence = with_semivalue(read_evidence(run), "loo")
    flat = {
        key: replace(score, loss=0.4 + 1e-12 * (score.coalition % 7) if score.coalition else 2.3)
        for key, score in evidence.table.scores.items()
    }
    n_rows = evidence.validation_NV.shape[1]
    drawn_NV = np.random.default_rng(0).normal(0, 0.01, size=(4, n_rows))
    alike = replace(evidence, table=replace(evidence.table, scores=flat), validation_NV=drawn_NV)
    widths = [company.high - company.low for company in settle(alike).valuation.companies]
    least = 2 * norm.ppf(0.95) * 0.01 / math.sqrt(n_rows)
    assert all(0.8 * least < width < 0.5 for width in widths)


@pytest.mark.parametrize("name", SEMIVALUES)
def test_what_is_paid_and_its_validation_part_have_one_semivalue(
    run: RunDirectory, name: str
) -> None:
    evidence = with_semivalue(read_evidence(run), name)
    weighting = paid_weighting(evidence.config, evidence.weighting)
    utility_C = -evidence.table.mean_loss(evidence.table.largest_small)
    np.testing.assert_allclose(weighting.values(utility_C), semivalue(utility_C, name))
