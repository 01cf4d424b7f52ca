"""Progress bars on a terminal, with the time left.

Elsewhere nothing is shown, or with --verbose a line for each stage.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from fl_sv.terminal import complain, console

Detail = Literal["quiet", "normal", "verbose"]


class Bar:
    """The progress bar of one stage."""

    def __init__(self, rich: RichProgress, stage: str, total: int, unit: str) -> None:
        self._rich = rich
        self._task = rich.add_task(stage, total=total, unit=unit)

    def advance(self, steps: int = 1) -> None:
        self._rich.advance(self._task, steps)


class Progress:
    """Where the stages of a run report how far they are, on standard error."""

    def __init__(self, detail: Detail = "normal") -> None:
        self.detail = detail
        self._console = console(stderr=True)

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        """A context with a bar of `total` steps."""
        started = time.perf_counter()
        with RichProgress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=self.detail == "quiet" or not self._console.is_terminal,
        ) as rich:
            yield Bar(rich, name, total, unit)
        self.note(f"{name}: {total} {unit} in {time.perf_counter() - started:.1f} s")

    def say(self, text: str) -> None:
        """Prints a line where there is no bar yet; not with --quiet."""
        if self.detail != "quiet" and (self._console.is_terminal or self.detail == "verbose"):
            self._console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Prints a line that only --verbose shows."""
        if self.detail == "verbose":
            complain(text)
