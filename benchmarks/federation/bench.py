"""A federation of real processes for measurements: a run on it can be disturbed, and must pay the
same all the same.
"""

import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.command_line import REPOSITORY, SMOKE, Answer, shell
from benchmarks.federation.deployment import Deployment, own_files_config
from fl_sv.federation import flower

WHOLE, STOPPED_AND_RESUMED = [0], [1, 0]  # exit codes of the tries
UNDER_WAY_SECONDS = (
    4.0  # so long after the teacher is done, a message of the sweep is with the companies
)
TABLES = ("utilities.csv", "valuation.json", "payouts.csv")

# One size, one seed, all 1,024 coalitions; the teacher is the same model with one unit more, for as
# many rounds.
TEN = {
    "companies": [
        "Ash",
        "Beech",
        "Cedar",
        "Damson",
        "Elm",
        "Fir",
        "Ginkgo",
        "Hazel",
        "Iris",
        "Juniper",
    ],
    "data": {"source": "digits", "partition": {"kind": "iid"}},
    "models": {
        "small": [{"kind": "mlp", "hidden": [32]}],
        "large": {"kind": "mlp", "hidden": [33]},
    },
    "training": {"batch_size": 32, "learning_rate": 0.3, "seeds": 1},
    "law": {"anchors": "none"},
    "payouts": {"pot": {"kind": "fixed", "cents": 1_000_000}},
}


@dataclass(frozen=True)
class Try:
    """One `fl-sv federation run`.

    code: its exit code. seconds: wall time. n_bytes: on the network, as Flower counts them.
    error: the last line that it printed.
    missed: whether it ended before it was to be disturbed.
    """

    code: int
    seconds: float
    n_bytes: int
    error: str
    missed: bool


class Bench:
    """A deployment, the tables that every run on it must give, and the runs."""

    def __init__(self, federation: Deployment, expected: dict[str, bytes], folder: Path) -> None:
        self.federation, self.expected, self.folder = federation, expected, folder

    def run(
        self, name: str, *, resume: bool = False, disturb: Callable[[], None] | None = None
    ) -> Try:
        """A run in the folder of that name; `disturb` is called once a message of the sweep is with
        the companies.
        """
        out, operator = self.folder / name, self.federation.operator
        before = {run.run_id for run in flower.list_runs(operator)}
        line = ["federation", "run", self.federation.config, "--out", out, "--dir", operator]
        command = partial(self.federation.fl_sv, *line, *(["--resume"] if resume else []))
        began = time.monotonic()
        answer, missed = disturbed(command, out, disturb) if disturb else (command(), False)
        seconds = time.monotonic() - began
        n_bytes = sum(run.n_bytes for run in flower.list_runs(operator) if run.run_id not in before)
        return Try(
            answer.code, seconds, n_bytes, (answer.err.strip().splitlines() or [""])[-1], missed
        )

    def report(self, name: str, tries: list[Try], codes: list[int]) -> dict[str, Any]:
        """Whether the tries were disturbed and ended as they should, in the expected tables; what
        they took.
        """
        tables = {table: self.folder / name / table for table in TABLES}
        written = {table: path.read_bytes() for table, path in tables.items() if path.exists()}
        missed = any(each.missed for each in tries)
        return {
            "right": (
                not missed and [each.code for each in tries] == codes and written == self.expected
            ),
            "missed": missed,
            "seconds": sum(each.seconds for each in tries),
            "bytes": sum(each.n_bytes for each in tries),
            "errors": [each.error for each in tries if each.code],
            "stages": self._stages(name),
        }

    def _stages(self, name: str) -> dict[str, dict[str, float]]:
        """Wall seconds and bytes of parameters of each stage; empty when the run did not finish."""
        cost = self.folder / name / "cost.json"
        stages = json.loads(cost.read_text())["stages"] if cost.exists() else {}
        return {
            stage: {"seconds": spent["seconds"], "bytes": spent["bytes"]}
            for stage, spent in stages.items()
        }


@contextmanager
def bench(n_companies: int, rounds: int) -> Iterator[Bench]:
    """All companies online with files of their own, and the tables of the config in one process."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "data").mkdir()
        ten = folder / "ten.yaml"
        ten.write_text(yaml.safe_dump(TEN), encoding="utf-8")
        base = {4: SMOKE, 8: REPOSITORY / "configs" / "demo.yaml", 10: ten}[n_companies]
        config = own_files_config(folder / "data", base, rounds=rounds)
        answer = shell("run", config, "--out", folder / "here", "--backend", "inline", "--quiet")
        assert answer.code == 0, answer
        expected = {name: (folder / "here" / name).read_bytes() for name in TABLES}
        with Deployment(folder / "federation", config) as federation:
            federation.set_up()
            yield Bench(federation, expected, folder)


def disturbed(
    command: Callable[[], Answer], out: Path, disturb: Callable[[], None]
) -> tuple[Answer, bool]:
    """What the command answered, and whether it ended before it could be disturbed. Raises what
    `disturb` raises.
    """
    over = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        missed = executor.submit(_missed, out, disturb, over)
        try:
            answer = command()
        finally:
            over.set()
        return answer, missed.result()


def _missed(out: Path, disturb: Callable[[], None], over: threading.Event) -> bool:
    """Whether the run was over first. The journal holds what the teacher cost as soon as it is
    done.
    """
    while not _stage_is_done(out / "journal.sqlite", "teacher"):
        if over.wait(0.5):
            return True
    if over.wait(UNDER_WAY_SECONDS):
        return True
    disturb()
    return False


def _stage_is_done(journal: Path, stage: str) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
            return bool(
                connection.execute("SELECT 1 FROM cost WHERE stage = ?", (stage,)).fetchone()
            )
    except sqlite3.Error:  # not there yet
        return False
