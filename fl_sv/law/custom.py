"""A user's own law: its results are checked.

Shapes: C coalitions, M small sizes. theta are a law's parameters.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.law.families import FARTHEST, Family, FamilyOf, usable
from fl_sv.law.normalized import Game
from fl_sv.plugins import ANY_ERROR

# How far from 0 and 1 the ends of a curve may lie, and how far apart two coalitions count as equal.
ENDS, EQUAL = 1e-9, 1e-12
RESERVED = ("deviation_std",)  # a parameter of every law


def own_law(make: FamilyOf, game: Game) -> Family:
    """The law that `make` returns for a game, with a curve that checks what it computes.

    The curve is tried at the prior and one standard deviation to both sides. Raises InputError that
    names what is wrong. The returned curve raises InputError whenever its result is no law.
    """
    subject = f"the law {getattr(make, '__qualname__', repr(make))}"
    n_sizes = game.normalized_CM.shape[1]
    sizes = "1 small size" if n_sizes == 1 else f"{n_sizes} small sizes"
    given = replace(game, **_read_only_copies(game))
    try:
        law = make(given)
    except ANY_ERROR as error:
        raise InputError(f"{subject} raised {type(error).__name__} for {sizes}: {error}") from error
    if not isinstance(law, Family):
        raise InputError(f"{subject} returned {law!r:.60}; it must return a fl_sv.law.Family")
    names, prior, prior_std = _parameters(subject, law)

    def curve(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        at = f", at {dict(zip(names, theta.tolist(), strict=True))}," if names else ""
        try:
            curve_C = np.array(law.curve(theta), dtype=np.float64)
        except ANY_ERROR as error:
            raise InputError(
                f"{subject}{at} raised {type(error).__name__} for {sizes}: {error}"
            ) from error
        _require_normalized(f"{subject}{at}", curve_C, len(game.normalized_CM))
        return curve_C

    prior_C, _, _ = (curve(prior + step * prior_std) for step in (0.0, 1.0, -1.0))
    if law.increasing:
        _require_rising(subject, game.normalized_CM[:, -1], prior_C)
    return replace(law, parameters=names, prior=prior, prior_std=prior_std, curve=curve)


def _read_only_copies(game: Game) -> dict[str, Any]:
    """All arrays of the game, by field: a law must not change what others are fitted to."""
    arrays = {f.name: getattr(game, f.name) for f in fields(game)}
    copies = {name: a.copy() for name, a in arrays.items() if isinstance(a, np.ndarray)}
    for copied in copies.values():
        copied.flags.writeable = False
    return copies


def _parameters(
    subject: str, law: Family
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """The law's parameters by name, and their priors. Raises InputError where they are none."""
    names = tuple(law.parameters)
    if (
        len(set(names)) != len(names)
        or set(names) & set(RESERVED)
        or not all(isinstance(name, str) for name in names)
    ):
        raise InputError(
            f"{subject} has the parameters {names}; names must differ, and not be"
            f" {' or '.join(RESERVED)}"
        )
    prior, prior_std = (
        _numbers(subject, numbers, len(names)) for numbers in (law.prior, law.prior_std)
    )
    if not (prior_std > 0).all():
        raise InputError(
            f"{subject} has the prior_std {prior_std.tolist()}; standard deviations are above 0"
        )
    return names, prior, prior_std


def _numbers(subject: str, values: object, count: int) -> NDArray[np.float64]:
    try:
        vector = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.full(0, np.nan)
    if vector.shape != (count,) or not np.isfinite(vector).all():
        raise InputError(
            f"{subject} has {count} parameters; prior and prior_std need one finite number for each"
        )
    return vector


def _require_normalized(where: str, curve_C: NDArray[np.float64], n_coalitions: int) -> None:
    if curve_C.shape != (n_coalitions,) or not usable(curve_C):
        raise InputError(
            f"{where} gives {curve_C.shape} numbers, or some that are not finite; needed is one"
            f" finite number for each of the {n_coalitions} coalitions. Below 0 is worse than"
            f" nobody, above 1 better than all companies; both are allowed, up to {FARTHEST:g}"
        )
    if max(abs(curve_C[0]), abs(curve_C[-1] - 1)) > ENDS:
        raise InputError(
            f"{where} is {curve_C[0]:g} with nobody and {curve_C[-1]:g} with all companies, not 0"
            " and 1"
        )


def _require_rising(
    subject: str, normalized_C: NDArray[np.float64], curve_C: NDArray[np.float64]
) -> None:
    order = np.argsort(normalized_C, kind="stable")
    further, rise = np.diff(normalized_C[order]), np.diff(curve_C[order])
    if ((further > EQUAL) & (rise <= 0)).any() or (
        (further <= EQUAL) & (np.abs(rise) > ENDS)
    ).any():
        raise InputError(
            f"{subject} states increasing=True, but it does not rise strictly with the normalised"
            " utility of the largest small size, or depends on something else; give"
            " increasing=False"
        )
