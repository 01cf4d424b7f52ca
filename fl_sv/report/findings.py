"""What the page finds: whether the run is payable and why, whose order is not certain, and what an
auditor notes.
"""

from dataclasses import dataclass

from fl_sv.config.data import Corruption, Duplicate, FeatureNoise, FreeRider, WrongLabels
from fl_sv.config.valuation import PerformancePot
from fl_sv.law.diagnostics import large_runs_needed
from fl_sv.payment.payouts import pot_cents
from fl_sv.report.facts import Facts, Grid
from fl_sv.report.pot import divides_another
from fl_sv.report.source import Tables
from fl_sv.report.underfit import reach_remarks
from fl_sv.report.wording import (
    NEEDS,
    QUESTIONS,
    counted,
    enumerated,
    percent,
    sentence_case,
)
from fl_sv.valuation.axioms import twins
from fl_sv.valuation.records import CompanyValue


@dataclass(frozen=True)
class Finding:
    """An alarm, or a check that was not made, with what the check asks."""

    sentence: str
    asks: str


@dataclass(frozen=True)
class Verdict:
    """The answer to the first question: may these amounts be paid?"""

    payable: bool
    headline: str
    summary: str
    decision: str
    objections: tuple[Finding, ...]  # alarms that block payment
    accepted: tuple[Finding, ...]  # alarms that somebody has accepted by name
    untested: tuple[Finding, ...]


def verdict(tables: Tables, facts: Facts) -> Verdict:
    decision = tables.decision
    return Verdict(
        payable=decision.payable,
        headline="Payable" if decision.payable else "NOT payable",
        summary=_summary(tables, facts),
        decision=_decision(tables),
        objections=tuple(_finding(a.code, a.sentence) for a in decision.objections),
        accepted=tuple(_finding(a.code, a.sentence) for a in decision.accepted_alarms),
        untested=tuple(
            _finding(code, f"not tested: {_lacking(code, tables)}") for code in tables.law.untested
        ),
    )


def order_findings(tables: Tables, facts: Facts) -> tuple[str, ...]:
    """Whose order the intervals leave open, and whose sign."""
    companies = tables.valuation.companies
    groups = overlapping(companies)
    found = [
        f"{enumerated(group)}: which of {'the two' if len(group) == 2 else 'these'} was worth more"
        f" is not certain. Their {facts.level} intervals overlap."
        for group in groups
    ]
    found.append(
        "The intervals of all other pairs of companies do not overlap."
        if groups
        else (
            f"No two {facts.level} intervals overlap: the order of the companies is not in doubt at"
            " this level."
        )
    )
    for company in companies:
        if company.high < 0:
            found.append(
                f"{company.name}: the whole interval lies below zero. By this measurement its data"
                " made the large model worse."
            )
        elif company.low <= 0:
            found.append(
                f"{company.name}: the interval contains zero. It is not certain that its data"
                " helped at all."
            )
    return tuple(found)


def order_grid(tables: Tables) -> Grid:
    """How sure it is of each two neighbours in rank which one was worth more."""
    return Grid(
        caption="Neighbours in rank",
        head=("Worth more", "than", "With a probability of"),
        rows=tuple(
            (pair.first, pair.second, percent(pair.probability)) for pair in tables.valuation.order
        ),
        source="valuation.json",
    )


def overlapping(companies: tuple[CompanyValue, ...]) -> list[tuple[str, ...]]:
    """Largest sets of companies whose intervals all overlap, by value from the top; names within a
    set likewise.

    Intervals that all overlap share a point, the highest of their lower ends.
    """
    ranked = sorted(companies, key=lambda company: -company.value)
    groups = {tuple(c.name for c in ranked if c.low <= edge.low <= c.high) for edge in ranked}
    largest = [g for g in groups if len(g) > 1 and not any(set(g) < set(other) for other in groups)]
    place = {company.name: rank for rank, company in enumerate(ranked)}
    return sorted(largest, key=lambda group: [place[name] for name in group])


def remarks(tables: Tables) -> tuple[str, ...]:
    """Audit lines: they block nothing."""
    same_rows = twins(tables.evidence.fingerprints)
    found = [
        *tables.law.remarks,
        *reach_remarks(tables.valuation, tables.evidence.table.models[-1], tables.law.anchors),
        *(same_rows or ["No two companies registered exactly the same rows."]),
    ]
    found += [
        f"Put in on purpose, for this study: {_defect(corruption)} (config.yaml)."
        for corruption in tables.evidence.config.data.corruptions
    ]
    return tuple(found)


def check_grid(tables: Tables) -> Grid:
    """Every check of the law with its result."""
    law = tables.law
    accepted = {alarm.code for alarm in tables.decision.accepted_alarms}
    fired = {alarm.code for alarm in law.fired}
    results = dict.fromkeys(law.untested, "not tested")
    for code in (*law.tested, *fired):
        alarm = "alarm, accepted by name" if code in accepted else "ALARM"
        results[code] = alarm if code in fired else "no alarm"
    return Grid(
        caption="The checks of the law",
        head=("Check", "Asks", "Result"),
        rows=tuple((code, QUESTIONS.get(code, ""), results[code]) for code in sorted(results)),
        source="law.json",
        text_columns=True,
    )


def _finding(code: str, sentence: str) -> Finding:
    question = QUESTIONS.get(code, "")
    return Finding(sentence, f"{code} asks {question}." if question else "")


def _lacking(code: str, tables: Tables) -> str:
    """What a check that was not made needs."""
    measured = len(tables.law.anchors) - 2  # besides nobody and all
    more = large_runs_needed(code, tables.evidence.config.n_companies) - measured
    if more > 0:
        return f"{code} needs {counted(more, 'more large run')}."
    return f"{code} needs {NEEDS[code]}." if code in NEEDS else f"{code}."


def _summary(tables: Tables, facts: Facts) -> str:
    evidence, curve = tables.evidence, tables.evidence.curve
    first, last = curve[0], curve[-1]
    people = sentence_case(counted(evidence.config.n_companies, "company", "companies"))
    pot = facts.money(pot_cents(tables.decision.rules.pot, evidence.deployed_utility))
    learned = (
        f"{people} trained one large model together. On the {facts.validation_examples:,}"
        " validation examples, which only the operator holds, its loss went from"
        f" {facts.value(first.loss)} {facts.unit} untrained to {facts.value(last.loss)}"
        f" {facts.unit}"
    )
    if first.accuracy is not None and last.accuracy is not None:
        learned += (
            f", and the share it classifies rightly from {percent(first.accuracy)} to"
            f" {percent(last.accuracy)}"
        )
    if evidence.student is not None:
        learned += f". Deployed is a student of it, {evidence.student.model}, whose loss is "
        learned += f"{facts.value(evidence.student.loss)} {facts.unit}"
    if divides_another(tables.evidence.config, tables.decision.rules):
        pot += ", another than the run's own,"
    elif evidence.student is not None and isinstance(evidence.config.payouts.pot, PerformancePot):
        pot += ", which follows the student's loss,"
    return (
        f"{learned}. A pot of {pot} is divided by what each company's data contributed to the large"
        " model."
    )


def _decision(tables: Tables) -> str:
    decision, law = tables.decision, tables.law
    if not decision.payable:
        alarms = counted(len(decision.objections), "alarm")
        return (
            f"These amounts may NOT be paid as they stand. {sentence_case(alarms)} fired and nobody"
            f" has accepted {'it' if len(decision.objections) == 1 else 'them'}; until then every"
            " amount on this page is provisional."
        )
    accepted = list(dict.fromkeys(alarm.code for alarm in decision.accepted_alarms))
    if accepted:
        text = (
            f"These amounts may be paid, by decision: {enumerated(accepted)} fired and"
            f" {'was' if len(accepted) == 1 else 'were'} accepted by name."
        )
    else:
        text = "These amounts may be paid: no alarm fired."
    if law.tested:
        text += f" Tested: {enumerated(law.tested)}."
    if law.untested:
        text += (
            f" {sentence_case(counted(len(law.untested), 'check'))} could not be made with the runs"
            " at hand; nothing is claimed about what was not tested."
        )
    return text


def _defect(corruption: Corruption) -> str:
    match corruption:
        case WrongLabels():
            return (
                f"{percent(corruption.fraction, 0)} of the labels of {corruption.company} are wrong"
            )
        case FeatureNoise():
            return (
                f"noise of standard deviation {corruption.std:g} on the features of"
                f" {corruption.company}"
            )
        case Duplicate():
            return (
                f"{corruption.company} holds copies of {percent(corruption.fraction, 0)} of the"
                f" rows of {corruption.of}"
            )
        case FreeRider():
            return f"the rows of {corruption.company} carry no information"
