"""Reads a YAML file into a validated `Config`, or raises an error that names the faulty key."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from fl_sv.config.base import FOLDER, REFERENCE
from fl_sv.config.dialect import parse_yaml, yaml_text
from fl_sv.config.keys import Key, replaced, sections_in
from fl_sv.config.models import MODEL_NAME
from fl_sv.config.names import HANDLE
from fl_sv.config.runtime import DEVICE
from fl_sv.config.schema import Config
from fl_sv.config.valuation import ALARM_CODE, CURRENCY
from fl_sv.errors import InputError, suggestion
from fl_sv.files import read_text
from fl_sv.text import one_line

MAX_PROBLEMS = 5
MAX_BYTES = 500_000
# How pydantic's messages, and its names of a union's scalar branches, begin.
SHOULD_BE = "Input should be "
BEGINNING = "that begins with a letter or digit"
PATTERNS = {  # as a person reads them
    REFERENCE: "package.module:attribute",
    DEVICE: "cpu, cuda or cuda:INDEX",
    HANDLE: f"a name of the letters A to Z, digits, blanks, `.`, `_` and `-` {BEGINNING}",
    MODEL_NAME: f"a name of the letters A to Z, digits, `.`, `_` and `-` {BEGINNING}",
    ALARM_CODE: "the code of an alarm, such as D4",
    CURRENCY: "three capital letters, such as EUR",
}
SCALAR_BRANCHES = ("bool", "int", "float", "str", "list", "constrained-", "literal[")


def load_config(path: str | Path) -> Config:
    """The validated configuration in the YAML file `path`; relative data paths become absolute.

    Raises InputError with one message of at most twelve lines.
    """
    path = Path(path)
    return parse_config(_read(path), str(path), path.resolve().parent)


def parse_config(text: str, where: str, folder: Path | None = None) -> Config:
    """The validated configuration in `text`.

    where: what messages call the text, such as its path.
    folder: where relative data paths start; None leaves them as they are.

    Raises InputError like `load_config`.
    """
    return config_of(_parse_yaml(text, where), where, folder)


def config_of(content: dict[str, Any], where: str, folder: Path | None = None) -> Config:
    """The validated configuration in `content`, keys as in a file.

    where: what messages call the content.
    folder: where relative data paths start; None leaves them as they are.

    Raises InputError like `load_config`.
    """
    if place := _set_in(content):  # only Python can give one
        raise InputError(f"{where}: {place}: a set has no order; give a list.")
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise InputError(_explain(error, where)) from None
    return config if folder is None else _with_absolute_paths(config, folder)


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML text, defaults included; `parse_config` reads it back."""
    content = config.model_dump(mode="json")
    return yaml_text(content)


def config_hash(config: Config) -> str:
    """sha256 of the resolved configuration, as hex digits."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return read_text(path, MAX_BYTES)
    except IsADirectoryError:
        raise InputError(
            f"{path} is a folder. Give the YAML file of a run, for example configs/demo.yaml."
        ) from None
    except FileNotFoundError:
        raise InputError(
            f"There is no file {path}. Give the YAML file of a run, for example configs/demo.yaml."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}. Give the YAML file of a run."
        ) from None


def _parse_yaml(text: str, where: str) -> dict[str, Any]:
    raw = parse_yaml(text, where)
    if raw is None:
        raise InputError(
            f"{where} is empty. Start from configs/demo.yaml; docs/config.md describes every key."
        )
    if not isinstance(raw, dict):
        raise InputError(
            f"{where} holds a {type(raw).__name__}, not a mapping of keys. Start from"
            " configs/demo.yaml."
        )
    return raw


def _set_in(content: Any, place: str = "") -> str:
    """The place of a set in the content; empty where there is none. Bits go by the order."""
    if isinstance(content, set | frozenset):
        return place
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    inner = content.items() if isinstance(content, dict) else ()
    places = (_set_in(value, f"{place}.{key}" if place else str(key)) for key, value in inner)
    return next(filter(None, places), "")


def _explain(error: ValidationError, where: str) -> str:
    # A value that no branch of a union takes is one mistake, not one for each branch.
    problems: dict[str, list[Any]] = {}
    found = error.errors(include_url=False)
    for problem in found:
        if problem["type"] == "too_short" and _is_of_an_entry(problem, found):
            continue  # a list is too short since its entries are wrong
        problems.setdefault(_place(problem["loc"]), []).append(problem)
    shown = list(problems.items())[:MAX_PROBLEMS]
    lines = [f"{where}: {one_line(_sentence(place, *branches))}" for place, branches in shown]
    if len(problems) > MAX_PROBLEMS:
        lines.append(
            f"... and {len(problems) - MAX_PROBLEMS} more. docs/config.md describes every key."
        )
    return "\n".join(lines)


def _is_of_an_entry(problem: Any, found: list[Any]) -> bool:
    """Whether something inside the value is wrong too."""
    location = problem["loc"]
    return any(
        len(other["loc"]) > len(location) and other["loc"][: len(location)] == location
        for other in found
    )


def _sentence(place: str, problem: Any, *other_branches: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place}. {_nearest(problem['loc'])}"
    if problem["type"] == "missing":
        return f"the key {place} is missing."
    if problem["type"] == "union_tag_not_found":
        return f"the key {place}.kind is missing."
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{place}: {message}." if place else f"{message}."
    given = repr(problem["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    others = [_message(other).removeprefix(SHOULD_BE) for other in other_branches]
    return f"{place}: {', or '.join([_message(problem), *others])}; given {given}."


def _message(problem: Any) -> str:
    if problem["type"] == "bool_type":
        return f"{SHOULD_BE}true or false"
    if problem["type"] == "tuple_type":  # a YAML file knows lists
        return f"{SHOULD_BE}a list, such as [{problem['input']}]"
    if problem["type"] == "string_pattern_mismatch" and problem["ctx"]["pattern"] in PATTERNS:
        return f"{SHOULD_BE}{PATTERNS[problem['ctx']['pattern']]}"
    return str(problem["msg"])


def _place(location: tuple[int | str, ...]) -> str:
    """The location as users write it, without pydantic's names of union branches."""
    text = ""
    for part, is_branch in _walk(location):
        if isinstance(part, int):
            text += f"[{part}]"
        elif not is_branch:
            text += f".{part}" if text else part
    return text


def _nearest(location: tuple[int | str, ...]) -> str:
    allowed = [key for model in _models_at(location[:-1]) for key in model.model_fields]
    return suggestion(str(location[-1]), allowed)


def _walk(location: tuple[int | str, ...]) -> Iterator[tuple[int | str, bool]]:
    """Each part of a location, and whether it only names the branch of a union."""
    for depth, part in enumerate(location):
        models, is_name = _at(location[:depth])
        is_field = any(part in model.model_fields for model in models)
        is_branch = (
            str(part).startswith(SCALAR_BRANCHES)
            if not models
            else len(models) > 1 and not is_field
        )
        is_tag = len(models) > 1 and any(_tag(model) == part for model in models)
        yield part, not is_name and (is_branch or is_tag)


def _models_at(location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models that `location` allows: several in a union before a branch is chosen."""
    return _at(location)[0]


@lru_cache(maxsize=100)
def _at(location: tuple[int | str, ...]) -> tuple[list[type[BaseModel]], bool]:
    """The models that `location` allows, and whether a name stands before their keys."""
    models: list[type[BaseModel]] = [Config]
    is_name = False
    for part in location:
        if is_name:
            is_name = False
            continue
        chosen = [model for model in models if _tag(model) == part]
        if len(models) > 1 and chosen:
            models = chosen
        elif not isinstance(part, int):
            fields = [
                model.model_fields[part].annotation
                for model in models
                if part in model.model_fields
            ]
            models = [inner for field in fields for inner in sections_in(field)]
            is_name = bool(models) and any(get_origin(field) is dict for field in fields)
    return models, is_name


def _tag(model: type[BaseModel]) -> str | None:
    """The `kind` by which a union chooses this model."""
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind else None


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    def absolute(key: Key, value: Any) -> Any:
        if key.path != "never" and isinstance(value, dict):  # a file for each company
            return {name: absolute(key, path) for name, path in value.items()}
        if not key.names_file(value):
            return value
        return str(folder / value) + (FOLDER if value.endswith(FOLDER) else "")

    return replaced(config, absolute)
