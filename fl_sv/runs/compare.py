"""Where a recorded JSON value differs from the one that is computed again."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_sv.errors import listed

TOLERANCE = 1e-9  # processors differ in the last digits
# Numbers in sentences. Those with as many digits as this are whole floats; others were rounded.
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_WHOLE_FLOAT = 12


@dataclass(frozen=True)
class Units:
    """How large the numbers are from which floats are computed.

    Floats may differ by TOLERANCE of their unit, or of themselves where they are larger. Sentences
    may differ where they print such floats whole.

    usual: the unit of all floats except those below.
    of: the unit of what stands under these keys of a mapping.
    """

    usual: float = 1.0
    of: Mapping[str, float] = field(default_factory=dict)

    def under(self, key: str) -> "Units":
        """The units of what stands under a key."""
        return Units(self.of[key]) if key in self.of else self


def compare(where: str, recorded: Any, computed: Any, units: Units | None = None) -> Iterator[str]:
    """A sentence for every leaf that differs: a number, a text, a type, a missing key.

    units: None compares exactly.

    >>> list(compare("payouts.csv", {"Ash": 5}, {"Ash": 4}))
    ['payouts.csv, Ash is 5; recomputed it is 4']
    """
    if isinstance(recorded, dict) and isinstance(computed, dict):
        if set(recorded) != set(computed):
            yield (
                f"{where} has the keys {listed(sorted(recorded))}; recomputed they are"
                f" {listed(sorted(computed))}"
            )
            return
        for key in recorded:
            under = units and units.under(key)
            yield from compare(f"{where}, {key}", recorded[key], computed[key], under)
    elif (
        isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed)
    ):
        for index, pair in enumerate(zip(recorded, computed, strict=True)):
            yield from compare(f"{where}[{index}]", *pair, units)
    elif not _agree(recorded, computed, units):
        yield f"{where} is {recorded!r}; recomputed it is {computed!r}"


def _agree(recorded: Any, computed: Any, units: Units | None) -> bool:
    """Whether two leaves agree. `true`, 1 and 1.0 are three different leaves."""
    if type(recorded) is not type(computed):
        return False
    if units is None or recorded == computed:
        return bool(recorded == computed)
    if isinstance(recorded, float):
        return _close(recorded, computed, units.usual)
    return isinstance(recorded, str) and _say_the_same(recorded, computed, units.usual)


def _close(recorded: float, computed: float, unit: float) -> bool:
    return abs(recorded - computed) <= TOLERANCE * max(unit, abs(computed))


def _say_the_same(recorded: str, computed: str, unit: float) -> bool:
    """Whether two sentences agree but for the last digits of floats that are printed whole."""
    if _NUMBER.split(recorded) != _NUMBER.split(computed):
        return False
    pairs = zip(_NUMBER.findall(recorded), _NUMBER.findall(computed), strict=True)
    return all(
        one == other
        or (
            max(_digits(one), _digits(other)) >= _WHOLE_FLOAT
            and _close(float(one), float(other), unit)
        )
        for one, other in pairs
    )


def _digits(number: str) -> int:
    return sum(character.isdigit() for character in number.partition("e")[0])
