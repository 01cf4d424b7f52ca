"""The law's idea on published tables of mixtures: what is known of them, and rules without it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.law.mixture_law import chosen_runs, predict
from benchmarks.law.mixture_rules import best_line, ladder, power, ratio, small_losses
from benchmarks.law.mixtures import Mixtures, all_tables
from benchmarks.public import centred_error, measure

TABLES = {(table.name, table.sizes): table for table in all_tables()}
TWO_SIZES = TABLES["SlimPajama", (122, 310, 937)]
REGMIX = TABLES["RegMix", (1, 60)]


@pytest.mark.parametrize(
    ("sizes", "mixtures", "small", "line"),
    [
        ((122, 1235), 20, 0.241, 0.122),
        ((310, 1235), 20, 0.196, 0.117),
        ((122, 310, 937), 40, 0.173, 0.108),
        ((1, 60), 256, 0.314, 0.121),
    ],
)
def test_errors_of_the_rules_without_choices_are_the_published_ones(
    sizes: tuple[int, ...], mixtures: int, small: float, line: float
) -> None:
    table = TABLES["RegMix" if sizes == (1, 60) else "SlimPajama", sizes]
    assert len(table.large) == mixtures
    assert table.weights.sum(axis=1) == pytest.approx(1.0, abs=0.01)
    assert centred_error(small_losses(table, []), table.large) == pytest.approx(small, abs=1e-3)
    assert centred_error(best_line(table, []), table.large) == pytest.approx(line, abs=1e-3)


def test_no_rule_looks_at_an_unknown_large_loss_and_the_choice_at_none() -> None:
    runs = chosen_runs(TWO_SIZES, 5, first=3)
    assert len({*runs}) == 5 and runs[0] == 3
    hidden = np.full_like(TWO_SIZES.large, np.nan)
    assert chosen_runs(replace(TWO_SIZES, large=hidden), 5, first=3) == runs
    hidden[runs] = TWO_SIZES.large[runs]
    seen = replace(TWO_SIZES, large=hidden)
    for rule in (predict, power, ratio, ladder, small_losses):
        found, expected = rule(seen, runs), rule(TWO_SIZES, runs)
        assert found is not None and expected is not None
        assert found == pytest.approx(expected)


def test_the_law_is_exact_where_the_large_losses_are_a_multiple_of_the_small_ones() -> None:
    table = replace(REGMIX, large=0.6 * REGMIX.small[:, -1])
    for count in (1, 5):
        predicted = predict(table, chosen_runs(table, count, first=0))
        assert centred_error(predicted, table.large) < 1e-3


def test_the_law_is_better_than_the_rules_with_five_known_runs() -> None:
    for table in (TWO_SIZES, REGMIX):
        errors = measure(table, 5)["errors"]
        assert errors["law"] < min(errors["ratio"], errors["power"])
    assert measure(TWO_SIZES, 5)["errors"]["ladder"] > 0.2
    assert "ladder" not in measure(REGMIX, 1)["errors"]


def test_a_mixture_that_is_like_a_known_one_follows_it() -> None:
    """Only one domain of one known mixture is odd; its near relative is moved, a far one is not."""
    weights = np.array([[1.0, 0.0], [0.99, 0.01], [0.0, 1.0], [0.5, 0.5]])
    small = np.log(np.array([[20.0, 8.0], [19.0, 9.0], [6.0, 15.0], [12.0, 12.0]]))
    table = Mixtures("made", (1, 2), weights, small[:, None], 0.5 * small)
    odd = table.large.copy()
    odd[0, 1] *= 1.05
    moved = predict(replace(table, large=odd), [0, 2, 3]) - predict(table, [0, 2, 3])
    assert moved[1, 1] > 3 * abs(moved[2, 1])
