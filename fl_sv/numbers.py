"""Numbers in texts: plain decimal numbers, and nothing else that Python or YAML would take for one.

`010000` is 4,096 to YAML and 10,000 to Python, `1_0` is ten to both, `16:40:00` is 60,000 to YAML,
and the digits of other scripts are digits to Python. None of these is a number here.
"""

import re

MAX_CENTS = 10**15  # of a pot or an amount: whole numbers of this size are exact in float64, too
WHOLE = r"[-+]?(?:0|[1-9][0-9]*)"
DECIMAL = rf"(?:{WHOLE}(?:\.[0-9]*)?|[-+]?\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
NOT_FINITE = r"[-+]?(?:inf|infinity|nan)"


def whole_number(text: str) -> int:
    """The whole number in a text. Raises ValueError when it is written in any other way.

    >>> whole_number("-12")
    -12
    """
    if not re.fullmatch(WHOLE, text.strip(" \t")):
        raise ValueError(f"{text!r} is no whole number in plain decimal digits")
    return int(text)


def decimal_number(text: str) -> float:
    """The number in a text, infinite ones and NaN included: the caller refuses these by name.

    Raises ValueError when it is written in any other way.

    >>> decimal_number("1e-3")
    0.001
    """
    stripped = text.strip(" \t")
    if not re.fullmatch(DECIMAL, stripped) and not re.fullmatch(NOT_FINITE, stripped, re.I):
        raise ValueError(f"{text!r} is no plain decimal number")
    return float(stripped)
