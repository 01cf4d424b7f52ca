"""The page as data: every table, sentence and picture, in order. The template only lays it out."""

from dataclasses import dataclass

from fl_sv.payment.intervals import money_intervals
from fl_sv.report.checks import check_table
from fl_sv.report.cost import cost_sentences, cost_table
from fl_sv.report.finished_run import FinishedRun, LedgerHead
from fl_sv.report.intervals import interval_table, interval_text
from fl_sv.report.law_section import law_points, law_sentences, law_table
from fl_sv.report.notation import Notation
from fl_sv.report.page_table import PageTable
from fl_sv.report.payouts import payout_table, payout_terms
from fl_sv.report.pictures import curve_picture, law_picture, payout_picture
from fl_sv.report.pot_comparison import pot_comparison_sentences, pot_table
from fl_sv.report.ranking import ranking_sentences, ranking_table
from fl_sv.report.rates import rates_table
from fl_sv.report.remarks import remarks
from fl_sv.report.splits import splits
from fl_sv.report.steps import StoryStep, story_steps, student_text
from fl_sv.report.svg import Picture
from fl_sv.report.trust import limits, section_table
from fl_sv.report.unions import UNION_TEXT, union_table
from fl_sv.report.verdict import Verdict, verdict
from fl_sv.report.wording import enumerated
from fl_sv.text import one_line


@dataclass(frozen=True)
class Page:
    """The content of the page, section by section."""

    title: str
    companies: str
    notation: Notation
    verdict: Verdict
    payouts: PageTable
    payout_terms: tuple[tuple[str, str], ...]  # (term, explanation)
    ranking_sentences: tuple[str, ...]
    ranking: PageTable
    remarks: tuple[str, ...]
    payout_picture: Picture | None  # None when nothing is paid
    intervals: PageTable
    interval_text: str
    law_picture: Picture
    law_sentences: tuple[str, ...]
    checks: PageTable
    curve_picture: Picture
    student_text: str  # empty when the teacher itself is deployed
    unions: PageTable | None
    union_text: str
    pots: PageTable | None
    pot_sentences: tuple[str, ...]
    steps: tuple[StoryStep, ...]
    rates: PageTable | None
    law_numbers: PageTable
    cost: PageTable
    cost_sentences: tuple[str, ...]
    ledger: LedgerHead
    sections: PageTable
    software: str
    seed: int
    limits: tuple[str, ...]


def build_page(run: FinishedRun) -> Page:
    """The page about a run."""
    notation = Notation.of(run)
    evidence, rules = run.evidence, run.payment.rules
    split = splits(run.payment.amounts, evidence.examples)
    ends = money_intervals(run.valuation, split.paid, rules)
    labels = {name: notation.amount(cents) for name, cents in split.paid.items()}
    bars = (
        payout_picture(split, ends, labels, rules.decimals, rules.currency)
        if any(split.paid.values())
        else None
    )
    return Page(
        title=one_line(evidence.config.title) or "What each company's data was worth",
        companies=enumerated(evidence.config.companies),
        notation=notation,
        verdict=verdict(run, notation),
        payouts=payout_table(run, split, notation),
        payout_terms=payout_terms(run, notation),
        ranking_sentences=ranking_sentences(run, notation),
        ranking=ranking_table(run),
        remarks=remarks(run),
        payout_picture=bars,
        intervals=interval_table(split, ends, notation),
        interval_text=interval_text(run),
        law_picture=law_picture(law_points(run), notation.unit),
        law_sentences=law_sentences(run, notation),
        checks=check_table(run.law, run.payment),
        curve_picture=curve_picture(evidence.curve, notation.unit),
        student_text=student_text(run, notation),
        unions=union_table(run, notation),
        union_text=UNION_TEXT,
        pots=pot_table(run, notation),
        pot_sentences=pot_comparison_sentences(run, notation),
        steps=story_steps(run, notation),
        rates=rates_table(run, notation),
        law_numbers=law_table(run),
        cost=cost_table(run),
        cost_sentences=cost_sentences(run),
        ledger=run.ledger,
        sections=section_table(run),
        software=_software(run),
        seed=evidence.config.seed,
        limits=limits(run, notation),
    )


def _software(run: FinishedRun) -> str:
    versions = run.ledger.sections[0].software
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
