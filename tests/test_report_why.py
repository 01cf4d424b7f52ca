"""The sentence of why for each company, and where one alone does as well as all.

pytest tests/test_report_why.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl_sv.audit.lines import AuditLine
from fl_sv.config.columns import Label
from fl_sv.report.blocks import HeatMap, Text
from fl_sv.report.finished_run import FinishedRun, read_finished_run
from fl_sv.report.model import alone_sentences
from fl_sv.report.notation import Notation
from fl_sv.report.page import build_page
from fl_sv.report.reached import Reached, reached
from fl_sv.report.strengths import Strengths, strengths, strengths_section
from fl_sv.report.verdict import verdict
from fl_sv.report.why import why_sentences
from fl_sv.valuation.groups import groups_of
from tests.report_games import TREES, game_of_kind
from tests.report_runs import make_run

NBSP = "\N{NO-BREAK SPACE}"
FIVE = TREES[:5]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Five companies of which each certainly has a positive value."""
    return read_finished_run(game_of_kind("students", tmp_path_factory.mktemp("five") / "run"))


def found(without: list[float], alone: list[float]) -> Reached:
    by_name = [dict(zip(FIVE, shares, strict=True)) for shares in (without, alone)]
    return Reached("mlp-8", False, "of the examples classified correctly", 0.1, 0.95, *by_name)


EVEN = Strengths(tuple("0123456789"), "class", np.full((5, 10), 0.01))


def text(sentence: str) -> str:
    return sentence.replace(NBSP, " ")


def test_the_sentence_is_about_the_figure_in_which_a_company_stands_out(
    finished: FinishedRun,
) -> None:
    part = EVEN.part_NK.copy()
    part[2, [3, 8]] += 0.08
    strengths = replace(EVEN, part_NK=part)
    shares = found([0.931, 0.949, 0.948, 0.949, 0.948], [0.6, 0.9, 0.61, 0.6, 0.3])
    why = {name: text(each) for name, each in why_sentences(finished, shares, strengths).items()}
    assert why["Ash"] == (
        "Harder to replace than most: without it the others reach 93.1 % instead of 95.0 %."
    )
    assert why["Beech"] == (
        "Strong alone (90.0 %), but little that others lack: without it the others reach 94.9 %"
        " instead of 95.0 %."
    )
    assert why["Chestnut"] == (
        "69.2 % of its gain is on classes 3 and 8; of all companies' gain it is 39.4 %."
    )
    assert why["Elder"] == (
        "Weak alone (30.0 %), and little that others lack: without it the others reach 94.8 %"
        " instead of 95.0 %."
    )


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (0.15, "Weak alone (15.0 %), but much that others lack"),  # they lose 3 of its 5 points
        (0.3, "Weak alone (30.0 %)"),  # 3 of 20
        (0.45, "Weak alone (45.0 %), and little that others lack"),  # 3 of 35
    ],
)
def test_much_and_little_are_what_others_lose_beside_what_it_gains_alone(
    finished: FinishedRun, alone: float, said: str
) -> None:
    shares = found([0.93, 0.92, 0.94, 0.93, 0.92], [0.5, 0.5, 0.5, 0.5, alone])
    why = text(why_sentences(finished, shares, EVEN)["Elder"])
    assert why == f"{said}: without it the others reach 92.0 % instead of 95.0 %."


def test_all_alike_get_the_first_figure(finished: FinishedRun) -> None:
    why = why_sentences(finished, found([0.95] * 5, [0.5] * 5), EVEN)
    assert {text(sentence) for sentence in why.values()} == {
        "As hard to replace as most: without it the others reach 95.0 % as well."
    }


def test_groups_are_named_only_where_much_more_of_a_companys_gain_lies_there(
    finished: FinishedRun,
) -> None:
    shares = found([0.95] * 5, [0.5] * 5)
    for more, is_named in ((0.005, False), (0.03, True)):
        part = EVEN.part_NK.copy()
        part[2, [3, 8]] += more  # of its gain 27.3 or 50 %, of all companies' 21.6 or 28.6 %
        why = why_sentences(finished, shares, replace(EVEN, part_NK=part))
        assert ("classes 3 and 8" in why["Chestnut"]) == is_named


def test_a_company_that_makes_the_model_surer_is_not_said_to_help_small_groups_only(
    finished: FinishedRun,
) -> None:
    """Without Ash the others are right more often, at a higher loss in one case of the two."""
    shares = found([0.96, 0.94, 0.94, 0.94, 0.94], [0.5] * 5)
    everybody = finished.law.anchors[31]
    for loss, said in (
        (everybody + 0.1, "Makes the model surer, though not more often right: without it "),
        (everybody - 0.1, "Helps small groups only: without it "),
    ):
        law = finished.law.model_copy(update={"anchors": {**finished.law.anchors, 30: loss}})
        assert why_sentences(replace(finished, law=law), shares, EVEN)["Ash"].startswith(said)


def test_a_run_without_groups_has_its_page_too(finished: FinishedRun) -> None:
    without = replace(finished, evidence=replace(finished.evidence, groups=None))
    page, whole = build_page(without), build_page(finished)
    assert all(payout.why for payout in page.payouts)
    left_out = {each.key for each in whole.sections} - {each.key for each in page.sections}
    assert left_out == {"strengths"}


def test_what_is_not_certain_and_equal_rows_come_first(tmp_path: Path) -> None:
    run = read_finished_run(make_run(tmp_path / "run"))
    why = why_sentences(run, reached(run), None)
    assert why["Damson"].startswith("Its data made the model's loss worse: without it ")
    assert why["Beech"].startswith("Same rows as Chestnut: without it ")
    companies = tuple(replace(c, low=-0.1) for c in run.valuation.companies)
    unsure = replace(run, valuation=replace(run.valuation, companies=companies))
    assert why_sentences(unsure, reached(run), None)["Beech"].startswith(
        "Not certain that it helped at all: without it "
    )


# --- one alone, and all together ------------------------------------------------------------------


def test_a_company_that_alone_does_better_than_all_is_named_with_what_it_means(
    finished: FinishedRun,
) -> None:
    notation = Notation.of(finished)
    nobody_better = found([0.9] * 5, [0.5] * 5)
    assert alone_sentences(finished, nobody_better, notation) == ()
    law = finished.law.model_copy(update={"anchors": {**finished.law.anchors, 0b10: 0.25}})
    everybody = notation.value(finished.law.anchors[31])
    said = text(" ".join(alone_sentences(replace(finished, law=law), nobody_better, notation)))
    assert (
        f"Beech alone (0.2500) does as well as or better than all companies together ({everybody}"
        in said
    )
    assert "all together do better: Beech 50.0 %, all companies 95.0 %" in said
    assert "What this means: Beech gained nothing from the others in this measure." in said
    equal = found([0.9] * 5, [0.5, 0.5, 0.5, 0.95, 0.5])
    said = text(" ".join(alone_sentences(finished, equal, notation)))
    assert (
        "Damson alone (95.0 %) reaches as much as or more than all companies together (95.0 %)"
        in said
    )


def test_of_many_companies_three_are_named(tmp_path: Path) -> None:
    run = read_finished_run(game_of_kind("worthless", tmp_path / "run"))
    said = " ".join(alone_sentences(run, reached(run), Notation.of(run)))
    assert "The loss would fall most without Elder" in said


# --- what a company is good for -------------------------------------------------------------------


def test_classes_are_called_by_their_texts_and_long_ones_have_numbers_in_the_heat_map(
    finished: FinishedRun,
) -> None:
    texts = [f"a text of class {k}" for k in range(10)]
    data = finished.evidence.config.data.model_copy(
        update={
            "target": "what",
            "columns": {"what": Label.model_validate({"kind": "label", "classes": texts})},
        }
    )
    config = finished.evidence.config.model_copy(update={"data": data})
    named = replace(finished, evidence=replace(finished.evidence, config=config))
    found = strengths(named)
    assert found is not None and found.names == tuple(texts)
    section = strengths_section(named, Notation.of(named))
    assert section is not None
    text, heat = section.blocks
    assert isinstance(text, Text) and isinstance(heat, HeatMap)
    assert "The columns: 1 a text of class 0; 2 a text of class 1;" in text.sentences[-1]
    assert heat.table.head == ("Company", *(str(number) for number in range(1, 11)))


def test_of_many_classes_those_with_the_largest_gain_have_columns(finished: FinishedRun) -> None:
    groups = groups_of(np.arange(60) % 30, classes=True)
    evidence = replace(finished.evidence, groups=groups)
    section = strengths_section(replace(finished, evidence=evidence), Notation.of(finished))
    assert section is not None
    heat = section.blocks[1]
    assert isinstance(heat, HeatMap)
    assert len(heat.table.head) == 13 and heat.table.head[-1] == "rest"
    foot = [float(cell) for cell in heat.table.foot[1:]]
    assert sum(foot) == pytest.approx(100, abs=0.7)
    assert min(foot[:-1]) >= foot[-1] / 19 - 0.1  # of the other 19 classes


def test_the_first_screen_names_whom_the_audit_found(finished: FinishedRun) -> None:
    audit = (
        AuditLine("work", "Ash", "Ash+Beech", 9.0),
        AuditLine("length", "Chestnut", "", 1.0),
        AuditLine("copies", "Ash", "Damson", 4.9),
    )
    look = "Audit: look at Ash and Damson before anything is paid; the remarks say why."
    seen = replace(finished, evidence=replace(finished.evidence, audit=audit))
    assert look in verdict(seen, Notation.of(seen)).context
    honest = replace(finished, evidence=replace(finished.evidence, audit=audit[1:2]))
    assert not [each for each in verdict(honest, Notation.of(honest)).context if "Audit" in each]
