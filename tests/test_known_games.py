"""How the law is judged on games of which everything is known: nothing that it is given is part of
the truth, and the truth's own error counts.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from config_of import config_of

from benchmarks.law import alarm_curves
from benchmarks.law.brute_force import brute_force
from benchmarks.law.games import measure
from benchmarks.law.games_tables import as_text, summary
from benchmarks.law.known import STORED, KnownGame, games_in, kind_of, read, write
from benchmarks.law.pictures import draw, draw_alarms
from benchmarks.law.protocol import Seen, Truth, as_a_user_has_it, large_runs
from benchmarks.law.simple_rules import averaged_difference, log_line, simple_rules
from benchmarks.law.truth import judged
from benchmarks.law.truth_tables import as_text as truth_as_text
from benchmarks.law.truth_tables import summary as truth_summary
from fl_sv.game.averaged import AveragedLosses
from fl_sv.game.scores import Score, Scores
from fl_sv.game.utilities import UtilityTable, planned_rows
from fl_sv.valuation.fit import fit_to_table
from fl_sv.values import Estimate, shapley

RUNS = large_runs(5)


@pytest.fixture(scope="module")
def game() -> KnownGame:
    """Five stores; four trainings."""
    return read(STORED / "oj-0.npz")


def test_sixteen_games_are_stored_and_their_averages_start_at_what_was_measured() -> None:
    games = list(games_in(STORED))
    assert len(games) == 16
    assert {kind_of(game) for game in games} == {
        "tables with owners",
        "tables, divided",
        "images",
    }
    for game in games:
        single = [1 << i for i in range(game.n_companies)]
        assert game.averaged_large_RC[:, single] == pytest.approx(
            game.large_RC[:, single], abs=1e-5
        )
        assert game.averaged_small_RCM[:, single] == pytest.approx(
            game.small_RCM[:, single], abs=1e-5
        )


@pytest.mark.parametrize("large_seeds", [1, 2])
def test_nothing_that_a_rule_is_given_is_part_of_the_truth(
    game: KnownGame, large_seeds: int
) -> None:
    views = list(as_a_user_has_it(game, large_seeds))
    times_given = np.zeros(game.trainings)
    for number, (seen, truth) in enumerate(views):
        given = list(seen.given)
        assert len(given) == large_seeds
        times_given[given] += 1
        others = [r for r in range(game.trainings) if r not in given]

        def changed(rows: list[int]) -> KnownGame:
            large_RC, averaged_RC = game.large_RC.copy(), game.averaged_large_RC.copy()
            large_RC[rows], averaged_RC[rows] = 7.0, 7.0
            return replace(game, large_RC=large_RC, averaged_large_RC=averaged_RC)

        other_truth = list(as_a_user_has_it(changed(given), large_seeds))[number][1]
        assert (other_truth.values == truth.values).all()
        same = Seen(changed(others), seen.given)
        assert (same.large == seen.large).all()
        assert (
            same.law(RUNS["law_n"]).shapley().values == seen.law(RUNS["law_n"]).shapley().values
        ).all()
    assert (times_given == large_seeds).all()


def test_a_law_and_the_simple_rules_look_at_their_own_large_runs_only(game: KnownGame) -> None:
    seen = Seen(game, (0,))
    for name, runs in RUNS.items():
        hidden_RC = game.large_RC.copy()
        hidden_RC[:, [c for c in range(32) if c not in runs]] = 5.0
        averaged_RC = game.averaged_large_RC + (5.0 if name == "law_0" else 0.0)
        hidden = Seen(replace(game, large_RC=hidden_RC, averaged_large_RC=averaged_RC), (0,))
        assert (hidden.law(runs).predict() == seen.law(runs).predict()).all()
        if name != "law_0":
            found, expected = simple_rules(hidden, runs), simple_rules(seen, runs)
            assert all((found[rule] == expected[rule]).all() for rule in expected)


def test_large_seeds_leave_two_trainings_for_the_truth(game: KnownGame) -> None:
    for wrong in (0, 3):
        with pytest.raises(ValueError, match="is from 1 to 2"):
            list(as_a_user_has_it(game, wrong))


@pytest.mark.parametrize("given", [(0,), (1, 3)])
def test_the_judged_law_is_the_one_that_a_run_fits(given: tuple[int, ...]) -> None:
    config = config_of({"source": "iris"}, training={"rounds": 1, "seeds": 2, "large_seeds": 4})
    game = brute_force(config, "iris", None)
    runs = large_runs(4)["law_n"]
    small, large = ["a"], "b"
    seeds, everything = {"a": 2, "b": len(given)}, range(16)
    planned = planned_rows([*small, large], seeds, {"a": everything, "b": runs})
    losses = {"a": game.small_RCM[:, :, 0], "b": game.large_RC[list(given)]}
    scores = Scores.of(
        Score(c, model, r, float(losses[model][r, c]), None)
        for (model, r), coalitions in planned.items()
        for c in coalitions
    )
    table = UtilityTable(config.companies, (*small, large), planned, scores)
    averages = Seen(game, given).averaged(runs)
    fitted = fit_to_table(
        config,
        table,
        dict(zip(table.models, game.sizes.astype(int).tolist(), strict=True)),
        dict(zip(config.companies, game.examples_N.astype(int).tolist(), strict=True)),
        AveragedLosses(table.models, everything, averages),
    ).shapley()
    found = Seen(game, given).law(runs).shapley()
    assert found.values == pytest.approx(fitted.values, abs=1e-12)
    assert found.low == pytest.approx(fitted.low, abs=1e-12)


@pytest.mark.parametrize(("trainings", "std"), [(2, 0.0), (3, 0.0), (3, 0.5), (11, 2.0)])
def test_coverage_counts_the_error_of_the_truth(trainings: int, std: float) -> None:
    """Expected values are 0; the law is off by its own standard deviation."""
    generator = np.random.default_rng(0)
    value_N = generator.normal(0.0, std, 20_000)
    half = std * 1.6448536269514722
    estimate = Estimate(value_N, value_N - half, value_N + half, n_evaluations=0)
    truth = Truth(generator.normal(0.0, 1.0, (trainings, 20_000)))
    assert truth.covered(estimate) == pytest.approx(0.9, abs=0.02)


def test_simple_rules_are_right_where_their_assumption_is(game: KnownGame) -> None:
    small_CM = game.small_RCM.mean(axis=0)
    known = np.array(RUNS["law_n"])
    large_C = 0.3 * small_CM[:, -1] ** 1.7
    assert log_line(small_CM[:, -1], known, large_C[known]) == pytest.approx(large_C)
    averaged_CM = game.averaged_small_RCM.mean(axis=0)
    same = np.column_stack([averaged_CM, averaged_CM[:, -1]])  # the sizes' averages are alike
    assert averaged_difference(small_CM, same) == pytest.approx(small_CM[:, -1])
    shifted = same.copy()
    shifted[:, -1] += 0.5
    added_C = averaged_difference(small_CM, shifted) - small_CM[:, -1]
    assert added_C[[1, 2, 4, 8, 16]] == pytest.approx(0.5)  # alone the average is the model
    assert added_C[[0, 31]] == pytest.approx(0.0)


NOISE = {"D6 error_of_one_training": 0.1}


def case(label: str, width: float, *alarms: str) -> dict[str, object]:
    return {"label": label, "width": width, "alarms": alarms, "distance": width, "figures": NOISE}


def test_curves_and_shares_of_alarms() -> None:
    cases = [
        case("good", 0.1),
        case("good", 0.3, "D1"),
        case("between", 0.9),
        case("bad", 0.2),
        case("bad", 0.4, "D1", "D3"),
    ]
    found = alarm_curves.shares(cases)
    assert (found["alarmed_good"], found["alarmed_bad"], found["silent"]) == (0.5, 0.5, 0.2)
    assert found["codes"] == {"good": {"D1": 0.5}, "bad": {"D1": 0.5, "D3": 0.5}}
    # Of the four pairs of a good and a bad case three are in the right order.
    assert found["areas"] == {
        "width of the intervals": 0.75,
        "width over the error of one training": 0.75,
        "distance to the averaged difference": 0.75,
        "D6: error of one training": 0.5,
    }
    assert alarm_curves.shares(cases[:2])["alarmed_bad"] is None


def test_a_game_is_judged_by_both_protocols_and_shown(tmp_path: Path) -> None:
    row = measure(read(STORED / "wine-0.npz"), large_seeds=1)
    assert row["errors"]["law_n"] < row["errors"]["equal"] / 4
    assert row["shared"]["errors"]["law_n"] < row["errors"]["law_n"]
    assert row["noise_floor"] < row["errors"]["one_brute_force"]
    assert len(row["cases"]) == 3 * 4
    found = {"games": [row], **summary([row]), "seconds": 0.0}
    assert found["kinds"]["all"]["ratio"]["one_brute_force"] == 1.0
    assert as_text(found).count("| wine-0 |") == 1
    draw_alarms([row], tmp_path / "alarms.svg")
    assert (tmp_path / "alarms.svg").read_text().startswith("<?xml")


def test_the_result_of_truth_names_what_the_law_was_given(tmp_path: Path, game: KnownGame) -> None:
    row = {"task": "stores", "seed": 0, **judged(game, 2)}
    assert (row["R"], row["large_seeds"]) == (4, 2)
    assert {"law_0", "law_n", "law_2n", "one_brute_force", "equal", "by_size", "small"} <= {
        *row["errors"]
    }
    assert row["coverage"] == row["by_law"]["law_n"]["coverage"]
    brute_force_errors = [
        truth.error(shapley(-game.large_RC[list(seen.given)].mean(axis=0)))
        for seen, truth in as_a_user_has_it(game, 2)
    ]
    assert row["errors"]["one_brute_force"] == pytest.approx(np.mean(brute_force_errors))
    found = {"tasks": [row], "mean": truth_summary([row]), "seconds": 1, "core_seconds": 1}
    assert "one_brute_force" in truth_as_text(found)
    draw(found, tmp_path / "truth.svg")
    assert (tmp_path / "truth.svg").exists()


def test_a_written_game_reads_back(tmp_path: Path, game: KnownGame) -> None:
    write(replace(game, by_round=np.ones((4, 2, 32))), tmp_path / "oj.npz")
    again = read(tmp_path / "oj.npz")
    assert (again.large_RC == game.large_RC).all()
    assert again.by_round is not None and again.one_round_RC is None
    assert (again.name, [path.name for path in tmp_path.iterdir()]) == ("oj", ["oj.npz"])
