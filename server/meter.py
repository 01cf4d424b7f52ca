"""What a run costs while it goes on: every second belongs to one stage, and is soon in the journal.

A run that fails or is killed keeps what it cost: it loses at most ENTER_SECONDS and what is in
flight. A run that is resumed adds to that.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from flwr.app import ArrayRecord, MetricRecord, RecordDict

from fl_sv.errors import RunError
from fl_sv.flower import wire
from fl_sv.runs.cost import REST
from fl_sv.runs.journal import Journal
from strategies.spool import records

# At least so long between two entries within a stage: each waits for the disk.
ENTER_SECONDS = 1.0


@dataclass
class Traffic:
    """The bytes of the messages so far, and the time that the companies worked for them."""

    n_bytes: int = 0
    company_seconds: float = 0.0

    def count(self, content: RecordDict) -> None:
        """Adds a message, or a reply that was checked."""
        self.count_bytes(content)
        for metrics in records(content, MetricRecord):
            self.company_seconds += float(metrics.get(wire.SECONDS, 0.0))  # type: ignore[arg-type]

    def count_bytes(self, content: RecordDict) -> None:
        """Adds a reply whose metrics may be anything."""
        self.n_bytes += sum(
            len(array.data) for record in records(content, ArrayRecord) for array in record.values()
        )


class Meter:
    """Enters into the journal what each stage costs, in a `with` block for the whole run.

    traffic: counted by whoever exchanges messages.
    """

    def __init__(self, journal: Journal) -> None:
        self.traffic = Traffic()
        self._journal = journal
        self._stage = REST
        self._since = time.perf_counter()
        self._before = replace(self.traffic)
        self._flops = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._end(failed=kind is not None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A context whose cost is that of a stage, whether it ends or fails.

        name: of the stage, in cost.json.
        """
        self.enter()
        outer, self._stage = self._stage, name
        try:
            yield
        except BaseException:
            self._end(failed=True)
            raise
        else:
            self._end(failed=False)
        finally:
            self._stage = outer

    def add(self, flops: float) -> None:
        """Adds floating-point operations to the stage, and enters what it cost, if it is time."""
        self._flops += flops
        if time.perf_counter() - self._since >= ENTER_SECONDS:
            self.enter()

    def enter(self) -> None:
        """Enters what the stage cost since the last entry."""
        now, traffic = time.perf_counter(), replace(self.traffic)
        self._journal.add_cost(
            self._stage,
            seconds=now - self._since,
            company_seconds=traffic.company_seconds - self._before.company_seconds,
            n_bytes=traffic.n_bytes - self._before.n_bytes,
            flops=self._flops,
        )
        self._since, self._before, self._flops = now, traffic, 0.0

    def _end(self, *, failed: bool) -> None:
        if not failed:
            self.enter()
            return
        with suppress(RunError):  # the first failure is the one to tell
            self.enter()
