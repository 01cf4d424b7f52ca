"""Numbers that carry labels are read by them or refused; what is no number is refused."""

import itertools
import mmap
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas
import polars
import pytest
import torch

import fl_sv
from fl_sv.errors import InputError

UTILITIES = [0.0, 1.0, 2.0, 6.0, 1.5, 2.5, 4.0, 9.0]
SMALL = [2.30, 1.20, 1.45, 0.90, 1.60, 1.00, 1.10, 0.80]
LARGE = {0: 2.30, 7: 0.40, 1: 0.75, 2: 1.02, 4: 1.18}
SHUFFLED = [5, 0, 7, 2, 6, 1, 4, 3]


def shuffled(numbers, order=SHUFFLED):
    """A Series in another order, with the place of every number as its label."""
    return pandas.Series([numbers[i] for i in order], index=order)


def fitted(**arguments):
    return fl_sv.fit_law(**({"small": SMALL, "large": LARGE} | arguments))


ON_A_TABLE = {
    "shapley": fl_sv.shapley,
    "banzhaf": fl_sv.banzhaf,
    "semivalue": lambda table: fl_sv.semivalue(table, "beta:16,1"),
    "interactions": fl_sv.interactions,
    "least_core": lambda table: fl_sv.least_core(table)[1],
    "prenucleolus": fl_sv.prenucleolus,
    "owen": lambda table: fl_sv.owen(table, [[0], [1, 2]]),
    "fit_law": lambda table: fl_sv.fit_law(table, LARGE).shapley().values,
}
EVERY_FUNCTION_OF_A_TABLE = pytest.mark.parametrize("function", ON_A_TABLE.values(), ids=ON_A_TABLE)


@EVERY_FUNCTION_OF_A_TABLE
@pytest.mark.parametrize(
    "labelled",
    [
        shuffled,
        lambda numbers: shuffled(numbers).astype("Float64"),
        lambda numbers: shuffled(numbers).map(Decimal),
        lambda numbers: shuffled(numbers).astype(object),
    ],
    ids=["float64", "nullable", "decimals", "objects"],
)
def test_a_series_is_read_by_its_index(function, labelled):
    np.testing.assert_array_equal(function(labelled(UTILITIES)), function(UTILITIES))


REFUSED = {
    "names as index": pandas.Series(UTILITIES, index=list("abcdefgh")),
    "labels from 1": pandas.Series(UTILITIES, index=range(1, 9)),
    "labels twice": pandas.Series(UTILITIES, index=[0, 1, 2, 3, 4, 5, 6, 6]),
    "labels as text": pandas.Series(UTILITIES, index=[str(i) for i in range(8)]),
    "two levels": pandas.Series(
        UTILITIES, index=pandas.MultiIndex.from_tuples(itertools.product((0, 1), repeat=3))
    ),
    "missing": pandas.Series([*UTILITIES[:7], None], dtype="Float64"),
    "frame": pandas.DataFrame({"coalition": range(8), "utility": UTILITIES}),
    "frame of one column": pandas.DataFrame({"utility": UTILITIES}),
    "polars series": polars.Series(UTILITIES),
    "polars frame": polars.DataFrame({"coalition": range(8), "utility": UTILITIES}),
    "list of series": [shuffled(UTILITIES[:4], [3, 2, 1, 0]).rename("a"), polars.Series([1.0])],
    "dict": dict(enumerate(UTILITIES)),
    "dict without 5": {i: UTILITIES[i] for i in range(8) if i != 5},
    "dict of names": dict(zip("abcdefgh", UTILITIES, strict=True)),
    "text": [str(u) for u in UTILITIES],
    "records": np.array(list(enumerate(UTILITIES)), dtype=[("coalition", int), ("utility", float)]),
    "masked": np.ma.masked_array(UTILITIES, mask=[0] * 7 + [1]),
    "list with a masked entry": [*UTILITIES[:7], np.ma.masked],
    "complex": np.array(UTILITIES) + 0j,
    "none": [*UTILITIES[:7], None],
    "lists of bytes": bytearray(8),
    "bytes": memoryview(bytes(8)),
    "map": mmap.mmap(-1, 8),
    "gradient": torch.tensor(UTILITIES, requires_grad=True),
    "bfloat16": torch.tensor(UTILITIES, dtype=torch.bfloat16),
    "meta": torch.tensor(UTILITIES, device="meta"),
    "dates": np.arange(8).astype("datetime64[s]"),
    "set": set(UTILITIES),
    "generator": (u for u in UTILITIES),
    "beyond floats": [*UTILITIES[:7], 10**400],
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_what_has_no_readable_order_or_is_no_number_is_refused_by_a_sentence(given):
    by_bitmask = isinstance(given, dict) and 7 in given  # `fit_law` takes it, of all or a sample
    for name, function in ON_A_TABLE.items():
        if name != "fit_law" or not by_bitmask:
            with pytest.raises(InputError, match=r"utilities|small"):
                function(given)


def labelled_axis():
    """An array with coordinates, as xarray has them."""

    class DataArray:
        dims, coords = ("coalition",), {"coalition": SHUFFLED}

        def __array__(self, dtype=None, copy=None):
            return np.array(UTILITIES)

    return DataArray()


@EVERY_FUNCTION_OF_A_TABLE
def test_coordinates_that_cannot_be_read_are_refused(function):
    with pytest.raises(InputError, match="may be in any order"):
        function(labelled_axis())


@pytest.mark.parametrize(
    "numbers",
    [
        tuple(UTILITIES),
        np.array(UTILITIES, dtype=np.float32),
        np.array(UTILITIES, dtype=object),
        np.ma.masked_array(UTILITIES),
        memoryview(np.array(UTILITIES)),
        torch.tensor(UTILITIES, dtype=torch.float64),
        [Decimal(str(u)) for u in UTILITIES],
        [Fraction(u) for u in UTILITIES],
        [np.float32(u) for u in UTILITIES],
    ],
    ids=lambda numbers: type(numbers).__name__,
)
def test_numbers_by_position_are_read_by_position(numbers):
    np.testing.assert_array_equal(fl_sv.shapley(numbers), fl_sv.shapley(UTILITIES))


def test_a_series_of_a_sample_of_coalitions_is_read_by_its_bitmasks():
    sample = [0, 7, 1, 6, 2, 4]
    law = fitted(small=pandas.Series([SMALL[c] for c in sample], index=sample), large=LARGE)
    expected = fitted(small={c: SMALL[c] for c in sample})
    assert law.coalitions == (0, 1, 2, 4, 6, 7)
    np.testing.assert_array_equal(law.predict(), expected.predict())


def test_the_large_losses_may_be_a_series_by_bitmask():
    large = pandas.Series(LARGE).sort_values()
    np.testing.assert_array_equal(fitted(large=large).predict(), fitted().predict())
    for wrong in (polars.Series([2.3, 0.4]), pandas.DataFrame({"loss": LARGE}), [2.3, 0.4]):
        with pytest.raises(InputError, match="large"):
            fitted(large=wrong)


TWO_SIZES = np.column_stack([np.array(SMALL) + 0.2, SMALL])
TWO_SIZES[0] = SMALL[0]
PLAIN = {"examples": [10, 20, 30], "sizes": [50.0, 100.0, 900.0], "seed_std": [0.02, 0.01]}


@pytest.mark.parametrize("name", PLAIN)
def test_examples_sizes_and_deviations_with_labels_are_read_by_them(name):
    def law(given):
        return fitted(small=TWO_SIZES, **(PLAIN | {name: given}))

    numbers, expected = PLAIN[name], law(PLAIN[name])
    backwards = list(range(len(numbers)))[::-1]
    read = law(shuffled(numbers, backwards))
    np.testing.assert_array_equal(read.shapley().low, expected.shapley().low)
    assert read.diagnostics == expected.diagnostics
    for refused in (
        dict(enumerate(numbers)),
        polars.Series(numbers),
        pandas.Series(numbers, index=list("abc")[: len(numbers)]),
        pandas.DataFrame({"a": numbers}),
    ):
        with pytest.raises(InputError, match=name):
            law(refused)


def test_columns_of_a_frame_are_not_sizes_by_their_position():
    frame = pandas.DataFrame(TWO_SIZES, columns=[100, 50])
    with pytest.raises(InputError, match="small is a pandas DataFrame"):
        fitted(small=frame)
    with pytest.raises(InputError, match="by_seed is a pandas DataFrame"):
        fitted(small=TWO_SIZES, by_seed=[frame, frame])


@pytest.mark.parametrize("level", ["0.9", None, pandas.Series([0.9, 0.8]), [0.9], np.nan])
def test_a_level_that_is_no_number_is_refused(level):
    with pytest.raises(InputError, match="level is"):
        fitted(level=level)


def test_what_a_game_returns_with_labels_is_read_by_them():
    worth = np.arange(9.0)

    def game(member):
        return pandas.Series(member @ worth).sort_values()

    np.testing.assert_allclose(fl_sv.estimate_shapley(game, 9, 100).values, worth, atol=1e-8)
    with pytest.raises(InputError, match="what the game returned"):
        fl_sv.estimate_shapley(lambda member: polars.Series(member @ worth), 9, 100)


def test_values_and_names_of_a_pot_with_labels_are_read_by_them():
    assert fl_sv.allocate(shuffled([3.0, 1.0, 2.0], [2, 0, 1]), 600).tolist() == [300, 100, 200]
    names = shuffled(["Ash", "Beech", "Cedar"], [2, 0, 1])
    assert fl_sv.allocate([1, 1, 1], 100, names=names).tolist() == [34, 33, 33]
    for wrong in (pandas.Series({"Ash": 3.0, "Beech": 1.0}), polars.Series([3.0, 1.0])):
        with pytest.raises(InputError, match="values"):
            fl_sv.allocate(wrong, 100)
    for wrong in (pandas.Series(["Ash", "Beech"], index=[1, 2]), "AB", 7):
        with pytest.raises(InputError, match="names"):
            fl_sv.allocate([3.0, 1.0], 100, names=wrong)
