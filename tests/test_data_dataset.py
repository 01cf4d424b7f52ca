"""Datasets and scaling: fingerprints, standardisation by the validation set, exact JSON."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sv.data import Dataset, Scaling, Task, fingerprint
from fl_sv.data.raw import RawRows, rows_of_arrays
from fl_sv.errors import InputError

CLASSES = Task(kind="classification", input_shape=(2,), n_outputs=3)
REAL = Task(kind="regression", input_shape=(2,), n_outputs=1)


def dataset(n: int = 20, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(rng.normal(size=(n, 2)).astype(np.float32), rng.integers(0, 3, n))


def table(x: object, y: object, features: tuple[str, ...] = ()) -> RawRows:
    rows = rows_of_arrays({"x": np.array(x, dtype=np.float64), "y": np.array(y)}, "rows")
    return RawRows(rows.x, rows.y, rows.origin, rows.place, rows.target, features)


# --- fingerprint ----------------------------------------------------------------------------------


def test_equal_rows_have_one_fingerprint_in_any_order() -> None:
    rows = dataset()
    assert fingerprint(rows) == fingerprint(rows.take(np.random.default_rng(1).permutation(20)))


def test_minus_zero_is_zero() -> None:
    zero, minus = (
        Dataset(np.full((1, 2), value, np.float32), np.zeros(1)) for value in (0.0, -0.0)
    )
    assert fingerprint(zero) == fingerprint(minus)


@pytest.mark.parametrize(
    "change", ["one feature", "one label", "a row fewer", "a row twice", "labels swapped"]
)
def test_any_other_row_changes_the_fingerprint(change: str) -> None:
    rows = dataset()
    x, y = rows.x.copy(), rows.y.copy()
    match change:
        case "one feature":
            x[3, 1] = np.nextafter(x[3, 1], np.float32(9))
        case "one label":
            y[3] = (y[3] + 1) % 3
        case "a row fewer":
            x, y = x[1:], y[1:]
        case "a row twice":
            x, y = np.vstack([x, x[:1]]), np.append(y, y[0])
        case "labels swapped":
            y = np.roll(y, 1)
    assert fingerprint(Dataset(x, y)) != fingerprint(rows)


def test_labels_and_targets_of_equal_bytes_differ() -> None:
    rows = dataset()
    assert fingerprint(rows) != fingerprint(Dataset(rows.x, rows.y.view(np.float64)))


# --- scaling --------------------------------------------------------------------------------------


def test_the_validation_set_gets_mean_zero_and_deviation_one() -> None:
    x = np.random.default_rng(0).normal([5, -3], [2, 100], (500, 2))
    y = np.random.default_rng(1).normal(40, 7, 500)
    validation = table(x, y)
    scaled = Scaling.measured(validation, REAL, standardise=True).apply(validation)
    assert scaled.x.dtype == np.float32
    assert scaled.y.dtype == np.float64
    np.testing.assert_allclose(scaled.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.x.std(axis=0), 1, atol=1e-6)
    assert scaled.y.mean() == pytest.approx(0, abs=1e-12)
    assert scaled.y.std() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9, -7.3])
def test_a_constant_column_is_only_shifted(constant: float) -> None:
    x = np.column_stack([np.full(7, constant), np.arange(7)])
    scaling = Scaling.measured(table(x, np.arange(7)), REAL, standardise=True)
    assert scaling.scale[0] == 1.0
    assert (scaling.apply(table(x, np.arange(7))).x[:, 0] == 0).all()
    assert scaling.apply(table(x + 2, np.arange(7))).x[0, 0] == 2


def test_without_standardising_features_stay_and_regression_targets_are_still_scaled() -> None:
    rows = table([[1, 2], [3, 4]], [10.0, 20.0])
    scaled = Scaling.measured(rows, REAL, standardise=False).apply(rows)
    np.testing.assert_array_equal(scaled.x, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(scaled.y, [-1, 1])


def test_labels_are_never_scaled() -> None:
    rows = table([[1, 2], [3, 4], [5, 6]], [0, 2, 1])
    scaled = Scaling.measured(rows, CLASSES, standardise=True).apply(rows)
    assert scaled.y.dtype == np.int64
    np.testing.assert_array_equal(scaled.y, [0, 2, 1])


def test_images_keep_their_shape() -> None:
    task = Task(kind="classification", input_shape=(1, 4, 5), n_outputs=2)
    images = table(np.random.default_rng(0).normal(size=(6, 1, 4, 5)), [0, 1] * 3)
    scaling = Scaling.measured(images, task, standardise=True)
    assert len(scaling.mean) == 20
    assert scaling.apply(images).x.shape == (6, 1, 4, 5)


def test_columns_are_matched_by_name_not_by_place() -> None:
    scaling = Scaling.measured(
        table([[1, 10], [3, 30]], [0, 1], ("age", "height")), CLASSES, standardise=False
    )
    np.testing.assert_array_equal(
        scaling.apply(table([[10, 1]], [0], ("height", "age"))).x, [[1, 10]]
    )


def test_missing_and_unknown_columns_are_named() -> None:
    scaling = Scaling.measured(
        table([[1, 10], [3, 30]], [0, 1], ("age", "height")), CLASSES, standardise=False
    )
    with pytest.raises(InputError, match=r"rows: .*missing: height; unknown: hight"):
        scaling.apply(table([[1, 10]], [0], ("age", "hight")))


def test_another_shape_than_the_validation_sets_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"rows: a row has shape \(3,\); in the validation set it has \(2,\)"
    ):
        Scaling(task=CLASSES).apply(table([[1, 2, 3]], [0]))


def test_a_number_too_large_for_training_is_refused_with_its_row() -> None:
    with pytest.raises(
        InputError, match=r"rows, row 2 \(index 1\): a number is too large for float32"
    ):
        Scaling(task=CLASSES).apply(table([[1, 2], [1, 1e39]], [0, 0]))


@pytest.mark.parametrize(
    "x", [[[1e200, 0], [0, 1]], [[1e-320, 0], [0, 1]], [[1e308, 0], [-1e308, 1]]]
)
def test_numbers_that_cannot_be_standardised_are_refused(x: list[list[float]]) -> None:
    with pytest.raises(InputError, match="too large or too small to be standardised"):
        Scaling.measured(table(x, [0, 1]), CLASSES, standardise=True)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
    st.floats(-1e300, 1e300),
    st.lists(st.text(max_size=5), max_size=3),
)
def test_json_gives_the_scaling_back_exactly(
    numbers: list[float], target: float, names: list[str]
) -> None:
    scaling = Scaling(
        task=REAL,
        features=tuple(names),
        mean=tuple(numbers),
        scale=tuple(numbers),
        target_mean=target,
    )
    assert Scaling.from_json(scaling.to_json()) == scaling
    assert Task.from_json(CLASSES.to_json()) == CLASSES
