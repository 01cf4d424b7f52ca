"""What all sections of a configuration share: the frozen model, and the types of their fields."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
Reference = Annotated[str, StringConstraints(pattern=REFERENCE)]
Scalar = bool | int | float | str
DATA_FILES = (".npz", ".csv", ".parquet", ".arrow")  # suffixes
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
FOLDER = "/"  # at the end of a path: a folder of data files, or of images
TEXT_FILES = (".txt", ".jsonl", ".parquet")  # of files with texts (`task: next_token`)


class Frozen(BaseModel):
    """Immutable, no unknown keys, no silent conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def is_data_path(text: str) -> bool:
    """Whether a source is the path of a data file or of a folder."""
    return text.endswith((*DATA_FILES, *TEXT_FILES, FOLDER))


def many(description: str, **limits: Any) -> Any:
    """The field of a tuple, which YAML writes as a list; strict mode would refuse the list."""
    return Field(description=description, strict=False, **limits)


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, for a message about a damaged file."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        return f"it lacks {place!r}"
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def spreadsheet_hint(name: str) -> str:
    """What to do with a spreadsheet, which is no data file; empty for any other file."""
    return "; save its sheet as .csv" if name.casefold().endswith(SPREADSHEETS) else ""
