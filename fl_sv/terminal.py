"""What commands print. The output is for a person or another program, and it fails no command.

A character that the terminal lacks is replaced, one that would steer it is escaped, and what cannot
be written at all (`| head`, a full disk) is lost; the work is done, and the exit code says so.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from fl_sv.text import isolated, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PLAIN_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2009\u202f"), " ")


def say(text: object, end: str = "\n") -> None:
    """Prints text on standard output."""
    print(shown(str(text)), end=end, flush=True)


def complain(text: object, end: str = "\n") -> None:
    """Prints text on standard error."""
    print(shown(str(text)), end=end, file=sys.stderr, flush=True)


def console(**options: Any) -> "Console":
    """A console of rich that shows every name and sentence as it is, but for what `shown` escapes.

    options: of rich's own console.
    """
    from rich.console import Console  # here: a process that prints no table does without rich

    class ShownConsole(Console):
        def render_str(self, text: str, **style: Any) -> "Text":
            # Before the layout, so that columns stay aligned.
            marked = isolated(shown(text))
            if marked != _encodable(marked, self.encoding):
                marked = _encodable(shown(text), self.encoding)
            return super().render_str(marked, **style)

    return ShownConsole(markup=False, emoji=False, highlight=False, **options)


@contextmanager
def unfailing_output() -> Iterator[None]:
    """A context in which nothing that is written to standard output or error raises.

    Where something was lost because of a fault, standard error says so at the end, if it can.
    """
    before = sys.stdout, sys.stderr
    out, err = (_Unfailing(stream) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
    finally:
        out.flush()
        if out.fault:
            complain(f"fl-sv: standard output is incomplete: {out.fault}.")
        err.flush()
        sys.stdout, sys.stderr = before


class _Unfailing:
    """A text stream that drops what it cannot write.

    fault: why something was dropped; None also where the reader went away.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # Python has no stream where a process starts with a closed one.
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        self.fault: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None)
        self._try(lambda: self._stream.write(_encodable(text, encoding)))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BrokenPipeError:
            self._drop_the_rest()
        except (OSError, ValueError, RuntimeError) as error:
            # ValueError: it was closed. RuntimeError: a signal came while it was writing.
            self.fault = str(getattr(error, "strerror", None) or error)
            if isinstance(error, OSError):
                self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        """Sends what is still in buffers to nowhere, else Python fails on it when it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def _encodable(text: str, encoding: str | None) -> str:
    """The text with an escape in place of every character that the encoding lacks.

    Blanks that do not break become blanks.
    """
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(PLAIN_BLANKS)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
