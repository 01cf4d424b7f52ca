"""How the report writes numbers and lists."""

import math
from collections.abc import Sequence

NBSP = "\N{NO-BREAK SPACE}"  # between a number and its unit

_NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def decimal(number: float, places: int) -> str:
    """A number with fixed decimals; zero has no minus sign."""
    text = f"{number:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def places_for(total: float) -> int:
    """Decimals that tell apart values that add up to `total`: four, or more when it is small."""
    return 4 if total == 0 else min(12, max(4, 3 - math.floor(math.log10(abs(total)))))


def percent(share: float, places: int = 1) -> str:
    """A share as a percentage: `12.5 %`."""
    return f"{decimal(100 * share, places)}{NBSP}%"


def percent_above(share: float) -> str:
    """A share rounded up to a whole percentage, for sentences with "at most"."""
    return percent(math.ceil(100 * share) / 100, 0)


def percent_below(share: float) -> str:
    """A share rounded down to a tenth of a percentage, for sentences with "at least"."""
    return percent(math.floor(1000 * share + 1e-9) / 1000)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: `one company`, `eight companies`, `256 coalitions`."""
    word = _NUMBERS[number] if 0 <= number < len(_NUMBERS) else f"{number:,}"
    return f"{word} {singular if number == 1 else plural or singular + 's'}"


def enumerated(items: Sequence[str]) -> str:
    """A list in a sentence: `A`, `A and B`, `A, B and C`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def some(items: Sequence[str], most: int = 3) -> str:
    """A list in a sentence, of which no more than some are named: `A, B, C and 4 more`."""
    if len(items) <= most + 1:
        return enumerated(items)
    return enumerated([*items[:most], f"{len(items) - most} more"])


def sentence_case(text: str) -> str:
    """The text with a capital letter at its start; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def scaled(number: float, unit: str) -> str:
    """A large number with a metric prefix, 1 to 999 before the point: `205.8 GFLOP`."""
    power = 0 if number < 1 else min(6, int(math.log10(number)) // 3)
    digits = decimal(number / 1000**power, 1 if power else 0)
    return f"{digits}{NBSP}{_PREFIXES[power]}{unit}"


def short(value: object, most: int = 8) -> str:
    """A parameter or diagnostic of the law as the report shows it; law.json holds every digit."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case None:
            return "none"
        case list() | tuple():
            shown = ", ".join(short(item) for item in value[:most])
            return shown if len(value) <= most else f"{shown} and {len(value) - most} more"
        case dict():
            return short([f"{key}: {short(item)}" for key, item in value.items()])
    return str(value)
