"""The names of semivalues: the one rule for configs, the command line and Python."""

import math

from fl_sv.errors import InputError
from fl_sv.numbers import decimal_number

SEMIVALUES = "shapley, banzhaf, loo or beta:A,B with 0 < A, B <= 1000000, for example beta:16,1"
LARGEST_BETA = 1e6


def semivalue_name(name: str) -> str:
    """The name, if it is one. Raises InputError for any other."""
    if name not in ("shapley", "banzhaf", "loo"):
        beta_parameters(name)
    return name


def beta_parameters(name: str) -> tuple[float, float]:
    """A and B of the name beta:A,B. Raises InputError for any other name.

    >>> beta_parameters("beta:16,1")
    (16.0, 1.0)
    """
    kind, _, parameters = name.partition(":") if isinstance(name, str) else ("", "", "")
    try:
        a, b = (decimal_number(text) for text in parameters.split(","))
    except ValueError:
        a = b = math.nan
    if kind != "beta" or not (0 < a <= LARGEST_BETA and 0 < b <= LARGEST_BETA):
        raise InputError(f"allowed semivalues are {SEMIVALUES}; given {name!r}")
    return a, b
