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
from fl_sv.valuation.appraise import paid_weighting, validation_part
from fl_sv.valuation.uncertainty import Part, Uncertainty
from fl_sv.values.exact import semivalue
from tests.runs import with_sections

SEMIVALUES = ["shapley", "banzhaf", "loo", "beta:4,1"]
NOTHING = Part(np.zeros((2, 2)))


def only(validation: Part) -> Uncertainty:
    nothing = Part(np.zeros_like(validation.covariance_NN))
    return Uncertainty(nothing, nothing, validation)


# --- Student's t ----------------------------------------------------------------------------------


def test_an_interval_from_two_rows_is_as_wide_as_students_t_with_one_degree_of_freedom() -> None:
    part = validation_part(np.array([[1.0, 3.0], [0.0, 0.0]]), 1.0, 1.0)
    half_N = only(part).half_widths(0.9)
    assert half_N == pytest.approx([t.ppf(0.95, 1) * 1.0, 0.0])  # std 2**0.5, of a mean of two 1
    assert half_N[0] > 6


def test_what_is_known_has_a_normal_interval() -> None:
    law = Part(np.diag([4.0, 9.0]))
    half_N = Uncertainty(NOTHING, law, NOTHING).half_widths(0.9)
    assert half_N == pytest.approx(norm.ppf(0.95) * np.array([2.0, 3.0]))


def test_parts_share_their_degrees_of_freedom_as_welch_and_satterthwaite_say() -> None:
    """Half the variance with 3 degrees of freedom: (1 + 1)**2 / (1 / 3) = 12."""
    both = Uncertainty(NOTHING, Part(np.eye(2)), Part(np.eye(2), freedom=3))
    assert both.half_widths(0.9) == pytest.approx([math.sqrt(2) * t.ppf(0.95, 12)] * 2)
    assert both.probability(0, 1, 1.0) == pytest.approx(t.cdf(1 / math.sqrt(4), 12))


@pytest.mark.parametrize("n_rows", [2, 5, 30])
def test_intervals_from_few_rows_cover_as_often_as_they_say(n_rows: int) -> None:
    generator, inside = np.random.default_rng(0), []
    for _ in range(2000):
        drawn_NV = generator.normal([[0.3], [0.1]], [[1.0], [2.0]], size=(2, n_rows))
        half_N = only(validation_part(drawn_NV, 1.0, 1.0)).half_widths(0.9)
        inside.append(np.abs(drawn_NV.mean(axis=1) - [0.3, 0.1]) <= half_N)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


# --- the order ------------------------------------------------------------------------------------


def test_an_order_is_wrong_as_often_as_its_probability_says() -> None:
    """Two companies of one worth, whose errors vary together: any order is right half the time, and
    is called certain (95 %) in a twentieth of the draws on either side.
    """
    generator, chances = np.random.default_rng(1), []
    mixing = np.array([[1.0, 0.0], [0.8, 0.6]])
    for _ in range(2000):
        drawn_NV = mixing @ generator.normal(size=(2, 4))
        difference = float(drawn_NV[0].mean() - drawn_NV[1].mean())
        chances.append(only(validation_part(drawn_NV, 1.0, 1.0)).probability(0, 1, difference))
    for chance in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.mean(np.array(chances) < chance) == pytest.approx(chance, abs=0.025)


def test_equal_values_are_a_coin_toss_and_without_any_error_the_order_is_certain() -> None:
    for part in (NOTHING, Part(np.eye(2), freedom=2), Part(np.ones((2, 2)))):
        assert only(part).probability(0, 1, 0.0) == 0.5
    assert only(Part(np.ones((2, 2)))).probability(0, 1, 1e-9) == 1.0  # both err by the same
    assert only(NOTHING).probability(0, 1, -1e-9) == 0.0


def test_what_one_gains_and_the_other_loses_makes_their_order_less_certain() -> None:
    opposed = only(Part(np.array([[1.0, -1.0], [-1.0, 1.0]])))
    apart = only(Part(np.eye(2)))
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
        stated.append(validation_part(value_NV[:, drawn], gain, 3 * gain).covariance_NN)
    np.testing.assert_allclose(
        np.mean(stated, axis=0), np.cov(np.transpose(values)), rtol=0.25, atol=0.01
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
