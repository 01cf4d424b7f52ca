"""The page as data: the first screen, and the sections below it, in the order of reading.

The template only lays it out.
"""

from dataclasses import dataclass

from fl_sv.payment.intervals import money_intervals
from fl_sv.report.blocks import Block, Folded, Section, Text
from fl_sv.report.certainty import certainty_section
from fl_sv.report.curves import curve_blocks, law_blocks
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.growth import growth_section
from fl_sv.report.model import alone_sentences, model_section
from fl_sv.report.notation import Notation
from fl_sv.report.overlaps import overlaps_section
from fl_sv.report.payouts import Payout, payout_list, payouts_in_numbers, waterfall_section
from fl_sv.report.pot_comparison import pot_comparison_sentences, pot_table
from fl_sv.report.process import process_section
from fl_sv.report.reached import Reached, reached
from fl_sv.report.remarks import remarks
from fl_sv.report.splits import splits
from fl_sv.report.steps import student_text
from fl_sv.report.strengths import strengths, strengths_section
from fl_sv.report.trust import trust_section
from fl_sv.report.unions import UNION_TEXT, union_table
from fl_sv.report.verdict import Verdict, checks_folded, verdict
from fl_sv.report.why import RULE, why_sentences
from fl_sv.text import one_line


@dataclass(frozen=True)
class Page:
    """The content of the page."""

    title: str
    verdict: Verdict
    payouts: tuple[Payout, ...]
    payouts_title: str
    ranked_by: str
    payouts_note: str  # what the bars and the percentages are
    alone: tuple[str, ...]  # where a company alone does as well as everybody
    numbers: tuple[Block, ...]  # of the payouts
    sections: tuple[Section, ...]


def build_page(run: FinishedRun) -> Page:
    """The page about a run."""
    notation = Notation.of(run)
    split = splits(run.payment.amounts, run.evidence.examples)
    ends = money_intervals(run.valuation, split.paid, run.payment.rules)
    found = reached(run)
    why = why_sentences(run, found, strengths(run))
    sections = (
        waterfall_section(run, ends, notation),
        certainty_section(run, notation),
        model_section(run, found, notation),
        overlaps_section(run, notation),
        strengths_section(run, notation),
        growth_section(run, notation),
        _learning_section(run, notation),
        process_section(run, notation),
        _audit_section(run, notation),
        trust_section(run, notation),
    )
    return Page(
        title=one_line(run.evidence.config.title) or "What each company's data was worth",
        verdict=verdict(run, notation),
        payouts=payout_list(run, ends, why, notation),
        payouts_title=_payouts_title(run),
        ranked_by="amount" if run.is_divided else "value",
        payouts_note=_payouts_note(run, found, notation),
        alone=alone_sentences(run, found, notation),
        numbers=(
            payouts_in_numbers(run, split, notation),
            Folded("Why these sentences", (Text((RULE,)),)),
        ),
        sections=tuple(section for section in sections if section is not None),
    )


def _payouts_title(run: FinishedRun) -> str:
    if not run.is_divided:
        return "Values, because nothing is divided"
    return "Payouts, and why" if run.payment.payable else "Provisional payouts, and why"


def _payouts_note(run: FinishedRun, found: Reached, notation: Notation) -> str:
    what = "payout" if run.is_divided else f"value in {notation.unit}"
    reached_by_all = ""
    if not found.is_large:  # the headline's figure is the large model's
        reached_by_all = f"; with all companies it reaches {found.text(found.everybody)}"
    return (
        f"Bar: {what}. Line: its {notation.level} interval. Percentages, where nothing else is"
        f" said: {found.measure}, by {found.model_text}{reached_by_all}."
    )


def _learning_section(run: FinishedRun, notation: Notation) -> Section:
    """The teacher's curve, the student, and the law."""
    student = student_text(run, notation)
    return Section(
        "learning",
        "How the model learned",
        (
            *curve_blocks(run, notation),
            *([Text((student,))] if student else []),
            Folded("The law from small models to the large one", law_blocks(run, notation)),
        ),
    )


def _audit_section(run: FinishedRun, notation: Notation) -> Section:
    """Checks, remarks, the two kinds of pot, and companies that belong together."""
    pots, unions = pot_table(run, notation), union_table(run, notation)
    sentences = pot_comparison_sentences(run, notation)
    blocks: list[Block] = [
        checks_folded(run),
        Folded("Remarks, which block no payment", (Text(remarks(run), listed=True),)),
        Folded(
            "A fixed pot and a performance pot",
            (Text(sentences), *([pots] if pots is not None else [])),
        ),
    ]
    if unions is not None:
        blocks.append(Folded("Companies that belong together", (Text((UNION_TEXT,)), unions)))
    return Section("audit", "Checks and remarks", tuple(blocks))
