"""WHAT A COMPANY AGREES TO when it joins: the config as it gets it, and the code that it runs."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from fl_sv.app import app_hash
from fl_sv.config import Config, for_companies
from fl_sv.config.base import REFERENCE
from fl_sv.config.keys import key_of, unchangeable
from fl_sv.errors import listed
from fl_sv.machine import library_hash

# The sections of the config whose objects a company's node makes.
AT_COMPANIES = ("data", "models", "training")


def contract_of(config: Config) -> str:
    """sha256 of the contract, as hex digits: of the config, and of the installed fl_sv.

    What may differ when a run is resumed (retries, timeouts, workers) is no part of it, nor is any
    path of the operator.
    """
    terms = unchangeable(for_companies(config), "resume")
    code = {"library": library_hash(), "app": app_hash()}
    text = json.dumps({"config": terms, **code}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def references(config: Config) -> Iterator[str]:
    """Every `module:attribute` that a company's node may import and call, with its key.

    The teacher's strategy, the law and the deployed student are the server's.
    """
    for section in AT_COMPANIES:
        yield from _named(getattr(config, section), section)


def what_runs(config: Config) -> str:
    """The same as a sentence for the company."""
    named = list(references(config))
    if not named:
        return "Runs there besides fl-sv: nothing; the config names no function or module."
    return f"Runs there besides fl-sv, installed by the company: {listed(named)}."


def _named(value: Any, place: str) -> Iterator[str]:
    """The references in a value at a place of the config, as in `models.large.factory`.

    Only a key that says so imports what it names: a column may be called `a:b`.
    """
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            found, at = getattr(value, name), f"{place}.{name}" if place else name
            if not isinstance(found, str):
                yield from _named(found, at)
            elif key_of(field).imports and re.fullmatch(REFERENCE, found):
                yield f"{found} ({at})"
    if isinstance(value, tuple):
        value = dict(enumerate(value))
    for key, entry in value.items() if isinstance(value, dict) else ():
        yield from _named(entry, f"{place}.{key}")
