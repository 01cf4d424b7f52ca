"""Who overlaps with whom: the interaction of each two companies.

Shapes: N companies.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fl_sv.report.blocks import Block, HeatMap, PageTable, Section, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.strengths import tone
from fl_sv.values import interactions

MOST_COMPANIES = 20  # of a heat map
MOST_PAIRS = 3  # named in sentences


def overlaps_section(run: FinishedRun, notation: Notation) -> Section:
    """The heat map of interactions, or why there is none."""
    return Section("overlaps", "Who overlaps with whom", _blocks(run, notation))


def _blocks(run: FinishedRun, notation: Notation) -> tuple[Block, ...]:
    companies = run.by_amount
    if not run.is_complete or len(companies) > MOST_COMPANIES:
        return (
            Text(
                (
                    "Who overlaps with whom is read from all coalitions. This run trained a sample"
                    " of them, so it is not known. What the others reach without a company is"
                    " measured, above.",
                )
            ),
        )
    place = {name: i for i, name in enumerate(run.evidence.config.companies)}
    order = [place[company.name] for company in companies]
    pair_NN = interactions(-run.predictions.predicted_C)[np.ix_(order, order)]
    names = [company.name for company in companies]
    largest = float(np.abs(pair_NN).max()) or 1.0
    heat = HeatMap(
        table=PageTable(
            caption=f"Interaction of each two companies, {notation.part_unit(run.gain)}",
            head=("Company", *(str(number) for number, _ in enumerate(names, start=1))),
            rows=tuple(
                (
                    f"{i + 1} {name}",
                    *(
                        "" if i == j else notation.part_number(x, run.gain)
                        for j, x in enumerate(pair_NN[i].tolist())
                    ),
                )
                for i, name in enumerate(names)
            ),
            source="the law fitted to utilities.csv",
        ),
        tones=tuple(tuple(tone(x, largest) for x in row) for row in pair_NN.tolist()),
        names=tuple(names),
        key=(("minus", "replace each other"), ("plus", "need each other")),
    )
    return Text((_reading(),)), heat, Text(_sentences(names, pair_NN, run, notation), listed=True)


def _reading() -> str:
    return (
        "A negative number: the two replace each other, together they bring less than each one"
        " brings without the other. A positive number: they need each other. The number is how much"
        " more one of them brings where the other is in, averaged over all groups of the rest"
        " (Shapley interaction index)."
    )


def _sentences(
    names: list[str], pair_NN: NDArray[np.float64], run: FinishedRun, notation: Notation
) -> tuple[str, ...]:
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: pair_NN[pair])
    return tuple(
        f"{names[i]} and {names[j]} replace each other"
        f" ({notation.part(float(pair_NN[i, j]), run.gain)})."
        for i, j in pairs[:MOST_PAIRS]
        if pair_NN[i, j] < 0
    )
