"""The model with all companies, without each one, and with each one alone."""

import math

from markupsafe import Markup

from fl_sv.game.coalitions import grand
from fl_sv.report.blocks import Cell, Chart, PageTable, Section, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.marks import Scale, line, picture, symbol, upright
from fl_sv.report.notation import Notation
from fl_sv.report.reached import Reached
from fl_sv.report.wording import some

HEIGHT = 24  # pixels
MATERIAL = 0.02  # of the gain: a smaller fall of the loss without a company accuses nobody


def model_section(run: FinishedRun, found: Reached, notation: Notation) -> Section:
    """What the others reach without a company, and what it reaches alone."""
    names = [company.name for company in run.by_amount]
    without = Scale.over(found.everybody, *found.without.values())
    alone = Scale.over(found.nobody, found.everybody, *found.alone.values())
    everybody = found.text(found.everybody)

    def cells(name: str) -> tuple[Cell, ...]:
        rest, own = found.text(found.without[name]), found.text(found.alone[name])
        return (
            Cell(
                _distance(without, found.without[name], found.everybody, f"Without {name}: {rest}"),
                rest,
            ),
            Cell(_distance(alone, found.alone[name], found.everybody, f"{name} alone: {own}"), own),
        )

    chart = Chart(
        description=(
            f"What the model reaches without each company and with it alone, beside {everybody}"
            " with all companies."
        ),
        columns=("Without it", "It alone"),
        rows=tuple((name, cells(name)) for name in names),
        table=_table(run, found, notation),
        key=(("dot", "without it, or it alone"), ("rule", f"all companies: {everybody}")),
    )
    reading = (
        f"The share {found.measure}, on {notation.validation_examples:,} validation examples, by"
        f" {found.model_text}. It is {found.text(found.nobody)} untrained and {everybody} with all"
        " companies. The two columns have scales of their own."
    )
    return Section("model", "The model with and without each company", (Text((reading,)), chart))


def alone_sentences(run: FinishedRun, found: Reached, notation: Notation) -> tuple[str, ...]:
    """Where a company alone does as well as or better than everybody, and what that means.

    Empty where none does.
    """
    everybody, alone = _losses(run)
    names = [company.name for company in run.by_amount]
    by_loss = [name for name in names if alone[name] <= everybody]
    by_share = [name for name in names if found.alone[name] >= found.everybody]
    if not by_loss and not by_share:
        return ()
    share, sentences = f"By the share {found.measure} ({found.model})", []
    if by_loss:
        each = some([f"{name} alone ({notation.value(alone[name])})" for name in by_loss])
        sentences.append(
            f"By the large model's loss, {each} {'does' if len(by_loss) == 1 else 'do'} as well as"
            f" or better than all companies together ({notation.value(everybody)} {notation.unit};"
            " lower is better)."
        )
    if by_share:
        each = some([f"{name} alone ({found.text(found.alone[name])})" for name in by_share])
        sentences.append(
            f"{share}, {each} {'reaches' if len(by_share) == 1 else 'reach'} as much as or"
            f" more than all companies together ({found.text(found.everybody)})."
        )
    else:
        each = some([f"{name} {found.text(found.alone[name])}" for name in by_loss])
        sentences.append(
            f"{share}, all together do better: {each}, all companies"
            f" {found.text(found.everybody)}. The loss also counts how sure the model is of its"
            " answers, and the payouts follow the loss."
        )
    return *sentences, _meaning(run, by_loss or by_share)


def _losses(run: FinishedRun) -> tuple[float, dict[str, float]]:
    """The large model's loss of all companies, and of each one alone."""
    companies = run.evidence.config.companies
    alone = {name: run.loss(1 << i) for i, name in enumerate(companies)}
    return run.loss(grand(len(companies))), alone


def _meaning(run: FinishedRun, names: list[str]) -> str:
    """What it means where a company needs nobody, and what to do."""
    companies = run.evidence.config.companies
    everybody = grand(len(companies))
    without = {name: run.loss(everybody & ~(1 << i)) for i, name in enumerate(companies)}
    harmful = min(companies, key=lambda name: (without[name], name))
    text = (
        f"What this means: {some(names)} gained nothing from the others in this measure. The"
        " others' values come from what they add where not everybody is in."
    )
    if run.loss(everybody) - without[harmful] > MATERIAL * abs(run.gain):
        rows = "rows" if run.evidence.config.data.text else "rows first, such as wrong labels"
        text += f" The loss would fall most without {harmful}: look at its {rows}."
    return f"{text} More rounds for all companies together may help, too (training.rounds)."


def _table(run: FinishedRun, found: Reached, notation: Notation) -> PageTable:
    """The same in numbers, with the large model's loss beside it."""
    companies, loss = run.evidence.config.companies, run.loss
    of_texts = run.evidence.config.data.text is not None
    perplexity = " (with their perplexity)" if of_texts else ""
    everybody, measured = grand(len(companies)), run.law.anchors

    def of_loss(coalition: int) -> str:
        mark = "" if coalition in measured else "*"
        shown = notation.value(loss(coalition)) + mark
        # Of texts also the perplexity.
        return f"{shown} ({math.exp(loss(coalition)):.3g})" if of_texts else shown

    def row(name: str) -> tuple[str, ...]:
        own = 1 << companies.index(name)
        return (
            name,
            found.text(found.without[name]),
            found.text(found.alone[name]),
            of_loss(everybody & ~own),
            of_loss(own),
        )

    return PageTable(
        caption=f"By {found.model}; losses of the large model{perplexity}, predicted ones with *",
        head=("Company", "Without it", "It alone", "Loss without", "Loss alone"),
        rows=tuple(row(company.name) for company in run.by_amount),
        foot=(
            "All companies",
            found.text(found.everybody),
            found.text(found.everybody),
            of_loss(everybody),
            of_loss(everybody),
        ),
        source="utilities.csv, and the law fitted to it",
    )


def _distance(scale: Scale, number: float, everybody: float, description: str) -> Markup:
    """A dot at a number, and its distance from what all companies reach."""
    x, end = scale.at(number), scale.at(everybody)
    marks = [upright(end, "rule"), line(x, 50, end, 50, "stem"), symbol(x, 50, "dot", description)]
    return picture(HEIGHT, marks, description)
