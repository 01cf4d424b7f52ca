"""Corruptions: exactly as much defect as asked for, in the right company, by name."""

import numpy as np
import pytest

from fl_sv.config.data import Duplicate, FeatureNoise, FreeRider, WrongLabels
from fl_sv.data import Dataset, Task, fingerprint
from fl_sv.data.corruption import corrupted, lineage

LABELLED = Task(kind="classification", input_shape=(3,), n_outputs=5)
REAL = Task(kind="regression", input_shape=(3,), n_outputs=1)


@pytest.fixture
def rows() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(rng.normal(size=(200, 3)).astype(np.float32), rng.integers(0, 5, 200))


@pytest.mark.parametrize("fraction", [0.004, 0.1, 0.4, 0.999, 1.0])
def test_exactly_the_given_share_of_labels_is_wrong(rows: Dataset, fraction: float) -> None:
    defect = WrongLabels(kind="wrong_labels", company="Ash", fraction=fraction)
    wrong = corrupted(rows, defect, LABELLED, seed=1)
    assert (wrong.y != rows.y).sum() == round(fraction * 200)
    assert wrong.y.min() >= 0
    assert wrong.y.max() <= 4
    np.testing.assert_array_equal(wrong.x, rows.x)


def test_a_wrong_label_is_any_of_the_others_with_equal_chance() -> None:
    rows = Dataset(np.zeros((8000, 3), np.float32), np.full(8000, 2))
    wrong = corrupted(
        rows, WrongLabels(kind="wrong_labels", company="Ash", fraction=1.0), LABELLED, seed=1
    )
    counts = np.bincount(wrong.y, minlength=5)
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 2000).max() < 5 * np.sqrt(8000 * 0.25 * 0.75)


def test_wrong_targets_of_a_regression_are_the_same_targets_at_other_rows(rows: Dataset) -> None:
    rows = Dataset(rows.x, np.arange(200.0))
    wrong = corrupted(
        rows, WrongLabels(kind="wrong_labels", company="Ash", fraction=0.25), REAL, seed=1
    )
    assert (wrong.y != rows.y).sum() == 50
    assert sorted(wrong.y) == sorted(rows.y)


def test_feature_noise_has_the_given_deviation_and_changes_no_label(rows: Dataset) -> None:
    noisy = corrupted(
        rows, FeatureNoise(kind="feature_noise", company="Ash", std=2.0), LABELLED, seed=1
    )
    assert (noisy.x - rows.x).std() == pytest.approx(2.0, rel=0.1)
    assert noisy.x.dtype == np.float32
    np.testing.assert_array_equal(noisy.y, rows.y)


def test_a_full_duplicate_holds_exactly_the_same_rows(rows: Dataset) -> None:
    twin = corrupted(rows, Duplicate(kind="duplicate", company="Ash", of="Beech"), LABELLED, seed=1)
    np.testing.assert_array_equal(twin.x, rows.x)
    np.testing.assert_array_equal(twin.y, rows.y)


@pytest.mark.parametrize(("fraction", "n_rows"), [(0.25, 50), (0.001, 1)])
def test_a_partial_duplicate_holds_some_of_the_rows_and_at_least_one(
    rows: Dataset, fraction: float, n_rows: int
) -> None:
    copy = corrupted(
        rows,
        Duplicate(kind="duplicate", company="Ash", of="Beech", fraction=fraction),
        LABELLED,
        seed=1,
    )
    assert len(copy) == n_rows
    theirs = {features.tobytes() for features in rows.x}
    assert len({features.tobytes() for features in copy.x} & theirs) == n_rows


def test_a_free_riders_rows_carry_no_information(rows: Dataset) -> None:
    informative = Dataset(np.repeat(rows.y[:, None], 3, axis=1).astype(np.float32), rows.y)
    rider = corrupted(informative, FreeRider(kind="free_rider", company="Ash"), LABELLED, seed=1)
    assert abs(np.corrcoef(rider.x[:, 0], rider.y)[0, 1]) < 0.2
    assert sorted(rider.y) == sorted(rows.y)
    assert sorted(rider.x[:, 0]) == sorted(informative.x[:, 0])


def test_a_defect_is_drawn_by_seed_and_company_and_changes_no_input(rows: Dataset) -> None:
    before = fingerprint(rows)
    ash, beech = (
        WrongLabels(kind="wrong_labels", company=name, fraction=0.5) for name in ("Ash", "Beech")
    )
    draws = [
        corrupted(rows, defect, LABELLED, seed).y
        for defect, seed in ((ash, 1), (ash, 1), (ash, 2), (beech, 1))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], draws[3])
    assert fingerprint(rows) == before


def test_defects_take_effect_in_the_order_of_the_config() -> None:
    wrong = WrongLabels(kind="wrong_labels", company="Beech", fraction=0.5)
    copy = Duplicate(kind="duplicate", company="Ash", of="Beech")
    noise = FeatureNoise(kind="feature_noise", company="Ash", std=1.0)
    assert lineage("Ash", [wrong, copy, noise]) == ("Beech", [wrong, copy, noise])
    assert lineage("Ash", [copy, wrong, noise]) == ("Beech", [copy, noise])
    assert lineage("Beech", [copy, wrong, noise]) == ("Beech", [wrong])
    assert lineage("Cedar", [copy, wrong, noise]) == ("Cedar", [])


def test_what_a_copy_replaces_leaves_no_trace() -> None:
    noise = FeatureNoise(kind="feature_noise", company="Ash", std=1.0)
    copy = Duplicate(kind="duplicate", company="Ash", of="Beech")
    back = Duplicate(kind="duplicate", company="Beech", of="Ash")
    assert lineage("Ash", [noise, copy]) == ("Beech", [copy])
    assert lineage("Beech", [noise, copy, back]) == ("Beech", [copy, back])
