"""The journal of a run: what is finished, in one SQLite file, so that a killed run can resume.

Each of these is written in one transaction: a wave of coalitions, a round of the teacher, a round
of a wave of large runs or of learning rates on trial, the large run of a singleton. `kill -9` at
any moment loses at most what is in flight. Floats and arrays are stored exactly, large arrays in
files beside the journal (`fl_sv.runs.arrays`).

Shapes: C coalitions of a wave, V validation examples, K outputs.
"""

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.audit.wave import NO_WORK, WaveWork
from fl_sv.design.rates import TriedRate
from fl_sv.errors import InputError, RunError
from fl_sv.game.coalitions import ascending
from fl_sv.game.scores import Column, Score, Scores
from fl_sv.machine import LARGE_BYTES
from fl_sv.payment.settlement import TeacherLoss
from fl_sv.runs.arrays import ArrayFiles, Cell, blob
from fl_sv.runs.database import Database
from fl_sv.runs.files import ARRAYS
from fl_sv.runs.wave_work import WORK_SCHEMA, read_work, work_statements

REUSED = -1  # number of the wave with the trainings of the run that this one extends
OPERATOR = ""  # no company has this name

# The outputs (V, K) of models on the validation set, by model, seed and coalition.
OutputsOf = Mapping[tuple[str, int, int], NDArray[Any]]
NO_OUTPUTS: OutputsOf = {}
NO_PARAMS = blob(np.empty(0))

_SCHEMA = """
CREATE TABLE IF NOT EXISTS score (
    model TEXT, seed INTEGER, coalition TEXT, loss REAL, accuracy REAL,
    PRIMARY KEY (model, seed, coalition)
);
CREATE TABLE IF NOT EXISTS outputs (
    model TEXT, seed INTEGER, coalition TEXT, outputs BLOB,
    PRIMARY KEY (model, seed, coalition)
);
CREATE TABLE IF NOT EXISTS wave (number INTEGER PRIMARY KEY, coalitions TEXT, losses BLOB);
CREATE TABLE IF NOT EXISTS teacher (
    run TEXT, round INTEGER, params BLOB, strategy BLOB, loss REAL, accuracy REAL,
    PRIMARY KEY (run, round)
);
CREATE TABLE IF NOT EXISTS student (
    number INTEGER PRIMARY KEY CHECK (number = 0), params BLOB, loss REAL, accuracy REAL
);
CREATE TABLE IF NOT EXISTS stack (
    run TEXT, name TEXT, round INTEGER, params BLOB,
    PRIMARY KEY (run, name)
);
CREATE TABLE IF NOT EXISTS rate (
    model TEXT, rate REAL, rounds INTEGER, company TEXT, untrained REAL, loss REAL,
    PRIMARY KEY (model, rate)
);
CREATE TABLE IF NOT EXISTS company (name TEXT PRIMARY KEY, examples INTEGER, fingerprint TEXT);
CREATE TABLE IF NOT EXISTS cost (
    stage TEXT, seconds REAL, company_seconds REAL, bytes INTEGER, flops REAL
);
"""

# The names of files in cells (`fl_sv.runs.arrays`).
_NAMED = " UNION ".join(
    f"SELECT {column} FROM {table} WHERE typeof({column})='text'"
    for table, column in (
        ("teacher", "params"),
        ("teacher", "strategy"),
        ("student", "params"),
        ("stack", "params"),
    )
)


@dataclass(frozen=True, slots=True)
class TeacherRound:
    """A federated run of the large model after one round; round 0 is the untrained model."""

    number: int
    params: NDArray[Any]  # one vector
    strategy: bytes  # the Flower strategy's own state
    loss: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """The student that is deployed in the teacher's place, with its validation scores."""

    params: NDArray[Any]  # one flat vector
    loss: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Wave:
    """Coalitions that were trained together, and their losses by validation example."""

    coalitions: list[int]
    losses_CV: NDArray[np.float64]  # of the largest small model, mean over seeds


class Journal:
    """The journal of one run. There is one writer at a time: the run directory is locked.

    Every method raises RunError when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA + WORK_SCHEMA)
        self._arrays = ArrayFiles(path.with_suffix(ARRAYS))

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self._database.path.parent

    def close(self) -> None:
        """Ends the use of the file."""
        self._database.close()

    # --- scores and waves -------------------------------------------------------------------------

    def scores(self) -> Scores:
        """Every score so far."""
        query = "SELECT DISTINCT model, seed FROM score ORDER BY model, seed"
        return Scores({key: self._column(*key) for key in self._database.read(query)})

    def _column(self, model: str, seed: int) -> Column:
        """The scores of one model and seed; rows become numbers one by one, as there are many."""
        # Decimal numbers as text: of two the shorter one is the smaller.
        query = (
            "SELECT coalition, loss, accuracy FROM score WHERE model=? AND seed=?"
            " ORDER BY LENGTH(coalition), coalition"
        )
        coalitions: list[int] = []
        losses, accuracies = array("d"), array("d")
        for coalition, loss, accuracy in self._database.rows(query, model, seed):
            coalitions.append(int(coalition))
            losses.append(loss)
            accuracies.append(math.nan if accuracy is None else accuracy)
        return Column(ascending(coalitions), np.array(losses), np.array(accuracies))

    def has_score(self, key: tuple[str, int, int]) -> bool:
        """Whether (model, seed, coalition) has a score."""
        model, seed, coalition = key
        query = "SELECT 1 FROM score WHERE model=? AND seed=? AND coalition=?"
        return bool(self._database.read(query, model, seed, str(coalition)))

    def add_scores(self, scores: Iterable[Score], outputs: OutputsOf = NO_OUTPUTS) -> None:
        """Enters scores that are not there yet, and outputs of these models, all or none."""
        self._database.write([*_score_statements(scores), *_output_statements(outputs)])

    def outputs(self, model: str, seed: int) -> dict[int, NDArray[Any]]:
        """The outputs (V, K) of the singletons' models, planted rows last, as far as kept."""
        query = "SELECT coalition, outputs FROM outputs WHERE model=? AND seed=?"
        return {int(c): self._array(blob) for c, blob in self._database.read(query, model, seed)}

    def finished_waves(self) -> set[int]:
        """Numbers of the finished waves; REUSED among them when the run extends another."""
        return {number for (number,) in self._database.read("SELECT number FROM wave")}

    def wave_coalitions(self, number: int) -> list[int]:
        """The coalitions of a finished wave."""
        ((coalitions,),) = self._database.read("SELECT coalitions FROM wave WHERE number=?", number)
        return [int(coalition) for coalition in coalitions.split()]

    def wave(self, number: int) -> Wave:
        """What a finished wave left."""
        ((losses,),) = self._database.read("SELECT losses FROM wave WHERE number=?", number)
        return Wave(self.wave_coalitions(number), self._array(losses))

    def add_wave(
        self,
        number: int,
        scores: Iterable[Score],
        wave: Wave,
        outputs: OutputsOf = NO_OUTPUTS,
        work: WaveWork = NO_WORK,
    ) -> None:
        """Enters a finished wave: scores, losses by example, outputs, and what the audit saw."""
        values = (number, " ".join(map(str, wave.coalitions)), blob(wave.losses_CV))
        self._database.write(
            [
                *_score_statements(scores),
                *_output_statements(outputs),
                ("INSERT INTO wave VALUES (?, ?, ?)", values),
                *work_statements(number, work),
            ]
        )

    def wave_work(self) -> list[WaveWork]:
        """What the audit saw of each finished wave, in their order."""
        return [read_work(self._database, n, self._array) for n in sorted(self.finished_waves())]

    # --- the large model --------------------------------------------------------------------------

    def teacher_rounds(self, run: str) -> list[TeacherRound]:
        """The rounds so far of a federated run of the large model, in order.

        Only the last one has parameters and the state of the strategy.
        """
        rows = self._database.read(
            "SELECT round, params, strategy, loss, accuracy FROM teacher WHERE run=? ORDER BY"
            " round",
            run,
        )
        return [
            TeacherRound(
                number,
                self._array(params),
                state if isinstance(state, bytes) else self._array(state).tobytes(),
                loss,
                accuracy,
            )
            for number, params, state, loss, accuracy in rows
        ]

    def teacher_curve(self, run: str) -> list[TeacherLoss]:
        """The losses of these rounds, without reading parameters."""
        rows = self._database.read(
            "SELECT round, loss, accuracy FROM teacher WHERE run=? ORDER BY round", run
        )
        return [TeacherLoss(*row) for row in rows]

    def add_teacher_round(self, run: str, state: TeacherRound) -> None:
        """Appends a round. Earlier rounds keep their losses and lose their parameters."""
        strategy: Cell = state.strategy
        if len(strategy) > LARGE_BYTES:
            strategy = self._cell(np.frombuffer(state.strategy, np.uint8))
        values = (run, state.number, self._cell(state.params), strategy, state.loss, state.accuracy)
        self._database.write(
            [
                ("UPDATE teacher SET params=?, strategy=? WHERE run=?", (NO_PARAMS, b"", run)),
                ("INSERT INTO teacher VALUES (?, ?, ?, ?, ?, ?)", values),
            ]
        )
        self._drop_arrays()

    def student(self) -> TrainedStudent | None:
        """The deployed student; None before it is trained."""
        rows = self._database.read("SELECT params, loss, accuracy FROM student")
        if not rows:
            return None
        ((params, loss, accuracy),) = rows
        return TrainedStudent(self._array(params), loss, accuracy)

    def add_student(self, student: TrainedStudent) -> None:
        """Enters the deployed student, once."""
        values = (0, self._cell(student.params), student.loss, student.accuracy)
        self._database.write([("INSERT INTO student VALUES (?, ?, ?, ?)", values)])

    def stacks(self, run: str) -> tuple[int, dict[str, NDArray[Any]]]:
        """The last round of a wave of large runs, and its stacks by name: a row for each coalition.

        Round 0 and no stack before the first round.
        """
        rows = self._database.read("SELECT name, round, params FROM stack WHERE run=?", run)
        return (rows[0][1] if rows else 0), {name: self._array(params) for name, _, params in rows}

    def keep_stacks(
        self,
        run: str,
        number: int,
        stacks: Mapping[str, NDArray[Any]],
        tried: Iterable[TriedRate] = (),
    ) -> None:
        """Replaces the stacks of the round before; `tried` are rates that ended with this round."""
        insert = "INSERT INTO stack VALUES (?, ?, ?, ?)"
        cells = {name: self._cell(each) for name, each in stacks.items()}
        self._database.write(
            [
                ("DELETE FROM stack WHERE run=?", (run,)),
                *((insert, (run, name, number, cell)) for name, cell in cells.items()),
                *_rate_statements(tried),
            ]
        )
        self._drop_arrays()

    def finish_stacks(self, run: str, scores: Iterable[Score]) -> None:
        """Enters the scores of a finished wave of large runs, and drops its stacks."""
        drop = ("DELETE FROM stack WHERE run=?", (run,))
        self._database.write([*_score_statements(scores), drop])
        self._drop_arrays()

    def tried_rates(self) -> list[TriedRate]:
        """The learning rates that were tried to the end, or until they diverged."""
        return [TriedRate(*row) for row in self._database.read("SELECT * FROM rate")]

    def add_tried_rates(self, tried: Iterable[TriedRate]) -> None:
        """Enters learning rates that another run has tried, in place of this run's."""
        self._database.write([("DELETE FROM rate", ()), *_rate_statements(tried)])

    # --- companies and cost -----------------------------------------------------------------------

    def holders(self) -> dict[str, tuple[int, str]]:
        """Number and fingerprint of the rows of every company, and of OPERATOR's validation set."""
        return {
            name: (examples, digest)
            for name, examples, digest in self._database.read("SELECT * FROM company")
        }

    def register(self, holders: dict[str, tuple[int, str]]) -> None:
        """Enters number and fingerprint of the rows of each holder.

        Raises InputError when a holder is there already with other rows.
        """
        before = self.holders()
        for name in before.keys() & holders.keys():
            if holders[name] != before[name]:
                whose = f"The data of {name}" if name != OPERATOR else "The validation data"
                raise InputError(
                    f"{whose} changed since the run, or the one that it extends, began:"
                    f" {before[name][0]} examples then, {holders[name][0]} now, or other rows."
                    " Start a new run."
                )
        insert = "INSERT INTO company VALUES (?, ?, ?)"
        self._database.write(
            [(insert, (name, *entry)) for name, entry in holders.items() if name not in before]
        )
        self._drop_arrays()  # what a crash left

    def add_cost(
        self,
        stage: str,
        *,
        seconds: float = 0.0,
        company_seconds: float = 0.0,
        n_bytes: int = 0,
        flops: float = 0.0,
    ) -> None:
        """Adds to what a stage of the run cost."""
        self._database.write(
            [
                (
                    "INSERT INTO cost VALUES (?, ?, ?, ?, ?)",
                    (stage, seconds, company_seconds, n_bytes, flops),
                )
            ]
        )

    def costs(self) -> dict[str, dict[str, float]]:
        """The sums of every stage, by the fields of `fl_sv.runs.cost.StageCost`."""
        query = (
            "SELECT stage, SUM(seconds), SUM(company_seconds), SUM(bytes), SUM(flops) FROM cost"
            " GROUP BY stage"
        )
        keys = ("seconds", "company_seconds", "bytes", "flops")
        return {
            stage: dict(zip(keys, sums, strict=True)) for stage, *sums in self._database.read(query)
        }

    # --- arrays -----------------------------------------------------------------------------------

    def _cell(self, array: NDArray[Any]) -> Cell:
        """What stands for an array in a cell of `teacher`, `student` or `stack`."""
        with self._database.explained():
            return self._arrays.cell(array)

    def _array(self, cell: Cell) -> NDArray[Any]:
        try:
            return self._arrays.array(cell)
        except (ValueError, EOFError, TypeError, OSError) as error:
            raise RunError(
                f"The journal {self._database.path} is damaged: an array cannot be read: {error}."
                " Start a new run."
            ) from None

    def _drop_arrays(self) -> None:
        """Removes the files of arrays that no cell names any more."""
        named = {name for (name,) in self._database.read(_NAMED)}
        with self._database.explained():
            self._arrays.keep_only(named)


def _score_statements(scores: Iterable[Score]) -> list[tuple[str, tuple[Any, ...]]]:
    # coalitions as text: SQLite's integers end at 64 bits
    insert = "INSERT INTO score VALUES (?, ?, ?, ?, ?)"
    return [(insert, (s.model, s.seed, str(s.coalition), s.loss, s.accuracy)) for s in scores]


def _rate_statements(tried: Iterable[TriedRate]) -> list[tuple[str, tuple[Any, ...]]]:
    return [("INSERT INTO rate VALUES (?, ?, ?, ?, ?, ?)", astuple(each)) for each in tried]


def _output_statements(outputs: OutputsOf) -> list[tuple[str, tuple[Any, ...]]]:
    insert = "INSERT INTO outputs VALUES (?, ?, ?, ?)"
    return [
        (insert, (model, seed, str(coalition), blob(own_VK)))
        for (model, seed, coalition), own_VK in outputs.items()
    ]
