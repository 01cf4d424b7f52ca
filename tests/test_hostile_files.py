"""Files that others wrote: a sentence at once for every one that cannot be read, never a hang."""

import getpass
import io
import json
import os
import socket
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.common.command_line import SMOKE, Answer
from fl_sv import read_run
from fl_sv.config.names import check_names
from fl_sv.data.files import read_rows
from fl_sv.errors import InputError
from fl_sv.game.csv import read_game
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tensors import read_tensors
from tests.runs import Command

SECONDS = 20.0  # five on a machine that has nothing else to do


def refused(read: Callable[[], object]) -> str:
    """The message of the InputError, which comes at once."""
    began = time.perf_counter()
    with pytest.raises(InputError) as refusal:
        read()
    assert time.perf_counter() - began < SECONDS
    assert len(str(refusal.value)) < 600
    return str(refusal.value)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


# --- what is no regular file ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_a_pipe_a_device_a_socket_and_a_folder_are_no_data(tmp_path: Path, suffix: str) -> None:
    made = pipe(tmp_path / f"a.{suffix}")
    assert "it is a pipe; give a file" in refused(lambda: read_rows(str(made), "target"))
    device = tmp_path / f"b.{suffix}"
    device.symlink_to("/dev/zero")
    assert "it is a device; give a file" in refused(lambda: read_rows(str(device), "target"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / f"c.{suffix}"))
        found = refused(lambda: read_rows(str(tmp_path / f"c.{suffix}"), "target"))
    assert "it is a socket; give a file" in found
    (tmp_path / f"d.{suffix}").mkdir()
    assert "is a folder" in refused(lambda: read_rows(str(tmp_path / f"d.{suffix}"), "target"))


def test_no_command_waits_for_a_pipe(command: Command, tmp_path: Path, run: RunDirectory) -> None:
    made, key = pipe(tmp_path / "pipe"), pipe(tmp_path / "key.pub")
    data = pipe(tmp_path / "rows.csv")
    kit = tmp_path / "kit"
    kit.mkdir()
    pipe(kit / "federation.yaml")
    for name in (files.UTILITIES, files.COMPANIES):
        run.file(name).unlink()
        pipe(run.file(name))
    init = ("federation", "init", tmp_path / "new")
    commands: tuple[tuple[object, ...], ...] = (
        ("plan", made),
        ("run", made, "--out", tmp_path / "out"),
        ("value", made),
        ("data", "check", data),
        ("data", "check", made, "--company", "Ash"),
        ("verify", run.path, "--key", key),
        ("federation", "status", "--dir", kit),
        ("federation", "check", "--dir", kit),
        (*init, "--address", "a.example", "--config", made, "--user", getpass.getuser()),
    )
    for arguments in commands:
        answer: Answer = command(*arguments)
        assert (answer.code, "it is a pipe; give a file" in answer.err) == (2, True), answer
    for verb in ("verify", "report"):
        answer = command(verb, run.path)
        assert (answer.code, "it is a pipe" in answer.err) == (1, True), answer


def test_a_config_without_end_is_not_read(command: Command, tmp_path: Path) -> None:
    endless = tmp_path / "endless.yaml"
    with endless.open("wb") as file:
        file.truncate(1 << 40)  # it takes no space
    answer = command("plan", endless)
    assert (answer.code, answer.out) == (2, "")
    assert "it has 1,099,511,627,776 bytes; at most 500,000 are read" in answer.err


def test_sixty_thousand_unknown_keys_are_one_short_message(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(SMOKE.read_text() + "".join(f"k{i}:\n" for i in range(60_000)))
    began = time.perf_counter()
    answer = command("plan", path)
    assert time.perf_counter() - began < SECONDS
    assert answer.code == 2
    assert "unknown key k0." in answer.err
    assert "and 59995 more" in answer.err


# --- CSV ------------------------------------------------------------------------------------------


def test_a_long_cell_is_a_cell(tmp_path: Path) -> None:
    """Case 08: the standard library's reader ends at 131,072 characters."""
    table = tmp_path / "a.csv"
    text = f'a,who,target\n1,"{"x" * 140_000}",0\n2,Beech,oops\n'
    table.write_text(text)
    found = refused(lambda: read_rows(str(table), "target", "who"))
    assert found.startswith(f"{table}, line 3, column 'target': found 'oops'")
    table.write_text(text.replace("oops", "1"))
    assert read_rows(str(table), "target", "who").columns["who"].tolist() == [
        "x" * 140_000,
        "Beech",
    ]
    game = tmp_path / "game.csv"
    game.write_text(f"coalition,utility,note\n0,0,{'x' * 140_000}\n1,1,\n")
    assert read_game(game).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,"target\n1,0\n2,1\n', 1),
        ('a,target\n1,0\n"2,1\n3,0\n', 3),
        ('a,target,who\n1,0,Ash\n2,1,"Beech\n3,1,Ash\n', 3),
    ],
)
def test_a_quote_that_never_closes_is_named_by_its_line(
    tmp_path: Path, text: str, line: int
) -> None:
    table = tmp_path / "a.csv"
    table.write_text(text)
    found = refused(lambda: read_rows(str(table), "target", "who"))
    assert f"line {line}: a quote opens and never closes" in found
    table.write_text("coalition,utility\n0,1\n" + '"1,2\n')
    assert "line 3: a quote opens and never closes" in refused(lambda: read_game(table))


# --- parquet --------------------------------------------------------------------------------------

OTHERS = {
    "binary": pl.Series([b"\xff", b"Ash"]),
    "list": pl.Series([["Ash"], ["Beech"]]),
    "struct": pl.Series([{"a": 1}, {"a": 2}]),
    "date": pl.Series(["2026-01-01", "2026-01-02"]).str.to_date(),
    "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)),
}


LISTS = ("list", "array")  # a feature may be a list: it has a column for each place


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (place, kind)
        for place in ("owner", "target", "feature")
        for kind in OTHERS
        if not (place == "feature" and kind in LISTS)
    ],
)
def test_a_parquet_column_that_holds_no_number_and_no_name_is_refused(
    tmp_path: Path, place: str, kind: str
) -> None:
    path = tmp_path / "a.parquet"
    columns = {"feature": pl.Series([1.0, 2.0]), "target": pl.Series([0, 1])}
    columns["owner"] = pl.Series(["Ash", "Beech"])
    pl.DataFrame(columns | {place: OTHERS[kind]}).write_parquet(path)
    found = refused(lambda: read_rows(str(path), "target", "owner"))
    assert found.startswith(f"{path}, column '{place}': the type ")


def test_a_list_of_words_is_refused_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"feature": OTHERS["list"], "target": [0, 1]}).write_parquet(path)
    found = refused(lambda: read_rows(str(path), "target"))
    assert found.startswith(f"{path}, row 1, column 'feature.0': found 'Ash'")


def test_owners_may_be_categories_and_numbers_decimals(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame(
        {
            "feature": pl.Series(["1.5", "-2"]).cast(pl.Decimal(10, 2)),
            "target": pl.Series([0, 1], dtype=pl.UInt8),
            "owner": pl.Series(["Ash", "Beech"], dtype=pl.Categorical),
        }
    ).write_parquet(path)
    rows = read_rows(str(path), "target", "owner")
    assert rows.columns["owner"].tolist() == ["Ash", "Beech"]
    assert rows.x.tolist() == [[1.5], [-2.0]]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_twenty_thousand_columns_are_read_at_once(tmp_path: Path, suffix: str) -> None:
    path, width = tmp_path / f"wide.{suffix}", 20_000
    values = np.arange(3 * width, dtype=np.float64).reshape(3, width)
    frame = pl.DataFrame(values, schema=[f"c{i}" for i in range(width)])
    frame = frame.with_columns(pl.Series("target", [0, 1, 2]))
    getattr(frame, f"write_{suffix}")(path)
    began = time.perf_counter()
    rows = read_rows(str(path), "target")
    assert time.perf_counter() - began < SECONDS
    assert np.array_equal(rows.x, values)


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, x=np.ones((50, 2)), y=np.ones(50))
    else:
        pl.DataFrame({"a": range(500), "target": range(500)}).write_parquet(path)
    whole = path.read_bytes()
    for kept in (0, 1, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        assert str(path) in refused(lambda: read_rows(str(path), "target"))


# --- npz ------------------------------------------------------------------------------------------


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return str(path)


ROWS = {"x.npy": header((2, 1)) + bytes(16), "y.npy": header((2,)) + bytes(16)}


@pytest.mark.parametrize("shape", [(1 << 40, 1), (1 << 60, 1 << 60), (3, 1), (1, 1), (0, 1)])
def test_a_header_that_promises_what_the_archive_lacks_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    members = ROWS | {"x.npy": header(shape) + bytes(16)}
    found = refused(lambda: read_rows(archive(tmp_path / "a.npz", members), "target"))
    assert "the archive holds 16 bytes of it" in found


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", ROWS)
    changed = bytearray(Path(path).read_bytes())
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, 520_000_000)
    Path(path).write_bytes(changed)  # its directory says how large the first array will be
    found = refused(lambda: read_rows(path, "target"))
    assert found.startswith(f"{path} has ")  # the sentence as it is, in no other one
    assert "would take 520,000" in found
    rows = tmp_path / "a.parquet"
    pl.DataFrame({"target": [0]}).select(
        pl.col("target").repeat_by(35_000_000).explode(), a=pl.lit(1)
    ).write_parquet(rows)
    assert "would take 560,000,000 in memory" in refused(lambda: read_rows(str(rows), "target"))


def test_lines_may_end_in_a_carriage_return_a_line_feed_or_both(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for end in (b"\r", b"\r\n", b"\n"):
        path.write_bytes(end.join([b"a,target", b"1,0", b"2,1", b""]))
        assert read_rows(str(path), "target").y.tolist() == [0, 1]
        path.write_bytes(end.join([b"a,target", b"1,0", b"two,1", b""]))
        assert "line 3, column 'a'" in refused(lambda: read_rows(str(path), "target"))


def test_indicators_of_many_rows_are_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    marks = {f"c{i}": np.arange(100_000, dtype=np.int64) % 300 == i for i in range(300)}
    frame = pl.DataFrame(marks | {"target": np.arange(100_000) % 2})
    frame.write_parquet(path)
    assert path.stat().st_size * 200 < frame.width * len(frame) * 8 > 200_000_000
    assert read_rows(str(path), "target").x.sum() == 100_000


def test_an_archive_of_very_many_arrays_is_not_opened_array_by_array(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", ROWS | {f"m{i}.npy": b"" for i in range(1000)})
    assert "1,002 arrays; at most 1,000" in refused(lambda: read_rows(path, "target"))


def test_an_archive_in_an_unknown_or_secret_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    archive(path, ROWS)
    whole = path.read_bytes()
    local, central = whole.index(b"PK\x03\x04"), whole.index(b"PK\x01\x02")
    for offset, value in ((8, 99), (6, 1)):  # the method of compression; the flag of encryption
        changed = bytearray(whole)
        struct.pack_into("<H", changed, local + offset, value)
        struct.pack_into("<H", changed, central + offset + 2, value)
        path.write_bytes(changed)
        assert "cannot be read" in refused(lambda: read_rows(str(path), "target"))


def test_an_array_of_objects_a_huge_header_and_a_name_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{}, {}]), y=np.ones(2))
    assert "no pickled objects" in refused(lambda: read_rows(str(path), "target"))
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 20) + b" " * (1 << 20)
    archive(path, ROWS | {"x.npy": long})
    assert "cannot be read" in refused(lambda: read_rows(str(path), "target"))
    archive(path, ROWS | {"x": ROWS["x.npy"]})
    assert "the array 'x' is there twice" in refused(lambda: read_rows(str(path), "target"))
    archive(path, ROWS | {"x.npy": b"no array"})
    assert "x holds" in refused(lambda: read_rows(str(path), "target"))


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("Ash", "ash"),
        ("Ash", "ASH"),
        ("Ian", "lan"),
        ("A1", "AI"),
        ("C0", "CO"),
        ("BANK0", "banko"),
    ],
)
def test_names_that_look_alike_are_refused_together(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"the names {names[0]!r} and {names[1]!r} look alike"):
        check_names(names)


@pytest.mark.parametrize("name", ["Ash ", "Ash  Post"])
def test_a_blank_that_nobody_sees_is_no_part_of_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="blanks at an end or several in a row"):
        check_names((name, "Beech"))


def test_names_that_differ_are_names() -> None:
    names = ("Ash", "Ash Post", "C1", "C2", "C10", "Dali", "Dall", "A-1", "A.1", "Mona", "Mono")
    assert check_names(names) == names


def test_model_with_very_many_axes_or_names_is_refused_at_once() -> None:
    """Their product would have millions of digits; a header of 100 MB takes a gigabyte."""
    axes = json.dumps({"a": {"dtype": "F32", "shape": [2**47] * 500_000, "data_offsets": [0, 4]}})
    names = "{" + ",".join(f'"{number}":0' for number in range(1_000_000)) + "}"
    for header in (axes, names):
        data = len(header).to_bytes(8, "little") + header.encode()
        started = time.process_time()
        assert read_tensors(io.BytesIO(data)).fault
        assert time.process_time() - started < 2


def test_table_that_is_larger_than_its_config_allows_is_not_read(run: RunDirectory) -> None:
    os.truncate(run.file(files.UTILITIES), 1 << 40)  # zeros that are not on disk
    with pytest.raises(InputError, match=r"utilities.csv cannot be read: it has 1,099,511,627,776"):
        read_run(run.path)
