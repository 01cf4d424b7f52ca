"""Parts of the report that need no run: money, ranking, numbers and labels.

pytest tests/test_report_parts.py
"""

import numpy as np
import pytest

from fl_sv.config.valuation import Payouts, PerformancePot
from fl_sv.game.coalitions import coalition_name
from fl_sv.payment.intervals import money_intervals
from fl_sv.payment.payouts import allocate
from fl_sv.report.certainty import undecided
from fl_sv.report.checks import check_table
from fl_sv.report.curves import MOST_POINTS, drawn_coalitions
from fl_sv.report.growth import added_by_size
from fl_sv.report.marks import Scale, picture, tag
from fl_sv.report.pot_comparison import compare_pots
from fl_sv.report.splits import splits
from fl_sv.report.wording import decimal, percent_above, percent_below, places_for, scaled, short
from fl_sv.runs.records import LawRecord, PaymentRecord
from fl_sv.valuation.groups import QUARTERS, groups_of
from fl_sv.valuation.records import CompanyValue, Order, Valuation
from fl_sv.values import shapley
from tests.report_runs import COMPANIES


def appraised(values: list[float], halves: list[float], kind: str = "shapley") -> Valuation:
    companies = tuple(
        CompanyValue(f"c{i}", v, v - h, v + h, 0.0, 0.0)
        for i, (v, h) in enumerate(zip(values, halves, strict=True))
    )
    return Valuation(0.9, kind, 0.0, sum(values), True, "small", 0.0, companies, ())


def ends(valuation: Valuation, rules: Payouts) -> list[tuple[int, int]]:
    amounts = allocate(valuation.values, 1000, rules.negative).tolist()
    return list(
        money_intervals(valuation, {f"c{i}": a for i, a in enumerate(amounts)}, rules).values()
    )


def rules_of(negative: str) -> Payouts:
    return Payouts.model_validate({"pot": {"kind": "fixed", "cents": 1000}, "negative": negative})


def test_without_negative_values_the_line_is_the_interval_over_the_fixed_sum() -> None:
    valuation = appraised([5.0, 3.0, 2.0], [1.0, 1.0, 0.5])
    expected = [(400, 600), (200, 400), (150, 250)]
    assert ends(valuation, rules_of("clip")) == expected
    assert ends(valuation, rules_of("charge")) == expected


def test_the_interval_of_a_company_paid_nothing_may_extend_upward() -> None:
    low, high = ends(appraised([5.0, 5.0, -0.5], [1.0, 1.0, 1.0]), rules_of("clip"))[2]
    assert low == 0
    assert high == round(
        1000 * 0.5 / 9.5
    )  # at +0.5 the others stand at 4.5 each: the sum stays 9.5


def test_intervals_under_charge_may_extend_below_zero() -> None:
    assert ends(appraised([6.0, 5.0, -1.0], [1.0, 1.0, 1.0]), rules_of("charge"))[2] == (-200, 0)


def test_other_semivalues_leave_the_others_where_they_are() -> None:
    assert ends(appraised([3.0, 1.0], [1.0, 0.5], "banzhaf"), rules_of("clip"))[0] == (
        round(2000 / 3),
        800,
    )


@pytest.mark.parametrize(
    ("share", "text"), [(1e-9, "1"), (0.004, "1"), (0.113, "12"), (1.0, "100")]
)
def test_what_is_at_most_a_percentage_is_never_more(share: float, text: str) -> None:
    assert percent_above(share) == f"{text}\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("share", "text"), [(0.9499, "94.9"), (0.95, "95.0"), (0.99999, "99.9"), (1.0, "100.0")]
)
def test_what_is_at_least_a_percentage_is_never_less(share: float, text: str) -> None:
    """A probability below 95 % is not called certain, so it is not written as 95.0 % either."""
    assert percent_below(share) == f"{text}\N{NO-BREAK SPACE}%"


def test_every_line_contains_its_payout() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        valuation = appraised(random.normal(1, 1, 5).tolist(), random.uniform(0, 1, 5).tolist())
        amounts = allocate(np.append(valuation.values[:4], 5.0), 1000)
        paid = {f"c{i}": a for i, a in enumerate(amounts.tolist())}
        for name, (low, high) in money_intervals(valuation, paid, rules_of("clip")).items():
            assert low <= paid[name] <= high


def test_a_ten_percent_smaller_improvement_pays_ten_percent_less_of_a_performance_pot() -> None:
    found = compare_pots(rules_of("clip"), -2.0, -0.5)
    assert found is not None
    assert [(case.fixed_cents, case.performance_cents) for case in found.scenarios] == [
        (1000, 1000), (1000, 900), (1000, 500), (1000, 0),
    ]  # fmt: skip
    rules = Payouts(pot=PerformancePot(kind="performance", cents_per_utility=100.0, floor=-1.0))
    found = compare_pots(rules, -2.0, -0.5)
    assert found is not None
    assert [(case.fixed_cents, case.performance_cents) for case in found.scenarios] == [
        (50, 50),
        (50, 35),
        (50, 0),
        (50, 0),
    ]
    assert compare_pots(rules, -0.5, -0.5) is None


def test_splits_add_up() -> None:
    found = splits({"a": 1, "b": 99}, {"a": 1, "b": 2})
    assert found.equal == {"a": 50, "b": 50} and found.by_size == {"a": 33, "b": 67}


# --- sentences and places -------------------------------------------------------------------------


def test_neighbours_are_undecided_below_the_probability_at_which_an_interval_leaves_out_zero() -> (
    None
):
    order = [Order("a", "b", 0.96), Order("b", "c", 0.94), Order("c", "d", 0.5), Order("d", "e", 1)]
    assert undecided(order, level=0.9) == [("b", "c", "d")]
    assert undecided(order, level=0.8) == [("c", "d")]


@pytest.mark.parametrize(
    ("coalition", "name"),
    [(0, "nobody"), (15, "all companies"), (2, "Beech"), (3, "Ash+Beech"), (7, "all but Damson")],
)
def test_coalitions_are_named(coalition: int, name: str) -> None:
    assert coalition_name(coalition, COMPANIES) == name


def test_numbers_are_written_for_people() -> None:
    assert decimal(-0.00001, 4) == "0.0000"
    assert [places_for(total) for total in (500.0, 1.9, 0.01, 0.0)] == [4, 4, 5, 4]
    assert scaled(205.8e9, "FLOP") == "205.8\N{NO-BREAK SPACE}GFLOP"
    assert short({"a": [0.123456, None, True]}) == "a: 0.1235, none, yes"


def test_what_is_added_by_size_averages_to_the_shapley_value() -> None:
    utility_C = np.random.default_rng(4).normal(size=16)
    np.testing.assert_allclose(added_by_size(utility_C).mean(axis=1), shapley(utility_C))


def test_a_scale_puts_its_ends_at_its_margins_and_equal_numbers_in_the_middle() -> None:
    scale = Scale.over(-1.0, 3.0, margin=10)
    assert [scale.at(x) for x in (-1.0, 1.0, 3.0)] == [10, 50, 90]
    assert Scale.over(2.0).at(2.0) == 50


def test_texts_in_pictures_are_escaped() -> None:
    hostile = """<b onload='x'>"&"""
    drawn = picture(10, [tag("text", hostile, class_=hostile)], hostile)
    assert "<b" not in drawn and "'x'" not in drawn and drawn.count("&lt;b") == 3


def test_a_large_game_is_drawn_in_part_with_both_ends() -> None:
    drawn = drawn_coalitions(np.arange(4096)[::-1].astype(float))
    assert len(drawn) == MOST_POINTS and {0, 4095} <= set(drawn.tolist())


def test_the_checks_stand_in_the_order_of_their_numbers() -> None:
    law = LawRecord(
        name="power",
        increasing=True,
        holds=True,
        alarms=(),
        fired=(),
        tested=("D1", "D2", "D9", "D10"),
        untested=("D3",),
        parameters={},
        anchors={},
        diagnostics={},
        remarks=(),
        next_run=None,
        sizes={},
    )
    payment = PaymentRecord(
        amounts={}, rules=rules_of("clip"), accepted=(), payable=True, alarms=()
    )
    codes = [row[0] for row in check_table(law, payment).rows]
    assert codes == ["D1", "D2", "D3", "D9", "D10"]


def test_examples_are_grouped_by_class_or_by_quarter_of_the_target() -> None:
    labels = groups_of(np.array([7, 2, 7]), classes=True)
    assert labels.names == ("2", "7") and labels.of_V.tolist() == [1, 0, 1]
    targets = groups_of(np.array([0.1, 0.2, 0.3, 0.4]), classes=False)
    assert targets.names == QUARTERS and targets.of_V.tolist() == [0, 1, 2, 3]
    assert set(groups_of(np.zeros(5), classes=False).of_V.tolist()) == {0}
