"""Axioms at run time: each stage behind the table is broken on purpose, and the run stops being
payable.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fl_sv.payment import settlement
from fl_sv.payment.settlement import Evidence, settle
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.valuation import appraise as appraisal
from fl_sv.valuation.appraise import paid_values
from fl_sv.valuation.axioms import axiom_alarms, rounding_alarms
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import CompanyValue, Valuation
from fl_sv.values import shapley
from tests.runs import with_sections

D_ALARMS = tuple(f"D{number}" for number in range(1, 10))


@pytest.fixture
def evidence(run: RunDirectory) -> Evidence:
    """Of a really finished run, with every alarm of the law accepted."""
    found = read_evidence(run)
    return replace(found, config=with_sections(found.config, law={"accept": D_ALARMS}))


def fired(evidence: Evidence) -> set[str]:
    """Codes of the axioms' alarms; with any of them the run is not payable."""
    found = settle(evidence)
    codes = {alarm.code for alarm in found.payment.alarms} - set(D_ALARMS)
    assert found.valuation.payable == (not codes)
    return codes


def test_nothing_fires_when_nothing_is_broken(evidence: Evidence) -> None:
    assert fired(evidence) == set()


def test_law_that_favours_the_first_in_the_list_is_caught(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def partial(*arguments: Any) -> Any:
        law = fit_to_table(*arguments)
        normalized_C = law._posterior.normalized_C.copy()
        normalized_C[1::2] += 0.01  # every coalition with the first company
        return replace(law, _posterior=replace(law._posterior, normalized_C=normalized_C))

    monkeypatch.setattr(settlement, "fit_to_table", partial)
    assert fired(evidence) == {"A4"}


def change_values(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Changes the values of every order of the companies."""
    for module in (settlement, appraisal):
        monkeypatch.setattr(module, "paid_values", lambda *a: change(paid_values(*a)))


def test_values_that_do_not_add_up_are_caught(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_values(monkeypatch, lambda value_N: value_N * 1.001)
    assert fired(evidence) == {"A1"}


def test_values_that_go_by_position_are_caught(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_values(monkeypatch, np.sort)
    assert fired(evidence) == {"A4"}


def test_cents_that_go_missing_are_caught(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = settlement.allocate
    monkeypatch.setattr(
        settlement, "allocate", lambda *a, **k: honest(*a, **k) - np.array([1, 0, 0, 0])
    )
    assert fired(evidence) == {"A5"}


def test_cents_that_change_hands_are_caught(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = settlement.allocate
    monkeypatch.setattr(settlement, "allocate", lambda *a, **k: honest(*a, **k)[::-1])
    assert fired(evidence) == {"A5"}


def game(utility_C: list[float], value_N: list[float]) -> tuple[Valuation, np.ndarray]:
    companies = tuple(
        CompanyValue(name, v, v, v, 0.0, v) for name, v in zip("ABC", value_N, strict=True)
    )
    return Valuation(
        0.9, "shapley", utility_C[0], utility_C[-1], True, "small", 0.0, companies, ()
    ), np.array(utility_C)


UTILITIES = [
    0.0,
    1.0,
    1.0,
    1.5,
    0.0,
    1.0,
    1.0,
    1.5,
]  # A and B are interchangeable, C changes nothing


def test_shapley_values_break_no_axiom() -> None:
    assert axiom_alarms(*game(UTILITIES, shapley(UTILITIES).tolist())) == []


def test_null_player_with_a_value_is_caught() -> None:
    (alarm,) = axiom_alarms(*game(UTILITIES, [0.7, 0.7, 0.1]))
    assert alarm.startswith("A2: C changes no coalition's utility")


def test_interchangeable_companies_with_different_values_are_caught() -> None:
    (alarm,) = axiom_alarms(*game(UTILITIES, [0.8, 0.7, 0.0]))
    assert alarm.startswith("A3: A and B")


@pytest.mark.parametrize("names", [("Ash", "Beech"), ("Beech", "Ash")])
def test_larger_value_that_is_paid_less_is_found_in_any_order_of_companies(
    names: tuple[str, str],
) -> None:
    values, amounts = {"Ash": 1.0, "Beech": 2.0}, {"Ash": 60, "Beech": 40}
    (alarm,) = rounding_alarms({name: values[name] for name in names}, amounts, 100)
    assert alarm == ("A5: Beech has a larger value than Ash, but is paid 20 cents less (rounding).")


@pytest.mark.parametrize("names", [("Ash", "Beech"), ("Beech", "Ash")])
def test_equal_values_that_are_paid_apart_are_caught_beyond_the_cent_of_a_remainder(
    names: tuple[str, str],
) -> None:
    values = dict.fromkeys(names, 1.0)
    assert rounding_alarms(values, {"Ash": 51, "Beech": 50}, 101) == []
    (alarm,) = rounding_alarms(values, {"Ash": 60, "Beech": 40}, 100)
    assert "have the same value, but are paid 20 cents apart" in alarm
