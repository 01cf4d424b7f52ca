"""One sentence of why for each company: what its value comes from, by the tables.

The rule, in this order:

1. Where it is not certain that the value is above zero, the sentence says so.
2. Of a company whose rows another one holds, too, the sentence says that.
3. Else three figures are compared: by how much the others are worse without it, what it reaches
   alone, and which part of its gain lies on a few groups of examples (where that is a tenth more
   than of everybody's gain). The sentence is about the one
   in which it stands out most: farthest from the median of all companies, in mean distances from
   that median. Of equal ones the first counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median

from fl_sv.game.coalitions import grand
from fl_sv.report.certainty import sign_of
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.reached import Reached
from fl_sv.report.strengths import Strengths
from fl_sv.report.wording import enumerated, percent

RULE = (
    "How a sentence is chosen: a value that is not certainly above zero, and rows that another"
    " company holds, too, come first. Else the sentence is about the figure in which the company"
    " stands out most from the median company: what the others reach without it, what it reaches"
    " alone, or how much of its gain lies on a few groups of examples, where that is at least ten"
    " points more than of all companies' gain. Others lack little of what a"
    " company has where they lose less than a tenth of what it gains alone, much from a half on."
)

# What a company adds last, as a part of what it reaches alone: below LITTLE the others lack little
# of what it has, from MUCH on they lack much.
LITTLE, MUCH = 0.1, 0.5
# By how much the part of a company's gain that lies on a few groups exceeds that of all companies'
# gain before a sentence speaks of it.
FOCUSED = 0.1
# So near the median, in mean distances from it, a company is like most.
ALIKE = 0.1


@dataclass(frozen=True)
class Focus:
    """The groups on which a company gains most, and which part of the gain lies there."""

    groups: str
    part: float
    of_all: float  # the part of all companies' gain that lies on the same groups

    @property
    def lead(self) -> float:
        """How much more of its gain lies there."""
        return self.part - self.of_all


def why_sentences(run: FinishedRun, found: Reached, by_group: Strengths | None) -> dict[str, str]:
    """The sentence of each company, by name."""
    companies = run.evidence.config.companies
    focus = {} if by_group is None else focus_of(companies, by_group)
    figures = {
        "without": {name: found.everybody - found.without[name] for name in companies},
        "alone": found.alone,
        "focus": {name: each.lead for name, each in focus.items()},
    }
    standing = {figure: _standing(numbers) for figure, numbers in figures.items()}
    same_rows = _same_rows(run.evidence.fingerprints)
    sentences = {}
    for company in run.valuation.companies:
        name, sign = company.name, sign_of(company)
        figures_of = [*standing] if _is_focused(focus.get(name)) else ["without", "alone"]
        most = max(figures_of, key=lambda figure: abs(standing[figure].get(name, 0.0)))
        if sign < 0:
            text = _by_harm(found, name)
        elif sign == 0:
            text = f"Not certain that it helped at all: {_without(found, name)}"
        elif name in same_rows:
            text = f"Same rows as {enumerated(same_rows[name])}: {_without(found, name)}"
        elif most == "focus":
            text = _by_focus(focus[name])
        elif most == "alone":
            text = _by_itself(found, name, strong=standing["alone"][name] > 0)
        else:
            text = _by_the_others(run, found, name, standing["without"][name])
        sentences[name] = f"{text}."
    return sentences


def focus_of(companies: tuple[str, ...], by_group: Strengths) -> dict[str, Focus]:
    """Where each company's gain lies: the fifth of the groups, at most three, on which it gains
    most. A company that gains nothing in all, or that loses as much as it gains, is left out.
    """
    part_NK = by_group.part_NK
    n_groups = max(1, min(3, part_NK.shape[1] // 5))
    gain_K = part_NK.sum(axis=0)
    found = {}
    for name, part_K in zip(companies, part_NK, strict=True):
        top = sorted(range(len(part_K)), key=lambda k: (-part_K[k], k))[:n_groups]
        total, of_all = float(part_K.sum()), float(gain_K.sum())
        if total <= 0 or of_all <= 0 or part_K[top].sum() > total:
            continue
        found[name] = Focus(
            by_group.called(sorted(top)),
            float(part_K[top].sum()) / total,
            float(gain_K[top].sum()) / of_all,
        )
    return found


def _standing(figure: Mapping[str, float]) -> dict[str, float]:
    """How far each company stands from the median, in mean distances from it."""
    if not figure:
        return {}
    middle = median(figure.values())
    spread = fmean(abs(number - middle) for number in figure.values())
    return {name: (number - middle) / spread if spread else 0.0 for name, number in figure.items()}


def _without(found: Reached, name: str) -> str:
    """`without it the others reach 93.1 % instead of 95.0 %`."""
    rest, everybody = found.text(found.without[name]), found.text(found.everybody)
    if rest == everybody:
        return f"without it the others reach {rest} as well"
    return f"without it the others reach {rest} instead of {everybody}"


def _is_focused(focus: Focus | None) -> bool:
    return focus is not None and focus.lead >= FOCUSED


def _by_harm(found: Reached, name: str) -> str:
    but = ", though not its answers" if found.without[name] < found.everybody else ""
    return f"Its data made the model's loss worse{but}: {_without(found, name)}"


def _by_the_others(run: FinishedRun, found: Reached, name: str, standing: float) -> str:
    """standing: by how much the others miss it, from the median company on."""
    if found.without[name] > found.everybody:
        companies = run.evidence.config.companies
        everybody = grand(len(companies))
        others = everybody & ~(1 << companies.index(name))
        if run.loss(others) > run.loss(everybody):
            return f"Makes the model surer, though not more often right: {_without(found, name)}"
        return f"Helps small groups only: {_without(found, name)}"
    most = "most" if len(found.alone) > 2 else "the other"
    if abs(standing) < ALIKE:
        return f"As hard to replace as {most}: {_without(found, name)}"
    return (
        f"{'Harder' if standing > 0 else 'Easier'} to replace than {most}: {_without(found, name)}"
    )


def _by_itself(found: Reached, name: str, *, strong: bool) -> str:
    first, last = found.alone[name] - found.nobody, found.everybody - found.without[name]
    text = f"{'Strong' if strong else 'Weak'} alone ({found.text(found.alone[name])})"
    if last < LITTLE * first:
        text += f", {'but' if strong else 'and'} little that others lack"
    elif last >= MUCH * first:
        text += f", {'and' if strong else 'but'} much that others lack"
    return f"{text}: {_without(found, name)}"


def _by_focus(focus: Focus) -> str:
    text = f"{percent(focus.part)} of its gain is on {focus.groups}"
    return f"{text}; of all companies' gain it is {percent(focus.of_all)}"


def _same_rows(fingerprints: Mapping[str, str]) -> dict[str, list[str]]:
    """For each company with equal rows elsewhere, who else holds them."""
    same: dict[str, list[str]] = {}
    for name, fingerprint in fingerprints.items():
        same.setdefault(fingerprint, []).append(name)
    return {
        name: [other for other in names if other != name]
        for names in same.values()
        if len(names) > 1
        for name in names
    }
