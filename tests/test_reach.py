"""Small models that learned less than the large one are remarked."""

from dataclasses import replace

import pytest

from fl_sv.coalitions import EMPTY
from fl_sv.publish import read_evidence
from fl_sv.reach import reach_remarks
from fl_sv.rundir import RunDirectory
from fl_sv.utilities import UtilityTable


@pytest.fixture
def table(run: RunDirectory) -> UtilityTable:
    return read_evidence(run).table


def gaining(table: UtilityTable, share: float) -> UtilityTable:
    """The largest small model ends with this share of the large one's gain, with all companies as with any."""
    *_, small, large = table.models
    losses = table.mean_losses(large)
    gain = losses[EMPTY] - losses[max(losses)]
    scores = {
        (model, seed, coalition): replace(score, loss=losses[EMPTY] - share * gain * bool(coalition))
        if model == small
        else score
        for (model, seed, coalition), score in table.scores.items()
    }
    return replace(table, scores=scores)


@pytest.mark.parametrize(("share", "remarks"), [(0.87, 1), (0.94, 1), (0.96, 0), (1.0, 0), (1.04, 0), (1.06, 1)])
def test_only_a_small_model_that_learned_clearly_less_or_more_is_remarked(
    table: UtilityTable, share: float, remarks: int
) -> None:
    assert len(reach_remarks(gaining(table, share))) == remarks


@pytest.mark.parametrize(("share", "rate"), [(0.87, "higher"), (1.12, "lower")])
def test_the_remark_names_both_models_the_share_and_what_to_do(table: UtilityTable, share: float, rate: str) -> None:
    (remark,) = reach_remarks(gaining(table, share))
    *_, small, large = table.models
    assert f"{small} gains {share:.0%} of what {large} gains" in remark
    assert f"try a {rate} learning_rate of their own" in remark


def test_where_every_coalition_is_measured_there_is_nothing_to_remark(table: UtilityTable) -> None:
    behind = gaining(table, 0.87)
    *_, small, large = behind.models
    small_rows = {key: score for key, score in behind.scores.items() if key[0] == small}
    measured = {(large, seed, c): replace(score, model=large) for (_, seed, c), score in small_rows.items()}
    scores = {**small_rows, **measured, **{key: s for key, s in behind.scores.items() if key[0] == large}}
    assert reach_remarks(replace(behind, scores=scores, planned=tuple(sorted(scores)))) == ()


def test_a_large_model_that_learned_nothing_is_no_measure(table: UtilityTable) -> None:
    *_, large = table.models
    untrained = table.mean_losses(large)[EMPTY]
    scores = {key: replace(s, loss=untrained) if key[0] == large else s for key, s in table.scores.items()}
    assert reach_remarks(replace(table, scores=scores)) == ()
