"""What each check of the law computes, and when it fires: D1 to D6 and D9.

A check on large runs compares them with what the law predicts without all of them (D2, D4), or
without the one in question (D1, D9). Only the power law of a blend has seen them, which makes the
errors about 3 % smaller. All expect the seed noise of the runs. Thresholds are shares of the
family-wise error, or were chosen on the games of benchmarks/data/games; docs/benchmarks.md shows
how often each fires where the law is right, and where it is wrong.

Companies with equal data cause no alarm: only deviations from the law do.

Shapes: N companies, C coalitions, M small sizes. "runs" are the large runs besides the empty and
the grand coalition, "draws" the repetitions of a random test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fl_sv.law.alarms import PLACE
from fl_sv.law.blend import Blend
from fl_sv.law.inputs import LawData
from fl_sv.law.left_out import LeftOutMixture, left_out
from fl_sv.law.noise import small_std
from fl_sv.law.normalized import Game
from fl_sv.law.prior import Prior
from fl_sv.law.process import common, variance

# Each check's share of the family's one in ten.
ERROR_SHARE, PATTERN_SHARE = 0.02, 0.005
# A singleton's deviation below this share of the large model's gain is ordinary: the large run
# corrects the prediction there. Large coalitions may deviate less, down to a quarter of this share.
MATERIAL, LEAST_DEPTH = 0.2, 1 / 4
# Deviations may be this much larger than expected before a check counts them.
CAUTION = 1.2
DRAWS = 2000
# Differences below this share are rounding: no p-value may hang on them.
TIE = 1e-9
LEAST_RANK, LEAST_RANGE = 0.90, 4.0
# Typical distance of the blended laws from their mean, for a singleton, as a share of the gain.
DISAGREEMENT = 0.3
# Expected error of one training of every coalition, as a share of the values.
NOISY = 0.5
# Share of the coalitions on which the small model may be as good as with all companies, within so
# many standard deviations of its mean loss.
CEILING, CEILING_STDS = 0.8, 2.0
# Of the coalitions that improve the large model, the share that may leave the small one worse than
# untrained.
MISSED = 0.2
# So many large runs must improve the large model before that share means something.
LEAST_USEFUL = 5


@dataclass(frozen=True)
class Comparison:
    """The large runs beside what the law predicts of them.

    by_others: what all other runs say of each.
    noise_of_values: relative error of the values of one training of every coalition; None where it
        is unknown.
    normalized_runs: their measured normalised utility, (runs,).
    expected: what the law predicts without them, (runs,).
    run_covariance: of the difference between the two, (runs, runs).
    """

    game: Game
    data: LawData
    blend: Blend
    prior: Prior
    by_others: LeftOutMixture
    noise_of_values: float | None
    normalized_runs: NDArray[np.float64]
    expected: NDArray[np.float64]
    run_covariance: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What one check found.

    figures: the numbers that decide, by name.
    sentence: why it fired, None where it did not; it names its coalition by `{coalition}`.
    coalition: the one that the sentence is about, None where it is about the law as a whole.
    """

    figures: dict[str, float]
    sentence: str | None
    coalition: int | None = None


def outlier(compared: Comparison) -> Result:
    """D1: whether a large run lies outside what the law and all other runs expect.

    The difference must also be large enough to matter.
    """
    found = _outside(compared)
    return found if found.sentence is not None else _short_of_prediction(compared) or found


def _outside(compared: Comparison) -> Result:
    """Any large run, to either side, at the scales that the law expects."""
    data = compared.data
    n_runs = len(compared.normalized_runs)
    left = left_out(compared.prior, data, compared.normalized_runs, CAUTION)
    # Bonferroni: the smallest of n_runs probabilities.
    distances = np.abs(left.errors) / left.stds
    p_values = np.minimum(1.0, 2 * n_runs * ndtr(-distances))
    # Large coalitions deviate less, in the measure of process.py.
    depths = np.sqrt(variance(common, data.members_CN[data.large_run_rows]))
    material = np.abs(left.errors) >= MATERIAL * np.maximum(depths, LEAST_DEPTH)
    worst = int(np.argmax(distances + np.where(material, distances.max(), 0.0)))
    fired = bool(p_values[worst] < ERROR_SHARE and material[worst])
    return _outlier(compared, worst, left.errors[worst], p_values[worst], fired=fired)


def _short_of_prediction(compared: Comparison) -> Result | None:
    """The large model of one company alone that gains less than the others' lead to expect: the
    small models may over-value this company in every coalition.

    One that is worse than untrained has learned few rows by heart, which says nothing of larger
    coalitions. It counts as untrained.
    """
    data = compared.data
    alone = data.size_C[data.large_run_rows] == 1
    measured = np.maximum(compared.normalized_runs, 0.0)
    expected = compared.by_others.expected()
    chances = compared.by_others.chance_of_less(measured)
    material = alone & (expected - measured >= MATERIAL)
    p_values = np.where(material, alone.sum() * chances, 1.0)
    worst = int(np.argmin(p_values))
    if p_values[worst] >= ERROR_SHARE:
        return None
    error = compared.normalized_runs[worst] - expected[worst]
    return _outlier(compared, worst, error, p_values[worst], fired=True)


def _outlier(
    compared: Comparison, run: int, normalized_error: float, p_value: float, *, fired: bool
) -> Result:
    """What D1 says of one of the large runs.

    normalized_error: measured minus predicted normalised utility.
    """
    figures = {"p_value": float(p_value), "share_of_gain": float(normalized_error)}
    if not fired:
        return Result(figures, None)
    error = float(normalized_error * compared.game.unit)
    return Result(
        figures,
        f"the large model's loss of coalition {PLACE} is {abs(error):.3g}"
        f" {'higher' if error < 0 else 'lower'} than the law and the other large runs predict,"
        f" {abs(normalized_error):.0%} of the large model's gain (p = {p_value:.4f}, an alarm"
        f" below {ERROR_SHARE}): the small model {'over' if error < 0 else 'under'}-values it",
        compared.data.coalition_C[compared.data.large_run_rows[run]],
    )


def order(compared: Comparison) -> Result:
    """D2: whether the large runs rank the coalitions differently from the law.

    There is no alarm where the law's own uncertainty explains the order.
    """
    agreement = float(_spearman(compared.expected, compared.normalized_runs[None, :])[0])
    root = np.linalg.cholesky(compared.run_covariance)
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(root))) @ root.T
    drawn = _spearman(compared.expected, compared.expected + noise)
    p_value = float((1 + (drawn <= agreement + TIE).sum()) / (1 + DRAWS))
    figures = {"spearman": agreement, "p_value": p_value}
    if agreement >= LEAST_RANK or p_value >= ERROR_SHARE:
        return Result(figures, None)
    return Result(
        figures,
        f"the large runs rank the coalitions differently from the law: Spearman {agreement:.2f},"
        f" at least {LEAST_RANK:.2f} is needed (p = {p_value:.4f} if the law holds)",
    )


def agreement(compared: Comparison) -> Result | None:
    """D3: whether the laws that are blended agree with each other."""
    blend = compared.blend
    if len(blend.weights) < 2:
        return None
    depth_C = np.sqrt(variance(common, compared.data.members_CN))
    proper = depth_C > 0
    if not proper.any():
        return None
    weights = np.array(list(blend.weights.values()))
    apart = blend.between[proper, : len(weights)] / depth_C[proper, None]
    distance = float(np.sqrt(np.mean(np.sum(apart**2, axis=1))))
    figures = {"disagreement": distance}
    if distance < DISAGREEMENT:
        return Result(figures, None)
    shifts = np.sqrt(np.mean(apart**2, axis=0) / weights)
    farthest = list(blend.weights)[int(np.argmax(shifts))]
    return Result(
        figures,
        f"the ways to predict the large model contradict each other: they lie {distance:.0%} of the"
        f" large model's gain apart (allowed {DISAGREEMENT:.0%}), farthest off the law {farthest}",
    )


def noise(compared: Comparison) -> Result | None:
    """D6: whether one training of the large model says enough about its expected loss."""
    if compared.noise_of_values is None:
        return None
    figures = {"error_of_one_training": compared.noise_of_values}
    if compared.noise_of_values < NOISY:
        return Result(figures, None)
    return Result(
        figures,
        "the large runs' own noise decides the values: even if every coalition were trained with"
        f" as many seeds, they would be off by {compared.noise_of_values:.0%} (allowed"
        f" {NOISY:.0%}). More seeds of the large model help: training.large_seeds",
    )


def pattern(compared: Comparison) -> Result | None:
    """D4: whether the large runs deviate by the coalition's number of members or amount of data."""
    data = compared.data
    covariates = _covariates(data)
    if not covariates:
        return None
    whitened = np.linalg.solve(
        np.linalg.cholesky(compared.run_covariance), compared.normalized_runs - compared.expected
    )
    generator = np.random.default_rng(0)
    shuffled = np.stack([generator.permutation(whitened) for _ in range(DRAWS)])  # (draws, runs)
    errors = left_out(compared.prior, data, compared.normalized_runs, CAUTION).errors
    figures: dict[str, float] = {}
    found: list[str] = []
    size = float(np.linalg.norm(whitened))
    for name, covariate in covariates.items():
        centred = covariate - covariate.mean()
        # What a straight line through the left-out errors explains, from the smallest to the
        # largest coalition.
        trend = abs(float(errors @ centred) / float(centred @ centred)) * float(np.ptp(covariate))
        # Many orders give the very same sum, since coalitions have equal numbers of members.
        slack = TIE * size * float(np.linalg.norm(centred))
        at_least = np.abs(shuffled @ centred) >= abs(whitened @ centred) - slack
        p_value = float((1 + at_least.sum()) / (1 + DRAWS))
        figures[f"p_value, {name}"] = p_value
        figures[f"trend, {name}"] = trend
        if p_value < PATTERN_SHARE / len(covariates) and trend >= MATERIAL:
            found.append(
                f"the large runs deviate from the law by the coalition's {name}: {trend:.0%} of the"
                f" large model's gain from the smallest coalition to the largest (allowed"
                f" {MATERIAL:.0%}; permutation p = {p_value:.4f})"
            )
    return Result(figures, found[0] if found else None)


def resolution(compared: Comparison) -> Result | None:
    """D5: whether the small model can tell coalitions apart."""
    game, data = compared.game, compared.data
    gain = float(data.small_CM[0, -1] - data.small_CM[-1, -1])
    if game.fallback_reason is not None:
        large_gain = game.loss_empty - game.loss_grand
        return Result({"small_gain": gain, "large_gain": large_gain}, game.fallback_reason)
    if gain * game.unit < 0:
        return Result(
            {"small_gain": gain, "large_gain": game.unit},
            f"from nobody to all companies the small model's loss changes by {-gain:.4g} and the"
            f" large model's by {-game.unit:.4g}: in opposite directions",
        )
    figures: dict[str, float] = {}
    found: list[str] = []
    if data.seed_std_M is not None and data.seed_std_M[-1] == 0:
        figures["small_gain"] = gain  # any is beyond the chance of seeds that agree
    elif data.seed_std_M is not None:
        share = abs(gain) / float(data.seed_std_M[-1])
        figures["range_over_seed_std"] = share
        if share < LEAST_RANGE:
            found.append(
                f"the small model's whole range is {share:.1f} standard deviations of a seed, at"
                f" least {LEAST_RANGE:.0f} are needed"
            )
    std_C = small_std(data)
    if std_C is not None and len(std_C) > 2:
        near_C = game.normalized_CM[:, -1] > 1 - CEILING_STDS * std_C / abs(gain)
        full = float(near_C[1:-1].mean())
        figures["share_at_ceiling"] = full
        if full > CEILING:
            found.append(
                f"on {full:.0%} of the coalitions the small model is as good as with all companies,"
                f" within its seed noise (allowed {CEILING:.0%}): it is too small to improve with"
                " more data, or its seeds differ too much"
            )
    useful = compared.normalized_runs > MATERIAL
    if useful.sum() >= LEAST_USEFUL:
        missed = float((game.normalized_CM[data.large_run_rows, -1][useful] < 0).mean())
        figures["share_missed"] = missed
        if missed > MISSED:
            found.append(
                f"the small model is worse than untrained on {missed:.0%} of the coalitions on"
                f" which the large model makes more than {MATERIAL:.0%} of its gain (allowed"
                f" {MISSED:.0%})"
            )
    return Result(figures, found[0] if found else None) if figures else None


def benefit(compared: Comparison) -> Result | None:
    """D9: whether the law predicts a left-out large run better than the mean of its size does.

    That mean is over the other large runs with as many members; it needs no small model.
    """
    data = compared.data
    left = left_out(compared.prior, data, compared.normalized_runs, 1.0)
    sizes = data.members_CN[data.large_run_rows].sum(axis=1)
    error = float(np.sqrt(np.mean(left.errors**2)))
    same_size = (sizes[:, None] == sizes[None, :]) & ~np.eye(len(sizes), dtype=bool)
    usable = same_size.any(axis=1)
    if usable.sum() < data.n_companies:
        return None
    means = (same_size @ compared.normalized_runs)[usable] / same_size.sum(axis=1)[usable]
    without = float(np.sqrt(np.mean((compared.normalized_runs[usable] - means) ** 2)))
    figures = {"error": error, "error_without_small_model": without}
    # Where all companies are alike both errors are small. Then their difference means nothing.
    expected = float(np.sqrt(np.mean(np.diag(compared.run_covariance))))
    if error < without or error < 2 * expected:
        return Result(figures, None)
    return Result(
        figures,
        f"the small model adds nothing: the law misses a left-out large run by {error:.3f} of the"
        f" gain, the mean of the other runs of its size by {without:.3f}",
    )


def _covariates(data: LawData) -> dict[str, NDArray[np.float64]]:
    """What the deviations of the large runs may depend on, (runs,) each; constant ones left out."""
    members = data.members_CN[data.large_run_rows]
    covariates = {"number of members": members.sum(axis=1).astype(np.float64)}
    if data.examples_N is not None:
        covariates["log data size"] = np.log(members @ data.examples_N)
    return {name: numbers for name, numbers in covariates.items() if np.ptp(numbers) > 1e-9}


def _spearman(expected: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws,) rank correlation of each row with the expectation, over the runs and the two ends.

    expected: (runs,). measured: (draws, runs).
    """
    # Imported here: it takes 0.6 s, which every process of a company would spend.
    from scipy.stats import rankdata

    ends = np.tile([0.0, 1.0], (len(measured), 1))
    # Rounded, so that equal coalitions share a rank whatever their last digits are.
    measured_ranks = rankdata(np.concatenate([ends, measured], axis=1).round(9), axis=1)
    expected_ranks = rankdata(np.concatenate([[0.0, 1.0], expected]).round(9))
    measured_ranks = measured_ranks - measured_ranks.mean(axis=1, keepdims=True)
    expected_ranks = expected_ranks - expected_ranks.mean()
    squares = np.sum(measured_ranks**2, axis=1) * (expected_ranks @ expected_ranks)
    agreements: NDArray[np.float64] = measured_ranks @ expected_ranks / np.sqrt(squares)
    return agreements
