"""The page as data: everything that is said, in the order in which it is said. The template only
sets it.
"""

from dataclasses import dataclass

from fl_sv.config.models import model_name
from fl_sv.game.coalitions import coalition_name
from fl_sv.payment.intervals import money_intervals
from fl_sv.payment.settlement import Evidence
from fl_sv.report.facts import Facts, Grid
from fl_sv.report.findings import Verdict, check_grid, order_findings, order_grid, remarks, verdict
from fl_sv.report.money import splits
from fl_sv.report.next_run import next_run_sentence
from fl_sv.report.pictures import MOST_POINTS, LawPoints, curve_picture, law_picture, payout_picture
from fl_sv.report.source import LedgerHead, Tables
from fl_sv.report.story import (
    Step,
    cost_grid,
    cost_words,
    law_grid,
    ledger_grid,
    limits,
    steps,
    student_words,
)
from fl_sv.report.sums import (
    interval_grid,
    interval_words,
    payout_grid,
    payout_words,
    pot_grid,
    pot_words,
)
from fl_sv.report.svg import Picture
from fl_sv.report.unions import WORDS, union_grid
from fl_sv.report.wording import enumerated


@dataclass(frozen=True)
class Page:
    """What the template sets, section by section."""

    title: str
    companies: str
    facts: Facts
    verdict: Verdict
    payouts: Grid
    payout_words: tuple[tuple[str, str], ...]
    order: tuple[str, ...]
    order_grid: Grid
    remarks: tuple[str, ...]
    payout_picture: Picture | None  # None when nothing is paid
    intervals: Grid
    interval_words: str
    law_picture: Picture
    law_words: tuple[str, ...]
    checks: Grid
    curve_picture: Picture
    student_words: str  # empty when the teacher itself is deployed
    unions: Grid | None
    union_words: str
    pots: Grid | None
    pot_words: tuple[str, ...]
    steps: tuple[Step, ...]
    law_numbers: Grid
    cost: Grid
    cost_words: tuple[str, ...]
    ledger: LedgerHead
    sections: Grid
    software: str
    seed: int
    limits: tuple[str, ...]


def build_page(tables: Tables) -> Page:
    """Everything the page says about a run."""
    facts = Facts.of(tables)
    evidence, rules = tables.evidence, tables.decision.rules
    split = splits(tables.decision.amounts, evidence.examples)
    ends = money_intervals(tables.valuation, split.paid, rules)
    labels = {name: facts.amount(cents) for name, cents in split.paid.items()}
    bars = (
        payout_picture(split, ends, labels, rules.decimals, rules.currency)
        if any(split.paid.values())
        else None
    )
    return Page(
        title=evidence.config.title or "What each company's data was worth",
        companies=enumerated(evidence.config.companies),
        facts=facts,
        verdict=verdict(tables, facts),
        payouts=payout_grid(tables, split, facts),
        payout_words=payout_words(tables, facts),
        order=order_findings(tables, facts),
        order_grid=order_grid(tables),
        remarks=remarks(tables),
        payout_picture=bars,
        intervals=interval_grid(split, ends, facts),
        interval_words=interval_words(tables),
        law_picture=law_picture(_law_points(tables), facts.unit),
        law_words=_law_words(tables, facts),
        checks=check_grid(tables),
        curve_picture=curve_picture(evidence.curve, facts.unit),
        student_words=_student_words(evidence, facts),
        unions=union_grid(tables, facts),
        union_words=WORDS,
        pots=pot_grid(tables, facts),
        pot_words=pot_words(tables, facts),
        steps=steps(tables, facts),
        law_numbers=law_grid(tables),
        cost=cost_grid(tables),
        cost_words=cost_words(tables),
        ledger=tables.ledger,
        sections=ledger_grid(tables),
        software=", ".join(
            f"{name} {version}"
            for name, version in sorted(tables.ledger.sections[0].software.items())
        ),
        seed=evidence.config.seed,
        limits=limits(tables, facts),
    )


def _law_points(tables: Tables) -> LawPoints:
    predictions, companies = tables.predictions, tables.evidence.config.companies
    coalitions = tables.evidence.table.coalitions(tables.valuation.small_model)
    small = dict(zip(coalitions, predictions.small_C, strict=True))
    measured = sorted(tables.law.anchors.items())
    anchors = tuple((coalition_name(c, companies), small[c], loss) for c, loss in measured)
    return LawPoints(
        predictions.small_C,
        predictions.predicted_C,
        predictions.low_C,
        predictions.high_C,
        anchors,
    )


def _student_words(evidence: Evidence, facts: Facts) -> str:
    if evidence.student is None or evidence.config.distillation is None:
        return ""
    return student_words(evidence.student, evidence.config.distillation, facts)


def _law_words(tables: Tables, facts: Facts) -> tuple[str, ...]:
    trained = len(tables.predictions.small_C)
    drawn = f"all {trained:,}" if trained <= MOST_POINTS else f"{MOST_POINTS:,} of {trained:,}"
    large = model_name(tables.evidence.config.models.large)
    shown = (
        f"Each point is a coalition ({drawn} are shown): to the right its loss with the small model"
        f" {tables.valuation.small_model}, upwards its loss with the large model {large}. Diamonds"
        " were measured; dots are what the law predicts from the small models, with a faint line"
        f" for the {facts.level} interval. Lower is better. The closer all points lie to one rising"
        " curve, the more the small model alone tells about the large one."
    )
    if tables.law.next_run is None:
        return (shown,)
    return shown, next_run_sentence(tables.law.next_run, tables.evidence.config.companies)
