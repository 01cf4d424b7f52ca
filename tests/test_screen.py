"""The screen of a finished run.

pytest tests/test_screen.py
"""

import dataclasses
from pathlib import Path

import pytest

from fl_sv.payment.payouts import money, read_payouts
from fl_sv.report.advice import advice_for
from fl_sv.report.remarks import alone_remarks
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.ledger import newest, read_ledger
from fl_sv.runs.records import PaymentRecord
from fl_sv.runs.tables import read_evidence
from tests.report_games import game_of_kind
from tests.report_runs import ALARMS, make_run
from tests.runs import published


def test_the_screen_of_an_unpayable_run_names_the_next_step(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS)
    shown = summary(run)
    assert "NOT payable" in shown and all(alarm in shown for alarm in ALARMS)
    assert f"fl-sv pay {run.path} --pot 1000001 --accept D1 --accept D5" in shown
    assert "D4 needs four more large runs." in shown
    flat = " ".join(shown.split())
    for alarm in newest(read_ledger(run), PaymentRecord).objections:
        assert f"What to do: {advice_for(alarm).action}" in flat


def test_a_company_that_does_as_well_alone_is_named_and_explained() -> None:
    companies = ["Ash", "Beech"]
    assert alone_remarks(companies, {0: 2.3, 1: 0.5, 2: 0.6, 3: 0.4}) == ()
    assert alone_remarks(companies, {0: 2.3, 3: 0.4}) == ()  # nobody was measured alone
    (remark,) = alone_remarks(companies, {0: 2.3, 1: 0.5, 2: 0.3, 3: 0.4})
    assert "Beech alone (0.3000) does as well as or better than all" in remark
    assert "together (0.4000)" in remark and "training.rounds" in remark
    (equal,) = alone_remarks(companies, {0: 2.3, 1: 0.4, 2: 0.3, 3: 0.4})
    assert "Beech alone (0.3000), Ash alone (0.4000) do as well" in equal


def test_a_number_stays_with_its_unit_on_the_screen(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in range(70, 110):
        monkeypatch.setattr("fl_sv.report.screen.WIDTH", width)
        assert not any(line.startswith("%") for line in summary(run).splitlines())


@pytest.mark.parametrize("width", [60, 80, 110])
def test_no_amount_is_cut_off_on_any_terminal(
    run: RunDirectory, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_sv.report.screen.WIDTH", width)
    shown = summary(run)
    amounts = read_payouts(run.file(files.PAYOUTS))
    assert all(f" {money(cents, '', 2).strip()} " in shown for cents in amounts.values())
    assert "…" not in shown
    assert ("equal split" in shown) == (width == 110)


def test_screen_shows_the_sum_and_both_simple_splits(run: RunDirectory) -> None:
    text = summary(run)
    (last,) = [line for line in text.splitlines() if line.startswith("│ sum")]
    assert last.count("10,000.00") == 3
    assert all(name in text for name in run.config.companies)


def test_title_and_names_are_printed_as_they_are(run: RunDirectory, tmp_path: Path) -> None:
    evidence = read_evidence(run)
    title = "[bold]Round[/b] [1] :smile:"
    titled = evidence.config.model_copy(update={"title": title})
    assert title in summary(
        published(tmp_path / "titled", run, dataclasses.replace(evidence, config=titled))
    )


def test_the_screen_orders_companies_by_amount_and_never_by_config(tmp_path: Path) -> None:
    run = game_of_kind("eight", tmp_path / "run")
    amounts = read_payouts(run.file(files.PAYOUTS))
    names = [run.config.legal_name(each) for each in amounts]
    shown = [row.split("│")[1].strip() for row in summary(run).splitlines() if row.startswith("│ ")]
    by_amount = sorted(amounts, key=lambda each: -amounts[each])
    assert shown == [*map(run.config.legal_name, by_amount), "sum"]
    assert shown[:-1] != names
