"""The journal: what is in it was finished, exactly as it was, and what was not finished is not in
it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sv.errors import InputError, RunError
from fl_sv.game.scores import Score
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
