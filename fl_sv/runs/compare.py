"""Where a recorded JSON value differs from the one that is computed again."""

from collections.abc import Iterator
from typing import Any

from fl_sv.errors import listed

# Of floats, relative to the larger of 1 and the computed one: machines differ in the last digits.
TOLERANCE = 1e-9


def compare(where: str, recorded: Any, computed: Any) -> Iterator[str]:
    """A sentence for every leaf that differs: floats beyond TOLERANCE, everything else at all.

    >>> list(compare("payouts.csv", {"Ash": 5}, {"Ash": 4}))
    ['payouts.csv, Ash is 5; recomputed it is 4']
    """
    if isinstance(recorded, dict) and isinstance(computed, dict):
        yield from _compare_mappings(where, recorded, computed)
    elif (
        isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed)
    ):
        for index, pair in enumerate(zip(recorded, computed, strict=True)):
            yield from compare(f"{where}[{index}]", *pair)
    elif isinstance(recorded, float) and isinstance(computed, float | int):
        if not abs(recorded - computed) <= TOLERANCE * max(1.0, abs(computed)):
            yield f"{where} is {recorded!r}; recomputed it is {computed!r}"
    elif recorded != computed:
        yield f"{where} is {recorded!r}; recomputed it is {computed!r}"


def _compare_mappings(
    where: str, recorded: dict[str, Any], computed: dict[str, Any]
) -> Iterator[str]:
    if set(recorded) != set(computed):
        yield (
            f"{where} has the keys {listed(sorted(recorded))}; recomputed they are"
            f" {listed(sorted(computed))}"
        )
        return
    for key in recorded:
        yield from compare(f"{where}, {key}", recorded[key], computed[key])
