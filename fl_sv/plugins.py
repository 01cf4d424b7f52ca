"""Finds a user's own Python object by its name in the config: `package.module:attribute`."""

import importlib
import sys
from pathlib import Path
from typing import Any

from fl_sv.errors import InputError

# What code of a user's may raise. A `sys.exit` in it ends neither a plan nor a run.
ANY_ERROR = (Exception, SystemExit)


def resolve(reference: str, where: str) -> Any:
    """The object that `reference` names.

    where: the key of the config that holds the reference, for messages.

    Raises InputError when the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ANY_ERROR as error:
        raise InputError(
            f"{where}: {reference} cannot be imported: {type(error).__name__}: {error}. The module"
            " must be installed or on PYTHONPATH; `fl-sv run` and `plan` also look beside the"
            " config."
        ) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except ANY_ERROR:
            raise InputError(f"{where}: the module {module_name} has no {attribute!r}.") from None
    return found


def find_modules_in(folder: Path) -> None:
    """Lets the config's `module:function` name modules in this folder."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
