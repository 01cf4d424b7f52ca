"""The one way a utility table enters the valuation: as float64, complete and finite, or not at all.

Shapes: N companies, C = 2**N coalitions, index = bitmask.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_sv.errors import InputError
from fl_sv.game.coalitions import members_of, n_companies_of_table

# Differences and sums of 2**N utilities must stay finite in float64, whose largest number is
# 1.8e308.
LARGEST_UTILITY = 1e290
SHOWN = 10


def as_numbers(given: ArrayLike, what: str) -> NDArray[np.float64]:
    """`given` as float64, without a copy where it is float64 already.

    what: how messages name it.

    Raises InputError for text, objects, complex numbers, ragged lists and masked entries. By itself
    numpy would read the text "1.5" as a number, and also what lies under a mask.
    """
    if np.ma.is_masked(given):
        raise InputError(
            f"{what} has masked entries; allowed are real numbers only, with none missing"
        )
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} cannot be read as an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what} must be real numbers, but the array read has the type {array.dtype}"
        )
    return array.astype(np.float64, copy=False)


def spelled(coalition: int) -> str:
    """The coalition as messages spell it: its bitmask and its members' indices.

    >>> spelled(0b101)
    '5 = {0, 2}'
    """
    return f"{coalition} = {{{', '.join(map(str, members_of(coalition)))}}}"


def as_table(utilities: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """The utilities (2**N,) and N of a complete table over all coalitions.

    Raises InputError when `utilities` is not one-dimensional, not numeric or not of length 2**N
    with N >= 1, and when it holds NaN, infinity or a number beyond +-1e290. The message names the
    coalitions by bitmask and members.
    """
    utility_C = as_numbers(utilities, "utilities")
    if utility_C.ndim != 1:
        raise InputError(
            f"utilities has the shape {utility_C.shape}; allowed is one number for each coalition,"
            " shape (2**N,)"
        )
    n_companies = n_companies_of_table(len(utility_C), "utilities")
    # Minimum and maximum first: they need no memory beside a table of 2**24, and NaN is neither.
    if not (utility_C.min() >= -LARGEST_UTILITY and utility_C.max() <= LARGEST_UTILITY):
        unusable = np.flatnonzero(~(np.abs(utility_C) <= LARGEST_UTILITY))
        examples = "; ".join(
            f"coalition {spelled(c)} is {utility_C[c]}" for c in unusable[:SHOWN].tolist()
        )
        more = f" and {len(unusable) - SHOWN} more" if len(unusable) > SHOWN else ""
        raise InputError(
            f"{len(unusable)} of {len(utility_C)} coalitions have no usable utility:"
            f" {examples}{more}. Allowed are finite numbers from -{LARGEST_UTILITY:g} to"
            f" {LARGEST_UTILITY:g}, one for every coalition."
        )
    return utility_C, n_companies
