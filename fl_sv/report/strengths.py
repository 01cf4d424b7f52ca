"""What each company is good for: its value by class, or by quarter of the target.

The value of a company is the mean of its values for the single validation examples. So it is the
sum of what it gains on each group of them.

Shapes: N companies, K groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.data.sources import kind_of
from fl_sv.report.blocks import HeatMap, PageTable, Section, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.wording import enumerated
from fl_sv.valuation.groups import Groups

FITS = 70  # letters of all headings together, the longest one counted for each
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
    """The values by group; None where the run did not record the groups."""
    groups, value_NV = run.evidence.groups, run.evidence.validation_NV
    if groups is None:
        return None
    n_groups, n_examples = len(groups.names), value_NV.shape[1]
    part_NK = np.array(
        [np.bincount(groups.of_V, value_V, n_groups) / n_examples for value_V in value_NV]
    )
    is_class = kind_of(run.evidence.config.data) == "classification"
    return Strengths(_names(run, groups), "class" if is_class else "", part_NK)


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
    short = len(names) * max(map(len, names)) <= FITS
    heads = names if short else tuple(str(number) for number in range(1, len(names) + 1))
    heat = HeatMap(
        table=PageTable(
            caption=f"Gain by {found.noun or 'group'}, {notation.part_unit(total)}",
            head=("Company", *heads),
            rows=tuple(
                (name, *(notation.part_number(x, total) for x in row.tolist()))
                for name, row in rows
            ),
            foot=("Sum", *(notation.part_number(x, total) for x in part_NK.sum(axis=0).tolist())),
            source="validation.npz",
        ),
        tones=tuple(tuple(tone(x, largest) for x in row.tolist()) for _, row in rows),
        names=tuple(f"{found.noun} {name}".strip() for name in names),
        key=(("plus", "gains"), ("minus", "loses")),
    )
    sentences = [_reading(run, found)]
    if not short:
        named = (f"{head} {name}" for head, name in zip(heads, names, strict=True))
        sentences.append(f"The columns: {'; '.join(named)}.")
    return Section("strengths", "What each company is good for", (Text(tuple(sentences)), heat))


def tone(number: float, largest: float) -> int:
    """The colour of a cell, from -5 to 5: 5 at the largest number, 0 below a tenth of a step."""
    steps = 5 * abs(number) / largest
    return 0 if steps < 0.1 else int(np.sign(number)) * min(5, int(np.ceil(steps - 1e-9)))


def _reading(run: FinishedRun, found: Strengths) -> str:
    by = "class of the validation examples" if found.noun else "quarter of the targets"
    return (
        f"Each company's value to the small model {run.valuation.small_model}, divided by {by}. A"
        " row adds up to the value, a column to what all companies gain there."
    )


def _names(run: FinishedRun, groups: Groups) -> tuple[str, ...]:
    """The groups as the config calls them: classes by their texts, where it has some."""
    texts = dict(enumerate(run.evidence.config.data.class_texts or ()))
    return tuple(texts.get(int(name), name) if name.isdecimal() else name for name in groups.names)


def _columns(found: Strengths) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The groups that have a column, in their order, and what is left in one more."""
    if len(found.names) <= MOST_GROUPS:
        return found.names, found.part_NK
    gain = found.part_NK.sum(axis=0)
    kept = np.sort(np.argsort(-gain, kind="stable")[: MOST_GROUPS - 1])
    rest = np.delete(found.part_NK, kept, axis=1).sum(axis=1)
    names = (*(found.names[k] for k in kept.tolist()), "rest")
    return names, np.column_stack([found.part_NK[:, kept], rest])
