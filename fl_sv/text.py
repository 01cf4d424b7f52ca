"""Text that is safe to show: whatever would steer a terminal or a page becomes visible."""

import unicodedata

# Controls, invisible formatting (zero width, bidirectional overrides), halves of characters, and
# separators of lines. Letters and marks that show nothing stand by name.
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
MAX_LINE = 400  # characters
FROM_THE_RIGHT = ("R", "AL")  # Unicode's directions of letters
FIRST, LAST = "\u2068", "\u2069"  # its marks around what has a direction of its own
BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"


def shown(text: str) -> str:
    """The text with an escape in place of every character that steers what is shown, or is unseen.

    Ends of lines and tabs stay. What was shown once is not changed by showing it again.

    >>> shown("Ash\\x1b[2J \\u202eknab")
    'Ash\\\\x1b[2J \\\\u202eknab'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _steers(character) else character for character in text)


def isolated(text: str) -> str:
    r"""The text with each run of a script that is written from the right between two marks.

    Otherwise a name in Arabic or Hebrew would carry the number behind it to its other side. Nobody
    sees the marks; `shown` escapes any that a text had before.

    >>> ascii(isolated("\u05d0\u05d1 12.5 %"))
    "'\\u2068\\u05d0\\u05d1\\u2069 12.5 %'"
    """
    if text.isascii():
        return text
    pieces, first, last, done = [], -1, -1, 0
    for place, character in enumerate(text):
        direction = unicodedata.bidirectional(character)
        if direction in FROM_THE_RIGHT:
            first, last = place if first < 0 else first, place
        elif direction == "NSM" and place == last + 1:  # a mark belongs to its letter
            last = place
        elif direction == "L" and first >= 0:
            pieces += [text[done:first], FIRST, text[first : last + 1], LAST]
            first, done = -1, last + 1
    if first >= 0:
        pieces += [text[done:first], FIRST, text[first : last + 1], LAST]
        done = last + 1
    return "".join([*pieces, text[done:]])


def one_line(text: str) -> str:
    """The text as `shown` on one line that ends, for names and titles.

    >>> one_line("a title\\n that ends")
    'a title that ends'
    """
    text = shown(" ".join(text.split()))
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."


def is_unseen(character: str) -> bool:
    """Whether a name must do without the character: it steers what is shown, or nobody sees it."""
    chooses_a_form = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return character in "\n\t" or _steers(character) or chooses_a_form


def _steers(character: str) -> bool:
    if character in "\n\t":
        return False
    return unicodedata.category(character) in STEERING or character in BLANK_LETTERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
