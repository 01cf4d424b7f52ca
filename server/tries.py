"""How often a company was asked in vain, and the sentence with which a run stops.

A company has `faults.retries` more tries after a fault of its own, and as many where no answer
comes. What is thrown away since nobody signed it uses up neither: somebody else may have sent it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fl_sv.errors import CompanyFailed, listed
from server.replies import Problem

# So many replies in a company's name are thrown away, besides `faults.retries`, and no more.
MOST_THROWN_AWAY = 10


@dataclass
class Tries:
    """What became of the tries of one company in one exchange of messages."""

    retries: int
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Counts a try in vain."""
        self.problems.append(problem)

    def number(self, kind: str) -> int:
        """How many problems were of that kind."""
        return sum(problem.kind == kind for problem in self.problems)

    @property
    def are_over(self) -> bool:
        """Whether the company is not asked again."""
        own, lost, thrown = map(self.number, ("fault", "lost", "thrown away"))
        return max(own, lost) > self.retries or thrown > self.retries + MOST_THROWN_AWAY

    @property
    def last(self) -> Problem:
        return self.problems[-1]


def company_failed(ended: Mapping[str, Tries], what: str, *, is_simulated: bool) -> CompanyFailed:
    """The exception for companies whose tries are over.

    ended: by company, at least one. what: the work.

    Of a company that signed no failure it is not said that it failed.
    """
    failed = [name for name, tries in ended.items() if is_simulated or tries.last.kind == "fault"]
    unheard = [name for name in ended if name not in failed]
    if failed:
        tries = ended[failed[0]]
        times = len(tries.problems) if is_simulated else tries.number("fault")
        text = f"{failed[0]} failed in {what}, {times} times: {tries.last.text.removesuffix('.')}."
        text += f" So did {listed(sorted(failed[1:]))}." if failed[1:] else ""
        text += f" No reply signed by {listed(sorted(unheard))} arrived." if unheard else ""
        advice = "Correct the fault there"
    else:
        tries = ended[unheard[0]]
        text = (
            f"No reply signed by {unheard[0]} arrived in {what}, in {len(tries.problems)} tries:"
            f" {tries.last.text}."
        )
        text += f" Nor did one by {listed(sorted(unheard[1:]))}." if unheard[1:] else ""
        advice = "See that its node runs with its kit"
    for name, tries in ended.items():
        if thrown := tries.number("thrown away"):
            text += (
                f" Thrown away: {thrown} replies in the name of {name} that its key did not sign;"
                " any company of the federation may have sent them."
            )
    return CompanyFailed(
        f"{text} Nothing was averaged over the rest. {advice} and continue with --resume; the"
        " journal has what was finished."
    )
