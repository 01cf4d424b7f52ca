"""The journal: what is in it was finished, exactly as it was, and what was not finished is not in
it.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.federation.disk import small_disk
from fl_sv.errors import InputError, RunError
from fl_sv.game.scores import Score
from fl_sv.machine import LARGE_BYTES
from fl_sv.runs import arrays
from fl_sv.runs import journal as journals
from fl_sv.runs.journal import Journal, TeacherRound, TrainedStudent, Wave

floats = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def reopened(journal: Journal, path: Path) -> Journal:
    journal.close()
    return Journal(path)


def test_deployed_student_is_entered_once_and_read_back_exactly(
    journal: Journal, path: Path
) -> None:
    assert journal.student() is None
    params = np.array([0.1, np.nextafter(0.1, 1)], dtype=np.float32)
    student = TrainedStudent(params, 0.25, None)
    journal.add_student(student)
    with pytest.raises(RunError, match=r"journal\.sqlite cannot be used: UNIQUE"):
        journal.add_student(student)
    journal = reopened(journal, path)
    found = journal.student()
    journal.close()
    assert found is not None
    assert np.array_equal(found.params, params) and found.params.dtype == params.dtype
    assert (found.loss, found.accuracy) == (0.25, None)


@settings(max_examples=20)  # each waits for the disk
@given(st.dictionaries(st.integers(0, 2**200), st.tuples(floats, st.none() | floats)))
def test_scores_read_back_exactly_for_coalitions_of_any_length(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[int, tuple[float, float | None]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    scores = [Score(coalition, "small", 1, *cell) for coalition, cell in cells.items()]
    journal = Journal(path)
    journal.add_scores(scores)
    journal = reopened(journal, path)
    assert journal.scores() == {score.key: score for score in scores}
    journal.close()


def test_wave_is_entered_with_its_scores_or_not_at_all(journal: Journal, path: Path) -> None:
    first, second = Score(1, "small", 0, 0.1, 0.5), Score(2, "small", 0, 0.2, None)
    wave = Wave([1, 2**200], np.array([[0.1, np.nextafter(0.1, 1)], [0.2, 0.3]]))
    journal.add_wave(0, [first], wave)
    with pytest.raises(RunError, match=r"journal\.sqlite cannot be used: UNIQUE"):
        journal.add_wave(1, [second, first], wave)  # its second score is there already
    with pytest.raises(RunError):
        journal.add_wave(0, [second], wave)  # and here the wave is
    journal = reopened(journal, path)
    assert journal.scores() == {first.key: first}
    assert journal.finished_waves() == {0}
    assert journal.wave(0).coalitions == wave.coalitions
    np.testing.assert_array_equal(journal.wave(0).losses_CV, wave.losses_CV)


def test_failed_entry_leaves_the_journal_usable(journal: Journal) -> None:
    score = Score(1, "small", 0, 0.1, None)
    journal.add_scores([score])
    with pytest.raises(RunError):
        journal.add_scores([score])
    journal.add_scores([Score(2, "small", 0, 0.1, None)])
    assert len(journal.scores()) == 2


def test_teacher_keeps_every_loss_and_the_parameters_of_the_last_round_only(
    journal: Journal, path: Path
) -> None:
    params = np.array([1.0, np.nextafter(1, 2)])
    for number in range(3):
        journal.add_teacher_round(
            "teacher/0", TeacherRound(number, params + number, b"state", 1 / (number + 1), None)
        )
    journal.add_teacher_round("fedavg/0", TeacherRound(0, params, b"", 9.0, 0.5))
    journal = reopened(journal, path)
    rounds = journal.teacher_rounds("teacher/0")
    assert [(each.number, each.loss, each.strategy) for each in rounds] == [
        (0, 1.0, b""),
        (1, 0.5, b""),
        (2, 1 / 3, b"state"),
    ]
    assert [each.params.size for each in rounds] == [0, 0, 2]
    np.testing.assert_array_equal(rounds[-1].params, params + 2)
    assert [each.accuracy for each in journal.teacher_rounds("fedavg/0")] == [0.5]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_keep_their_bits_and_their_precision(journal: Journal, dtype: str) -> None:
    params = np.array([0.1, -0.0, 1e-40, 3e38], dtype=dtype)
    journal.add_teacher_round("teacher/0", TeacherRound(0, params, b"", 1.0, None))
    (found,) = journal.teacher_rounds("teacher/0")
    assert (found.params.dtype, found.params.tobytes()) == (params.dtype, params.tobytes())


@pytest.fixture
def files_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array is large enough for a file."""
    monkeypatch.setattr(arrays, "LARGE_BYTES", 0)
    monkeypatch.setattr(journals, "LARGE_BYTES", 0)


@pytest.mark.usefixtures("files_for_all")
def test_large_arrays_keep_their_bits_in_files_of_which_only_the_last_ones_stay(
    journal: Journal, path: Path
) -> None:
    params = np.array([0.1, -0.0, 1e-40, 3e38], dtype="float32")
    for number in range(3):
        state = TeacherRound(number, np.roll(params, number), b"state", 1.0, None)
        journal.add_teacher_round("teacher/0", state)
    journal.keep_stacks("anchors/0", 1, {"mlp-8/0": np.eye(3)})
    journal.keep_stacks("anchors/0", 2, {"mlp-8/0": 2 * np.eye(3)})
    journal.add_student(TrainedStudent(params, 0.25, None))
    files = path.with_suffix(".arrays")
    assert len([*files.iterdir()]) == 4
    journal = reopened(journal, path)
    journal.register({"Ash": (10, "a")})  # as a run that is resumed does first
    *_, last = journal.teacher_rounds("teacher/0")
    student = journal.student()
    assert student is not None
    assert last.params.tobytes() == np.roll(params, 2).tobytes() and last.strategy == b"state"
    assert student.params.tobytes() == params.tobytes()
    done, stacks = journal.stacks("anchors/0")
    assert done == 2 and np.array_equal(stacks["mlp-8/0"], 2 * np.eye(3))
    journal.finish_stacks("anchors/0", [])
    assert len([*files.iterdir()]) == 3
    journal.close()


@pytest.mark.usefixtures("files_for_all")
def test_array_whose_file_is_gone_or_short_or_elsewhere_is_a_sentence(
    journal: Journal, path: Path
) -> None:
    journal.add_teacher_round("teacher/0", TeacherRound(0, np.ones(9), b"", 1.0, None))
    (file,) = path.with_suffix(".arrays").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match="is damaged: an array cannot be read"):
        journal.teacher_rounds("teacher/0")
    file.rename(path.with_name(file.name))
    with pytest.raises(RunError, match=r"is damaged: an array cannot be read: .*No such file"):
        journal.teacher_rounds("teacher/0")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE teacher SET params=?", (f"../{file.name}",))
    with pytest.raises(RunError, match="is no name of one of its files"):
        journal.teacher_rounds("teacher/0")


def test_large_array_that_finds_no_space_is_a_sentence_and_the_round_before_stays(
    tmp_path: Path,
) -> None:
    try:
        with small_disk(tmp_path / "disk") as disk:
            path = disk / "journal.sqlite"
            journal = Journal(path)
            first = TeacherRound(0, np.ones(9, np.float32), b"", 1.0, None)
            journal.add_teacher_round("teacher/0", first)
            large = np.ones(LARGE_BYTES // 4 + 1, np.float32)
            with pytest.raises(RunError) as error:
                journal.add_teacher_round("teacher/0", TeacherRound(1, large, b"", 0.5, None))
            (found,) = journal.teacher_rounds("teacher/0")
            assert np.array_equal(found.params, first.params)
            journal.close()
    except PermissionError as reason:
        pytest.skip(str(reason))
    assert str(error.value) == (
        f"The journal {path} cannot be used: No space left on device. Nothing in it is lost. Make"
        " sure that its disk has space and can be written, and continue with --resume."
    )


def test_company_whose_data_changed_between_two_sessions_is_named(journal: Journal) -> None:
    companies = {"Ash": (10, "a"), "Beech": (20, "b")}
    journal.register(companies)
    journal.register(companies)
    assert journal.holders() == companies
    with pytest.raises(
        InputError,
        match=(
            "The data of Beech changed since the run, or the one that it extends, began: 20"
            " examples then, 21 now"
        ),
    ):
        journal.register({**companies, "Beech": (21, "b")})
    with pytest.raises(InputError, match=r"The data of Ash changed .* or other rows"):
        journal.register({**companies, "Ash": (10, "other")})


def test_costs_of_a_stage_add_up_over_sessions(journal: Journal) -> None:
    for seconds in (1.5, 2.0):
        journal.add_cost("sweep", seconds=seconds, company_seconds=1.0, n_bytes=2**40, flops=1e15)
    assert journal.costs() == {
        "sweep": {"seconds": 3.5, "company_seconds": 2.0, "bytes": 2**41, "flops": 2e15}
    }


def test_file_that_is_no_journal_is_refused_with_a_sentence(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough for a header" * 30)
    with pytest.raises(RunError, match=r"journal\.sqlite cannot be used: file is not a database"):
        Journal(path)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from fl_sv.runs.journal import Journal, Wave
from fl_sv.game.scores import Score
journal = Journal(Path(sys.argv[1]))
for wave in range(100_000):
    scores = [Score(100 * wave + i, "small", 0, 0.1 * i, None) for i in range(100)]
    journal.add_wave(wave, scores, Wave([1, 2], np.full((2, 50), float(wave))))
"""


def test_killed_writer_leaves_whole_waves_only(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as writer:
        while not path.exists() or path.stat().st_size < 100_000:
            time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
    journal = Journal(path)
    waves = sorted(journal.finished_waves())
    assert waves == list(range(len(waves)))
    assert len(journal.scores()) == 100 * len(waves) > 0
    journal.close()


TRAINER = """
import sys
from pathlib import Path
import numpy as np
from fl_sv.runs import arrays
from fl_sv.runs.journal import Journal, TeacherRound
arrays.LARGE_BYTES = 1000
journal = Journal(Path(sys.argv[1]))
for number in range(100_000):
    params = np.full(100_000, float(number))
    journal.add_teacher_round("teacher/0", TeacherRound(number, params, b"", 1.0, None))
"""


def test_killed_writer_leaves_the_last_round_with_its_file_whole(path: Path) -> None:
    files = path.with_suffix(".arrays")
    with subprocess.Popen([sys.executable, "-c", TRAINER, str(path)]) as writer:
        while not files.exists():
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(writer.pid, signal.SIGKILL)
    journal = Journal(path)
    last = journal.teacher_rounds("teacher/0")[-1]
    assert np.array_equal(last.params, np.full(100_000, float(last.number)))
    journal.register({})  # as a run that is resumed does first
    assert len([*files.iterdir()]) == 1
    journal.close()
