"""From values to cents: every property that a payout must have, for any values and any pot."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fl_sv.config.valuation import FixedPot, NegativeRule, PerformancePot
from fl_sv.errors import InputError
from fl_sv.payment.payouts import allocate, money, payouts_csv, pot_cents, read_payouts
from fl_sv.payment.rules import RULES

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.lists(finite, min_size=1, max_size=12)
with_a_positive = values.filter(lambda them: max(them) > 0)
pots = st.integers(0, 10**15)


@given(with_a_positive, pots)
def test_clipped_amounts_sum_exactly_to_the_pot_and_none_is_negative(
    them: list[float], pot: int
) -> None:
    amounts = allocate(them, pot).tolist()
    assert sum(amounts) == pot
    assert min(amounts) >= 0


@given(with_a_positive, pots)
def test_a_company_with_a_larger_value_is_paid_no_less(them: list[float], pot: int) -> None:
    amounts = allocate(them, pot)
    ranked = sorted(zip(them, amounts.tolist(), strict=True))
    for (less, fewer), (more, cents) in pairwise(ranked):
        assert fewer <= cents or less == more


@given(with_a_positive, pots)
def test_amount_is_within_a_cent_of_the_exact_share(them: list[float], pot: int) -> None:
    shares = [max(Fraction(value), Fraction(0)) for value in them]
    for amount, share in zip(allocate(them, pot).tolist(), shares, strict=True):
        assert abs(amount - pot * share / sum(shares)) < 1


@given(with_a_positive, pots)
def test_company_of_no_positive_value_is_paid_nothing(them: list[float], pot: int) -> None:
    assert all(
        amount == 0
        for amount, value in zip(allocate(them, pot).tolist(), them, strict=True)
        if value <= 0
    )


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.integers(0, 10**9))
def test_charged_amounts_sum_exactly_to_the_pot_and_have_the_sign_of_the_value(
    them: list[float], pot: int
) -> None:
    assume(sum(them) > 0.01)
    amounts = allocate(them, pot, "charge", max_charge=10**15).tolist()
    assert sum(amounts) == pot
    assert all(amount <= 0 for amount, value in zip(amounts, them, strict=True) if value < 0)
    assert all(amount >= 0 for amount, value in zip(amounts, them, strict=True) if value > 0)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=12).filter(lambda them: max(them) > 0), pots
)
def test_without_negative_values_both_rules_pay_the_same(them: list[float], pot: int) -> None:
    assert allocate(them, pot).tolist() == allocate(them, pot, "charge").tolist()


@given(with_a_positive, pots, st.randoms(use_true_random=False))
def test_payouts_do_not_depend_on_the_order_of_the_config(
    them: list[float], pot: int, random: Any
) -> None:
    names = [f"company {i}" for i in range(len(them))]
    order = random.sample(range(len(them)), len(them))
    paid = dict(zip(names, allocate(them, pot, names=names).tolist(), strict=True))
    shuffled = [names[i] for i in order]
    again = allocate([them[i] for i in order], pot, names=shuffled).tolist()
    assert dict(zip(shuffled, again, strict=True)) == paid


def test_leftover_cents_of_a_tie_go_by_name() -> None:
    assert allocate([1, 1, 1], 100, names=["C", "A", "B"]).tolist() == [33, 34, 33]
    assert allocate([1, 1, 1], 101, names=["C", "A", "B"]).tolist() == [33, 34, 34]


def test_leftover_cents_of_a_tie_go_by_position_without_names() -> None:
    assert allocate([1.0] * 12, 13).tolist() == [2] + [1] * 11


def test_leftover_cents_go_to_the_largest_remainder() -> None:
    assert allocate([6, 3, 1], 8).tolist() == [5, 2, 1]  # exactly 4.8, 2.4, 0.8


def test_charge_makes_a_company_of_negative_value_pay_the_others() -> None:
    assert allocate([3, -1], 1000, "charge").tolist() == [1500, -500]


def test_charge_beyond_the_limit_is_refused_with_the_name_and_both_amounts() -> None:
    assert allocate([3, -1], 1000, "charge", max_charge=500).tolist() == [1500, -500]
    with pytest.raises(
        InputError, match="Birch would be charged 500 cents, more than max_charge = 499"
    ):
        allocate([3, -1], 1000, "charge", max_charge=499, names=["Ash", "Birch"])
    with pytest.raises(
        InputError, match="company 1 would be charged 1500 cents, more than max_charge = 1000"
    ):
        allocate([5, -3], 1000, "charge")  # the limit is the pot unless it is given


def test_rounding_charges_no_company_more_than_the_limit() -> None:
    assert allocate([21, -3, -1], 100, "charge", max_charge=18).tolist() == [
        124,
        -18,
        -6,
    ]  # 123.5, -17.6, -5.9


@pytest.mark.parametrize("negative", ["clip", "charge"])
def test_empty_pot_pays_nothing_for_any_values(negative: Any) -> None:
    assert allocate([3, -1, -9], 0, negative).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("them", "negative", "reason"),
    [
        ([0, 0], "clip", "no value is positive"),
        ([-1, -2], "clip", "no value is positive"),
        ([1, -1], "charge", "the sum of the values is not positive"),
        ([1, -3], "charge", "the sum of the values is not positive"),
    ],
)
def test_nothing_to_split_is_a_value_error_and_never_an_equal_split(
    them: list[float], negative: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"nothing to split: {reason}"):
        allocate(them, 100, negative)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: allocate([], 1), "shape"),
        (lambda: allocate(3.0, 1), "shape"),
        (lambda: allocate([[1.0]], 1), "shape"),
        (lambda: allocate([1, float("nan")], 1), "value of company 1 is nan"),
        (lambda: allocate([float("inf")], 1), "value of company 0 is inf"),
        (lambda: allocate(["1", "2"], 1), "numbers"),
        (lambda: allocate([1, 2j], 1), "numbers"),
        (lambda: allocate([[1], [1, 2]], 1), "numbers"),
        (lambda: allocate([1], -1), "the pot is -1"),
        (lambda: allocate([1], 10**15 + 1), "the pot is"),
        (lambda: allocate([1], 1.0), "the pot is 1.0"),
        (lambda: allocate([1], True), "the pot is True"),
        (lambda: allocate([1], "5"), "the pot is '5'"),
        (
            lambda: allocate([1], 1, "forgive"),
            "negative is 'forgive'; allowed are 'clip' and 'charge'",
        ),
        (lambda: allocate([1], 1, max_charge=-1), "max_charge is -1"),
        (lambda: allocate([1, 2], 1, names=["Ash"]), "1 names are given for 2 values"),
    ],
)
def test_bad_input_is_a_value_error_that_names_it(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_numpy_integers_and_the_largest_pot_are_paid_exactly() -> None:
    assert allocate(np.array([1, 2]), np.int64(10)).tolist() == [3, 7]
    assert sum(allocate([1e-300, 1e300, 3.3], 10**15).tolist()) == 10**15


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(0.01, 1e6))
def test_performance_pot_is_the_rounded_product_and_nothing_below_the_floor(
    u: float, floor: float, rate: float
) -> None:
    pot = PerformancePot(kind="performance", cents_per_utility=rate, floor=floor)
    cents = pot_cents(pot, u)
    assert cents == 0 if u <= floor else abs(cents - (u - floor) * rate) <= 0.5 + 1e-6 * rate


def test_fixed_pot_does_not_depend_on_the_model() -> None:
    assert (
        pot_cents(FixedPot(kind="fixed", cents=7), -9.0)
        == pot_cents(FixedPot(kind="fixed", cents=7), 0.0)
        == 7
    )


@pytest.mark.parametrize(
    ("cents", "decimals", "text"),
    [
        (123450, 2, "1,234.50 EUR"),
        (5, 2, "0.05 EUR"),
        (-5, 2, "-0.05 EUR"),
        (-123456, 3, "-123.456 EUR"),
        (1234, 0, "1,234 EUR"),
        (0, 2, "0.00 EUR"),
    ],
)
def test_money_is_written_as_people_read_it(cents: int, decimals: int, text: str) -> None:
    assert money(cents, "EUR", decimals) == text


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", fullmatch=True),
        st.integers(-(10**15), 10**15),
    )
)
def test_payout_table_reads_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, amounts: dict[str, int]
) -> None:
    path = tmp_path_factory.mktemp("payouts") / "payouts.csv"
    path.write_text(payouts_csv(amounts), encoding="utf-8")
    assert list(read_payouts(path).items()) == list(amounts.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "company,cents\nAsh,1\n",
            "the columns are 'company,cents'; expected company,amount_cents",
        ),
        ("company,amount_cents\nAsh,1\nBeech,1.5\n", "line 3: .*no payout in whole cents"),
        ("company,amount_cents\nAsh\n", "line 2: the row has more or fewer cells"),
        ("", "the columns are ''"),
    ],
)
def test_damaged_payout_table_is_refused_with_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "payouts.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_payouts(tmp_path / "payouts.csv")


def test_the_config_names_the_rules_that_there_are() -> None:
    assert set(get_args(NegativeRule)) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_weighs_exact_numbers_and_floats_alike(name: NegativeRule) -> None:
    for value in (-2.5, -0.0, 0.0, 0.1, 3.0):
        assert float(RULES[name].weight(Fraction(value))) == RULES[name].weight(value)
