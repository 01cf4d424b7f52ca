"""The checks of the law as a table, and what they find on one fitted law.

A check without the data that it needs is untested, never held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fl_sv.law import checks
from fl_sv.law.alarms import Alarm
from fl_sv.law.blend import Blend
from fl_sv.law.checks import Comparison, Result
from fl_sv.law.inputs import LawData
from fl_sv.law.left_out import LeftOutMixture
from fl_sv.law.normalized import Game
from fl_sv.law.prior import Prior, covariance_of_runs


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of the law.

    code: its name in alarms: D1, ...
    question: what it examines, a clause with "whether"; an alarm means no.
    test: the check itself; it returns None where it lacks data.
    large_runs: how many large runs it needs besides the empty and the grand coalition.
    also_needs: what else it needs, as text for a person; empty where large runs are enough.
    """

    code: str
    question: str
    test: Callable[[Comparison], Result | None]
    large_runs: int | Literal["as many as companies"] = 0
    also_needs: str = ""

    def large_runs_for(self, n_companies: int) -> int:
        """`large_runs` as a number."""
        return n_companies if self.large_runs == "as many as companies" else self.large_runs


# D7 and D8 are not built: docs/guide.md gives the reasons.
CHECKS = (
    Check(
        code="D1",
        question="whether each large run agrees with the law and with the other large runs",
        test=checks.outlier,
        large_runs=1,
    ),
    Check(
        code="D2",
        question="whether the large runs rank in the order that the law predicts",
        test=checks.order,
        large_runs="as many as companies",
    ),
    Check(
        code="D3",
        question="whether the ways to predict the large model agree with each other",
        test=checks.agreement,
        also_needs="a second small size, or large runs",
    ),
    Check(
        code="D4",
        question=(
            "whether the law's errors are free of patterns, such as by number of companies or"
            " amount of data"
        ),
        test=checks.pattern,
        large_runs=8,
    ),
    Check(
        code="D5",
        question=(
            "whether the small model learns enough to tell coalitions apart, beyond the chance of"
            " its seeds"
        ),
        test=checks.resolution,
        also_needs="a second seed of the small models",
    ),
    Check(
        code="D6",
        question="whether the large runs say enough beyond the chance of their seeds",
        test=checks.noise,
        also_needs="a second seed of the small models or of the large one",
    ),
    Check(
        code="D9",
        question="whether the law predicts large runs better with the small model than without it",
        test=checks.benefit,
        large_runs="as many as companies",
    ),
)


@dataclass(frozen=True)
class Findings:
    """What all checks found.

    diagnostics: figures by code and name ("D1 p_value"); tested, untested: codes.
    """

    alarms: tuple[Alarm, ...]
    diagnostics: dict[str, float]
    tested: tuple[str, ...]
    untested: tuple[str, ...]


def large_runs_needed(code: str, n_companies: int) -> int:
    """How many large runs the check needs, besides the empty and the grand coalition."""
    return sum(check.large_runs_for(n_companies) for check in CHECKS if check.code == code)


def examine(
    game: Game,
    data: LawData,
    blend: Blend,
    prior: Prior,
    by_others: LeftOutMixture,
    noise_of_values: float | None,
    normalized_runs: NDArray[np.float64],
) -> Findings:
    """All checks of one fitted law.

    by_others, noise_of_values, normalized_runs: as in Comparison.
    """
    compared = Comparison(
        game=game,
        data=data,
        blend=blend,
        prior=prior,
        by_others=by_others,
        noise_of_values=noise_of_values,
        normalized_runs=normalized_runs,
        expected=prior.mean_C[data.large_run_rows],
        run_covariance=covariance_of_runs(prior, data),
    )
    results = {check.code: _result(check, compared) for check in CHECKS}
    done = {code: result for code, result in results.items() if result is not None}
    return Findings(
        alarms=tuple(
            Alarm(code, result.sentence, result.coalition, result.figures)
            for code, result in done.items()
            if result.sentence is not None
        ),
        diagnostics={
            f"{code} {name}": figure
            for code, result in done.items()
            for name, figure in result.figures.items()
        },
        tested=tuple(done),
        untested=tuple(code for code in results if code not in done),
    )


def _result(check: Check, compared: Comparison) -> Result | None:
    if len(compared.normalized_runs) < check.large_runs_for(compared.data.n_companies):
        return None
    return check.test(compared)
