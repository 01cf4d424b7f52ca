"""docs/config.md, generated from the models so that it cannot lag behind them.

    python -m fl_sv.config.reference > docs/config.md

It is read off the JSON schema that pydantic makes of `Config`: one section for each mapping, one
row for each key."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from fl_sv.config.keys import Key, all_keys
from fl_sv.config.schema import Config

Schema = dict[str, Any]

HEAD = """\
# Configuration

Every key of a run's YAML file. Generated from `fl_sv/config/schema.py` by `python -m fl_sv.config.reference`; do not
edit. Unknown keys, tags, aliases and repeated keys are refused. A key without a default is required; a default of `–`
means that the key may be left out. `[]` stands for each entry of a list; a scalar is a truth value, a number or a text.
Relative paths of data files start at the folder of the config file.
"""
TYPES = {"boolean": "true or false", "integer": "integer", "number": "number", "string": "text"}


def reference() -> str:
    """The whole page as markdown."""
    schema = Config.model_json_schema()
    places: dict[str, list[str]] = {}
    for definition, place in _mappings(schema, "", schema["$defs"]):
        places.setdefault(definition, []).append(place)
    titles = {name: _title(schema["$defs"][name], where) for name, where in places.items()}
    sections = [_section("The whole file", schema, titles)]
    sections += [_section(titles[name], schema["$defs"][name], titles) for name in places]
    return "\n".join([HEAD, *sections, _rules()])


def _rules() -> str:
    """The keys for which more holds than their type says; a section stands for all keys in it."""

    def places(holds: Callable[[Key], bool]) -> str:
        found = dict.fromkeys(place for place, key in all_keys(Config) if holds(key))
        return ", ".join(f"`{place}`" for place in found)

    rules = {
        "the path of a file; a relative path starts at the config's folder": places(
            lambda key: key.path != "never"
        ),
        "not sent to companies (of a path that the operator names, its suffix at most)": places(
            lambda key: key.to_companies == "nothing"
        ),
        "may change with `run --resume`": places(lambda key: key.may_change_on("resume")),
        "may change with `run --from`": places(lambda key: key.may_change_on("extension")),
    }
    rows = [f"| {rule} | {keys} |" for rule, keys in rules.items()]
    return "\n".join(["## Rules", "", "| rule | keys |", "|---|---|", *rows, ""])


def _mappings(
    schema: Schema, place: str, definitions: dict[str, Schema]
) -> Iterator[tuple[str, str]]:
    """Each definition below `schema` with the place in the file where it stands, in the file's
    order.
    """
    for key, field in schema["properties"].items():
        for name, is_entry in _definitions_in(field):
            inner = f"{place}.{key}".lstrip(".") + ("[]" if is_entry else "")
            yield name, inner
            yield from _mappings(definitions[name], inner, definitions)


def _definitions_in(field: Schema, is_entry: bool = False) -> Iterator[tuple[str, bool]]:
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], is_entry
    for branch in _branches(field):
        yield from _definitions_in(branch, is_entry)
    if "items" in field:
        yield from _definitions_in(field["items"], True)


def _title(definition: Schema, places: list[str]) -> str:
    kind = definition["properties"].get("kind", {}).get("const")
    return ", ".join(places) + (f": {kind}" if kind else "")


def _section(title: str, schema: Schema, titles: dict[str, str]) -> str:
    required = schema.get("required", [])
    rows = [
        f"| `{key}` | {_type(field, titles)} | {_default(field, key in required)} | {_range(field)}"
        f" | {_cell(field.get('description', ''))} |"
        for key, field in schema["properties"].items()
    ]
    table = ["| key | type | default | range | meaning |", "|---|---|---|---|---|", *rows]
    return "\n".join([f"## {title}", "", schema["description"], "", *table, ""])


def _type(field: Schema, titles: dict[str, str]) -> str:
    if "$ref" in field:
        title = titles[field["$ref"].rpartition("/")[2]]
        return f"[{title.rpartition(': ')[2]}](#{_anchor(title)})"
    if branches := _branches(field):
        if [branch.get("type") for branch in branches] == list(TYPES):
            return "scalar"
        return " or ".join(_type(branch, titles) for branch in branches)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'], titles)}"
    if field["type"] == "object":
        return f"mapping of names to {_type(_entry(field), titles)}"
    return TYPES[field["type"]]


def _default(field: Schema, is_required: bool) -> str:
    if is_required:
        return "required"
    default = field.get("default")
    if default is None or default == "":
        return "–"
    if isinstance(default, dict) and default:
        return "its own defaults"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _range(field: Schema) -> str:
    """The limits in words; those of a list's or mapping's entries after the word `each`."""
    branches = _branches(field)
    if len(branches) == 1:
        return _range(branches[0])
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {_number(field[name])}" for name, sign in signs.items() if name in field]
    for unit, low, high in (
        ("characters", "minLength", "maxLength"),
        ("entries", "minItems", "maxItems"),
    ):
        ends = [
            f"{word} {field[name]}"
            for name, word in ((low, "at least"), (high, "at most"))
            if name in field
        ]
        limits += (
            ["not empty"]
            if ends == ["at least 1"]
            else [f"{' and '.join(ends)} {unit}"]
            if ends
            else []
        )
    if "pattern" in field:
        limits.append(f"`{_cell(field['pattern'])}`")
    entry = _entry(field)
    if entry and (each := _range(entry)):
        limits.append(f"each {each}")
    return ", ".join(limits)


def _entry(field: Schema) -> Schema:
    """What the entries of a list or the values of a mapping are; empty for anything else."""
    by_name = next(iter(field.get("patternProperties", {}).values()), None)
    entry: Schema = field.get("items") or by_name or field.get("additionalProperties") or {}
    return entry


def _branches(field: Schema) -> list[Schema]:
    """What a union may be, `null` aside: null is how a model says that the key was left out."""
    branches = [*field.get("anyOf", []), *field.get("oneOf", [])]
    return [branch for branch in branches if branch.get("type") != "null"]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(title: str) -> str:
    """GitHub's anchor of a heading."""
    kept = (letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")


if __name__ == "__main__":
    print(reference(), end="")
