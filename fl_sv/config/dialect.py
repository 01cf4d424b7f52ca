"""The YAML that fl-sv reads and writes: plain decimal numbers, and nothing that hides its meaning.

YAML 1.1 takes much for a number, a truth value or a date. Here `010000`, `0x10`, `1_000` and
`16:40:00` are refused, and `yes`, `on` and dates are texts. Tags, aliases and repeated keys are
refused as well.
"""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from fl_sv.errors import InputError
from fl_sv.numbers import DECIMAL, WHOLE
from fl_sv.text import one_line, shown

Events: Any
try:  # libyaml splits a text five times as fast
    from yaml.cyaml import CParser as Events  # type: ignore[attr-defined]
except ImportError:
    from yaml.loader import SafeLoader as Events

# What YAML 1.1 reads as a number although nobody who writes it means that number: octal, binary,
# hexadecimal, with underscores, of base 60. Digits with a leading zero are refused with them.
LIKE_A_NUMBER = re.compile(
    r"^[-+]?(?:0[0-9_]+(?:\.[0-9_]*)?|0[xob][0-9a-fA-F_]+|[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[0-9]+\.[0-9]*_[0-9_]*)$"
)


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML text. Raises InputError that names the line.

    where: what messages call the text, such as its path.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = one_line(str(error.problem or error.context))
        raise InputError(f"{where}{at}: not valid YAML: {problem}.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{where}: not valid YAML: {str(error).splitlines()[0]}.") from None


def yaml_text(content: dict[str, Any]) -> str:
    """The content as YAML; `parse_yaml` reads it back."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def yaml_line(value: Any) -> str:
    """A text, number, list or mapping as YAML on one line, with nothing in it that steers."""
    options: dict[str, Any] = {"default_flow_style": True, "width": 10**9, "sort_keys": False}
    line = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, **options)
    if "\n" in line.removesuffix("\n...\n").strip() or shown(line) != line:
        line = yaml.dump(value, Dumper=_Dumper, default_style='"', **options)
    return str(line).removesuffix("\n...\n").strip()


class _Loader(Composer, Events, SafeConstructor, Resolver):  # type: ignore[misc]
    """YAML's safe subset, without tags, aliases and repeated keys: they hide its meaning."""

    def __init__(self, text: str) -> None:
        Events.__init__(self, text)
        for part in (Composer, SafeConstructor, Resolver):
            part.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise _refusal("aliases (*name) are not allowed; write the value out", event)
        event = self.peek_event()
        if getattr(event, "tag", None):
            raise _refusal(f"the tag {event.tag} is not allowed; write a plain value", event)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if not node.style and LIKE_A_NUMBER.match(node.value):
            raise _refusal(
                f"{node.value} is no plain decimal number; write it with the digits 0 to 9 alone,"
                " such as 10000, 0.5 or 1e-3, or in quotes if it is a text",
                node,
            )
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        seen: set[str] = set()
        for (key_node, _), key in zip(node.value, keys, strict=True):
            if not isinstance(key, str):
                raise _refusal(f"the key {key!r} is not a text; put it in quotes", key_node)
            if key in seen:
                raise _refusal(f"the key {key!r} is given twice in one mapping", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that the loader would not read back as texts."""


# YAML 1.1 takes much for a number, a truth value or a date; here these are all.
_Loader.yaml_implicit_resolvers = {}
for dialect in (_Loader, _Dumper):
    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("int", WHOLE, "-+0123456789"),
        ("float", rf"{DECIMAL}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
    ):
        dialect.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first)
        )
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", LIKE_A_NUMBER, list("-+0123456789"))


def _refusal(message: str, at: Any) -> yaml.constructor.ConstructorError:
    """The error that stops YAML's reader at an event or node."""
    return yaml.constructor.ConstructorError(None, None, message, at.start_mark)
