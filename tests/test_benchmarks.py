"""What others would pay by, on games whose values are known, and the brute force against the
teacher.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from config_of import config_of
from torch import nn

import fl_sv
from benchmarks import tamper
from benchmarks.architectures import measure as architectures
from benchmarks.architectures.cases import ROWS
from benchmarks.common.command_line import Answer
from benchmarks.common.distance import relative_l2
from benchmarks.common.forging import bytes_of
from benchmarks.federation import bench
from benchmarks.federation.bench import disturbed
from benchmarks.law import alarms, baselines
from benchmarks.law import brute_force as brute_forcing
from benchmarks.law.brute_force import brute_force, swept, with_large_as_small
from benchmarks.law.known import write
from benchmarks.law.networks import cnn, transformer
from benchmarks.law.protocol import noise_floor
from benchmarks.law.updates import reconstruct
from fl_sv.game.coalitions import EMPTY, grand, members_matrix
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.journal import Journal
from fl_sv.values import shapley

ADDITIVE = np.array([0.5, 0.2, 0.4, -0.1])
MEMBERS = members_matrix(range(16), 4)
ENDED = Answer(0, "", "")
SIZES = np.array([10.0, 20.0, 30.0, 40.0])


@pytest.mark.parametrize("name", ["singletons", "leave_one_out", "large_only_n", "large_only_2n"])
def test_rules_from_large_runs_are_exact_where_companies_only_add_up(name: str) -> None:
    found = baselines.from_large_runs(MEMBERS @ ADDITIVE - 2.3, SIZES, seed=0)
    assert found[name] == pytest.approx(ADDITIVE)


def test_estimator_comes_near_with_as_few_runs_and_is_exact_with_four_a_company() -> None:
    found = baselines.from_large_runs(MEMBERS @ ADDITIVE - 2.3, SIZES, seed=0)["large_only_auto_2n"]
    assert relative_l2(found, ADDITIVE) < 0.1
    exact = fl_sv.estimate_shapley(lambda members_CN: members_CN @ ADDITIVE - 2.3, 4, 12).values
    assert exact == pytest.approx(ADDITIVE)


def test_all_rules_but_two_divide_the_whole_improvement() -> None:
    utility_C = np.sqrt(MEMBERS @ SIZES) - 2.3
    for name, value_N in baselines.from_large_runs(utility_C, SIZES, seed=0).items():
        if name not in ("singletons", "leave_one_out"):
            assert value_N.sum() == pytest.approx(10.0), name


def test_rules_from_large_runs_look_at_no_other_coalition() -> None:
    utility_C = np.sqrt(MEMBERS @ SIZES)
    runs = [EMPTY, grand(4), *baselines.singletons(4), *baselines.leave_one_outs(4)]
    hidden_C = np.full(16, np.nan)
    hidden_C[runs] = utility_C[runs]
    assert baselines.du_shapley(hidden_C, SIZES) == pytest.approx(
        baselines.du_shapley(utility_C, SIZES)
    )
    assert baselines.additive(hidden_C, runs[2:]) == pytest.approx(
        baselines.additive(utility_C, runs[2:])
    )


def test_du_shapley_comes_near_where_the_amount_of_data_is_all_that_counts() -> None:
    utility_C = np.log1p(MEMBERS @ SIZES)
    assert relative_l2(baselines.du_shapley(utility_C, SIZES), shapley(utility_C)) < 0.1


@pytest.mark.parametrize(
    "rule", [baselines.multi_round, lambda t: baselines.gtg(t, np.random.default_rng(0))]
)
def test_rules_by_rounds_add_up_what_every_round_brings(
    rule: Callable[[np.ndarray], np.ndarray],
) -> None:
    assert rule(np.array([MEMBERS @ ADDITIVE, MEMBERS @ (2 * ADDITIVE)])) == pytest.approx(
        3 * ADDITIVE
    )


def test_gtg_comes_near_the_exact_values_of_a_round() -> None:
    round_utilities = np.sqrt(MEMBERS @ SIZES)[None]
    found = baselines.gtg(round_utilities, np.random.default_rng(0))
    assert relative_l2(found, baselines.multi_round(round_utilities)) < 0.1


def test_gtg_leaves_out_rounds_that_bring_nothing() -> None:
    assert (
        baselines.gtg(MEMBERS[None] @ (ADDITIVE / 1000), np.random.default_rng(0)).tolist()
        == [0.0] * 4
    )


@pytest.mark.parametrize(("trainings", "given"), [(4, 1), (4, 2), (5, 1), (12, 1)])
def test_noise_floor_is_the_error_of_the_mean_of_the_other_trainings(
    trainings: int, given: int
) -> None:
    value_RN = 1 + np.random.default_rng(0).normal(0.0, 0.1, (trainings, 20_000))
    expected = 0.1 / np.sqrt(trainings - given)
    assert noise_floor(value_RN, given) == pytest.approx(expected, rel=0.03)


def test_teacher_of_the_updates_is_the_grand_coalition_of_the_brute_force() -> None:
    config = config_of({"source": "iris"}, training={"rounds": 3, "large_seeds": 2})
    brute_RCM = swept(with_large_as_small(config)).loss_RCM
    for replicate in range(2):
        found = reconstruct(config, replicate)
        teacher = -brute_RCM[replicate, grand(4), 0]
        assert found.one_round_C[-1] == pytest.approx(teacher, abs=1e-5)
        assert found.by_round[-1, -1] == pytest.approx(teacher, abs=1e-5)
        assert found.by_round[1:, 0] == pytest.approx(found.by_round[:-1, -1])
        assert found.one_round_C[0] == pytest.approx(-np.log(3))


def test_kept_games_spare_the_training_until_other_code_would_train_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of({"source": "iris"}, training={"rounds": 1, "seeds": 1})
    trained = brute_force(config, "iris", tmp_path)
    (file,) = tmp_path.iterdir()
    write(replace(trained, large_RC=trained.large_RC + 1), file)
    again = brute_force(config, "iris", tmp_path)
    assert (again.large_RC == trained.large_RC + 1).all()
    assert (again.small_RCM == trained.small_RCM).all()
    assert (again.sizes, again.examples_N.tolist()) == (
        pytest.approx(trained.sizes),
        trained.examples_N.tolist(),
    )
    monkeypatch.setattr(brute_forcing, "DECISIVE", ("tests/config_of.py",))  # other code
    assert (brute_force(config, "iris", tmp_path).large_RC == trained.large_RC).all()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz", ".npz"]


def test_averages_of_a_known_game_start_at_what_was_measured() -> None:
    config = config_of({"source": "iris"}, training={"rounds": 1, "seeds": 2, "large_seeds": 2})
    game = brute_force(config, "iris", None)
    measured = [EMPTY, *baselines.singletons(4)]
    assert game.averaged_small_RCM[:, measured] == pytest.approx(game.small_RCM[:, measured])
    assert game.averaged_large_RC[:, measured] == pytest.approx(game.large_RC[:, measured])
    assert len({*game.averaged_large_RC[:, grand(4)].tolist()}) == 2  # each training has its own


def test_a_fault_that_fails_or_never_comes_is_not_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "UNDER_WAY_SECONDS", 0.01)
    assert disturbed(lambda: ENDED, tmp_path, lambda: None) == (ENDED, True)
    Journal(tmp_path / "journal.sqlite").add_cost(
        "teacher", seconds=1, company_seconds=1, n_bytes=1, flops=1
    )
    came = threading.Event()

    def fail() -> None:
        came.set()
        raise OSError("the disk was full already")

    def wait() -> Answer:
        assert came.wait(10)
        return ENDED

    assert disturbed(wait, tmp_path, came.set) == (ENDED, False)
    came.clear()
    with pytest.raises(OSError, match="the disk was full already"):
        disturbed(wait, tmp_path, fail)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(cnn((1, 28, 28), 3, 2), (1, 28, 28)), (transformer((5, 4), 3, 4, 2), (5, 4))],
)
def test_networks_know_nothing_untrained_and_go_through_a_stack(
    network: nn.Module, shape: tuple[int, ...]
) -> None:
    rows = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    assert network(rows).tolist() == [[0.0] * 3] * 6
    torch.nn.init.normal_(
        network[-1].weight if isinstance(network, nn.Sequential) else network.head.weight
    )
    stack = {name: torch.stack([p, 2 * p]) for name, p in network.named_parameters()}
    both = torch.func.vmap(lambda views: torch.func.functional_call(network, views, (rows,)))(stack)
    assert torch.allclose(both[0], network(rows), atol=1e-5)


def test_the_transformer_sees_every_place_and_its_order() -> None:
    network = transformer((5, 4), 3, 4, 2)
    torch.nn.init.normal_(network.head.weight)
    window = torch.eye(4)[[0, 1, 2, 3, 0]]
    for changed in (window.flip(0), torch.eye(4)[[1, 1, 2, 3, 0]]):
        assert not torch.allclose(network(window[None]), network(changed[None]))


def test_alarms_are_silent_on_sound_games_and_find_small_models_that_are_full() -> None:
    sound, full = alarms.measure("none"), alarms.measure("full, 85 %")
    assert max(sound["alarmed"].values()) <= 0.1
    assert min(full["alarmed"].values()) == 1.0
    assert full["error"] > 5 * sound["error"]


def test_violations_leave_the_ends_where_they_are() -> None:
    game = next(alarms.games())
    for violation in (alarms.repeated, alarms.wrong, alarms.full):
        broken = violation(game, 2, 0.3)
        assert broken.small_CM[0] == pytest.approx(game.small_CM[0])
        assert broken.large_C[0] == pytest.approx(game.large_C[0])
        assert (broken.small_CM != game.small_CM).any() or (broken.large_C != game.large_C).any()


def test_campaign_finds_all_changes_but_those_that_are_by_design(finished_run: Path) -> None:
    data = bytes_of(RunDirectory(finished_run))
    result = tamper.campaign(data, every=50)
    assert result["changes"] > 15 and tamper.unexplained_of(result) == []
    assert {row["signed_again"] for row in result["rows"]} == {False, True}
    missed = {"kind": "bit flipped", "place": files.COST, "signed_again": False}
    assert tamper.unexplained_of({"missed": [missed]}) == [missed]
    missed = {"kind": "bit flipped", "place": files.PAYOUTS, "signed_again": True}
    assert tamper.unexplained_of({"missed": [missed]}) == [missed]
    assert sum(1 for _ in tamper.changes(data)) > 509


def test_row_of_an_architecture_compares_the_same_models_in_a_stack_and_in_a_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.architectures.measure.MODELS", 3)
    monkeypatch.setattr("benchmarks.architectures.measure.PEAK_SIZES", (64,))
    (row,) = architectures.measure([ROWS[3]], turns=1)
    named = {"model": "transformer", "width": 8, "places": 8}
    measured = {
        *("speedup_vs_torch_loop", "gemm_fraction", "loop_gemm_fraction"),
        *("speedup_two_workers", "max_abs_difference"),
    }
    assert named.items() <= row.items() and measured <= row.keys()
    assert 0 < row["max_abs_difference"] < 1e-5
    assert all(0 < row[name] < float("inf") for name in measured)
    assert [(case.row["model"], case.row["width"], case.row["places"]) for case in ROWS] == [
        *(("cnn", width, None) for width in (2, 4, 8)),
        *(("transformer", width, places) for places in (8, 64) for width in (8, 16, 32)),
    ]
