"""Streams of random numbers: named, independent of each other, the same everywhere."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sv.streams import stream, stream_seed

KEY = (7, "Alder Post", 3, "batches")
SEED_OF_KEY = 528258057436680717
NUMBERS_OF_KEY = [834, 61, 728, 148, 729]


def test_equal_keys_give_equal_numbers() -> None:
    np.testing.assert_array_equal(stream(*KEY).random(100), stream(*KEY).random(100))


def test_a_stream_is_the_same_on_every_machine_and_in_every_process() -> None:
    assert stream_seed(*KEY) == SEED_OF_KEY
    assert stream(*KEY).integers(1000, size=5).tolist() == NUMBERS_OF_KEY


@pytest.mark.parametrize("place", range(len(KEY)))
def test_every_part_of_the_key_counts(place: int) -> None:
    other = list(KEY)
    other[place] = other[place] + 1 if isinstance(other[place], int) else f"{other[place]}x"
    assert stream_seed(*other) != stream_seed(*KEY)


def test_a_number_and_its_text_are_different_keys() -> None:
    assert stream_seed(1, "batches") != stream_seed("1", "batches")


def test_neighbouring_parts_do_not_run_together() -> None:
    assert (
        len(
            {
                stream_seed("ab", "c"),
                stream_seed("a", "bc"),
                stream_seed("abc"),
                stream_seed("abc", ""),
            }
        )
        == 4
    )


def test_the_order_of_the_parts_counts() -> None:
    assert len({stream_seed(*key) for key in itertools.permutations(("a", "b", 1))}) == 6


@given(st.lists(st.integers() | st.text(alphabet="abc ._-"), min_size=1, max_size=4))
def test_a_seed_fits_into_63_bits_without_sign(key: list[int | str]) -> None:
    assert 0 <= stream_seed(*key) < 2**63


def test_drawing_from_one_stream_changes_neither_the_others_nor_the_global_state() -> None:
    expected = stream(7, "Birch Bank", 3, "batches").random(10)
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    stream(*KEY).random(1000)
    np.testing.assert_array_equal(stream(7, "Birch Bank", 3, "batches").random(10), expected)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_array_equal(after["state"]["key"], state["state"]["key"])


def test_the_streams_of_many_companies_are_uncorrelated() -> None:
    draws = np.array([stream(0, f"Company {i}", "batches").normal(size=500) for i in range(100)])
    correlations = np.corrcoef(draws)[np.triu_indices(100, 1)]
    assert abs(correlations.mean()) < 0.005
    assert np.abs(correlations).max() < 5 / np.sqrt(500)
