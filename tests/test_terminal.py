"""What is printed fails no command, and nothing that is printed steers the terminal."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.common.command_line import REPOSITORY
from fl_sv.errors import InputError
from fl_sv.game.csv import read_table
from fl_sv.payment.payouts import read_payouts
from fl_sv.progress import Progress
from fl_sv.report import write_report
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from fl_sv.terminal import complain, say, unfailing_output
from fl_sv.text import one_line, shown
from tests.runs import Command, fl_sv, published

ENCODINGS = ("ascii", "latin-1", "cp1252", "utf-8")
# A title of case 09, with what steers a terminal besides: colour, bell, right to left, zero width.
HOSTILE = (
    "Über [/bold] <b> \U0001f600 \u202eabc\x1b[31m\x1b]0;x\x07 zero\u200bwidth\x9b2J\nPayable."
)
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]")
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def hostile_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run whose title is hostile."""
    evidence = read_evidence(RunDirectory(finished_run))
    content = evidence.config.model_dump() | {"title": HOSTILE}
    hostile = type(evidence)(
        **{**vars(evidence), "config": type(evidence.config).model_validate(content)}
    )
    run = published(tmp_path_factory.mktemp("hostile") / "run", RunDirectory(finished_run), hostile)
    write_report(run)
    return run


@pytest.fixture
def hostile_copy(hostile_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(shutil.copytree(hostile_run.path, tmp_path / "run"))


def printed(encoding: str, *arguments: object) -> tuple[int, bytes, bytes]:
    """Exit code and bytes of a command on a terminal of this encoding, in this process."""
    raw = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdout", "stderr"), raw, strict=True):
            patch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding))
        from fl_sv.cli import main

        code = main([str(argument) for argument in arguments])
        kept = sys.stdout, sys.stderr  # else they close the bytes
        out, err = (stream.getvalue() for stream in raw)
        del kept
    return code, out, err


def test_a_payment_on_a_terminal_without_the_titles_letters_is_a_payment(
    hostile_copy: RunDirectory,
) -> None:
    code, out, err = printed("ascii", "pay", hostile_copy.path, "--pot", 777)
    assert (code, err) == (0, b"")
    assert b"777" not in out
    assert b"7.77" in out
    assert sum(read_payouts(hostile_copy.file(files.PAYOUTS)).values()) == 777
    assert fl_sv("verify", hostile_copy.path).code == 0


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_title_is_shown_as_far_as_the_terminal_can(
    hostile_run: RunDirectory, encoding: str
) -> None:
    code, out, err = printed(
        encoding, "run", hostile_run.file(files.CONFIG), "--out", hostile_run.path, "--resume"
    )
    assert (code, err) == (0, b"")
    text = out.decode(encoding)
    lacks = {"ascii": ("\\xdc", "\\U0001f600"), "utf-8": ("Ü", "\U0001f600")}
    umlaut, smile = lacks.get(encoding, ("Ü", "\\U0001f600"))
    assert text.splitlines()[0].rstrip() == (
        f"{umlaut}ber [/bold] <b> {smile} \\u202eabc\\x1b[31m\\x1b]0;x\\x07"
        " zero\\u200bwidth\\x9b2J Payable."
    )
    widths = {len(line) for line in text.splitlines()[1:9]}
    assert len(widths) == 1, "the columns are aligned"
    assert ("90 %" if encoding == "ascii" else "90\xa0%") in text


def test_nothing_that_steers_a_terminal_is_printed(hostile_run: RunDirectory) -> None:
    assert not STEERING.search(summary(hostile_run))
    assert not STEERING.search(hostile_run.file(files.REPORT).read_text(encoding="utf-8"))
    for name in (files.PAYOUTS, files.COMPANIES, files.UTILITIES):
        assert not STEERING.search(hostile_run.file(name).read_text(encoding="utf-8"))


def test_an_error_quotes_what_steers_a_terminal_so_that_it_does_not(
    command: Command, tmp_path: Path
) -> None:
    name = "no\x1b[2Jsuch\u202e.yaml"
    for arguments in (
        ("plan", name),
        ("verify", name),
        ("value", name),
        ("data", "check", name + ".csv"),
        ("data", "check", name, "--company", "Ash"),
        ("pay", name, "--pot", "1"),
        ("report", name),
        ("federation", "status", "--dir", name),
        ("run", name, "--out", tmp_path / "out"),
        ("plan", "configs/smoke.yaml", name),
        ("pay", name, "--pot", name),
        ("run", name, "--out", tmp_path, "--backend", name),
    ):
        answer = command(*arguments)
        assert answer.code == 2
        assert "no\\x1b[2Jsuch\\u202e" in answer.err
        assert not STEERING.search(answer.out + answer.err)


def test_every_error_holds_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    assert str(InputError("no \x1b[31mfile\n\u202esecond line")) == (
        "no \\x1b[31mfile\n\\u202esecond line"
    )
    table = tmp_path / "t.csv"
    table.write_text("a\x1b[31m,b\n", encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        list(read_table(table, ("c",)))
    assert not STEERING.search(str(refusal.value))


def test_what_is_shown_twice_is_shown_once() -> None:
    assert shown(shown(HOSTILE)) == shown(HOSTILE)
    assert shown("Übergröße, 数据, é, 90\xa0%\tx\n") == "Übergröße, 数据, é, 90\xa0%\tx\n"
    assert one_line("two\n lines\t\x00") == "two lines \\x00"


@pytest.mark.skipif(not FULL.exists(), reason="no full device here")
def test_a_full_disk_behind_the_output_fails_no_command(hostile_copy: RunDirectory) -> None:
    """In a process of its own: Python itself writes once more when it ends."""
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fl_sv.cli", "pay", hostile_copy.path, "--pot", "777"],
            cwd=REPOSITORY,
            check=False,
            text=True,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    lost = "fl-sv: standard output is incomplete: No space left on device.\n"
    assert (done.returncode, done.stderr) == (0, lost)
    assert sum(read_payouts(hostile_copy.file(files.PAYOUTS)).values()) == 777


def test_a_reader_that_goes_away_fails_no_command(hostile_run: RunDirectory) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "fl_sv.cli", "verify", hostile_run.path],
        cwd=REPOSITORY,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_command_without_any_output_stream_does_its_work(
    hostile_copy: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    from fl_sv.cli import main

    assert main(["pay", str(hostile_copy.path), "--pot", "777"]) == 0
    assert main(["plan", "no such file"]) == 2
    assert sum(read_payouts(hostile_copy.file(files.PAYOUTS)).values()) == 777


def test_a_stream_that_fails_or_is_closed_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", errors)
    with unfailing_output():
        say("lost")
        complain("kept")
        with Progress("verbose").stage("sweep", 2, "rounds") as bar:
            bar.advance(2)
    assert errors.getvalue().startswith("kept\nsweep: 2 rounds in ")
    assert errors.getvalue().endswith(
        "standard output is incomplete: I/O operation on closed file.\n"
    )
    assert sys.stdout is closed


def test_errors_of_the_work_are_not_hidden_by_the_output() -> None:
    with pytest.raises(OSError, match="the work"), unfailing_output():
        raise OSError("the work")


def test_json_is_the_same_document_in_any_encoding(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs" / "smoke.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "ü.yaml"
    path.write_text(yaml.safe_dump(config | {"title": HOSTILE}), encoding="utf-8")
    code, out, err = printed("ascii", "plan", path, "--json")
    assert (code, err) == (0, b"")
    assert json.loads(out.decode("ascii"))["n_companies"] == 4


def test_only_the_terminal_prints() -> None:
    for package in ("fl_sv", "server", "clients", "strategies"):
        for path in (REPOSITORY / package).rglob("*.py"):
            if path.name not in ("terminal.py", "reference.py"):
                assert not re.search(r"(?<![\w.])print\(|Console\(", path.read_text()), path
