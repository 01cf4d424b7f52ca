"""How a value builds up: what a company adds as the first, the second, ... the last to join.

Shapes: N companies.
"""

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fl_sv.report.blocks import Block, Cell, Chart, PageTable, Section, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.marks import Scale, column, line, picture
from fl_sv.report.notation import Notation

HEIGHT = 44  # pixels


def growth_section(run: FinishedRun, notation: Notation) -> Section:
    """A bar for each size of the coalition joined, or why there is none."""
    return Section("growth", "How a value builds up", _blocks(run, notation))


def _blocks(run: FinishedRun, notation: Notation) -> tuple[Block, ...]:
    if not run.is_complete:
        return (
            Text(
                (
                    "What a company adds at each size is read from all coalitions. This run trained"
                    " a sample of them, so it is not known.",
                )
            ),
        )
    place = {name: i for i, name in enumerate(run.evidence.config.companies)}
    added_NN = added_by_size(-run.predictions.predicted_C)
    rows = [(company.name, added_NN[place[company.name]]) for company in run.by_amount]
    scale = Scale.over(0.0, *added_NN.ravel().tolist(), upward=True, margin=4)
    mean = ""
    if run.valuation.semivalue == "shapley":
        mean = " The mean of a company's bars is its value."
    text = (
        "Each bar is what a company adds to the large model when it joins first (left), second, and"
        f" so on to last (right), as a mean over all groups it can join.{mean} Tall bars only on"
        " the left: strong alone, but others can replace it. Tall bars on the right: the others"
        " miss it."
    )
    table = PageTable(
        caption=f"What a company adds by its place, {notation.unit}",
        head=("Company", *(str(size + 1) for size in range(len(rows)))),
        rows=tuple((name, *map(notation.value, added.tolist())) for name, added in rows),
        source="the law fitted to utilities.csv",
    )
    chart = Chart(
        description="Bars of what each company adds by its place among those who join.",
        columns=("first to last",),
        rows=tuple((name, (Cell(_bars(name, added, scale, notation)),)) for name, added in rows),
        table=table,
    )
    return Text((text,)), chart


def added_by_size(utility_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) what each company adds, by the number of companies that it joins.

    utility_C: (2**N,), of all coalitions. Row i is the mean of v(S+i) - v(S) over the groups S of
    each size; its mean is the Shapley value of i.

    >>> added_by_size(np.array([0.0, 1.0, 2.0, 6.0]))
    array([[1., 4.],
           [2., 5.]])
    """
    n_companies = len(utility_C).bit_length() - 1
    size = np.bitwise_count(np.arange(len(utility_C) // 2, dtype=np.uint32))
    counts = np.bincount(size, minlength=n_companies)
    added = []
    for i in range(n_companies):
        halves = utility_C.reshape(-1, 2, 1 << i)
        marginals = (halves[:, 1] - halves[:, 0]).reshape(-1)
        added.append(np.bincount(size, weights=marginals, minlength=n_companies) / counts)
    return np.array(added)


def _bars(name: str, added: NDArray[np.float64], scale: Scale, notation: Notation) -> Markup:
    step = 100 / len(added)
    zero = scale.at(0.0)
    bars = [
        column(
            step * (size + 0.15),
            step * 0.7,
            zero,
            scale.at(number),
            "bar" if number >= 0 else "bar bad",
            f"{name}, place {size + 1}: {notation.value(number)} {notation.unit}",
        )
        for size, number in enumerate(added.tolist())
    ]
    numbers = ", ".join(notation.value(number) for number in added.tolist())
    return picture(HEIGHT, [*bars, line(0, zero, 100, zero, "axis")], f"{name}: {numbers}")
