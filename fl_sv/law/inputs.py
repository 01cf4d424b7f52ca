"""The arguments of `fit_law`, checked once and frozen.

Shapes: N companies, C coalitions with a small loss, M small sizes, R seeds. "measured" are the
coalitions with a large loss, the empty and the grand one included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_sv.errors import InputError, listed
from fl_sv.game.coalitions import EMPTY, grand, members_matrix, n_companies_of_table
from fl_sv.values.inputs import as_numbers, by_label, spelled

# Squares and ratios of losses must stay finite in float64.
LARGEST_LOSS = 1e100
# Nothing in the unit of losses may be more times the largest loss of its model.
LARGEST_RATIO = 1e60

Table = ArrayLike | Mapping[int, ArrayLike]


@dataclass(frozen=True)
class LawData:
    """The measured losses of both games in one order of rows: coalitions ascending."""

    n_companies: int
    coalition_C: tuple[int, ...]  # bitmasks; the first is the empty, the last the grand coalition
    complete: bool  # whether all 2**N coalitions are there
    members_CN: NDArray[np.bool_]
    small_CM: NDArray[np.float64]  # mean loss over seeds, sizes ascending
    small_RCM: NDArray[np.float64] | None  # the losses of every seed, where they are known
    measured_rows: NDArray[np.intp]  # (measured,) rows of the coalitions with a large loss
    measured_losses: NDArray[np.float64]  # (measured,) their mean losses
    log_sizes: NDArray[np.float64] | None  # (M+1,) log parameter counts, the large model's last
    examples_N: NDArray[np.float64] | None  # data sizes
    seed_std_M: NDArray[np.float64] | None  # standard deviation over seeds of one small run
    # Losses of averages of the members' own models, (C, M+1), the large model's last; NaN: unknown.
    averaged: NDArray[np.float64] | None
    large_std: NDArray[np.float64] | None  # (measured,) of the measured losses; None: estimated
    level: float  # of the intervals

    @property
    def large_run_rows(self) -> NDArray[np.intp]:
        """(runs,) rows of the large runs besides the empty and the grand coalition."""
        return self.measured_rows[1:-1]

    @property
    def size_C(self) -> NDArray[np.int64]:  # noqa: N802
        """(C,) how many members each coalition has."""
        size_C: NDArray[np.int64] = self.members_CN.sum(axis=1)
        return size_C

    def rows(self, coalitions: list[int]) -> NDArray[np.intp]:
        """Rows of `coalitions`. Raises InputError when one is out of range or has no small loss."""
        outside = [c for c in coalitions if not 0 <= c <= grand(self.n_companies)]
        if outside:
            raise InputError(
                f"the bitmask {listed(outside)} is out of range; with {self.n_companies} companies"
                f" coalitions are 0 to {grand(self.n_companies)}"
            )
        if self.complete:
            return np.array(coalitions, dtype=np.intp)
        row_of = {c: row for row, c in enumerate(self.coalition_C)}
        missing = [spelled(c) for c in coalitions if c not in row_of]
        if missing:
            raise InputError(
                f"no small loss is given for the coalition {listed(missing)}; the law predicts only"
                " coalitions that the small model has trained on"
            )
        return np.array([row_of[c] for c in coalitions], dtype=np.intp)


def law_data(
    small: Table,
    large: Mapping[int, float],
    sizes: ArrayLike | None,
    examples: ArrayLike | None,
    seed_std: ArrayLike | None,
    by_seed: ArrayLike | None,
    averaged: Table | None,
    large_std: Mapping[int, float] | float | None,
    level: float,
) -> LawData:
    """The arguments of `fit_law`, checked. Raises InputError for the first that is wrong."""
    coalition_C, small_CM, n_companies = _small_table(small)
    n_sizes = small_CM.shape[1]
    _refuse_unusable(small_CM, coalition_C)
    if not isinstance(level, Real) or not 0.0 < level < 1.0:
        raise InputError(
            f"level is {level!r}; allowed are numbers between 0 and 1, for example 0.9"
        )
    log_sizes = None if sizes is None else _log_ascending(sizes, n_sizes + 1)
    small_RCM = None if by_seed is None else _by_seed(by_seed, small_CM)
    seed_std_M = (
        None if small_RCM is None else np.sqrt(small_RCM[:, 1:].var(axis=0, ddof=1).mean(axis=0))
    )
    if seed_std is not None:
        given = as_numbers(seed_std, "seed_std")
        seed_std_M = _vector(
            np.full(n_sizes, given) if given.ndim == 0 else given, n_sizes, "seed_std", "() or (M,)"
        )
        if seed_std_M.min() < 0:
            raise InputError(
                "seed_std must not be negative: the standard deviation over seeds of one small run"
            )
    data = LawData(
        n_companies=n_companies,
        coalition_C=coalition_C,
        complete=len(coalition_C) == 1 << n_companies,
        members_CN=members_matrix(coalition_C, n_companies),
        small_CM=small_CM,
        small_RCM=small_RCM,
        measured_rows=np.zeros(0, dtype=np.intp),
        measured_losses=np.zeros(0),
        log_sizes=log_sizes,
        examples_N=None if examples is None else _examples(examples, n_companies),
        seed_std_M=seed_std_M,
        averaged=None if averaged is None else _averaged(averaged, coalition_C, n_sizes),
        large_std=None,
        level=float(level),
    )
    data = _with_large_std(_with_large_runs(data, large), large_std)
    _require_one_unit(data)
    return data


def _small_table(small: Table) -> tuple[tuple[int, ...], NDArray[np.float64], int]:
    """Coalitions, their losses small_CM and N, of a full table or a sampled design."""
    labelled = by_label(small, "small")
    if labelled is not None:
        keys = _bitmasks(labelled, "small")
        coalition_C = tuple(sorted(keys))
        rows = [
            as_numbers(keys[c], f"the small loss of coalition {spelled(c)}") for c in coalition_C
        ]
        if not rows or coalition_C[-1] == EMPTY or coalition_C[0] != EMPTY:
            raise InputError(
                "small must have a loss for the empty coalition 0 and for the grand one; the law"
                " needs both ends"
            )
        if len({row.shape for row in rows}) != 1 or rows[0].ndim > 1:
            raise InputError(
                "small must hold for every coalition either one loss or one loss for each of M"
                " sizes"
            )
        n_companies = coalition_C[-1].bit_length()
        if coalition_C[-1] != grand(n_companies):
            raise InputError(
                f"small has no loss for the grand coalition {grand(n_companies)} (the largest"
                f" bitmask given is {coalition_C[-1]}, so there are {n_companies} companies)"
            )
        table = np.stack(rows)
    else:
        table = as_numbers(small, "small")
        if table.ndim not in (1, 2):
            raise InputError(
                f"small has the shape {table.shape}; allowed are (2**N,) and (2**N, M)"
            )
        n_companies = n_companies_of_table(len(table), "small")
        coalition_C = tuple(range(1 << n_companies))
    small_CM = table.reshape(len(table), -1).astype(np.float64)
    if small_CM.shape[1] == 0:
        raise InputError(f"small has the shape {table.shape}: it holds no model size")
    return coalition_C, small_CM, n_companies


def _with_large_runs(data: LawData, large: Mapping[int, float]) -> LawData:
    labelled = by_label(large, "large")
    if labelled is None:
        raise InputError("large must be a dict {bitmask: mean loss of the large model}")
    losses = _bitmasks(labelled, "large")
    last = grand(data.n_companies)
    for needed, name in ((EMPTY, "empty"), (last, "grand")):
        if needed not in losses:
            raise InputError(
                f"large has no loss for the {name} coalition {needed}; the law needs the large"
                " model's loss there"
            )
    outside = sorted(c for c in losses if c > last)
    if outside:
        raise InputError(
            f"large has the bitmask {listed(outside)}, out of range: small has {data.n_companies}"
            f" companies, so coalitions are 0 to {last}"
        )
    coalitions = sorted(losses)
    measured_losses = np.zeros(len(coalitions))
    for row, c in enumerate(coalitions):
        loss = as_numbers(losses[c], f"the large loss of coalition {spelled(c)}")
        if loss.ndim != 0 or not abs(loss) <= LARGEST_LOSS:
            raise InputError(
                f"the large loss of coalition {spelled(c)} is {losses[c]!r}; allowed is one finite"
                f" number up to {LARGEST_LOSS:g}"
            )
        measured_losses[row] = loss
    return replace(data, measured_rows=data.rows(coalitions), measured_losses=measured_losses)


def _with_large_std(data: LawData, large_std: Mapping[int, float] | float | None) -> LawData:
    """The data with the standard deviation of each measured loss, where it is given."""
    if large_std is None:
        return data
    runs = [data.coalition_C[row] for row in data.measured_rows]
    labelled = by_label(large_std, "large_std")
    if labelled is None:
        given = as_numbers(large_std, "large_std")
        if given.ndim:
            raise InputError(
                "large_std must be one number, or a dict {bitmask: standard deviation of the large"
                " loss}"
            )
        std = np.full(len(runs), given)
    else:
        stds = _bitmasks(labelled, "large_std")
        if set(stds) != set(runs):
            odd = sorted(set(stds) ^ set(runs))
            raise InputError(
                "large_std and large must have the same coalitions, but only one of them has"
                f" {listed([spelled(c) for c in odd])}"
            )
        found = [as_numbers(stds[c], f"the large_std of coalition {spelled(c)}") for c in runs]
        std = np.array([number if number.ndim == 0 else np.nan for number in found])
    bad = [
        c for c, number in zip(runs, std.tolist(), strict=True) if not 0 <= number <= LARGEST_LOSS
    ]
    if bad:
        raise InputError(
            "large_std must be one finite number from 0 up, but is not for coalition"
            f" {spelled(bad[0])}: the standard deviation of each large loss as an estimate of its"
            " mean over seeds"
        )
    return replace(data, large_std=std.astype(np.float64))


def _averaged(averaged: Table, coalition_C: tuple[int, ...], n_sizes: int) -> NDArray[np.float64]:
    """(C, M+1) losses of the averages, NaN where one is unknown."""
    labelled = by_label(averaged, "averaged")
    unknown = np.full(n_sizes + 1, np.nan)
    if labelled is None:
        table = as_numbers(averaged, "averaged")
    else:
        rows = _bitmasks(labelled, "averaged")
        outside = sorted(set(rows) - set(coalition_C))
        if outside:
            raise InputError(
                f"averaged has the coalition {listed([spelled(c) for c in outside])}, of which no"
                " small loss is given"
            )
        found = [as_numbers(rows[c], "averaged") if c in rows else unknown for c in coalition_C]
        odd = {row.shape for row in found} - {unknown.shape}
        table = np.stack(found) if not odd else np.zeros(odd.pop())
    if table.shape != (len(coalition_C), n_sizes + 1):
        raise InputError(
            f"averaged has the shape {table.shape}; allowed is (C, M+1), here"
            f" ({len(coalition_C)}, {n_sizes + 1}): a loss for every size, the large model's last;"
            " NaN where it is unknown"
        )
    if (np.abs(table) > LARGEST_LOSS).any():
        raise InputError(
            f"averaged must be losses up to {LARGEST_LOSS:g}, and NaN where one is unknown"
        )
    return table.astype(np.float64)


def _bitmasks(table: Mapping[int, ArrayLike], what: str) -> dict[int, ArrayLike]:
    """`table` with Python integers as keys, because numpy's overflow beyond 63 companies."""
    for key in table:
        if not isinstance(key, Integral) or isinstance(key, bool) or key < 0:
            raise InputError(
                f"{what} has the key {key!r}; allowed are coalitions as bitmasks: integers from"
                " 0 up"
            )
    return {int(key): loss for key, loss in table.items()}


def _refuse_unusable(small_CM: NDArray[np.float64], coalition_C: tuple[int, ...]) -> None:
    bad = np.argwhere(~(np.abs(small_CM) <= LARGEST_LOSS))
    if len(bad):
        shown = [
            f"coalition {spelled(coalition_C[c])}, size {m} is {small_CM[c, m]}"
            for c, m in bad.tolist()
        ]
        raise InputError(
            f"small holds {len(bad)} unusable losses: {listed(shown)}. Allowed are finite numbers"
            f" up to {LARGEST_LOSS:g}; a coalition that failed must be trained again, not guessed"
        )


def _require_one_unit(data: LawData) -> None:
    """Raises InputError where an argument is out of all proportion to the losses of its model."""
    small_M = np.abs(data.small_CM).max(axis=0)
    large = np.abs(data.measured_losses).max(keepdims=True)
    for what, numbers, largest in (
        ("seed_std", data.seed_std_M, small_M),
        ("averaged", data.averaged, np.concatenate([small_M, large])),
        ("large_std", data.large_std, large),
    ):
        if numbers is None:
            continue
        bound = np.where(largest > 0, LARGEST_RATIO * largest, LARGEST_LOSS)
        beyond = np.abs(numbers) > np.broadcast_to(bound, numbers.shape)
        if beyond.any():
            raise InputError(
                f"{what} holds {numbers[beyond][0]:g}, more than {LARGEST_RATIO:g} times any loss"
                " of that model; all losses must have one unit"
            )


def _examples(examples: ArrayLike, n_companies: int) -> NDArray[np.float64]:
    examples_N = _vector(examples, n_companies, "examples", "(N,)")
    if not ((examples_N > 0) & (examples_N <= LARGEST_LOSS)).all():
        raise InputError(
            f"examples must be positive, up to {LARGEST_LOSS:g}: the number of examples of each"
            " company"
        )
    return examples_N


def _by_seed(given: ArrayLike, small_CM: NDArray[np.float64]) -> NDArray[np.float64]:
    small_RCM = as_numbers(given, "by_seed")
    if small_RCM.ndim < 2 or len(small_RCM) < 2 or small_RCM[0].size != small_CM.size:
        raise InputError(
            f"by_seed has the shape {small_RCM.shape}; allowed is (R, C, M) with at least two"
            f" seeds, here (R, {len(small_CM)}, {small_CM.shape[1]}), coalitions ascending"
        )
    small_RCM = small_RCM.reshape(len(small_RCM), *small_CM.shape).astype(np.float64)
    if not (np.abs(small_RCM) <= LARGEST_LOSS).all():
        raise InputError(
            f"by_seed must be finite, up to {LARGEST_LOSS:g}; a training that failed must be run"
            " again, not guessed"
        )
    if not np.allclose(
        small_RCM.mean(axis=0), small_CM, rtol=1e-6, atol=1e-9 * float(np.abs(small_CM).max())
    ):
        raise InputError("by_seed does not belong to small: its mean over seeds must be small")
    return small_RCM


def _vector(given: ArrayLike, length: int, what: str, shape: str) -> NDArray[np.float64]:
    vector = as_numbers(given, what)
    if vector.shape != (length,):
        raise InputError(
            f"{what} has the shape {vector.shape}; allowed is {shape}, here ({length},)"
        )
    if not np.isfinite(vector).all():
        raise InputError(f"{what} must be finite, but it is {vector.tolist()}")
    return vector


def _log_ascending(given: ArrayLike, n_models: int) -> NDArray[np.float64]:
    sizes = _vector(given, n_models, "sizes", "(M+1,)")
    # The logarithms of two numbers may be equal though the numbers are not.
    if sizes[0] <= 0 or (np.diff(np.log(np.maximum(sizes, 1e-300))) <= 0).any():
        raise InputError(
            "sizes must be positive and ascending, the large model's last, but they are"
            f" {sizes.tolist()}"
        )
    return np.log(sizes)
