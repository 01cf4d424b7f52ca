"""The report page: complete, exact, escaped, self-contained, and the same bytes every time.

pytest tests/test_report.py
"""

import json
import re
import shutil
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from fl_sv.config.valuation import FixedPot
from fl_sv.errors import InputError, VerificationError
from fl_sv.law import fit_law
from fl_sv.payment.payouts import money, payouts_csv, read_payouts
from fl_sv.payment.settlement import divide_pot
from fl_sv.report import write_report
from fl_sv.report.advice import ADVICE, advice_for
from fl_sv.report.checks import QUESTIONS
from fl_sv.report.figures import FIGURES
from fl_sv.report.finished_run import FinishedRun, read_finished_run
from fl_sv.report.html import render
from fl_sv.report.page import build_page
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section, read_ledger, tables_head
from fl_sv.runs.publish import sealed
from fl_sv.runs.records import FiredAlarm, PaymentRecord
from fl_sv.values import shapley
from tests.report_games import game_of_kind
from tests.report_runs import ALARMS, COMPANIES, CONFIG, PageText, cents, make_run
from tests.test_law import ends as both_ends
from tests.test_law import fitted, smooth_game


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    made = make_run(tmp_path_factory.mktemp("payable") / "run")
    write_report(made)
    return made


@pytest.fixture(scope="module")
def page(run: RunDirectory) -> str:
    return run.read_text(files.REPORT)


def test_the_page_loads_nothing(page: str) -> None:
    links = re.findall(r"""(?:href|src|srcset|action|data)\s*=\s*["']?([^"'\s>]*)""", page)
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert not re.search(r"https?:|@import|<iframe|<img|<object|fetch\(|import\(|WebSocket", page)


def test_the_pages_own_policy_allows_its_one_script_and_its_one_style_and_nothing_else(
    page: str,
) -> None:
    policy = unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    (style,), (script,) = (
        re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("style", "script")
    )
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r" style=| on\w+=", page.replace(style, "").replace(script, ""))


def test_ids_are_unique_and_every_reference_has_its_target(page: str) -> None:
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', page)) <= set(ids)


def test_every_company_and_amount_is_in_the_payout_table(run: RunDirectory, page: str) -> None:
    table = PageText(page).tables[0]
    amounts = read_payouts(run.file(files.PAYOUTS))
    assert [row[0] for row in table[1:-1]] == list(COMPANIES)
    assert [row[5] for row in table[1:-1]] == [
        money(amounts[name], "", 2).strip() for name in COMPANIES
    ]
    assert [row[1] for row in table[1:]] == ["400", "300", "300", "37", "1,037"]


@pytest.mark.parametrize("column", [5, 6, 7], ids=["payout", "equal split", "by size"])
def test_money_columns_add_up_to_the_cent(page: str, column: int) -> None:
    *rows, foot = PageText(page).tables[0][1:]
    assert sum(cents(row[column]) for row in rows) == cents(foot[column]) == 1_000_001


def test_a_payable_run_is_called_payable_and_claims_nothing_untested(page: str) -> None:
    text = PageText(page).text
    assert "10,000.01\N{NO-BREAK SPACE}EUR may be paid: Ash gets most" in text
    assert "No alarm fired." in text
    assert "NOT" not in text.replace("NOTE", "")
    assert "D3 needs a second small size, or large runs." in text
    assert "D4 needs four more large runs." in text
    assert "D9 checks whether" in text
    assert "law holds" not in text


def test_an_unpayable_run_is_called_unpayable_with_every_alarm(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS)
    write_report(run)
    text = PageText(run.read_text(files.REPORT)).text
    assert "NOT payable yet: two alarms fired (D1 and D5)" in text and "provisional" in text
    assert all(alarm in text for alarm in ALARMS)
    assert "D1 checks whether each large run agrees with the law" in text
    alarms = text[: text.index("Provisional payouts")]
    assert alarms.count("What it means:") == alarms.count("What to do:") == len(ALARMS)
    assert "fl-sv pay DIR --pot 1000001 --accept D1 --accept D5" in text
    assert f"fl-sv pay {run.path} --pot 1000001 --accept D1 --accept D5\n" in summary(run)
    assert "may be paid" not in text


def test_accepted_alarms_are_named_and_the_run_is_payable(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS, accepted=("D1", "D5", "D9"))
    write_report(run)
    text = PageText(run.read_text(files.REPORT)).text
    assert "may be paid: " in text and "D1 and D5 fired and were accepted by name." in text
    assert "Alarms accepted by name" in text and all(alarm in text for alarm in ALARMS)
    assert "NOT payable" not in text


def test_the_newest_section_of_the_ledger_decides(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS)
    finished = read_finished_run(run)
    rules = finished.payment.rules.model_copy(update={"pot": FixedPot(kind="fixed", cents=500)})
    payment = divide_pot(finished.evidence, finished.valuation, ALARMS, rules, ("D1", "D5"))
    run.write_text(files.PAYOUTS, payouts_csv(payment.amounts))
    append_section(run, owner_key(), "pay", {}, [PaymentRecord.of(payment)], sealed(run))
    write_report(run)
    page = run.read_text(files.REPORT)
    table = PageText(page).tables[0]
    assert cents(table[-1][5]) == 500
    assert "D1 and D5 fired and were accepted by name." in page and "fl-sv pay" in page
    assert tables_head(read_ledger(run)).digest in page


def test_every_check_is_listed_with_its_result(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS, accepted=("D1",))
    write_report(run)
    table = next(
        table for table in PageText(run.read_text(files.REPORT)).tables if table[0][0] == "Check"
    )
    assert {row[0]: row[2] for row in table[1:]} == {
        "D1": "alarm, accepted by name", "D2": "no alarm", "D5": "ALARM",
        "D3": "not tested", "D4": "not tested", "D9": "not tested",
    }  # fmt: skip


def test_every_check_has_its_question_and_its_advice() -> None:
    assert QUESTIONS.keys() == ADVICE.keys()


def test_every_reason_of_an_alarm_has_a_remedy_of_its_own() -> None:
    """Each reason by the figures that decide, and words of the remedy that help there alone."""
    reasons = {
        ("D1", "share_of_gain=-.4"): "wrong labels",
        ("D1", "share_of_gain=.4"): "too low",
        ("D5", "small_gain=.3 large_gain=-.2"): "Look at the large model first",
        ("D5", "small_gain=-.3 large_gain=.2"): "Look at the small models first",
        ("D5", "small_gain=.3 large_gain=0"): "nothing to share",
        ("D5", "small_gain=0 large_gain=.3"): "Look at the small models first",
        ("D5", "range_over_seed_std=2 share_at_ceiling=.9"): "learn more",
        ("D5", "range_over_seed_std=9 share_at_ceiling=.9"): "wider small models",
        ("D5", "share_at_ceiling=.1 share_missed=.5"): "a lower one",
        ("P1", "sum=-1 largest=2"): "negative values, and train again",
        ("P1", "sum=1 largest=2"): "A higher payouts.max_charge",
        ("P1", "sum=-1 largest=-1"): "No rule and no pot helps",
    }
    for (code, figures), words in reasons.items():
        named = dict(figure.split("=") for figure in figures.split())
        numbers = {name: float(number) for name, number in named.items()}
        alarm = FiredAlarm(code=code, sentence="", coalition=None, figures=numbers)
        advice = advice_for(alarm)
        assert words in f"{advice.meaning} {advice.action}", (code, figures)


def test_every_figure_of_a_law_is_explained() -> None:
    sound = fitted(0, "law_2n")[0]
    small_CM, large_C = smooth_game()
    opposite = fit_law(
        small_CM, both_ends(2.0 - large_C), sizes=[1, 2, 4, 8], by_seed=[small_CM, small_CM]
    )
    with_averages = fit_law(
        small_CM,
        both_ends(large_C) | {1: float(large_C[1])},
        sizes=[1, 2, 4, 8],
        averaged=np.column_stack([small_CM, large_C]),
        large_std=0.01,
    )
    laws = (sound, opposite, with_averages)
    assert {name for law in laws for name in (*law.parameters, *law.diagnostics)} == set(FIGURES)


def test_users_input_is_escaped(run: RunDirectory, page: str) -> None:
    assert "<h1>Who &lt;b&gt;taught&lt;/b&gt; the model &amp; how much</h1>" in page
    hostile = "<script>alert('Ash')</script>&\"$x$"
    escaped = render(build_page(renamed(read_finished_run(run), "Ash", hostile)))
    assert escaped.count("<script") == 1 and "&lt;script&gt;alert(" in escaped
    assert [row[0] for row in PageText(escaped).tables[0]][1] == hostile


def renamed(finished: FinishedRun, old: str, new: str) -> FinishedRun:
    """A company with a name that no config would take."""

    def by_name(mapping: dict) -> dict:  # type: ignore[type-arg]
        return {new if name == old else name: value for name, value in mapping.items()}

    evidence, valuation = finished.evidence, finished.valuation
    names = tuple(new if name == old else name for name in COMPANIES)
    companies = tuple(
        replace(c, name=name) for c, name in zip(valuation.companies, names, strict=True)
    )
    return replace(
        finished,
        evidence=replace(
            evidence,
            config=evidence.config.model_copy(update={"companies": names}),
            examples=by_name(evidence.examples),
            fingerprints=by_name(evidence.fingerprints),
        ),
        valuation=replace(valuation, companies=companies),
        payment=finished.payment.model_copy(update={"amounts": by_name(finished.payment.amounts)}),
    )


def test_writing_twice_gives_the_same_bytes(run: RunDirectory, page: str, tmp_path: Path) -> None:
    copy = RunDirectory(tmp_path / "elsewhere")
    shutil.copytree(run.path, copy.path)
    write_report(copy)
    assert copy.file(files.REPORT).read_bytes() == page.encode()


def test_the_page_is_the_same_when_the_law_is_fitted_again(
    finished_run: Path, tmp_path: Path
) -> None:
    again = RunDirectory(shutil.copytree(finished_run, tmp_path / "run"))
    write_report(again)
    assert again.read_text(files.REPORT) == RunDirectory(finished_run).read_text(files.REPORT)


def test_remarks_name_twins_and_what_was_put_in_on_purpose(page: str) -> None:
    text = PageText(page).text
    assert "Beech and Chestnut hold exactly the same rows" in text
    assert "40\N{NO-BREAK SPACE}% of the labels of Damson are wrong" in text


def test_uncertain_order_and_harm_are_stated(page: str) -> None:
    text = PageText(page).text
    assert "Ash, Beech, Chestnut and Damson: it is not certain which of two neighbours" in text
    assert "Damson: its value certainly is below zero." in text
    assert "overlap." not in text


def test_the_ledger_is_quoted(run: RunDirectory, page: str) -> None:
    records = read_ledger(run)
    assert tables_head(records).digest in page
    assert "fl-sv verify DIR --key PUB" in page


def test_cost_and_law_are_listed(page: str) -> None:
    text = PageText(page).text
    assert "The sweep over the coalitions took 1.00 times the arithmetic" in text
    assert "0.9123" in text and "0.61" in text
    assert "8.0\N{NO-BREAK SPACE}GFLOP" in text


def test_pictures_have_descriptions_and_follow_the_style_sheet(page: str) -> None:
    pictures = re.findall(r"<svg [^>]*class=\"picture\"[^>]*>", page)
    assert len(pictures) > 20
    assert all(re.search(r'role="img"[^>]* aria-label="[^"]{8,}"', drawn) for drawn in pictures)
    assert not re.search(r'(fill|stroke)="', page)  # colours are the style sheet's


def test_a_table_changed_after_signing_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = run.read_text(files.PAYOUTS)
    run.write_text(files.PAYOUTS, text.replace("Damson,0", "Damson,1"))
    with pytest.raises(VerificationError, match=r"payouts\.csv was changed after it was signed"):
        write_report(run)
    assert not run.file(files.REPORT).exists()


def test_a_law_without_its_name_is_named_as_damaged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    law = json.loads(run.read_text(files.LAW))
    del law["name"]
    run.write_text(files.LAW, json.dumps(law))
    append_section(run, owner_key(), "run", {}, [], sealed(run))
    with pytest.raises(InputError, match="lacks 'name'"):
        write_report(run)


def test_nothing_to_pay_draws_no_payouts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", config_text=CONFIG.replace("1000001", "0"))
    write_report(run)
    assert "Nothing is paid, so there is nothing to divide." in run.read_text(files.REPORT)


def test_a_regression_has_no_accuracy(tmp_path: Path) -> None:
    run = game_of_kind("regression", tmp_path / "run")
    text = PageText(run.read_text(files.REPORT)).text
    assert "Value, squared units" in text and "classif" not in text and "nats" not in text


def test_both_kinds_of_pot_are_shown(page: str) -> None:
    table = next(table for table in PageText(page).tables if "Performance pot" in table[0][-1])
    assert [row[2] for row in table[1:]] == ["10,000.01"] * 4
    assert [row[3] for row in table[1:]] == ["10,000.01", "9,000.01", "5,000.00", "0.00"]


def test_a_union_is_shown_as_it_is_paid_and_as_one(tmp_path: Path) -> None:
    united = CONFIG + "values: {unions: {Trees: [Beech, Chestnut]}}\n"
    run = make_run(tmp_path / "run", config_text=united)
    write_report(run)
    shown = PageText(run.read_text(files.REPORT))
    head, together, *members = next(table for table in shown.tables if "As a union" in table[0])
    assert [row[0] for row in (together, *members)] == ["Trees, together", "Beech", "Chestnut"]
    for column in (3, 4):  # money, paid and as one
        assert cents(together[column]) == sum(cents(row[column]) for row in members)
    # The union's part is the Shapley value of the game between Ash, the union and Damson.
    finished = read_finished_run(run)
    between = [-finished.predictions.predicted_C[c] for c in (0, 1, 6, 7, 8, 9, 14, 15)]
    assert float(together[2]) == pytest.approx(shapley(between)[1], abs=1e-3)
    assert cents(together[3]) - cents(together[4]) == cents(together[5].lstrip("+"))
    assert head[5].startswith("Difference")


def test_without_unions_the_page_has_none(page: str) -> None:
    assert "As a union" not in page
