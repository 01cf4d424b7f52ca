"""The way from the data to the money: a diagram, the steps in words, and the numbers behind it."""

from fl_sv.config.models import model_name
from fl_sv.report.blocks import Block, Flow, Folded, Section, Text
from fl_sv.report.cost import cost_sentences, cost_table
from fl_sv.report.figures import law_table
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.rates import rates_table
from fl_sv.report.steps import semivalue_name, story_steps
from fl_sv.report.wording import counted, sentence_case


def process_section(run: FinishedRun, notation: Notation) -> Section:
    """How the numbers came about."""
    steps = tuple(f"{step.title}. {step.text}" for step in story_steps(run, notation))
    versions = sorted(run.ledger.sections[0].software.items())
    software = ", ".join(f"{name} {version}" for name, version in versions)
    origin = (
        f"Every random choice follows from the seed in the config, {run.evidence.config.seed}."
        f" Software: {software}."
    )
    numbers: list[Block] = [Text(steps, listed=True), Text((origin,))]
    if (rates := rates_table(run, notation)) is not None:
        numbers.append(rates)
    if (law := law_table(run)).rows:
        numbers.append(law)
    return Section(
        "process",
        "How it was computed",
        (
            Flow(process_boxes(run, notation)),
            Folded("The steps in words, and the numbers of the law", tuple(numbers)),
            Folded("What it cost to compute", (cost_table(run), Text(cost_sentences(run)))),
        ),
    )


def process_boxes(run: FinishedRun, notation: Notation) -> tuple[tuple[str, str], ...]:
    """The steps of the diagram: (title, what was done)."""
    evidence, config = run.evidence, run.evidence.config
    *small, large = evidence.table.models
    coalitions, training = len(run.predictions.coalitions), config.training
    predicted = coalitions - len(run.law.anchors)
    companies = counted(config.n_companies, "company", "companies")
    student = evidence.student
    return (
        (
            "Data",
            f"{sentence_case(companies)} register {notation.examples:,} examples; they never leave"
            " the company",
        ),
        (
            "Large model",
            f"{model_name(config.models.large)}, {counted(training.rounds, 'round')} with all"
            " companies",
        ),
        *([("Student", f"{student.model} is deployed in its place")] if student else []),
        (
            "Small models",
            f"{coalitions:,} coalitions, {counted(len(small), 'size')},"
            f" {counted(training.seeds, 'seed')}",
        ),
        ("Large runs", f"{large} measured on {len(run.law.anchors):,} coalitions"),
        (
            "Law",
            f"predicts the large model on the other {predicted:,}"
            if predicted
            else "has nothing to predict: every coalition was measured",
        ),
        ("Values", f"{semivalue_name(run.valuation.semivalue)} of each company".capitalize()),
        ("Payouts", f"{notation.money(sum(run.payment.amounts.values()))} by the values"),
    )
