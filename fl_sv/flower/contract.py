"""WHAT A COMPANY AGREES TO when it joins: the config as it gets it, and the code that it runs."""

import hashlib
import json
import re
from collections.abc import Iterator

from fl_sv.config import Config, for_companies, model_name
from fl_sv.config.base import REFERENCE
from fl_sv.config.keys import unchangeable
from fl_sv.config.models import Module
from fl_sv.errors import listed
from fl_sv.machine import library_hash


def contract_of(config: Config) -> str:
    """sha256 of the contract, as hex digits: of the config, and of the installed fl_sv.

    What may differ when a run is resumed (retries, timeouts, workers) is no part of it, nor is any
    path of the operator.
    """
    terms = unchangeable(for_companies(config), "resume")
    text = json.dumps({"config": terms, "library": library_hash()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def references(config: Config) -> Iterator[str]:
    """Every `module:attribute` that a company's node imports and calls, with the key that names it.

    The teacher's strategy and the law are the server's.
    """
    if re.fullmatch(REFERENCE, config.data.source):
        yield f"{config.data.source} (data.source)"
    for model in (*config.models.small, config.models.large):
        if isinstance(model, Module):
            yield f"{model.factory} (the model {model_name(model)})"


def what_runs(config: Config) -> str:
    """The same as a sentence for the company."""
    named = list(references(config))
    if not named:
        return "Runs there besides fl-sv: nothing; the config names no function or module."
    return f"Runs there besides fl-sv, installed by the company: {listed(named)}."
