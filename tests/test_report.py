"""The report page: complete, exact, escaped, self-contained, and the same bytes every time.

pytest tests/test_report.py
"""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from fl_sv.config import Config, dump_config, parse_config
from fl_sv.config.valuation import FixedPot, Payouts, PerformancePot
from fl_sv.design.large_runs import NextLargeRun
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import coalition_name
from fl_sv.game.utilities import Score, UtilityTable, planned_rows
from fl_sv.law import fit_law
from fl_sv.law.alarms import Alarm
from fl_sv.payment.intervals import money_intervals
from fl_sv.payment.payouts import allocate, money, payouts_csv, read_payouts
from fl_sv.payment.settlement import Evidence, Settlement, TeacherLoss, divide
from fl_sv.report import write_report
from fl_sv.report.checks import ADVICE, QUESTIONS
from fl_sv.report.figures import FIGURES
from fl_sv.report.finished_run import FinishedRun, read_run
from fl_sv.report.html import render
from fl_sv.report.page import build_page
from fl_sv.report.pictures import MOST_POINTS, drawn_coalitions, spread
from fl_sv.report.pot_comparison import compare_pots
from fl_sv.report.ranking import overlapping
from fl_sv.report.screen import summary
from fl_sv.report.splits import splits
from fl_sv.report.wording import decimal, places_for, scaled, short
from fl_sv.runs import files
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section, read_ledger
from fl_sv.runs.publish import SEALED, publish
from fl_sv.runs.records import PaymentRecord
from fl_sv.valuation.records import CompanyValue, Order, Valuation
from fl_sv.values import shapley
from fl_sv.values.weighting import Enumerated
from tests.test_law import ends as both_ends
from tests.test_law import fitted, smooth_game

COMPANIES = ("Ash", "Beech", "Chestnut", "Damson")
QUALITY = (0.8, 0.5, 0.5, -0.03)  # Damson does harm
SIZES = {"mlp-4": 310, "mlp-8": 610, "mlp-64": 4810}
UNTRAINED = math.log(10)
ALARMS = (
    Alarm(
        "D1", "the large model's loss of coalition {coalition} lies 0.2 above the law", 0b1001
    ).named(COMPANIES),
    Alarm("D5", "the small model spans 4 sigma, below 10", figures={"range_over_seed_std": 4.0}),
)
CONFIG = """
title: Who <b>taught</b> the model & how much
companies: [Ash, Beech, Chestnut, Damson]
data:
  source: digits
  partition: {kind: dirichlet, alpha: 1.0}
  corruptions: [{kind: wrong_labels, company: Damson, fraction: 0.4}]
models:
  small: [{kind: mlp, hidden: [4]}, {kind: mlp, hidden: [8]}]
  large: {kind: mlp, hidden: [64]}
training: {rounds: 3, seeds: 2}
payouts: {pot: {kind: fixed, cents: 1000001}}
"""
CHROMIUM = Path("/usr/bin/chromium")


def loss(model: str, seed: int, coalition: int) -> float:
    """Falls with the members' quality, faster for larger models, with a little seed noise for the
    small ones.
    """
    quality = sum(q for i, q in enumerate(QUALITY) if coalition >> i & 1)
    if coalition == 0:
        return UNTRAINED
    speed = {"mlp-4": 0.5, "mlp-8": 0.7, "mlp-64": 1.2}[model]
    noise = 0.0 if model == "mlp-64" else 0.004 * math.sin(7 * seed + 3 * coalition)
    return 0.2 + (UNTRAINED - 0.2) * math.exp(-speed * quality) + noise


def make_evidence(config: Config) -> Evidence:
    everything, anchors = range(16), [0, 1, 2, 4, 8, 15]
    coalitions = {"mlp-4": everything, "mlp-8": everything, "mlp-64": anchors}
    planned = planned_rows(list(SIZES), {"mlp-4": 2, "mlp-8": 2, "mlp-64": 1}, coalitions)
    scores = {(m, seed, c): Score(c, m, seed, loss(m, seed, c), 0.5) for m, seed, c in planned}
    end = loss("mlp-64", 0, 15)
    return Evidence(
        config=config,
        table=UtilityTable(COMPANIES, tuple(SIZES), planned, scores),
        sizes=SIZES,
        examples=dict(zip(COMPANIES, (400, 300, 300, 37), strict=True)),
        fingerprints=dict(zip(COMPANIES, ("a" * 64, "b" * 64, "b" * 64, "d" * 64), strict=True)),
        weighting=Enumerated(4, "shapley"),
        validation_NV=np.outer(QUALITY, np.linspace(0.5, 1.5, 40)),
        curve=tuple(
            TeacherLoss(r, UNTRAINED + (end - UNTRAINED) * r / 3, 0.1 + 0.25 * r) for r in range(4)
        ),
    )


def make_valuation(config: Config) -> Valuation:
    values = shapley([-loss("mlp-64", 0, c) for c in range(16)])
    halves = (0.35, 0.06, 0.06, 0.01)
    total = float(values.sum())
    companies = tuple(
        CompanyValue(
            name, float(v), float(v - half), float(v + half), float(v / total), float(v / 2)
        )
        for name, v, half in zip(COMPANIES, values, halves, strict=True)
    )
    order = tuple(Order(first, second, 0.9) for first, second in pairwise(COMPANIES))
    return Valuation(
        0.9,
        config.values.semivalue,
        -UNTRAINED,
        total - UNTRAINED,
        True,
        "mlp-8",
        0.0,
        companies,
        order,
    )


def make_run(
    path: Path,
    alarms: tuple[Alarm, ...] = (),
    config_text: str = CONFIG,
    accepted: tuple[str, ...] = (),
) -> RunDirectory:
    """A finished run made by the product's own writers; the law's verdict is given, not fitted."""
    path.mkdir()
    run = RunDirectory(path)
    config = parse_config(config_text, "test")
    config = config.model_copy(update={"law": config.law.model_copy(update={"accept": accepted})})
    evidence = make_evidence(config)
    law = SimpleNamespace(
        name="test-law",
        increasing=False,
        holds=not alarms,
        alarms=alarms,
        tested=("D1", "D2", "D5"),
        untested=("D3", "D4", "D9"),
        parameters={"kappa": 0.9123456789},
        anchors={c: loss("mlp-64", 0, c) for c in (0, 1, 2, 4, 8, 15)},
        diagnostics={"D2 spearman": 0.61},
        findings=None,  # of interest for students only
    )
    valuation = make_valuation(config)
    payment = divide(evidence, valuation, alarms, config.payouts, accepted)
    valuation = replace(valuation, payable=not payment.objections)
    run.write_text(files.CONFIG, dump_config(config))
    stages = {
        stage: {"seconds": 2.0, "company_seconds": 1.5, "bytes": 3_000_000, "flops": 4e9}
        for stage in ("teacher", "sweep")
    }
    run.write_text(files.COST, CostRecord.of(stages, 5.0).to_json())
    next_run = NextLargeRun(14, narrower=0.1234, price=0.7, anchors=5)
    settlement = Settlement(law, valuation, alarms, payment, next_run)  # type: ignore[arg-type]
    publish(run, evidence, settlement, {"torch": "9.9"})
    return run


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The signing key is made in a folder of the test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FL_SV_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    made = make_run(tmp_path_factory.mktemp("payable") / "run")
    write_report(made)
    return made


@pytest.fixture(scope="module")
def page(run: RunDirectory) -> str:
    return run.read_text(files.REPORT)


class PageText(HTMLParser):
    """The cells of every table of a page, and its visible text without styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._cell = self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        self._cell = tag in ("th", "td")
        self._hidden = tag in ("style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._hidden = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[-1][-1][-1] += data
        if not self._hidden:
            self.text += data


def cents(text: str) -> int:
    return int(text.replace(",", "").replace(".", ""))


def test_the_page_loads_nothing(page: str) -> None:
    links = re.findall(r"""(?:href|src|srcset|action|data)\s*=\s*["']?([^"'\s>]*)""", page)
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert not re.search(r"https?:|@import|<script|<iframe|<img|<object", page)


def test_ids_are_unique_and_every_reference_has_its_target(page: str) -> None:
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]*)', page)) <= set(ids)


def test_every_company_and_amount_stands_in_the_payout_table(run: RunDirectory, page: str) -> None:
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


def test_a_payable_run_says_so_and_claims_nothing_untested(page: str) -> None:
    text = PageText(page).text
    assert "These amounts may be paid. No alarm fired." in text
    assert "NOT" not in text.replace("NOTE", "")
    assert "D3 needs a third small size." in text
    assert "D4 needs four more large runs." in text
    assert "D9 checks whether" in text
    assert "law holds" not in text


def test_an_unpayable_run_says_so_with_every_alarm(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS)
    write_report(run)
    text = PageText(run.read_text(files.REPORT)).text
    assert "NOT payable" in text and "Two alarms fired" in text and "provisional" in text
    assert all(alarm in text for alarm in ALARMS)
    assert "D1 checks whether each large run agrees with the law" in text
    alarms = text[: text.index("What was not tested")]
    assert alarms.count("What it means:") == alarms.count("What to do:") == len(ALARMS)
    assert "fl-sv pay DIR --pot CENTS --accept D1 --accept D5" in text
    assert "fl-sv pay DIR --pot CENTS --accept D1 --accept D5" in summary(run)
    assert "may be paid" not in text


def test_accepted_alarms_are_named_and_the_run_is_payable(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS, accepted=("D1", "D5", "D9"))
    write_report(run)
    text = PageText(run.read_text(files.REPORT)).text
    assert "may be paid. D1 and D5 fired and were accepted by name." in text
    assert "Alarms accepted by name" in text and all(alarm in text for alarm in ALARMS)
    assert "NOT payable" not in text


def test_the_newest_section_of_the_ledger_decides(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ALARMS)
    finished = read_run(run)
    rules = finished.payment.rules.model_copy(update={"pot": FixedPot(kind="fixed", cents=500)})
    payment = divide(finished.evidence, finished.valuation, ALARMS, rules, ("D1", "D5"))
    run.write_text(files.PAYOUTS, payouts_csv(payment.amounts))
    append_section(run, owner_key(), "pay", {}, [PaymentRecord.of(payment)], SEALED)
    write_report(run)
    page = run.read_text(files.REPORT)
    table = PageText(page).tables[0]
    assert cents(table[-1][5]) == 500
    assert "D1 and D5 fired and were accepted by name." in page and "fl-sv pay" in page
    assert read_ledger(run)[-1].digest in page


def test_every_check_stands_with_its_result(tmp_path: Path) -> None:
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


def test_every_figure_of_a_law_is_explained() -> None:
    sound = fitted(0, "law_2n")[0]
    small_CM, large_C = smooth_game()
    opposite = fit_law(
        small_CM, both_ends(2.0 - large_C), sizes=[1, 2, 4, 8], by_seed=[small_CM, small_CM]
    )
    figures = {*sound.parameters, *sound.diagnostics, *opposite.parameters, *opposite.diagnostics}
    assert figures == set(FIGURES)


def test_users_input_is_escaped(run: RunDirectory, page: str) -> None:
    assert "<h1>Who &lt;b&gt;taught&lt;/b&gt; the model &amp; how much</h1>" in page
    hostile = "<script>alert('Ash')</script>&\"$x$"
    escaped = render(build_page(renamed(read_run(run), "Ash", hostile)))
    assert "<script" not in escaped and "&lt;script&gt;alert(" in escaped
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
    assert "Ash, Beech and Chestnut: it is not certain which of them was worth more." in text
    assert "Damson: the whole interval lies below zero." in text


def test_the_ledger_is_quoted(run: RunDirectory, page: str) -> None:
    records = read_ledger(run)
    assert records[-1].digest in page
    assert "fl-sv verify DIR --key PUB" in page


def test_cost_and_law_are_listed(page: str) -> None:
    text = PageText(page).text
    assert "The sweep over the coalitions took 1.00 times the arithmetic" in text
    assert "0.9123" in text and "0.61" in text
    assert "8.0\N{NO-BREAK SPACE}GFLOP" in text


def test_pictures_have_descriptions_and_follow_the_style_sheet(page: str) -> None:
    assert len(re.findall(r'role="img" aria-label="[^"]{40,}"', page)) == 3
    assert not re.search(r"#0000a\d", page)


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
    append_section(run, owner_key(), "run", {}, [], SEALED)
    with pytest.raises(InputError, match="lacks 'name'"):
        write_report(run)


def test_nothing_to_pay_draws_no_payouts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", config_text=CONFIG.replace("1000001", "0"))
    write_report(run)
    assert "Nothing is paid, so there is nothing to draw." in run.read_text(files.REPORT)


def test_a_regression_has_no_accuracy(run: RunDirectory) -> None:
    finished = read_run(run)
    curve = tuple(replace(point, accuracy=None) for point in finished.evidence.curve)
    text = PageText(
        render(build_page(replace(finished, evidence=replace(finished.evidence, curve=curve))))
    ).text
    assert "Value, squared units" in text and "classif" not in text and "nats" not in text


# --- money ----------------------------------------------------------------------------------------


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


def test_a_company_paid_nothing_may_still_reach_up() -> None:
    low, high = ends(appraised([5.0, 5.0, -0.5], [1.0, 1.0, 1.0]), rules_of("clip"))[2]
    assert low == 0
    assert high == round(
        1000 * 0.5 / 9.5
    )  # at +0.5 the others stand at 4.5 each: the sum stays 9.5


def test_charging_reaches_below_zero() -> None:
    assert ends(appraised([6.0, 5.0, -1.0], [1.0, 1.0, 1.0]), rules_of("charge"))[2] == (-200, 0)


def test_other_semivalues_leave_the_others_where_they_are() -> None:
    assert ends(appraised([3.0, 1.0], [1.0, 0.5], "banzhaf"), rules_of("clip"))[0] == (
        round(2000 / 3),
        800,
    )


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
    finished = read_run(run)
    between = [-finished.predictions.predicted_C[c] for c in (0, 1, 6, 7, 8, 9, 14, 15)]
    assert float(together[2]) == pytest.approx(shapley(between)[1], abs=1e-3)
    assert cents(together[3]) - cents(together[4]) == cents(together[5].lstrip("+"))
    assert head[5].startswith("Difference")


def test_without_unions_nothing_is_said_about_them(page: str) -> None:
    assert "As a union" not in page


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


def test_splits_add_up() -> None:
    found = splits({"a": 1, "b": 99}, {"a": 1, "b": 2})
    assert found.equal == {"a": 50, "b": 50} and found.by_size == {"a": 33, "b": 67}


# --- words and places -----------------------------------------------------------------------------


def test_overlapping_sets_are_the_largest_ones() -> None:
    valuation = appraised([5.0, 4.0, 3.0, 0.0], [0.6, 0.6, 0.6, 0.1])
    assert overlapping(valuation.companies) == [("c0", "c1"), ("c1", "c2")]


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


def test_labels_move_apart_and_stay_inside() -> None:
    assert spread([0.0, 0.01, 0.5], 0.1) == [0.0, 0.1, 0.5]
    assert spread([0.9, 0.95, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])
    assert spread([], 0.1) == []


def test_a_large_game_is_drawn_in_part_with_both_ends() -> None:
    drawn = drawn_coalitions(np.arange(4096)[::-1].astype(float))
    assert len(drawn) == MOST_POINTS and {0, 4095} <= set(drawn.tolist())


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1000, 500], ids=["desktop", "phone"])
def test_a_browser_renders_the_page_without_errors(
    run: RunDirectory, page: str, tmp_path: Path, width: int
) -> None:
    picture = tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        f"--window-size={width},1600",
    ]
    address = run.file(files.REPORT).resolve().as_uri()
    done = subprocess.run(
        [CHROMIUM, *flags, f"--screenshot={picture}", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    pixels = imread(picture)[..., :3]
    assert pixels.shape[:2] == (1600, width)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
