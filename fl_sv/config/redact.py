"""The config as it leaves the operator: without the paths of files on the operator's machine."""

from pathlib import PurePath
from typing import Any

from fl_sv.config.base import FOLDER
from fl_sv.config.keys import Key, replaced
from fl_sv.config.schema import Config

WITHHELD = "withheld"  # the placeholder of an operator's path


def for_companies(config: Config) -> Config:
    """The config as companies get it. Each key's `to_companies` says what is sent of it.

    A company reads the file that its own node's config names, so no path of the operator is sent.
    Options of a user's function or module are sent as they are: fl-sv does not know what they mean.
    """
    return replaced(config, _sent)


def _sent(key: Key, value: Any) -> Any:
    if key.to_companies == "nothing":
        return None
    if key.names_file(value):
        if key.to_companies == "the suffix":
            return WITHHELD + (FOLDER if value.endswith(FOLDER) else PurePath(value).suffix)
        if key.to_companies == "a placeholder":
            return WITHHELD
    return value
