"""A run that is killed or interrupted resumes from its journal and ends in the same bytes."""

import json
import sqlite3
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from benchmarks.federation.disk import fill, small_disk
from tests.runs import GENUINE, SMALL_GAME, Command, Process

pytestmark = pytest.mark.slow
GAME = """
companies: [Ash, Beech, Chestnut, Damson]
data: {source: digits, partition: {kind: dirichlet, alpha: 3}}
models:
  small: [{kind: mlp, hidden: [8], learning_rate: auto}, {kind: mlp, hidden: [12]}]
  large: {kind: mlp, hidden: [256]}
training:
  {rounds: 12, seeds: 2, optimizer: adamw, schedule: cosine, schedule_by: step, warmup_rounds: 1}
teacher: {strategy: fedadam, options: {eta: 0.01}}
coalitions: {waves: 5}
law: {anchors: 9}
payouts: {pot: {kind: fixed, cents: 1000}}
"""
TABLES = (
    "utilities.csv",
    "averaged.csv",
    "valuation.json",
    "payouts.csv",
    "teacher.csv",
    "model.safetensors",
    "model.json",
)


class Run:
    """`fl-sv run` in a process of its own."""

    def __init__(self, folder: Path, backend: str, *extra: str) -> None:
        self.out = folder / "run"
        (folder / "game.yaml").write_text(GAME)
        arguments = ("run", folder / "game.yaml", "--out", self.out, "--backend", backend, *extra)
        self.process = Process(*arguments, FL_SV_HOME=str(folder / "home"))

    def wait_for(self, query: str, count: int) -> None:
        """Until the journal holds `count` rows of the query."""
        while self.process.runs:
            if self._rows(query) >= count:
                return
            time.sleep(0.005)
        raise AssertionError(f"the run ended before {query!r} had {count} rows: {self.end()}")

    def end(self) -> tuple[int, str]:
        answer = self.process.end()
        return answer.code, answer.err

    def tables(self) -> dict[str, bytes]:
        return {name: (self.out / name).read_bytes() for name in (*TABLES, "rates.csv")}

    def costs(self) -> dict[str, float]:
        """Seconds by stage, as far as they are in the journal."""
        with sqlite3.connect(f"file:{self.out}/journal.sqlite?mode=ro", uri=True) as database:
            return dict(database.execute("SELECT stage, SUM(seconds) FROM cost GROUP BY stage"))

    def _rows(self, query: str) -> int:
        try:
            with sqlite3.connect(f"file:{self.out}/journal.sqlite?mode=ro", uri=True) as database:
                return int(database.execute(f"SELECT COUNT(*) FROM {query}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # not there yet


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = Run(tmp_path_factory.mktemp("undisturbed"), "inline")
    assert run.end() == (0, "")
    return run.tables()


IN_THE_RATES = ("stack WHERE run='rates/0' AND round > 2", 1)
IN_THE_TEACHER = ("teacher WHERE run='teacher/0'", 5)
IN_THE_GAMES_FEDAVG = ("teacher WHERE run='fedavg/0'", 4)
BEFORE_THE_SWEEP = ("score", 3)
IN_THE_SWEEP = ("wave", 2)
IN_THE_ANCHORS = ("stack WHERE round > 3", 1)


def test_run_killed_in_every_stage_ends_in_the_same_bytes(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    for moment in (
        IN_THE_RATES,
        IN_THE_TEACHER,
        IN_THE_GAMES_FEDAVG,
        BEFORE_THE_SWEEP,
        IN_THE_SWEEP,
        IN_THE_ANCHORS,
    ):
        run = Run(tmp_path, "inline", "--resume")
        run.wait_for(*moment)
        run.process.kill()
        run.end()
    known = run.costs()
    last = Run(tmp_path, "inline", "--resume")
    assert last.end() == (0, "")
    assert last.tables() == undisturbed
    costs = json.loads((last.out / "cost.json").read_text())["stages"]
    assert {"rates", "teacher", "sweep", "rest"} <= known.keys()
    assert all(costs[stage]["seconds"] >= known[stage] > 0 for stage in known)


@pytest.mark.ray
def test_run_killed_on_ray_then_interrupted_then_finished_inline_ends_in_the_same_bytes(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    killed = Run(tmp_path, "ray")
    killed.wait_for(*IN_THE_TEACHER)
    killed.process.kill()
    killed.end()
    interrupted = Run(tmp_path, "ray", "--resume")
    interrupted.wait_for(*IN_THE_SWEEP)
    interrupted.process.interrupt()
    code, errors = interrupted.end()
    assert code == 1
    assert "continue with --resume" in errors
    assert "Traceback" not in errors
    last = Run(tmp_path, "inline", "--resume")
    assert last.end() == (0, "")
    assert last.tables() == undisturbed


def test_run_on_a_full_disk_stops_with_a_sentence_and_with_space_ends_in_the_same_bytes(
    command: Command, tmp_path: Path
) -> None:
    game = tmp_path / "game.yaml"
    game.write_text(SMALL_GAME)
    options = ("--backend", "inline", "--quiet", "--resume", "--out")
    assert command("run", game, *options, tmp_path / "undisturbed").code == 0
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk"))
        except PermissionError as reason:
            pytest.skip(str(reason))
        full = set()
        for leaving in count(step=16384):  # a little more space each time, and further on each time
            filler = fill(disk, leaving)
            answer = command("run", game, *options, disk / "run")
            filler.unlink()
            if answer.code == 0:
                break
            assert (answer.code, len(answer.err.splitlines())) == (1, 1), answer
            full.add(answer.err.split(" cannot be ")[0].rpartition("/")[2])
        assert {"config.yaml", "journal.sqlite"} <= full
        (disk / "run" / "report.html").unlink()  # the last file, as if it had found no space
        filler = fill(disk)
        answer = command("run", game, *options, disk / "run")
        assert (answer.code, len(answer.err.splitlines())) == (1, 1), answer
        assert "report.html cannot be written" in answer.err
        filler.unlink()
        assert command("run", game, *options, disk / "run").code == 0
        assert (disk / "run" / "report.html").exists()
        for name in TABLES:
            assert (disk / "run" / name).read_bytes() == (
                tmp_path / "undisturbed" / name
            ).read_bytes()
        assert command("verify", disk / "run").code in GENUINE


def test_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    first = Run(tmp_path, "inline")
    first.wait_for(*IN_THE_TEACHER)
    code, errors = Run(tmp_path, "inline", "--resume").end()
    first.process.kill()
    first.end()
    assert code == 2
    assert "being written by another process" in errors
