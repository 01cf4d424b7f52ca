"""The one way numbers enter the library: real, and in the order of their labels, or not at all.

Everything that is given has an order that means something: coalitions by bitmask, companies and
sizes by number. A list or an array has it by position. A pandas Series is read by its index,
whatever its order. Other tables and columns are refused: their rows may be in any order.

Shapes: N companies, C = 2**N coalitions, index = bitmask.
"""

import mmap
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_sv.errors import InputError, listed
from fl_sv.game.coalitions import members_of, n_companies_of_table

# Differences and sums of 2**N utilities must stay finite in float64, whose largest number is
# 1.8e308.
LARGEST_UTILITY = 1e290
SHOWN = 10
# How the tables and columns of other libraries are known without importing one: pandas, polars,
# pyarrow and those that speak their protocols, and xarray.
FOREIGN = ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__", "coords", "iloc")


def as_numbers(given: object, what: str) -> NDArray[np.float64]:
    """`given` as float64, without a copy where it is float64 already.

    given: an array, or lists of numbers; or a pandas Series whose index is 0, 1, 2, ... in any
        order.
    what: how messages name it.

    Raises InputError for text, raw bytes, complex numbers, ragged lists, masked or missing entries,
    and for labels that are others or cannot be read. By itself numpy would read the text "1.5" as a
    number, also what lies under a mask, and a table in the order in which it happens to lie.
    """
    given = in_order(given, what)
    try:
        array = np.asarray(given)
        if array.dtype.kind == "O":
            array = _as_floats(array, what)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise InputError(f"{what} cannot be read as an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what} must be real numbers, but the array read has the type {array.dtype}"
        )
    return array.astype(np.float64, copy=False)


def by_label(given: object, what: str) -> dict[Any, Any] | None:
    """The entries of a mapping or a pandas Series by label; None for what has no labels.

    Raises InputError for tables and columns of other libraries, and for a label that is there
    twice.
    """
    if isinstance(given, Mapping):
        return dict(given)
    kind = type(given)
    if not any(hasattr(kind, name) for name in FOREIGN):
        return None
    index: Any = getattr(given, "index", None)
    if getattr(given, "ndim", None) != 1 or not hasattr(index, "tolist"):
        raise InputError(
            f"{what} is a {kind.__module__.partition('.')[0]} {kind.__name__}, whose rows may be in"
            " any order. Give a pandas Series with the bitmasks (or the numbers) as its index, or"
            " an array in their order (to_numpy())."
        )
    labels, entries = index.tolist(), given.tolist()  # type: ignore[attr-defined]
    by = dict(zip(labels, entries, strict=True))
    if len(by) != len(labels):
        twice = [label for label, times in Counter(labels).items() if times > 1]
        raise InputError(f"{what} has the label {listed(twice)} in its index more than once")
    return by


def in_order(given: object, what: str) -> object:
    """Entries with labels in the order of these, as a list, and all else as it is.

    Raises InputError as `as_numbers` does for labels, masks and raw bytes.
    """
    if isinstance(given, Mapping):
        raise InputError(
            f"{what} is a {type(given).__name__}; allowed are real numbers in their order, as an"
            " array or a list"
        )
    entries = by_label(given, what)
    if entries is not None:
        wrong = [
            label for label in entries if type(label) is not int or label not in range(len(entries))
        ]
        if wrong:
            raise InputError(
                f"{what} has the label {listed([repr(label) for label in wrong])}; allowed are the"
                f" whole numbers 0 to {len(entries) - 1}, each once, for its {len(entries)} entries"
            )
        given = [entries[label] for label in range(len(entries))]
    if isinstance(given, list | tuple):
        plain = all(issubclass(kind, Real) for kind in {type(entry) for entry in given})
        return given if plain else [in_order(entry, what) for entry in given]
    if np.ma.is_masked(given):
        raise InputError(
            f"{what} has masked entries; allowed are real numbers only, with none missing"
        )
    raw = isinstance(given, memoryview) and given.format in ("b", "B", "c")
    if raw or isinstance(given, bytearray | mmap.mmap):
        raise InputError(
            f"{what} is {type(given).__name__}, raw bytes; allowed are real numbers, for example"
            " np.frombuffer(..., dtype=np.float64)"
        )
    return given


def _as_floats(array: NDArray[np.object_], what: str) -> NDArray[np.float64]:
    """An array of Python objects as float64, where each is a number: of int, Fraction, Decimal."""
    numbers = np.empty(array.shape)
    for place, entry in np.ndenumerate(array):
        if not isinstance(entry, Real | Decimal):
            at = f"[{', '.join(map(str, place))}]" if place else ""
            raise InputError(
                f"{what} must be real numbers, but {what}{at} is of the type {type(entry).__name__}"
            )
        numbers[place] = float(entry)
    return numbers


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
