"""The config as it leaves the operator: without the places where files lie on the operator's
machine.
"""

from pathlib import PurePath
from typing import Any

from fl_sv.config.data import DATA_FILES
from fl_sv.config.schema import Config

WITHHELD = "withheld"  # stands where a path of the operator's stood


def for_companies(config: Config) -> Config:
    """The config without the operator's paths: a company reads the file that its own node's config
    names.

    A shared file keeps its kind (`withheld.csv`), the validation file not even that. Options of a
    user's function or module are arguments, not paths that we know of: they travel as they are."""
    data = config.data
    changes: dict[str, Any] = {}
    if data.source.endswith(DATA_FILES):
        changes["source"] = WITHHELD + PurePath(data.source).suffix
    if data.files is not None:
        changes["files"] = None
    if data.validation.file is not None:
        changes["validation"] = data.validation.model_copy(update={"file": WITHHELD})
    told: dict[str, Any] = {"data": data.model_copy(update=changes)}
    if config.distillation is not None:
        told["distillation"] = config.distillation.model_copy(
            update={"deployed": None}
        )  # the operator's own affair
    return config.model_copy(update=told)
