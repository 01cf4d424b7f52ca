"""Alarm P2: values that do not account for the gain that the pot is paid for.

pytest tests/test_coverage.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl_sv.payment.coverage import coverage_alarms
from fl_sv.payment.settlement import divide_pot, settle
from fl_sv.report import write_report
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.pay import pay_run
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation.records import CompanyValue, Valuation
from fl_sv.values import semivalue
from tests.report_runs import PageText
from tests.runs import published, with_sections


def valued(values: list[float], gain: float, name: str = "loo") -> Valuation:
    """A valuation with these values of companies that gained so much together."""
    companies = tuple(CompanyValue(f"c{i}", v, v - 1, v + 1, 0.0, v) for i, v in enumerate(values))
    return Valuation(0.9, name, -2.0, gain - 2.0, True, "small", 0.0, companies, ())


def game_values(utilities: np.ndarray, name: str) -> Valuation:
    values = semivalue(utilities, name).tolist()
    return valued(values, float(utilities[-1] - utilities[0]), name)


MEMBERS = np.bitwise_count(np.arange(32))
REDUNDANT = 1 - 0.1**MEMBERS  # the first company brings nine tenths of what there is
ADDITIVE = MEMBERS * 1.0
NEEDED = (MEMBERS == 5) * 1.0  # nothing without every company


@pytest.mark.parametrize(
    ("name", "covered"),
    # 4.5 E[(1 - 0.9 p)**4] with p from Beta(B, A); p = 1/2 for Banzhaf, p = 1 for leave-one-out
    [("loo", 4.5e-4), ("beta:1,16", 0.004796), ("banzhaf", 4.5 * 0.55**4), ("beta:16,1", 3.677)],
)
def test_of_companies_that_replace_one_another_some_semivalues_cover_little(
    name: str, covered: float
) -> None:
    valuation = game_values(REDUNDANT, name)
    assert valuation.values.sum() == pytest.approx(covered, rel=1e-3)
    assert [alarm.code for alarm in coverage_alarms(valuation)] == ["P2"] * (covered < 0.25)


@pytest.mark.parametrize("name", ["shapley", "banzhaf", "loo", "beta:16,1", "beta:1,4"])
def test_no_semivalue_of_an_additive_game_is_an_alarm(name: str) -> None:
    assert coverage_alarms(game_values(ADDITIVE, name)) == []


@pytest.mark.parametrize("utilities", [REDUNDANT, ADDITIVE, NEEDED, -REDUNDANT, 0 * ADDITIVE])
def test_shapley_values_of_any_game_are_no_alarm(utilities: np.ndarray) -> None:
    assert coverage_alarms(game_values(utilities, "shapley")) == []


def test_companies_that_are_all_needed_may_each_be_worth_the_whole_gain_and_no_more() -> None:
    assert coverage_alarms(game_values(NEEDED, "loo")) == []
    (alarm,) = coverage_alarms(valued([1.0, 1.0, 1.1], 1.0))
    assert alarm.figures == pytest.approx({"sum": 3.1, "gain": 1.0, "covered": 3.1})


@pytest.mark.parametrize(
    ("values", "gain", "fires"),
    [
        ([0.0039, 0.0], 1.0464, True),
        ([0.24, 0.0], 1.0, True),
        ([0.26, 0.0], 1.0, False),
        ([5.0, -4.9], 1.0, True),  # they cancel
        ([-0.5, -0.5], 1.0, True),
        ([0.5, 0.1], 0.0, True),
        ([0.5, 0.1], -1.0, True),
        ([-0.5, -0.1], -1.0, False),
        ([0.0, 0.0], 0.0, False),
        ([1e-12, 0.0], 1e-10, False),  # rounding
    ],
)
def test_the_sum_of_the_values_decides(values: list[float], gain: float, fires: bool) -> None:
    assert [alarm.code for alarm in coverage_alarms(valued(values, gain))] == ["P2"] * fires


@pytest.fixture
def one_takes_all(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The smoke run by leave-one-out values; those of single examples keep their spread."""
    evidence = read_evidence(run)
    config = with_sections(evidence.config, values={"semivalue": "loo"})
    losses = evidence.table.mean_losses(evidence.table.largest_small)
    small = semivalue([-loss for loss in losses.values()], "loo")
    validation_NV = evidence.validation_NV - evidence.validation_NV.mean(axis=1, keepdims=True)
    loo = replace(evidence, config=config, validation_NV=validation_NV + small[:, None])
    return published(tmp_path / "loo", run, loo)


def test_a_run_by_values_that_cover_little_is_not_payable_until_that_is_accepted(
    one_takes_all: RunDirectory,
) -> None:
    settlement = settle(read_evidence(one_takes_all))
    valuation = settlement.valuation
    gain = valuation.utility_grand - valuation.utility_empty
    assert valuation.values.sum() < 0.25 * gain
    (alarm,) = settlement.payment.objections
    assert (alarm.code, alarm.figures["gain"]) == ("P2", gain)
    shown = summary(one_takes_all)
    assert "NOT payable" in shown and "P2: the values (loo) add up to" in shown
    assert "--accept P2" in shown
    assert pay_run(one_takes_all, 1000, "clip", ["P2"]).payment.objections == ()


def test_screen_and_report_print_the_sum_that_the_rows_have(one_takes_all: RunDirectory) -> None:
    write_report(one_takes_all)
    rows = PageText(one_takes_all.read_text(files.REPORT)).tables
    screen = [
        [cell.strip() for cell in line.strip("│┃").split("│")]
        for line in summary(one_takes_all).splitlines()
        if line.startswith("│")
    ]
    for table, column in ((screen, 2), (next(t for t in rows if t[-1][0] == "Sum"), 2)):
        *companies, total = table
        of_rows = sum(float(row[column]) for row in companies if row[0] != "Company")
        assert float(total[column]) == pytest.approx(of_rows, abs=5e-4)


def test_a_pot_that_cannot_be_divided_is_an_alarm_with_figures(run: RunDirectory) -> None:
    evidence = read_evidence(run)
    harmful = valued([-0.5, -1.5, -0.25, -0.75], -3.0, "shapley")
    payment = divide_pot(evidence, harmful, (), evidence.config.payouts, ())
    (alarm,) = payment.alarms
    assert (alarm.code, set(payment.amounts.values())) == ("P1", {0})
    assert alarm.figures == {"sum": -3.0, "largest": -0.25, "smallest": -1.5}
