"""The lines of the audit: one figure for each check and company or pair, beside its limit.

A figure beyond its limit is a finding. It blocks no payment: it says whose work to look at. The
limits come from honest games of many kinds (docs/attacks.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from fl_sv.config import Config
from fl_sv.game.coalitions import member_names

WORK, LENGTH, GROWTH, COPIES = "work", "length", "growth", "copies"
ANSWERS, PLANTED = "answers", "planted"

# Beyond these a figure is a finding. Those of rows are surprises: 2 is what one run in a hundred
# shows by chance, whatever the number of companies. Half a unit more for copies, whose chance is
# estimated by parts of rows that are mixed better than companies' rows are.
LIMITS = {WORK: 3.0, LENGTH: 2.5, GROWTH: 1.5, ANSWERS: 2.0, COPIES: 2.5, PLANTED: 2.0}
MOST_PAIRED = 100  # companies: of more the pairs are too many to be compared

QUESTIONS = {
    WORK: "whether a company does the same work in all its coalitions",
    LENGTH: "whether a company's updates are as long as those of the others",
    GROWTH: "whether the large model of a company alone grew as its small one did",
    ANSWERS: "whether the large model of a company alone learned from the rows of its small ones",
    COPIES: "whether two companies hold the same rows, or some of them",
    PLANTED: "whether a company trained on the operator's validation rows",
}


@dataclass(frozen=True)
class AuditLine:
    """One figure of the audit; None where the check could not be made.

    other: the second company of a pair; in `work` the members of the coalition that stands out.
    """

    check: str
    company: str
    other: str
    figure: float | None

    @property
    def limit(self) -> float:
        """Beyond it the figure is a finding."""
        return LIMITS[self.check]

    @property
    def is_finding(self) -> bool:
        """Whether the figure is beyond the limit."""
        return self.figure is not None and self.figure > self.limit


def due(config: Config) -> list[tuple[str, str, str]]:
    """The check, the company and the second one of every line of a run, in their order.

    The coalition that `work` names is found, not due.
    """
    companies = config.companies
    checks = [WORK, LENGTH, GROWTH, ANSWERS, *([PLANTED] if config.data.validation.planted else [])]
    alone = [(check, company, "") for check in checks for company in companies]
    paired = companies if len(companies) <= MOST_PAIRED else ()
    return [*alone, *((COPIES, one, other) for one, other in combinations(paired, 2))]


def untested(config: Config) -> tuple[AuditLine, ...]:
    """The lines of a run in which no check could be made."""
    return tuple(AuditLine(*line, None) for line in due(config))


def findings(lines: Iterable[AuditLine]) -> list[AuditLine]:
    """Those beyond their limits, in their order."""
    return [line for line in lines if line.is_finding]


def sentence(line: AuditLine, config: Config) -> str:
    """What a finding means, and what to do."""
    company, other = config.legal_name(line.company), line.other
    figure = f"{line.figure:.2f}; the limit is {line.limit:g}"
    match line.check:
        case "work":
            return (
                f"{company} did other work in the coalition {other} than in its others: its update"
                f" is further off what they predict than other companies' are, by a factor of"
                f" {figure}."
            )
        case "length":
            return (
                f"The updates of {company} are longer or shorter than those of the others, by a"
                f" factor of {figure}: more steps, other rates, or unlike rows."
            )
        case "growth":
            return (
                f"The large model that {company} trained alone differs from its small one more than"
                f" those of the others do, by a factor of {figure}: more steps in one of them."
            )
        case "answers":
            return (
                f"The large model that {company} trained alone answers otherwise than its small"
                f" ones, more than those of the others do, by a factor of {figure}: other rows in"
                " one of them."
            )
        case "planted":
            return (
                f"The models of {company} know labels that were drawn at random for planted"
                f" validation rows: it trained on the operator's rows. By chance it happens in one"
                f" run in {_one_in(line.figure)}."
            )
        case _:
            return (
                f"The updates of {company} and {config.legal_name(other)} share noise of their"
                f" rows, as in one run in {_one_in(line.figure)} by chance: one may hold rows of"
                " the other, or both are one."
            )


def _one_in(figure: float | None) -> str:
    """How many runs there are for one as surprising."""
    return f"{10 ** min(figure or 0.0, 6.0):,.0f}"


def finding_sentences(lines: Iterable[AuditLine], config: Config) -> list[str]:
    """What the audit found, a sentence each."""
    return [f"Audit: {sentence(line, config)}" for line in findings(lines)]


def steps_remarks(config: Config) -> list[str]:
    """That more rows are more steps, which pays for copies of rows.

    Where the operator divides a source among the companies, no company can add a row.
    """
    if config.data.source != "own" or config.training.local_steps is not None:
        return []
    return [
        "A company with more rows takes more steps in a round here, and copies of its rows do so"
        " too. Nobody can check its rows: set training.local_steps (docs/attacks.md)."
    ]


def named(coalition: int, config: Config) -> str:
    """A coalition as the tables spell it."""
    return member_names(coalition, config.companies)
