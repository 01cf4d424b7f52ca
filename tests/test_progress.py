"""A long run speaks: events in progress.jsonl, a line a minute in a log, losses as they come."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message

from clients.app import app as client_app
from fl_sv import progress as module
from fl_sv.config import parse_config
from fl_sv.errors import CompanyFailed
from fl_sv.flower import wire
from fl_sv.progress import Progress
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, start_or_resume
from fl_sv.runs.verify import verify_run
from server.simulation import simulate
from tests.runs import SMALL_GAME

KEYS = ("time", "stage", "round", "of", "loss", "seconds", "bytes", "eta_seconds")
CONFIG = parse_config(SMALL_GAME + "faults: {retries: 0}\n", "game")


def carry_out(
    folder: Path, detail: str = "quiet", fails_in: str = "", after: int = 1
) -> RunDirectory:
    """A run, or its continuation, that fails after so many messages of a type."""
    left = after

    def company(message: Message, context: Context) -> Message:
        nonlocal left
        if message.metadata.message_type == fails_in:
            left -= 1
            if left < 0:
                raise ValueError("out of order")
        return client_app(message, context)

    with start_or_resume(folder, CONFIG, resume=True) as run:
        simulate(CONFIG, run, "inline", Progress(detail), threading.Event(), company)  # type: ignore[arg-type]
    return run


def events(run: Path) -> list[dict[str, Any]]:
    return [*map(json.loads, (run / files.PROGRESS).read_text(encoding="ascii").splitlines())]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    yield carry_out(tmp_path_factory.mktemp("progress") / "run")


def test_each_stage_is_told_from_its_beginning_to_its_end(run: RunDirectory) -> None:
    told = events(run.path)
    assert all(tuple(event) == KEYS for event in told)
    assert [*dict.fromkeys(e["stage"] for e in told)] == [
        *("teacher", "sweep", "anchors", "averages", "law", "values", "report")
    ]
    for stage in ("teacher", "sweep", "anchors", "law", "values", "report"):
        of_stage = [event for event in told if event["stage"] == stage]
        assert of_stage[0]["round"] == 0 and of_stage[0]["eta_seconds"] is None
        assert of_stage[-1]["round"] == of_stage[-1]["of"] > 0
        assert of_stage[-1]["eta_seconds"] == 0.0
    assert told == sorted(told, key=lambda event: event["time"])
    assert told == sorted(told, key=lambda event: event["bytes"])
    assert told[-1]["bytes"] > 0


def test_losses_of_the_teacher_are_told_round_by_round_as_teacher_csv_has_them(
    run: RunDirectory,
) -> None:
    told = [e for e in events(run.path) if e["stage"] == "teacher" and e["loss"] is not None]
    rows = [line.split(",") for line in run.read_text(files.TEACHER).splitlines()[2:]]
    assert [(event["round"], event["loss"]) for event in told] == [
        (int(number), float(loss)) for number, loss, _ in rows
    ]


def test_a_run_verifies_with_its_events_and_without_them(run: RunDirectory) -> None:
    before = verify_run(run, None).head
    kept = run.read_text(files.PROGRESS)
    (run.path / files.PROGRESS).unlink()
    assert verify_run(run, None).head == before
    run.write_text(files.PROGRESS, kept)


def test_events_and_the_teachers_rounds_are_there_before_the_run_ends_and_stay_on_resume(
    run: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(CompanyFailed):
        carry_out(tmp_path / "run", fails_in=wire.COALITIONS)
    before = (tmp_path / "run" / files.PROGRESS).read_text()
    assert events(tmp_path / "run")[-1]["stage"] == "sweep"
    # The teacher was finished: its table is the one of the finished run.
    assert (tmp_path / "run" / files.TEACHER).read_bytes() == run.read_bytes(files.TEACHER)
    carry_out(tmp_path / "run")
    assert (tmp_path / "run" / files.PROGRESS).read_text().startswith(before)


def test_the_teachers_table_has_the_rounds_so_far(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(CompanyFailed):
        carry_out(tmp_path / "run", fails_in=wire.TEACHER, after=CONFIG.n_companies)
    broken = RunDirectory(tmp_path / "run")
    begun, whole = (each.read_text(files.TEACHER).splitlines() for each in (broken, run))
    assert begun == whole[:3]  # the header, the untrained model, and one round


# --- the file -------------------------------------------------------------------------------------


def recorded(path: Path, n_events: int = 3) -> list[str]:
    progress = Progress("quiet")
    progress.record(path, lambda: 7)
    with progress.stage("teacher", n_events, "rounds") as bar:
        for number in range(n_events):
            bar.advance(1, number / 8)
    return path.read_text().splitlines() if path.is_file() else []


def test_the_file_stays_bounded_and_keeps_whole_lines_and_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 3000)
    lines = recorded(tmp_path / files.PROGRESS, 100)
    assert (tmp_path / files.PROGRESS).stat().st_size <= 3000
    rounds = [json.loads(line)["round"] for line in lines]
    assert rounds == [*range(101 - len(rounds), 101)] and len(rounds) > 5


def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / files.PROGRESS).write_text('{"time": "2026')
    cut, *whole = recorded(tmp_path / files.PROGRESS)
    assert cut == '{"time": "2026'
    assert [json.loads(line)["round"] for line in whole] == [0, 1, 2, 3]


def test_what_is_no_regular_file_is_left_alone_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    link, pipe, folder = (tmp_path / name for name in ("link", "pipe", "folder"))
    link.symlink_to(target)
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (link, pipe, folder):
        recorded(path)
        said = capsys.readouterr().err
        assert said.count("cannot be written") == 1 and "The run goes on without it." in said
    assert target.read_text() == "mine"


# --- standard error -------------------------------------------------------------------------------


def waited(detail: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPEAK_SECONDS", seconds)
    with Progress(detail).stage("teacher", 4, "rounds") as bar:  # type: ignore[arg-type]
        bar.advance(1, 0.5)
        threading.Event().wait(0.5)


def test_a_log_gets_a_line_now_and_then_and_a_short_or_quiet_run_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited("normal", 0.2, monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[0].startswith("teacher: 1 of 4 rounds after 0 s, loss 0.5000, about ")
    for detail, seconds in (("normal", 60.0), ("quiet", 0.1)):
        waited(detail, seconds, monkeypatch)
        assert capsys.readouterr().err == ""


def test_verbose_tells_each_loss(
    tmp_path: Path, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(tmp_path / "run", "verbose")
    said = capsys.readouterr().err
    rows = [line.split(",") for line in run.read_text(files.TEACHER).splitlines()[2:]]
    for number, loss, _ in rows:
        assert f"teacher: {number} of {len(rows)} rounds, loss {float(loss):.4f}\n" in said
    for company in CONFIG.companies:
        assert f"anchors: {company}, loss " in said
