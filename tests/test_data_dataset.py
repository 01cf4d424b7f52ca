"""Datasets and scaling: fingerprints, standardisation by the validation set, exact JSON."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_sv.data import Dataset, Scaling, Task, fingerprint
from fl_sv.data.raw import RawRows, rows_of_arrays
from fl_sv.errors import InputError

CLASSES = Task(kind="classification", input_shape=(2,), n_outputs=3)
REAL = Task(kind="regression", input_shape=(2,), n_outputs=1)
COLUMN = Task(kind="regression", input_shape=(1,), n_outputs=1)


def dataset(n: int = 20, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(rng.normal(size=(n, 2)).astype(np.float32), rng.integers(0, 3, n))


def table(x: object, y: object, features: tuple[str, ...] = ()) -> RawRows:
    x = x if isinstance(x, np.ndarray) else np.array(x, dtype=np.float64)
    rows = rows_of_arrays({"x": x, "y": np.array(y)}, "rows")
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


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-30, 1e12, -7.3])
def test_a_constant_column_becomes_the_distance_from_its_constant(constant: float) -> None:
    x = np.column_stack([np.full(7, constant), np.arange(7)])
    scaling = Scaling.measured(table(x, np.arange(7)), REAL, standardise=True)
    assert scaling.scale[0] == max(abs(constant), 1.0)
    assert (scaling.apply(table(x, np.arange(7))).x[:, 0] == 0).all()
    doubled = scaling.apply(table(2 * x, np.arange(7))).x[0, 0]
    assert doubled == pytest.approx(np.sign(constant) * min(abs(constant), 1.0))


def noisy(constant: float, dtype: str) -> NDArray[Any]:
    """A constant with the rounding of a few operations in numbers of this type."""
    numbers = np.full(60, constant, dtype)
    step = np.spacing(numbers[0])
    return (numbers + np.resize([0, 1, -2, 1, 3], 60) * step).astype(dtype)


@pytest.mark.parametrize("constant", [0.3, -0.3, 1e-30, 1e12, 4e4, 123.4])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float32 in float64", "float32 as text"])
def test_a_column_that_is_constant_but_for_rounding_is_a_constant(
    constant: float, dtype: str
) -> None:
    column = noisy(constant, dtype.split()[0])
    if dtype.endswith("float64"):
        column = column.astype(np.float64)
    if dtype.endswith("text"):
        column = np.array([float(str(number)) for number in column])
    x = column[:, None]
    assert len(np.unique(x)) > 1
    scaling = Scaling.measured(table(x, np.arange(60)), COLUMN, standardise=True)
    assert scaling.scale[0] == pytest.approx(max(abs(constant), 1.0), rel=1e-6)
    assert np.abs(scaling.apply(table(x, np.arange(60))).x).max() < 1e-6
    third_more = scaling.apply(table(x * 4 / 3, np.arange(60))).x
    np.testing.assert_allclose(third_more, min(abs(constant), 1) / 3 * np.sign(constant), 1e-5)


def test_rounding_of_images_in_half_precision_is_no_signal() -> None:
    task = Task(kind="classification", input_shape=(1, 2, 2), n_outputs=2)
    x = np.stack([noisy(0.3, "float16"), *np.random.default_rng(0).random((3, 60))], axis=1)
    images = table(x.astype(np.float16).reshape(60, 1, 2, 2), [0, 1] * 30)
    scaled = Scaling.measured(images, task, standardise=True).apply(images).x
    assert np.abs(scaled[:, 0, 0, 0]).max() < 1e-2
    np.testing.assert_allclose(scaled.reshape(60, 4)[:, 1:].std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("offset", "spread"), [(0, 1e-30), (1e-30, 1e-33), (1e12, 1), (1.7e9, 0.4), (5e6, 3)]
)
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_a_small_spread_over_a_large_offset_is_a_signal(
    offset: float, spread: float, dtype: str
) -> None:
    if dtype == "int64":
        offset, spread = int(offset), max(int(spread), 3)
    x = (offset + spread * np.random.default_rng(0).normal(size=(200, 1))).astype(dtype)
    scaling = Scaling.measured(table(x, np.arange(200)), COLUMN, standardise=True)
    scaled = scaling.apply(table(x, np.arange(200))).x
    assert scaled.std() == pytest.approx(1, rel=1e-5)


def test_whole_numbers_of_float32_are_no_rounding() -> None:
    x = (10_000_000 + np.arange(20)).astype(np.float32)[:, None]
    scaling = Scaling.measured(table(x, np.arange(20)), COLUMN, standardise=True)
    assert scaling.scale[0] == pytest.approx(np.arange(20).std())


@pytest.mark.parametrize("targets", [np.full(60, 0.3), noisy(0.3, "float64"), noisy(7, "float32")])
def test_targets_that_are_constant_but_for_rounding_are_refused(targets: NDArray[Any]) -> None:
    rows = table(np.arange(60.0)[:, None], targets)
    with pytest.raises(InputError, match=r"rows, array y: every target .*with different targets"):
        Scaling.measured(rows, REAL, standardise=True)


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


def test_what_to_do_about_a_number_beyond_the_bound_fits_the_scaling() -> None:
    validation = table([[1, 0], [2, 0], [4, 0]], [1.0, 2.0, 4.0])
    company = table([[1, 2], [1, 2e4]], [1.0, 1.0])
    for standardise, advice in ((True, "false"), (False, "true")):
        scaling = Scaling.measured(validation, REAL, standardise=standardise)
        with pytest.raises(InputError, match=rf"set `data.standardise: {advice}`\.$"):
            scaling.apply(company)
        with pytest.raises(InputError, match=r"give the column in the unit that it has there\.$"):
            scaling.apply(table([[1, 0]], [2e5]))


def test_a_number_that_nothing_scales_is_told_apart_from_one_that_is_scaled() -> None:
    validation = table([[1, 0], [2, 0], [4, 0]], [0, 1, 0])
    company = table([[1, 2e4]], [0])
    for standardise in (True, False):
        scaling = Scaling.measured(validation, CLASSES, standardise=standardise)
        with pytest.raises(InputError, match=r"20000\.0 is too large for a model") as refused:
            scaling.apply(company)
        assert ("this column is constant" in str(refused.value)) == standardise


def test_a_company_whose_numbers_are_far_beyond_the_validation_sets_is_a_remark() -> None:
    rng = np.random.default_rng(0)
    x = np.c_[rng.normal(5, 2, 50), np.zeros(50)]  # the second column never varies
    scaling = Scaling.measured(table(x, np.arange(50.0), ("a", "b")), REAL, standardise=True)
    validation = scaling.apply(table(x, np.arange(50.0), ("a", "b")))

    def remark(row: list[float], target: float) -> str:
        rows = table([*x[:9], row], [*np.arange(9.0), target], ("a", "b"))
        return scaling.far_from(validation, scaling.apply(rows))

    assert remark([5, 100], 3) == ""
    assert remark([150, 0], 3) == ""  # 70 standard deviations: real tables have such outliers
    assert remark([5, 101], 3) == "column 'b' reaches 101, and 0 in the validation set"
    assert remark([5, -5000], 3) == "column 'b' reaches 5,000, and 0 in the validation set"
    assert remark([5, 0], 3000).startswith("the target reaches 206, and 1.7")


@pytest.mark.parametrize("number", [1e39, 10_001.0, -2e4])
def test_a_number_beyond_the_bound_is_refused_with_row_and_feature(number: float) -> None:
    within = Scaling(task=CLASSES).apply(table([[1, 2], [1e4, -1e4]], [0, 0]))
    assert within.x[1, 0] == 10_000
    with pytest.raises(InputError) as refused:
        Scaling(task=CLASSES).apply(table([[1, 2], [1, number]], [0, 0]))
    assert str(refused.value).startswith(
        f"rows, row 2 (index 1), feature [1]: {number!r} is too large for a model; allowed is"
        " -10,000 to 10,000 (so many such numbers: 1)."
    )


def test_a_number_beyond_the_bound_of_the_scaled_column_is_refused_by_its_name() -> None:
    validation = table(np.random.default_rng(0).normal(5, 2, (50, 2)), np.arange(50.0), ("a", "b"))
    scaling = Scaling.measured(validation, REAL, standardise=True)
    company = table([[5, 5], [9e4, 5]], [1, 2], ("b", "a"))
    with pytest.raises(InputError, match=r"row 2 .*, column 'b': 90000.0 becomes 4.\d\de\+04 when"):
        scaling.apply(company)
    with pytest.raises(
        InputError, match=r"row 1 .*, array y: 10000000.0 becomes 6.93e\+05 when it is"
    ):
        scaling.apply(table([[5, 5]], [1e7], ("a", "b")))


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
