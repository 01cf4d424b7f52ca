"""What each company is good for: its value by class, or by quarter of the target.

The value of a company is the mean of its values for the single validation examples. So it is the
sum of what it gains on each group of them.

Shapes: N companies, K groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.report.blocks import Block, HeatMap, PageTable, Section, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.wording import enumerated

MOST_GROUPS = 12  # with more, those on which most is gained have a column, and the rest one


@dataclass(frozen=True)
class Strengths:
    """The small model's values, divided by group."""

    names: tuple[str, ...]  # of the groups
    noun: str  # "class", or "" where a group's name says it
    part_NK: NDArray[np.float64]  # rows in the order of the config

    def called(self, groups: list[int]) -> str:
        """Groups in a sentence: `classes 3 and 8`, `the lowest quarter of the targets`."""
        names = [self.names[group] for group in groups]
        if self.noun:
            return f"{self.noun if len(names) == 1 else self.noun + 'es'} {enumerated(names)}"
        return f"the {enumerated(names)} of the targets"


def strengths(run: FinishedRun) -> Strengths | None:
    """The values by group; None in a run of an older version, which did not record the groups."""
    groups, value_NV = run.evidence.groups, run.evidence.validation_NV
    if groups is None:
        return None
    members_VK = groups.of_V[:, None] == np.arange(len(groups.names))
    part_NK = (value_NV[:, :, None] * members_VK).mean(axis=1)
    is_class = run.evidence.curve[-1].accuracy is not None
    return Strengths(groups.names, "class" if is_class else "", part_NK)


def strengths_section(run: FinishedRun, notation: Notation) -> Section | None:
    """The heat map of companies and groups; None where the groups are unknown."""
    found = strengths(run)
    if found is None:
        return None
    names, part_NK = _columns(found)
    index = {name: i for i, name in enumerate(run.evidence.config.companies)}
    rows = [(c.name, part_NK[index[c.name]]) for c in run.by_amount]
    total = float(found.part_NK.sum())
    largest = float(np.abs(part_NK).max()) or 1.0
    heat = HeatMap(
        table=PageTable(
            caption=f"Gain by {found.noun or 'group'}, {notation.part_unit(total)}",
            head=("Company", *names),
            rows=tuple(
                (name, *(notation.part_number(x, total) for x in row.tolist()))
                for name, row in rows
            ),
            foot=("Sum", *(notation.part_number(x, total) for x in part_NK.sum(axis=0).tolist())),
            source="validation.npz",
        ),
        tones=tuple(tuple(tone(x, largest) for x in row.tolist()) for _, row in rows),
        key=(("plus", "gains"), ("minus", "loses")),
    )
    blocks: tuple[Block, ...] = (Text((_reading(run, found, notation),)), heat)
    return Section("strengths", "What each company is good for", blocks)


def tone(number: float, largest: float) -> int:
    """The colour of a cell, from -5 to 5: 5 at the largest number, 0 below a tenth of a step."""
    steps = 5 * abs(number) / largest
    return 0 if steps < 0.1 else int(np.sign(number)) * min(5, int(np.ceil(steps - 1e-9)))


def _reading(run: FinishedRun, found: Strengths, notation: Notation) -> str:
    by = "class of the validation examples" if found.noun else "quarter of the targets"
    return (
        f"Each company's value, divided by {by}. Rows and columns add up: a row to the company's"
        f" value, a column to what all companies gain there. Measured on the small model"
        f" {run.valuation.small_model}, which trained on every coalition of the design."
    )


def _columns(found: Strengths) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The groups that have a column, in their order, and what is left in one more."""
    if len(found.names) <= MOST_GROUPS:
        return found.names, found.part_NK
    gain = found.part_NK.sum(axis=0)
    kept = np.sort(np.argsort(-gain, kind="stable")[: MOST_GROUPS - 1])
    rest = np.delete(found.part_NK, kept, axis=1).sum(axis=1)
    names = (*(found.names[k] for k in kept.tolist()), "others")
    return names, np.column_stack([found.part_NK[:, kept], rest])
