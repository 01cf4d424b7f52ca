"""An alarm fires when the law is broken, and hardly ever when it is not."""

import re

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from fl_sv.law import fit_law
from fl_sv.law.left_out import left_out_on_grid
from fl_sv.law.posterior import runs_on_grid
from fl_sv.law.prior import PARTS
from fl_sv.law.process import covariance
from tests.test_law import DATA, DESIGNS, GRAND, NAMES, ends, fitted, smooth_game


@pytest.mark.parametrize("design", DESIGNS)
def test_at_most_one_game_in_ten_fires_any_alarm(design: str) -> None:
    fired = [name for game, name in enumerate(NAMES) if not fitted(game, design)[0].holds]
    assert len(fired) <= 0.1 * len(NAMES), fired


def test_twins_fire_no_alarm() -> None:
    twins = [game for game, name in enumerate(NAMES) if "twins" in name]
    assert len(twins) >= 9
    for game in twins:
        for design in DESIGNS:
            assert fitted(game, design)[0].alarms == []


@pytest.mark.parametrize(
    ("credit", "design", "least"), [(0.5, "law_2n", 0.6), (1.0, "law_n", 0.85), (0.5, "law_n", 0.4)]
)
def test_a_company_that_the_small_models_over_value_is_found(
    credit: float, design: str, least: float
) -> None:
    """Every small model credits one company with half of the whole gain or all of it, the more the
    fewer others are with it. Singletons show the larger one, leave-one-outs both.
    """
    size_C = np.array([c.bit_count() for c in range(64)])
    found = 0
    for game in range(len(NAMES)):
        small_CM = DATA["loss"][game][:, 1:4].astype(np.float64)
        large_C = DATA["loss"][game][:, -1].astype(np.float64)
        credit_C = credit * (1 - size_C / 6) * (np.arange(64) >> game % 6 & 1)
        small_CM -= credit_C[:, None] * (small_CM[0] - small_CM[GRAND])
        law = fit_law(
            small_CM,
            {c: float(large_C[c]) for c in DESIGNS[design]},
            sizes=DATA["sizes"][1:],
            seed_std=DATA["seed_std"][game][1:4].astype(np.float64),
            large_std=0.0,
        )
        found += not law.holds
    assert found >= least * len(NAMES), found


def test_a_model_of_one_company_that_is_worse_than_untrained_alarms_no_sooner() -> None:
    """It has learned few rows by heart; the small models need not be wrong about that company."""
    small_CM, large_C = smooth_game(6)
    runs = {c: float(large_C[c]) for c in DESIGNS["law_n"]}
    p_values = []
    for worse in (0.0, 0.2, 0.5):
        law = fit_law(small_CM, runs | {32: float(large_C[0] + worse)}, sizes=[1, 2, 4, 8])
        p_values.append(law.diagnostics["D1 p_value"])
    assert 0 < p_values[0] < 0.02
    assert p_values == sorted(p_values)


def test_a_left_out_run_is_foretold_as_a_law_without_it_would() -> None:
    """The slow twin conditions every run on the others, one by one and scale by scale."""
    small_CM, large_C = smooth_game()
    measured = {c: float(large_C[c]) for c in (0, 1, 2, 4, 8, 14, 15)} | {4: 1.9}
    law = fit_law(small_CM, measured, sizes=[1, 2, 4, 8], seed_std=0.05)
    prior, data, run = law._prior, law._data, law._game.normalized_runs
    rows, on_grid = data.large_run_rows, runs_on_grid(prior, data, run)
    members, known = data.members_CN[rows], prior.sensitivity[rows]
    bounds = np.linspace(-0.5, 0.9, len(run))
    by_others = left_out_on_grid(on_grid)
    expected, chances = by_others.expected(), by_others.chance_of_less(bounds)
    for i in range(len(run)):
        others = np.delete(np.arange(len(run)), i)
        weights, means, below = [], [], []
        grid = on_grid.grid
        for parts, noise, weight in zip(grid.parts, grid.noise, grid.weights, strict=True):
            total = known @ known.T + noise * prior.noise.covariance(rows, rows)
            for part, square in zip(PARTS, parts, strict=True):
                total = total + square * covariance(part, members, members)
            apart = run[others] - prior.mean_C[rows[others]]
            of_others = total[np.ix_(others, others)]
            pull = np.linalg.solve(of_others, total[others, i])
            mean = prior.mean_C[rows[i]] + pull @ apart
            std = np.sqrt(total[i, i] - pull @ total[others, i])
            density = multivariate_normal(cov=of_others).pdf(apart)
            weights.append(weight * density)
            means.append(mean)
            below.append(norm.cdf(bounds[i], mean, std))
        assert expected[i] == pytest.approx(np.average(means, weights=weights), abs=1e-6)
        assert chances[i] == pytest.approx(np.average(below, weights=weights), abs=1e-6)


def test_alarms_are_sentences_with_code_and_figure() -> None:
    small_CM, large_C = smooth_game()
    large = {c: float(large_C[c]) for c in (0, 1, 2, 4, 8, 7, 11, 13, 14, 15)} | {14: 1.6}
    law = fit_law(small_CM, large, sizes=[1, 2, 4, 8])
    assert not law.holds
    for alarm in law.alarms:
        assert re.match(r"D[1-9]: .*\d", alarm)
    assert any(
        "coalition 14 = {1, 2, 3}" in alarm and "over-values" in alarm for alarm in law.alarms
    )


def test_a_diagnostic_without_its_data_is_untested_not_held() -> None:
    small_CM, large_C = smooth_game()
    law = fit_law(small_CM[:, -1], ends(large_C))
    assert law.holds and law.tested == ()
    assert law.untested == ("D1", "D2", "D3", "D4", "D5", "D6", "D9")
    full = fit_law(
        small_CM,
        dict(enumerate(large_C.tolist())),
        sizes=[1, 2, 4, 8],
        seed_std=0.01,
        examples=[1, 2, 3, 4],
    )
    assert full.tested == ("D1", "D2", "D3", "D4", "D5", "D6", "D9")
    assert full.untested == ()


def test_laws_that_contradict_each_other_are_an_alarm() -> None:
    """All small sizes learn the same, the large model ten times as much: are losses to be taken as
    they are, or stretched?
    """
    small_CM, large_C = smooth_game()
    law = fit_law(1.8 + 0.1 * small_CM[:, [2, 2, 2]], ends(large_C), sizes=[1, 2, 4, 8])
    assert [alarm.code for alarm in law.alarms] == ["D3"]


def test_noise_that_decides_the_values_is_an_alarm_that_names_the_remedy() -> None:
    small_CM, large_C = smooth_game()
    runs = {c: float(large_C[c]) for c in (0, 1, 2, 4, 8, 15)}
    law = fit_law(small_CM, runs, sizes=[1, 2, 4, 8], large_std={c: 0.9 * (c > 0) for c in runs})
    (alarm,) = law.alarms
    assert alarm.code == "D6" and "training.large_seeds" in alarm
    assert alarm.figures["error_of_one_training"] > 0.5


def test_a_small_model_within_its_seed_noise_is_an_alarm() -> None:
    small_CM, large_C = smooth_game()
    law = fit_law(small_CM, ends(large_C), sizes=[1, 2, 4, 8], seed_std=0.5, large_std=0.0)
    assert [alarm.code for alarm in law.alarms] == ["D5"]


def test_a_small_model_that_is_full_is_an_alarm() -> None:
    """One company is enough for all that the small models can learn."""
    small_CM, large_C = smooth_game()
    full_CM = np.maximum(small_CM, small_CM[1])
    law = fit_law(full_CM, ends(large_C), sizes=[1, 2, 4, 8], seed_std=0.01, large_std=0.0)
    assert [alarm.code for alarm in law.alarms] == ["D5"] and "it is too small" in law.alarms[0]


def test_small_and_large_models_going_opposite_ways_is_an_alarm() -> None:
    small_CM, large_C = smooth_game()
    law = fit_law(small_CM, ends(2.0 - large_C), sizes=[1, 2, 4, 8])
    assert any(alarm.startswith("D5: ") and "opposite" in alarm for alarm in law.alarms)


def test_a_large_game_that_ranks_the_companies_the_other_way_round_is_an_alarm() -> None:
    small_CM, large_C = smooth_game()
    reversed_C = large_C[[int(f"{c:04b}"[::-1], 2) for c in range(16)]]
    law = fit_law(
        small_CM, {c: float(reversed_C[c]) for c in (0, 1, 2, 4, 8, 15)}, sizes=[1, 2, 4, 8]
    )
    assert {alarm[:2] for alarm in law.alarms} & {"D1", "D2"}
