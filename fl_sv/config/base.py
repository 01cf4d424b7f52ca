"""What all sections of a configuration share: the frozen model, and the types of their fields."""

from collections import Counter
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"
MOST_LETTERS = 64  # of a company's name
CompanyName = Annotated[
    str, StringConstraints(pattern=NAME, max_length=MOST_LETTERS, strip_whitespace=False)
]
# Letters and digits that look like another one in most typefaces.
LOOK_ALIKES = str.maketrans({"I": "l", "1": "l", "0": "O"})
REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
Reference = Annotated[str, StringConstraints(pattern=REFERENCE)]
Scalar = bool | int | float | str
DATA_FILES = (".npz", ".csv", ".parquet")  # suffixes


class Frozen(BaseModel):
    """Immutable, no unknown keys, no silent conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


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


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if nobody takes one of them for another.

    Raises ValueError for a name that is there twice, for blanks that nobody sees, and for two names
    that differ only by case, or by letters and digits that look alike.
    """
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(
            f"the name {doubles[0]!r} is listed twice; every company needs its own name"
        )
    seen: dict[str, str] = {}
    for name in names:
        if name != " ".join(name.split()):
            raise ValueError(
                f"the name {name!r} has blanks at an end or several in a row; write single blanks"
                " between words"
            )
        alike = name.translate(LOOK_ALIKES).casefold()
        for key in (f"case {name.casefold()}", f"shape {alike}"):
            other = seen.setdefault(key, name)
            if other != name:
                raise ValueError(
                    f"the names {other!r} and {name!r} look alike, and one would be taken for the"
                    " other; write them apart"
                )
    return names
