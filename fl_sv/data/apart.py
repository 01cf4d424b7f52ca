"""Rows of the operator that score nothing: they choose learning rates, or prove a leak."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.data.dataset import Dataset
from fl_sv.data.raw import RawRows
from fl_sv.errors import InputError
from fl_sv.streams import stream_seed

# The smallest validation set: the spread of its scores needs two rows.
LEAST_VALIDATION = 2
# Of fewer planted rows no outcome is one in hundreds.
LEAST_PLANTED = 5
# The share of the validation rows that choose learning rates, where a run does that, and pay
# nothing.
TUNING_SHARE = 0.25


def tuning_rows(scaled: Dataset, raw: RawRows) -> tuple[Dataset, Dataset]:
    """The validation set and the tuning set, from all rows that the operator holds.

    The hash of a row's features decides. So equal rows are in one set, whatever their labels, and
    a change of other rows moves none from one set to the other.
    """
    tuning = np.array([_share(features) < TUNING_SHARE for features in raw.x])
    n_tuning = int(tuning.sum())
    if min(n_tuning, len(raw) - n_tuning) < LEAST_VALIDATION:
        raise InputError(
            f"{raw.origin}: of {len(raw)} validation rows {n_tuning} would choose the learning"
            f" rates and {len(raw) - n_tuning} would score; at least {LEAST_VALIDATION} of each are"
            " needed. Give more rows, or a number instead of `learning_rate: auto`."
        )
    return scaled.take(np.flatnonzero(~tuning)), scaled.take(np.flatnonzero(tuning))


def _share(features: NDArray[Any]) -> float:
    """A number in [0, 1) that a row's features determine."""
    return stream_seed("tuning", _bytes(features).hex()) / 2**63


def planted_rows(
    validation: Dataset, raw: RawRows, listed: Dataset, listed_raw: RawRows
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows of the validation file score, and which are planted: those that are listed.

    validation, listed: scaled. raw, listed_raw: the same rows as they were read, for messages.

    Raises InputError when a listed row does not stand in the validation file once, with the same
    label, or when too few are listed or left.
    """
    if validation.y.ndim > 1:
        raise InputError("data.validation.planted: rows with targets at several places have none.")
    place_of: dict[bytes, int] = {}
    twice = set[bytes]()
    for place, features in enumerate(validation.x):
        key = _bytes(features)
        twice |= {key} if key in place_of else set()
        place_of[key] = place
    rows = list[int]()
    for i, features in enumerate(listed.x):
        key, where = _bytes(features), f"data.validation.planted: {listed_raw.place(i)}"
        if key not in place_of:
            raise InputError(f"{where}: no row of {raw.origin} has these features.")
        if key in twice or place_of[key] in rows:
            raise InputError(f"{where}: several rows have these features; plant only single ones.")
        row = place_of[key]
        if validation.y[row] != listed.y[i]:
            raise InputError(
                f"{where}: {raw.place(row)} has another label. List the planted rows as they stand"
                " in the validation file."
            )
        rows.append(row)
    rest = np.setdiff1d(np.arange(len(validation)), rows)
    if len(rows) < LEAST_PLANTED or len(rest) < LEAST_VALIDATION:
        raise InputError(
            f"data.validation.planted: {len(rows)} of {len(validation)} validation rows are"
            f" planted; at least {LEAST_PLANTED} must be, and {LEAST_VALIDATION} must not."
        )
    return rest, np.array(rows)


def _bytes(features: NDArray[Any]) -> bytes:
    """Equal for equal numbers: adding 0.0 turns -0.0 into 0.0."""
    return (np.ascontiguousarray(features, dtype=np.float64) + 0.0).tobytes()
