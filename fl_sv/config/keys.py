"""What a field states about its key besides the type: is it a path, is it sent, may it change?

The facts stand beside the type: `file: Annotated[str, Key(path="always")]`. Code that depends on
them reads them here, in `load` and in `redact`; docs/config.md lists them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fl_sv.config.base import is_data_path

AnySection = TypeVar("AnySection", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Key:
    """Facts about one key of the configuration. A field without a `Key` has the defaults.

    path: whether the value is a file's path. A relative path starts at the config's folder.
    to_companies: what a company gets: the value, the path's suffix, a placeholder, or nothing.
    may_change: whether the value may differ when a run is resumed, or when another run extends it.
        A key that may change on resume may also change on extension.
    imports: whether a `module:attribute` in it is imported; in any other key it is only a text.
    """

    path: Literal["never", "with the suffix of a data file", "always"] = "never"
    to_companies: Literal["the value", "the suffix", "a placeholder", "nothing"] = "the value"
    may_change: Literal["never", "on extension", "on resume"] = "never"
    imports: bool = False

    def names_file(self, value: object) -> bool:
        """Whether this value of the key is the path of a file."""
        if not isinstance(value, str):
            return False
        by_suffix = self.path == "with the suffix of a data file"
        return self.path == "always" or (by_suffix and is_data_path(value))

    def may_change_on(self, occasion: Literal["resume", "extension"]) -> bool:
        """Whether the value may differ on that occasion."""
        return self.may_change == "on resume" or self.may_change == f"on {occasion}"


def key_of(field: FieldInfo) -> Key:
    """The facts that a field states about its key."""
    return next((fact for fact in field.metadata if isinstance(fact, Key)), Key())


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in a field's type, those inside unions, lists and mappings included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in sections_in(argument)]


def all_keys(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, Key]]:
    """Every key below `model` with its facts, in the order of the file: `data.validation.file`."""
    for name, field in model.model_fields.items():
        yield f"{place}{name}", key_of(field)
        for section in sections_in(field.annotation):
            yield from all_keys(section, f"{place}{name}.")


def replaced(section: AnySection, change: Callable[[Key, Any], Any]) -> AnySection:
    """A copy of `section` with `change(key, value)` in place of every value, at every level.

    Where `change` returns the value itself, the levels below that value are visited, too.
    """
    changes = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        new = change(key_of(field), value)
        if new is value:
            new = _inside(value, change)
        if new is not value:
            changes[name] = new
    return section.model_copy(update=changes) if changes else section


def _inside(value: Any, change: Callable[[Key, Any], Any]) -> Any:
    if isinstance(value, BaseModel):
        return replaced(value, change)
    if isinstance(value, tuple):
        return tuple(_inside(entry, change) for entry in value)
    if isinstance(value, dict):
        return {name: _inside(entry, change) for name, entry in value.items()}
    return value


def unchangeable(config: BaseModel, occasion: Literal["resume", "extension"]) -> dict[str, Any]:
    """The values that must be the same on that occasion, with None in place of all others."""
    kept = replaced(config, lambda key, value: None if key.may_change_on(occasion) else value)
    return kept.model_dump(warnings=False)  # there are Nones where the types allow none
