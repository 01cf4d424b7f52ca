"""The exceptions of fl-sv and the exit code each one means.

    FlsvError
    |-- InputError (also a ValueError)   the user's input is wrong          exit code 2
    |-- RunError                         the run failed, journal intact     exit code 1
    |   |-- CompanyFailed                a company did not deliver, after all retries
    |   |-- WorkerDied                   a Ray actor died: the simulation must be started again
    |   `-- Interrupted                  Ctrl-C
    `-- VerificationError                `fl-sv verify` found a difference  exit code 1

A message says what was wrong, where, what was given, what is allowed and what to do.
"""

import difflib
from collections.abc import Iterable, Sequence

from fl_sv.text import shown

LONGEST_ITEM = 100  # characters of an item in a list


class FlsvError(Exception):
    """Base of every error that fl-sv raises on purpose.

    Its message may quote what somebody else wrote, so it holds nothing that steers a terminal.
    """

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(str(message)))


class InputError(FlsvError, ValueError):
    """The user's input is wrong: configuration, data, table or argument."""

    exit_code = 2


class RunError(FlsvError):
    """The run stopped; what had been finished is in the journal."""


class CompanyFailed(RunError):
    """A company raised an error, gave a wrong reply or none, and did so in every retry."""


class WorkerDied(RunError):
    """A Ray actor died.

    Flower keeps the dead actor in its pool, so the whole simulation must be started again.
    """


class Interrupted(RunError):
    """The user pressed Ctrl-C, or the process got a signal to end."""


class VerificationError(FlsvError):
    """A file, a number or a signature of a run is not what it should be."""


def listed(items: Sequence[object], limit: int = 10) -> str:
    """The items separated by commas, cut after `limit` with a count of the rest.

    Each item has at most LONGEST_ITEM characters.
    """
    shown = ", ".join(shortened(str(item)) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def shortened(text: str, length: int = LONGEST_ITEM) -> str:
    """The text, or its beginning and three dots where it is longer than this."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def suggestion(word: object, allowed: Iterable[str]) -> str:
    """The sentence that helps with a misspelt name: the nearest of `allowed`, or all of them."""
    allowed = list(allowed)
    close = difflib.get_close_matches(str(word), allowed, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Allowed here: {listed(allowed)}."
