"""How the report writes numbers and lists, and what each alarm is about, in words."""

import math
from collections.abc import Sequence

from fl_sv.law.diagnostics import CHECKS
from fl_sv.valuation.axioms import AXIOM_QUESTIONS
from fl_sv.valuation.students import STUDENTS_QUESTION, STUDENTS_UNTESTED

NBSP = "\N{NO-BREAK SPACE}"  # between a number and its unit

# What each check asks. An alarm says that the answer was no; an untested one was never asked.
QUESTIONS = {
    **{check.code: check.question for check in CHECKS},
    STUDENTS_UNTESTED: STUDENTS_QUESTION,
    **AXIOM_QUESTIONS,
    "P1": "whether the pot can be divided by the agreed rule",
}

# What the checks need that compare no large runs.
NEEDS = {check.code: check.also_needs for check in CHECKS if check.also_needs}

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


def decimal(number: float, places: int) -> str:
    """Fixed places, and never a minus before zero."""
    text = f"{number:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def places_for(total: float) -> int:
    """Decimals at which values that add up to `total` can be told apart: four, more when there is
    little.
    """
    return 4 if total == 0 else min(12, max(4, 3 - math.floor(math.log10(abs(total)))))


def percent(share: float, places: int = 1) -> str:
    return f"{decimal(100 * share, places)}{NBSP}%"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`one company`, `eight companies`, `256 coalitions`."""
    word = _NUMBERS[number] if 0 <= number < len(_NUMBERS) else f"{number:,}"
    return f"{word} {singular if number == 1 else plural or singular + 's'}"


def enumerated(items: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def scaled(number: float, unit: str) -> str:
    """A large number with the metric prefix that leaves one to three digits before the point: 205.8
    GFLOP.
    """
    power = 0 if number < 1 else min(6, int(math.log10(number)) // 3)
    return f"{decimal(number / 1000**power, 1 if power else 0)}{NBSP}{('', 'k', 'M', 'G', 'T', 'P', 'E')[power]}{unit}"


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
