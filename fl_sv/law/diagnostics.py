"""Diagnostics D1 to D5 and D9: what says that the law does not hold here.

Every test on large runs compares them with what the law said before it saw them (D2, D4), or before
it saw that one (D1, D9). Thresholds are shares of the family-wise error. They were chosen on 63
brute-forced games without a violation (the 45 of tests/data/law_digits.npz and 18 of
benchmarks.truth): 2 of them show an alarm without further large runs, 4 with the singletons, 6 with
the leave-one-outs as well. What they find is in docs/benchmarks.md.

A test without the data it needs is listed as untested, never as held. Duplicated companies are no
alarm: only deviations from the law are.

Shapes: N companies, C coalitions, M small sizes, A extra large runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fl_sv.law.alarms import PLACE, Alarm
from fl_sv.law.amplitude import noise_of
from fl_sv.law.families import TURNING, Game
from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import covariance_of_runs, left_out
from fl_sv.law.process import variance
from fl_sv.law.selection import Selected

CODES = ("D1", "D2", "D3", "D4", "D5", "D9")  # D6 to D8 are not built (docs/guide.md)
# Each test's share of the family's one in ten.
ERROR_SHARE, PATTERN_SHARE = 0.02, 0.005
# A singleton's deviation below this share of the large model's gain is ordinary: the run itself
# puts it right. In large coalitions less is allowed, but never less than a third of it.
MATERIAL, LEAST_DEPTH = 0.2, 1 / 3
DRAWS = 2000
LEAST_RANK, LEAST_RANGE = 0.90, 10.0
GROWING, FARTHEST = 1.5, 5.0
# Share of the way from the grand coalition's loss down to zero at which the ladder may put another
# coalition, and share of the coalitions on which the small model may be as good as with all
# companies. On 63 games without a defect the largest were 0.58, and 0.60 but for one game of wild
# seeds.
LOWEST, CEILING, CEILING_STDS = 0.8, 0.65, 2.0
# share of the coalitions that teach the large model and may leave the small one worse than
# untrained
MISSED = 0.2


@dataclass(frozen=True)
class Findings:
    """What all checks found. diagnostics: figures by code and name ("D1 p_value"); tested, untested:
    the codes.
    """

    alarms: tuple[Alarm, ...]
    diagnostics: dict[str, float]
    tested: tuple[str, ...]
    untested: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The extra runs against the law: normalized_runs measured and expected, run_covariance of their
    difference.
    """

    game: Game
    data: LawData
    choice: Selected
    normalized_runs: NDArray[np.float64]
    expected: NDArray[np.float64]
    run_covariance: NDArray[np.float64]

    def needed(self, code: str) -> int:
        """Large runs without which the check is not made."""
        return large_runs_needed(code, self.data.n_companies)


@dataclass(frozen=True)
class Result:
    """One check: its figures, and where it fired the alarm's sentence and the coalition in it."""

    figures: dict[str, float]
    sentence: str | None
    coalition: int | None = None


def large_runs_needed(code: str, n_companies: int) -> int:
    """How many coalitions of the large model, besides nobody and all, a check compares."""
    return {"D1": 1, "D2": n_companies, "D4": 8, "D9": n_companies}.get(code, 0)


def examine(
    game: Game, data: LawData, choice: Selected, normalized_runs: NDArray[np.float64]
) -> Findings:
    """All diagnostics of one fitted law."""
    compared = _compare(game, data, choice, normalized_runs)
    found = {code: test(compared) for code, test in TESTS.items()}
    done = {code: result for code, result in found.items() if result is not None}
    return Findings(
        alarms=tuple(
            Alarm(code, result.sentence, result.coalition, result.figures)
            for code, result in done.items()
            if result.sentence is not None
        ),
        diagnostics={
            f"{code} {name}": x
            for code, result in done.items()
            for name, x in result.figures.items()
        },
        tested=tuple(code for code in CODES if code in done),
        untested=tuple(code for code in CODES if code not in done),
    )


def bracket(compared: Comparison) -> Result | None:
    """D1: a large run outside the interval that the law and all other runs gave it, and far enough
    to matter.
    """
    n_runs = len(compared.normalized_runs)
    if n_runs < compared.needed("D1"):
        return None
    left = left_out(compared.choice.prior, compared.data, compared.normalized_runs)
    # Bonferroni: the smallest of n_runs probabilities.
    p_values = np.minimum(1.0, 2 * n_runs * ndtr(-np.abs(left.errors) / left.stds))
    # Large coalitions deviate less, in the measure of process.py.
    depths = np.sqrt(variance(compared.data.members_CN[compared.data.large_run_rows]))
    material = np.abs(left.errors) >= MATERIAL * np.maximum(depths, LEAST_DEPTH)
    worst = int(np.argmin(np.where(material, p_values, 1 + p_values)))
    error = float(left.errors[worst] * compared.game.unit)
    p_value = float(p_values[worst])
    figures = {"p_value": p_value, "share_of_gain": float(left.errors[worst])}
    if p_value >= ERROR_SHARE or not material[worst]:
        return Result(figures, None)
    direction = "above" if error < 0 else "below"
    return Result(
        figures,
        f"the large model's loss of coalition {PLACE} lies {abs(error):.3g}"
        f" {direction} what the law and the other large runs say, {abs(left.errors[worst]):.0%} of"
        f" the large model's gain (p = {p_value:.4f}, allowed {ERROR_SHARE}): the small model"
        f" {'over' if error < 0 else 'under'}-values it",
        compared.data.coalition_C[compared.data.large_run_rows[worst]],
    )


def rank(compared: Comparison) -> Result | None:
    """D2: the large runs rank differently from what the law said, beyond what its own spread
    explains.
    """
    if len(compared.normalized_runs) < compared.needed("D2"):
        return None
    agreement = float(_spearman(compared.expected, compared.normalized_runs[None, :])[0])
    root = np.linalg.cholesky(compared.run_covariance)
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(root))) @ root.T
    drawn = _spearman(compared.expected, compared.expected + noise)
    p_value = float((1 + (drawn <= agreement).sum()) / (1 + DRAWS))
    figures = {"spearman": agreement, "p_value": p_value}
    if agreement >= LEAST_RANK or p_value >= ERROR_SHARE:
        return Result(figures, None)
    return Result(
        figures,
        f"the large runs rank differently from the law: Spearman {agreement:.2f}, required"
        f" {LEAST_RANK:.2f} (p = {p_value:.4f} if the law held)",
    )


def ladder(compared: Comparison) -> Result | None:
    """D3: the small sizes do not go on in one direction, or the large runs put the law far from
    where they lead.
    """
    retention, law = compared.game.retention, compared.choice.family
    figures = {}
    if retention is not None:
        figures["retention"] = retention
    if len(compared.normalized_runs) >= compared.data.n_companies and law.ladder:
        shifts = (compared.choice.prior.theta - law.prior) / law.prior_std
        worst = int(np.argmax(np.abs(shifts)))
        figures["shift"] = float(shifts[worst])
        if abs(shifts[worst]) > FARTHEST:
            return Result(
                figures,
                f"the large runs put the law's {law.parameters[worst]} {abs(shifts[worst]):.1f}"
                f" standard deviations from where the small sizes lead (allowed {FARTHEST})",
            )
    if not figures:
        return None
    lowest, coalition = _lowest(compared)
    figures["share_of_way_to_zero"] = lowest
    if lowest > LOWEST:
        return Result(
            figures,
            f"the small sizes lead the large model's loss of coalition {PLACE} {lowest:.0%} of"
            f" the way from that of all companies to zero (allowed {LOWEST:.0%}): the small models"
            " over-value it",
            coalition,
        )
    if retention is None or TURNING <= retention <= GROWING:
        return Result(figures, None)
    what = "turn back" if compared.game.turns_back else "grow"
    return Result(
        figures,
        f"the steps of the size ladder {what}: the last step is {retention:.2f} times the step"
        f" before (allowed {TURNING} to {GROWING}), so nothing can be said about the"
        f" next{', and the law does not go on with them' if not law.ladder else ''}",
    )


def residuals(compared: Comparison) -> Result | None:
    """D4: deviations of the large runs go with the coalition's size or amount of data."""
    data = compared.data
    run_members = data.members_CN[data.large_run_rows]
    if len(run_members) < compared.needed("D4"):
        return None
    covariates = {"number of members": run_members.sum(axis=1).astype(np.float64)}
    if data.examples_N is not None:
        covariates["log data size"] = np.log(run_members @ data.examples_N)
    covariates = {
        name: covariate for name, covariate in covariates.items() if np.ptp(covariate) > 1e-9
    }
    if not covariates:
        return None
    whitened = np.linalg.solve(
        np.linalg.cholesky(compared.run_covariance), compared.normalized_runs - compared.expected
    )
    generator = np.random.default_rng(0)
    shuffled = np.stack([generator.permutation(whitened) for _ in range(DRAWS)])
    figures, alarm = {}, None
    errors = left_out(compared.choice.prior, data, compared.normalized_runs).errors
    for name, covariate in covariates.items():
        centred = covariate - covariate.mean()
        # What a straight line through the left-out errors explains, from the smallest to the
        # largest coalition.
        trend = abs(float(errors @ centred) / float(centred @ centred)) * float(np.ptp(covariate))
        p_value = float(
            (1 + (np.abs(shuffled @ centred) >= abs(whitened @ centred)).sum()) / (1 + DRAWS)
        )
        figures[f"p_value, {name}"] = p_value
        figures[f"trend, {name}"] = trend
        if p_value < PATTERN_SHARE / len(covariates) and trend >= MATERIAL and alarm is None:
            alarm = (
                f"deviations from the law go with the {name} of the coalition, {trend:.0%} of the"
                f" large model's gain from one end to the other (allowed {MATERIAL:.0%};"
                f" permutation p = {p_value:.4f})"
            )
    return Result(figures, alarm)


def floor(compared: Comparison) -> Result | None:
    """D5: the small model has no room to tell coalitions apart."""
    game, data = compared.game, compared.data
    gain = float(data.small_CM[0, -1] - data.small_CM[-1, -1])
    if game.fault is not None:
        return Result({"small_gain": gain}, game.fault)
    if gain * game.unit < 0:
        return Result(
            {"small_gain": gain, "large_gain": game.unit},
            f"with all companies the small model's loss changes by {-gain:.4g} and the large"
            f" model's by {-game.unit:.4g}: opposite directions",
        )
    figures = {}
    alarm = None
    if data.seed_std_M is not None:
        figures["range_over_seed_std"] = abs(gain) / max(float(data.seed_std_M[-1]), 1e-300)
        if figures["range_over_seed_std"] < LEAST_RANGE:
            alarm = (
                f"the small model's whole range is {figures['range_over_seed_std']:.1f} standard"
                f" deviations of a seed, required {LEAST_RANGE:.0f}"
            )
        proper_C = game.normalized_CM[1:-1, -1]
        if len(proper_C):
            reached = 1 - CEILING_STDS * noise_of(game, data)
            figures["share_at_ceiling"] = float((proper_C > reached).mean())
            if figures["share_at_ceiling"] > CEILING and alarm is None:
                alarm = (
                    f"on {figures['share_at_ceiling']:.0%} of the coalitions the small model is as"
                    f" good as with all companies, within its seed noise (allowed {CEILING:.0%}):"
                    " it is full, and more data do not show"
                )
    useful = compared.normalized_runs > MATERIAL
    if useful.sum() >= 5:
        figures["share_missed"] = float(
            (game.normalized_CM[data.large_run_rows, -1][useful] < 0).mean()
        )
        if figures["share_missed"] > MISSED and alarm is None:
            alarm = (
                f"the small model is worse than untrained on {figures['share_missed']:.0%} of the"
                f" coalitions on which the large model makes more than {MATERIAL:.0%} of its gain"
                f" (allowed {MISSED:.0%})"
            )
    return Result(figures, alarm) if figures else None


def value_added(compared: Comparison) -> Result | None:
    """D9: the law predicts a left-out large run no better than the mean of the other runs of its
    size does.
    """
    data = compared.data
    left = compared.choice.left_out.get(compared.choice.family.name)
    if left is None:
        return None
    sizes = data.members_CN[data.large_run_rows].sum(axis=1)
    error = float(np.sqrt(np.mean(left.errors**2)))
    same_size = (sizes[:, None] == sizes[None, :]) & ~np.eye(len(sizes), dtype=bool)
    usable = same_size.any(axis=1)
    if usable.sum() < compared.needed("D9"):
        return None
    means = (same_size @ compared.normalized_runs)[usable] / same_size.sum(axis=1)[usable]
    without = float(np.sqrt(np.mean((compared.normalized_runs[usable] - means) ** 2)))
    figures = {"error": error, "error_without_small_model": without}
    # Companies that are all alike leave nothing to add: then both errors are small, and neither is
    # a reason.
    expected = float(np.sqrt(np.mean(np.diag(compared.run_covariance))))
    if error < without or error < 2 * expected:
        return Result(figures, None)
    return Result(
        figures,
        f"the small model adds nothing: the law misses a left-out large run by {error:.3f} of the"
        f" gain, the mean of the other runs of its size by {without:.3f}",
    )


TESTS: dict[str, Callable[[Comparison], Result | None]] = {
    "D1": bracket,
    "D2": rank,
    "D3": ladder,
    "D4": residuals,
    "D5": floor,
    "D9": value_added,
}


def _compare(
    game: Game, data: LawData, choice: Selected, normalized_runs: NDArray[np.float64]
) -> Comparison:
    prior = choice.prior
    run_covariance = covariance_of_runs(prior, data, prior.amplitude)
    return Comparison(
        game, data, choice, normalized_runs, prior.mean_C[data.large_run_rows], run_covariance
    )


def _lowest(compared: Comparison) -> tuple[float, int | None]:
    """How far towards zero the ladder alone would carry the loss of the best coalition but the
    grand one, and its name.

    The power of a law bends such a loss back, and would hide it.
    """
    game, law = compared.game, compared.choice.family
    slope = law.prior[0] if law.ladder else 0.0
    proper_C = game.normalized_CM[1:-1]
    if (
        not len(proper_C)
        or min(game.loss_empty, game.loss_grand) <= 0
        or game.fault is not None
        or game.unit < 0
    ):
        return 0.0, None
    reached_C = proper_C[:, -1] + slope * (proper_C[:, -1] - proper_C[:, -2])
    best = int(np.argmax(reached_C))
    share = (float(reached_C[best]) - 1) * game.unit / game.loss_grand
    return share, compared.data.coalition_C[1 + best]


def _spearman(expected: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) rank correlation of each row with the expectation, over the runs and the two ends."""
    from scipy.stats import (
        rankdata,  # takes 0.6 s to import, which every company's process would pay
    )

    ends = np.tile([0.0, 1.0], (len(measured), 1))
    measured_ranks = rankdata(np.concatenate([ends, measured], axis=1), axis=1)
    rank = rankdata(np.concatenate([[0.0, 1.0], expected]))
    measured_ranks, rank = (
        measured_ranks - measured_ranks.mean(axis=1, keepdims=True),
        rank - rank.mean(),
    )
    agreements: NDArray[np.float64] = (
        measured_ranks @ rank / np.sqrt(np.sum(measured_ranks**2, axis=1) * (rank @ rank))
    )
    return agreements
