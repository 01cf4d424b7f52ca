"""Models that the benchmarks merge from the companies' own: what is averaged, how it is judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import merging
from benchmarks.law.known import STORED, KnownGame, games_in, read
from benchmarks.law.merging import beside_each_other, merged, with_merged_models
from benchmarks.law.protocol import Seen, large_runs
from benchmarks.law.simple_rules import merging_rules
from fl_sv.config.load import config_of
from fl_sv.data import operator_data
from fl_sv.training.models import model_specs, tensors
from fl_sv.values import shapley
from tests.pretrained import lm_config


@pytest.fixture(scope="module")
def game() -> KnownGame:
    return read(STORED / "oj-0.npz")


def test_a_merged_model_adds_the_mean_of_what_its_members_add(
    game: KnownGame, tmp_path: Path
) -> None:
    config = config_of(lm_config(tmp_path / "lm"), "test")
    operator = operator_data(config)
    (small,), _ = model_specs(config, operator.task)
    own = torch.randn(3, small.n_params, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    wide, stack = beside_each_other(small, own, weights)

    def deltas(model: torch.nn.Module) -> list[torch.Tensor]:
        parts = [part for part in model.modules() if hasattr(part, "get_delta_weight")]
        return [part.get_delta_weight("default").detach() for part in parts]

    merged_deltas = deltas(wide.loaded(stack[1].float()))
    own_deltas = [deltas(small.loaded(params.float())) for params in own]
    assert len(merged_deltas) == 14
    for place, delta in enumerate(merged_deltas):
        mean = sum(w * each[place] for w, each in zip([0.2, 0.3, 0.5], own_deltas, strict=True))
        torch.testing.assert_close(delta, mean, rtol=1e-4, atol=1e-4)
    assert all(not delta.any() for delta in deltas(wide.loaded(stack[0].float())))
    # Nobody has the base's loss, and a company alone is its own model, however it is averaged.
    found = merged(config, "tiny", 0)
    assert found.products_C is not None
    filled = with_merged_models(game, config)
    assert [
        each is not None and each.shape
        for each in (filled.merged_small_RCM, filled.merged_large_RC)
    ] == [(1, 8, 1), (1, 8)]
    assert filled.products_small_RCM is not None
    assert (filled.products_small_RCM[0, :, 0] == found.products_C).all()
    x, y = tensors(operator.validation, config)
    with torch.no_grad():
        outputs = small.loaded(small.initial_params(config.seed, 0))(x)
    base = torch.nn.functional.cross_entropy(outputs.mT, y, reduction="none").mean()
    assert found.parameters_C[0] == pytest.approx(float(base), rel=1e-3)
    alone = [0, 1, 2, 4]
    assert found.products_C[alone] == pytest.approx(found.parameters_C[alone], rel=1e-5)


def test_the_rules_are_right_where_their_assumption_is(game: KnownGame) -> None:
    """Averages miss joint training by a multiple of what they miss at the small size."""
    small_C, below_C = (
        game.small_RCM.mean(axis=0)[:, -1],
        game.averaged_small_RCM.mean(axis=0)[:, -1],
    )
    trained_C = game.large_RC[0]
    here_C = trained_C - 0.7 * (small_C - below_C)
    same = replace(game, averaged_large_RC=np.stack([here_C] * game.trainings))
    runs = large_runs(game.n_companies)["law_n"]
    found = merging_rules(Seen(same, (0,)), runs)
    assert found["outputs corrected"] == pytest.approx(shapley(-trained_C))
    assert found["outputs as they are"] == pytest.approx(shapley(-here_C))
    scaled = found["outputs scaled"]
    assert scaled.sum() == pytest.approx(trained_C[0] - trained_C[-1])


def test_stored_games_of_fine_tuning_are_whole_and_are_told_in_three_tables() -> None:
    games = [*games_in(merging.FINETUNING)]
    for each in games:
        assert each.trainings >= 3
        alone = [0, *(1 << i for i in range(each.n_companies))]
        for small_RCM, large_RC in each.columns().values():
            # The members' own models are those that trained alone.
            assert small_RCM[:, alone] == pytest.approx(each.small_RCM[:, alone], abs=1e-4)
            assert large_RC[:, alone] == pytest.approx(each.large_RC[:, alone], abs=1e-4)
    of_averages = [each for each in games if each.name.startswith("four_")]
    row = merging.measured(next(each for each in games if each.products_large_RC is not None))
    found = {"games": [row], "averages": [merging.compared(each) for each in of_averages]}
    text = merging.as_text(found)
    assert len(text.split("\n\n")) == 3
    assert row["merged"]["outputs"]["spearman"] > 0.8
    assert "law_n with products" in row["errors"]
