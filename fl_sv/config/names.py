"""The names of companies, as the trade register has them, and their handles.

A company's name is what people read: a line of Unicode. Its handle is the key to everything that
belongs to it: files, tables, streams of random numbers, certificates, messages. It has letters,
digits, blanks and `.`, `_`, `-`, so it is safe in all of them. A name that is written so is its own
handle. For any other name the config states one, or it is made from the name: `made_handle`.
"""

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from fl_sv.config.look_alikes import LOOK_ALIKES
from fl_sv.errors import listed
from fl_sv.text import is_unseen

HANDLE = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"
MOST_LETTERS = 64  # of a handle
MOST_LETTERS_OF_NAME = 200
MOST_MARKS = 3  # in a row, on one letter
CompanyName = Annotated[
    str, StringConstraints(pattern=HANDLE, max_length=MOST_LETTERS, strip_whitespace=False)
]
BLANKS = "has blanks at an end or several in a row; write single blanks between words"
HOW_TO_STATE = "state one: {name: ..., handle: ...}"
# What a keyboard of ASCII writes for letters that have no form without a mark, or another one.
WRITTEN = str.maketrans({
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS",
    "å": "aa", "Å": "Aa", "æ": "ae", "Æ": "Ae", "ø": "oe", "Ø": "Oe", "œ": "oe", "Œ": "Oe",
    "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th",
    "ħ": "h", "Ħ": "H", "ı": "i",
})  # fmt: skip
QUOTES = "'\"`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u2032\u00ab\u00bb\u2039\u203a\u02bc"
# Of ASCII itself: what looks like another letter in most typefaces.
ALIKE_IN_ASCII = str.maketrans({"I": "l", "1": "l", "0": "O", "`": "'", "\u00b4": "'"})


def legal_name(text: str) -> str:
    """The name in Unicode's composed form (NFC), if it can stand in a trade register.

    Raises ValueError that says what is wrong with it, all at once.
    """
    name = unicodedata.normalize("NFC", text)
    faults = [*_faults(name)]
    if faults:
        shown = ascii(name) if any(map(is_unseen, name)) else repr(name)
        shown = shown if len(shown) <= MOST_LETTERS else f"{shown[: MOST_LETTERS - 3]}..."
        raise ValueError(f"the name {shown} {', and it '.join(faults)}")
    return name


def _faults(name: str) -> list[str]:
    kinds = [(letter, unicodedata.category(letter)) for letter in name]
    wrong = {
        "characters that are not seen, or steer a line": [c for c, _ in kinds if is_unseen(c)],
        "blanks other than the plain one": [c for c, kind in kinds if kind == "Zs" and c != " "],
        "characters that Unicode does not assign": [c for c, kind in kinds if kind in ("Cn", "Co")],
        "pictures, which are no letters": [c for c, kind in kinds if _is_picture(c, kind)],
    }
    faults = []
    if len(name) > MOST_LETTERS_OF_NAME:
        faults.append(f"has {len(name):,} letters; at most {MOST_LETTERS_OF_NAME} are allowed")
    for what, found in wrong.items():
        if found:
            codes = [f"U+{ord(letter):04X}" for letter in dict.fromkeys(found)]
            faults.append(f"has {what}: {listed(codes, 5)}")
    if not any(kind[0] in "LN" for _, kind in kinds):
        faults.append("has neither a letter nor a digit")
    if re.search("M" * (MOST_MARKS + 1) + "|^M", "".join(kind[0] for _, kind in kinds)):
        faults.append(f"has marks without a letter, or more than {MOST_MARKS} on one")
    if name.strip() != name or "  " in name:
        faults.append(BLANKS)
    return faults


def _is_picture(letter: str, kind: str) -> bool:
    """Signs and emoji, what encloses a letter, and the tones of an emoji's skin."""
    return kind in ("So", "Me") or (kind == "Sk" and ord(letter) > 0xFFFF)


def made_handle(name: str) -> str:
    """The handle that is made from a name: its letters as a keyboard of ASCII writes them.

    Umlauts are written out (ä is ae, ß is ss), other marks are left out (é is e), so are quotes;
    any other sign is a blank. A letter of another script is not guessed.

    >>> made_handle("Bäckerei Müß & Söhne GmbH")
    'Baeckerei Muess Soehne GmbH'

    Raises ValueError where nothing can be made, or nothing short enough.
    """
    plain = ""
    for letter in unicodedata.normalize("NFKD", name.translate(WRITTEN)):
        kind = unicodedata.category(letter)
        if letter.isascii() and (letter.isalnum() or letter in "._-"):
            plain += letter
        elif kind[0] in "LN":
            raise ValueError(
                f"the name {name!r:.80} has the letter {letter!r}, for which no handle of A to Z"
                f" and digits can be made; {HOW_TO_STATE}"
            )
        elif letter not in QUOTES and kind != "Mn":
            plain += " "
    handle = " ".join(plain.split()).lstrip(" ._-")
    if not re.fullmatch(HANDLE, handle) or len(handle) > MOST_LETTERS:
        why = f"has {len(handle)} letters, and at most {MOST_LETTERS} are allowed"
        raise ValueError(
            f"the handle that would be made from the name {name!r:.80}"
            f" {why if handle else 'is empty'}; {HOW_TO_STATE}"
        )
    return handle


def registered(entry: Any) -> tuple[str, str]:
    """Handle and name of an entry of `companies`: a name, or a mapping with name and handle.

    Raises ValueError that says what is wrong with it.
    """
    if isinstance(entry, str):
        if re.fullmatch(HANDLE, entry) and len(entry) <= MOST_LETTERS:
            return entry, entry
        name = legal_name(entry)
        return made_handle(name), name
    if not {"name"} <= entry.keys() <= {"name", "handle"} or not all(
        isinstance(value, str) for value in entry.values()
    ):
        raise ValueError("a company is a name, or {name: ..., handle: ...}, both of them texts")
    name = legal_name(entry["name"])
    if "handle" not in entry:
        return registered(name)
    handle = entry["handle"]
    if not re.fullmatch(HANDLE, handle) or len(handle) > MOST_LETTERS:
        raise ValueError(
            f"the handle {handle!r:.80} must have 1 to {MOST_LETTERS} of the letters A to Z,"
            " digits, blanks, `.`, `_` and `-`, and begin with a letter or digit"
        )
    return handle, name


def names_by_handle(entries: Sequence[Any]) -> dict[str, str]:
    """The name of each company by its handle, without the entries that `registered` refuses.

    Raises ValueError where two names have one handle.
    """
    names: dict[str, str] = {}
    for entry in entries:
        try:
            handle, name = registered(entry)
        except (ValueError, AttributeError):
            continue  # its own field says what is wrong
        if (other := names.setdefault(handle, name)) != name:
            raise ValueError(
                f"companies: the names {other!r} and {name!r} have the same handle, {handle!r}; for"
                f" one of them {HOW_TO_STATE}"
            )
    return names


def _handle_of(entry: Any) -> Any:
    return registered(entry)[0] if isinstance(entry, str | dict) else entry


# An entry of `companies`, of which the handle stays, and what a person reads.
Registered = Annotated[str, BeforeValidator(_handle_of)]
LegalName = Annotated[str, AfterValidator(legal_name)]


def check_names(
    handles: tuple[str, ...], names: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The handles, if nobody takes a company for another.

    names: those that differ from their handles.

    Raises ValueError for a name that is there twice, for blanks that nobody sees, and for
    two names or handles that differ only by case, or by letters and digits that look alike.
    """
    legal = [(names or {}).get(handle, handle) for handle in handles]
    if double := _double(legal):
        raise ValueError(f"the name {double!r} is listed twice; every company needs its own name")
    seen: dict[Hashable, tuple[str, str]] = {}
    for handle, name in zip(handles, legal, strict=True):
        for text in dict.fromkeys((name, handle)):
            if text != " ".join(text.split()):
                raise ValueError(f"the name {text!r} {BLANKS}")
            for key in _shapes(text):
                whose, other = seen.setdefault(key, (handle, text))
                if whose != handle:
                    raise ValueError(
                        f"the names {_told_apart(other, text)} look alike, and one would be taken"
                        " for the other; write them apart"
                    )
    return handles


def renamed(
    content: dict[str, Any], handle_of: Mapping[str, str], owners: Mapping[str, str]
) -> dict[str, Any]:
    """The content of a config in which handles stand wherever a company was called by its name.

    owners: what a column of owners holds for each company, where the content does not say it.
    """

    def handle(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return handle_of.get(unicodedata.normalize("NFC", value), value)

    def inside(section: Any, change: Mapping[str, Any]) -> Any:
        if not isinstance(section, dict):
            return section
        return {k: change[k](v) if k in change else v for k, v in section.items()}

    def keys(value: Any) -> Any:
        return {handle(k): v for k, v in value.items()} if isinstance(value, dict) else value

    def entries(value: Any) -> Any:
        return [*map(handle, value)] if isinstance(value, list | tuple) else value

    def defects(value: Any) -> Any:
        whose = {"company": handle, "of": handle}
        many = isinstance(value, list | tuple)
        return [inside(each, whose) for each in value] if many else value

    def unions(value: Any) -> Any:
        many = isinstance(value, dict)
        return {k: entries(v) for k, v in value.items()} if many else value

    def partition(value: Any) -> Any:
        value = inside(value, {"sizes": keys, "owners": keys})
        if not isinstance(value, dict) or value.get("kind") != "column":
            return value
        return {**value, "owners": owners if value.get("owners") is None else value["owners"]}

    def data(value: Any) -> Any:
        return inside(value, {"files": keys, "partition": partition, "corruptions": defects})

    def values(value: Any) -> Any:
        return inside(value, {"unions": unions})

    return dict(inside(content, {"data": data, "values": values}))


def _double(texts: Sequence[str]) -> str:
    return next((text for at, text in enumerate(texts) if text in texts[:at]), "")


def _shapes(text: str) -> tuple[Hashable, ...]:
    """Keys that two texts share if they look alike: in small letters, in large ones, as written."""
    plain = unicodedata.normalize("NFKC", text.translate(ALIKE_IN_ASCII).translate(LOOK_ALIKES))
    large = unicodedata.normalize("NFKC", text.upper()).translate(LOOK_ALIKES)
    shape = plain.translate(ALIKE_IN_ASCII).casefold().replace("rn", "m")
    return ("case", text.casefold()), ("shape", shape), ("large", large.casefold())


def _told_apart(one: str, other: str) -> str:
    """Two names in a message; in ASCII where they cannot be told apart by eye."""
    if one.isascii() and other.isascii():
        return f"{one!r} and {other!r}"
    return f"{one!r} ({one!a}) and {other!r} ({other!a})"
