"""How far a run is: bars on a terminal, a line a minute elsewhere, and progress.jsonl.

Each line of progress.jsonl is an event, a JSON object: `time` (UTC), `stage`, `round` of `of` (the
stage's steps), `loss` on the validation set where one was just measured, `seconds` since the stage
began in this process, `bytes` of all messages so far in this process, and `eta_seconds` until the
stage ends, at its speed so far (null before its first step).
"""

import json
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
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

SPEAK_SECONDS = 60.0  # between two lines, and at most between two events
EVENT_SECONDS = 0.5  # at least, between two events without a loss
MOST_BYTES = 4_000_000  # of progress.jsonl; beyond it the older half goes


class EventFile:
    """progress.jsonl: events are appended. What cannot be written is lost and stops no run."""

    def __init__(self, path: Path, n_bytes: Callable[[], int]) -> None:
        self._path: Path | None = path
        self._n_bytes = n_bytes

    def add(self, event: dict[str, object]) -> None:
        """Appends an event, with the bytes so far."""
        if self._path is None:
            return
        line = json.dumps(event | {"bytes": self._n_bytes()}, allow_nan=False) + "\n"
        try:
            _append(self._path, line.encode("ascii"))
        except OSError as error:
            complain(f"fl-sv: {self._path} cannot be written: {error}. The run goes on without it.")
            self._path = None


def _append(path: Path, line: bytes) -> None:
    """Appends to a regular file, a new one too, and never to a link or a pipe. Raises OSError."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "a+b") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no regular file")
        if found.st_size + len(line) > MOST_BYTES:
            file.seek(max(0, found.st_size - MOST_BYTES // 2))
            kept = file.read(MOST_BYTES // 2).partition(b"\n")[2]
            file.truncate(0)
            file.write(kept)
        elif found.st_size:
            file.seek(found.st_size - 1)
            if file.read(1) != b"\n":  # a crash cut the last line off
                file.write(b"\n")
        file.write(line)


class Bar:
    """The progress of one stage."""

    def __init__(
        self, rich: RichProgress, stage: str, total: int, unit: str, progress: "Progress"
    ) -> None:
        self._rich = rich
        self._task = rich.add_task(stage, total=total, unit=unit)
        self._progress = progress
        self._lock = threading.Lock()  # of the counts below: a thread speaks once a minute
        self._stage, self._of, self._unit = stage, total, unit
        self._done = self._before = 0  # steps, and those of earlier processes
        self._loss: float | None = None
        self._started = self._last_event = time.monotonic()
        self._event(None)

    def skip(self, steps: int) -> None:
        """Counts steps that an earlier process did."""
        with self._lock:
            self._before += steps
        self.advance(steps)

    def advance(self, steps: int = 1, loss: float | None = None, model: str = "") -> None:
        """Counts steps that are done.

        loss: on the validation set, of the model that was just trained.
        model: which one it is, where the number of steps does not say it.
        """
        self._rich.advance(self._task, steps)
        with self._lock:
            self._done += steps
            self._loss = self._loss if loss is None else loss
            is_last = self._done >= self._of
            is_due = time.monotonic() - self._last_event >= EVENT_SECONDS
            if loss is not None or is_last or is_due:
                self._event(loss)
        if loss is not None:
            self._progress.note(f"{self._stage}: {model or self._steps}, loss {loss:.4f}")

    def speak(self) -> None:
        """Says how far the stage is, to a log and to progress.jsonl."""
        with self._lock:
            self._event(None)
            loss = "" if self._loss is None else f", loss {self._loss:.4f}"
            seconds = time.monotonic() - self._started
            eta = self._eta(seconds)
        left = "" if eta is None else f", about {_duration(eta)} left"
        complain(f"{self._stage}: {self._steps} after {_duration(seconds)}{loss}{left}")

    @property
    def _steps(self) -> str:
        return f"{self._done:,} of {self._of:,} {self._unit}"

    def _eta(self, seconds: float) -> float | None:
        """Seconds until the stage ends, at the speed of this process."""
        here = self._done - self._before
        return seconds * (self._of - self._done) / here if here > 0 else None

    def _event(self, loss: float | None) -> None:
        self._last_event = time.monotonic()
        seconds = self._last_event - self._started
        eta = self._eta(seconds)
        self._progress.keep(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "stage": self._stage,
                "round": self._done,
                "of": self._of,
                "loss": loss if loss is not None and math.isfinite(loss) else None,
                "seconds": round(seconds, 3),
                "bytes": 0,  # the file knows
                "eta_seconds": None if eta is None else round(eta, 1),
            }
        )


class Progress:
    """Where the stages of a run report how far they are, on standard error and in a file."""

    def __init__(self, detail: Detail = "normal") -> None:
        self.detail = detail
        self._console = console(stderr=True)
        self._events: EventFile | None = None
        self._next_line = time.monotonic() + SPEAK_SECONDS

    def record(self, path: Path, n_bytes: Callable[[], int]) -> None:
        """From now on events are appended to the file. n_bytes: of all messages so far."""
        self._events = EventFile(path, n_bytes)

    def keep(self, event: dict[str, object]) -> None:
        """Appends an event to the file, where there is one."""
        if self._events is not None:
            self._events.add(event)

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
            bar = Bar(rich, name, total, unit, self)
            with self._speaking(bar):
                yield bar
        self.note(f"{name}: {total} {unit} in {time.perf_counter() - started:.1f} s")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A context that is a stage of one step, such as the fit of the law."""
        with self.stage(name, 1, "step") as bar:
            yield
            bar.advance()

    @contextmanager
    def _speaking(self, bar: Bar) -> Iterator[None]:
        """A context in which a thread says once a minute how far the stage is."""
        if self.detail == "quiet" or self._console.is_terminal:
            yield
            return
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(max(0.0, self._next_line - time.monotonic())):
                self._next_line = time.monotonic() + SPEAK_SECONDS
                bar.speak()

        speaker = threading.Thread(target=speak, name="progress", daemon=True)
        speaker.start()
        try:
            yield
        finally:
            ended.set()
            speaker.join()

    def say(self, text: str) -> None:
        """Prints a line where there is no bar yet; not with --quiet."""
        if self.detail != "quiet" and (self._console.is_terminal or self.detail == "verbose"):
            self._console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Prints a line that only --verbose shows."""
        if self.detail == "verbose":
            complain(text)


def _duration(seconds: float) -> str:
    """As a person says it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
