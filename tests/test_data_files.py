"""Data files: what is read from them, and the sentence for each way in which they can be wrong."""

import datetime
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fl_sv.data.files import read_rows
from fl_sv.data.raw import class_labels
from fl_sv.errors import InputError

GOOD = "age,height,target\n30,1.7,0\n40,1.8,1\n"


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def write(content: str | bytes) -> str:
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def message(path: str, target: str = "target", owner: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        read_rows(path, target, owner)
    text = str(error.value)
    assert text.startswith((path, f"The data file {path}")), text
    first, *others = text.splitlines()
    assert first.endswith((".", "?"))
    assert len(first.replace(path, "FILE")) < 520
    assert len(others) <= 20  # further cells
    return text.replace(path, "FILE")


# --- what is read ---------------------------------------------------------------------------------


def test_three_formats_hold_the_same_rows(csv: Any, tmp_path: Path) -> None:
    x, y = np.array([[30, 1.7], [40, 1.8]]), np.array([0, 1])
    pl.read_csv(GOOD.encode()).write_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", x=x, y=y)
    for path in (csv(GOOD), str(tmp_path / "a.parquet"), str(tmp_path / "a.npz")):
        table = read_rows(path, "target")
        np.testing.assert_array_equal(table.x, x)
        np.testing.assert_array_equal(table.y, y)
        assert table.features == (() if path.endswith(".npz") else ("age", "height"))


def test_the_target_may_be_any_column_and_the_owner_is_no_feature(csv: Any) -> None:
    table = read_rows(csv("price,shop,size\n1.5,North,3\n2.5,South,4\n"), "price", "shop")
    assert table.features == ("size",)
    np.testing.assert_array_equal(table.x, [[3], [4]])
    np.testing.assert_array_equal(table.y, [1.5, 2.5])
    assert table.columns["shop"].tolist() == ["North", "South"]


def test_owners_of_a_parquet_file_may_be_categories_numbers_or_empty(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"a": [1.0, 2.0], "target": [0, 1], "shop": pl.Series(["N", None], dtype=pl.Categorical)}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    assert read_rows(str(tmp_path / "a.parquet"), "target", "shop").columns["shop"].tolist() == [
        "N",
        "",
    ]
    frame.with_columns(shop=pl.Series([1, 2])).write_parquet(tmp_path / "b.parquet")
    assert read_rows(str(tmp_path / "b.parquet"), "target", "shop").columns["shop"].tolist() == [
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        GOOD.replace("40", "\n40"),
        "\n\n" + GOOD,
        GOOD.replace("30", " 3e1 ").replace("40", '"40"'),
    ],
    ids=[
        "byte order mark",
        "windows",
        "blank end",
        "blank middle",
        "blank start",
        "spaces, exponents, quotes",
    ],
)
def test_harmless_differences_of_csv_files_do_not_matter(csv: Any, text: str) -> None:
    np.testing.assert_array_equal(read_rows(csv(text), "target").x, [[30, 1.7], [40, 1.8]])


def test_truth_values_of_a_parquet_file_are_numbers(tmp_path: Path) -> None:
    pl.DataFrame({"a": [True, False], "target": [True, False]}).write_parquet(
        tmp_path / "a.parquet"
    )
    table = read_rows(str(tmp_path / "a.parquet"), "target")
    np.testing.assert_array_equal(table.x, [[1], [0]])
    np.testing.assert_array_equal(table.y, [1, 0])


def test_images_and_other_columns_of_an_npz_are_kept(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        x=np.zeros((3, 1, 4, 4), np.uint8),
        y=np.zeros(3),
        shop=["N", "S", "N"],
        note=["one"],
    )
    table = read_rows(str(tmp_path / "a.npz"), "target")
    assert table.x.shape == (3, 1, 4, 4)
    assert set(table.columns) == {"shop"}


# --- what is refused ------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.csv").mkdir()
    assert "FILE does not exist" in message(str(tmp_path / "a.csv"))
    assert "FILE is a folder" in message(str(tmp_path / "b.csv"))
    with pytest.raises(InputError, match=r"nul\\x00.csv cannot be read: embedded null byte"):
        read_rows(str(tmp_path / "nul\0.csv"), "target")
    assert "FILE cannot be read" in message(str(tmp_path / ("x" * 300 + ".csv")))


def test_another_kind_of_file_is_refused_with_the_kinds_there_are(tmp_path: Path) -> None:
    assert "must end in .npz, .csv, .parquet, .arrow" in message(str(tmp_path / "a.xlsx"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"FILE is empty"),
        ("\n\n", r"FILE is empty"),
        ("age,height,target\n", r"no rows"),
        ("age,height,targt\n1,2,0\n", r"no column 'target'.*`data.target`.*Did you mean targt\?"),
        ("age;height;target\n1;2;0\n", r"single column 'age;height;target'.*separated by commas"),
        ("shop,target\nNorth,1\n", r"no feature column besides 'target'"),
        ("age,age,target\n1,2,0\n", r"names the column 'age' twice"),
        (GOOD.replace("40", "old"), r"FILE, line 3, column 'age': found 'old' \(1 such cells\)"),
        (GOOD.replace("40", ""), r"FILE, line 3, column 'age': the cell is empty"),
        (GOOD.replace("1.8", "NaN"), r"FILE, line 3, column 'height': found 'NaN'"),
        (GOOD.replace("1.8", "-inf"), r"FILE, line 3, column 'height': found '-inf'"),
        (GOOD.replace("1.8", "1e999"), r"FILE, line 3, column 'height': found '1e999'"),
        (GOOD.replace("1.8", "1_8"), r"FILE, line 3, column 'height': found '1_8'"),
        (GOOD.replace("1.7,0", "1.7"), r"FILE, line 2, column 'target': the cell is empty"),
        (GOOD.replace("1.8,1", "1.8,yes"), r"FILE, line 3, column 'target': found 'yes'"),
        (GOOD.replace("1.8,1", "1.8,cat"), r"found 'cat'.*the integers 0, 1, 2 and so on, so give"),
        (GOOD + "\n,,\n", r"FILE, line 5, column 'age': the cell is empty"),
        (GOOD.replace("40", "\n\nold"), r"FILE, line 5, column 'age'"),
        ("\n" + GOOD.replace("40", "old"), r"FILE, line 4, column 'age'"),
        (GOOD.replace("1.8,1", "1.8,1,9"), r"FILE, line 3: 4 cells where the header has 3 columns"),
        (b"age,target\n1,0\n\xff\xfe,1\n", r"FILE cannot be read: it is no CSV text"),
        (
            b"\x89PNG\r\n\x1a\n\x00\x00",
            r"FILE cannot be read: it is no CSV text: it holds bytes that are not UTF-8",
        ),
        ('age,target\n"1,0\n', r"FILE"),
        ("x" * 100_000, r"FILE: the header has the single column"),
        ("x" * 200_000, r"FILE: the header has the single column"),
    ],
)
def test_a_faulty_csv_is_refused_with_line_and_column(
    csv: Any, text: str | bytes, expected: str
) -> None:
    assert re.search(expected, message(csv(text), owner="shop"))


def test_a_cell_is_found_below_a_cell_of_several_lines(csv: Any) -> None:
    text = 'shop,age,target\n"North\nGate",1,0\n"South\nGate",old,1\n'
    assert "FILE, line 4, column 'age': found 'old'" in message(csv(text), owner="shop")


def test_a_column_of_text_that_is_not_the_owner_is_refused(csv: Any) -> None:
    text = "age,shop,target\n1,North,0\n"
    assert "column 'shop': found 'North'" in message(csv(text))
    assert read_rows(csv(text), "target", "shop").features == ("age",)


def test_an_owner_column_that_is_not_there_is_named_beside_the_column_of_text(csv: Any) -> None:
    text = message(csv("age,shop,target\n1,North,0\n"), owner="shops")
    assert (
        "FILE has no column 'shops' to name the owner (`data.partition.column`). Did you mean shop?"
        in text
    )


@pytest.mark.parametrize("content", [b"", b"PAR1garbagePAR1", b"no parquet at all"])
def test_a_broken_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    assert "FILE is not a readable Parquet file" in message(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": [1.0, None], "target": [0, 1]}, r"FILE, row 2, column 'a': the cell is empty"),
        ({"a": [1.0, float("nan")], "target": [0, 1]}, r"FILE, row 2, column 'a': found 'nan'"),
        ({"a": ["1", "x"], "target": [0, 1]}, r"FILE, row 2, column 'a': found 'x'"),
        (
            {"a": [datetime.date(2026, 1, 1)], "target": [0]},
            r"FILE, column 'a': the type Date is no number",
        ),
        ({"a": [{"b": 1}], "target": [0]}, r"FILE, column 'a': the type Struct\(.*\) is no number"),
        ({"a": [], "target": []}, r"no rows"),
    ],
)
def test_a_faulty_parquet_table_is_refused_with_row_and_column(
    tmp_path: Path, columns: dict[str, list[Any]], expected: str
) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "a.parquet")
    assert re.search(expected, message(str(tmp_path / "a.parquet")))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"y": np.zeros(2)}, r"no array 'x'; it has y"),
        ({"x": np.zeros((2, 2)), "labels": np.zeros(2)}, r"no array 'y'; it has labels, x"),
        (
            {"x": np.zeros(2), "y": np.zeros(2)},
            r"x has shape \(2,\); it must be \(rows, features\)",
        ),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, r"x has shape \(0, 2\)"),
        (
            {"x": np.zeros((2, 2)), "y": np.zeros(3)},
            r"y has shape \(3,\) and x has 2 rows; y must be \(2,\)",
        ),
        ({"x": np.zeros((2, 2)), "y": np.zeros((2, 1))}, r"y has shape \(2, 1\)"),
        (
            {"x": np.array([["a", "b"]]), "y": np.zeros(1)},
            r"x holds <U1; it must hold real numbers",
        ),
        (
            {"x": np.zeros((1, 2)), "y": np.array(["cat"])},
            r"y holds <U3; it must hold real numbers. For classes: the labels .* 0, 1, 2 and so on",
        ),
        ({"x": np.zeros((2, 2)) * 1j, "y": np.zeros(2)}, r"x holds complex128"),
        (
            {"x": np.array([[0, 1], [np.nan, np.inf]]), "y": np.zeros(2)},
            r"x\[1, 0\] is nan \(2 such cells\)",
        ),
        ({"x": np.zeros((2, 2)), "y": np.array([0, -np.inf])}, r"y\[1\] is -inf"),
        ({"x": np.array([[None]]), "y": np.zeros(1)}, r"no pickled objects"),
    ],
)
def test_a_faulty_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    assert re.search(expected, message(str(tmp_path / "a.npz")))


def test_a_file_that_is_no_zip_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"not a zip")
    assert "FILE is not an .npz archive" in message(str(path))
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(50, 2)), y=np.zeros(50))
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    path.write_bytes(content)
    assert "FILE cannot be read" in message(str(path))


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (
            "1.5",
            (
                r"line 3, column 'target': the label 1.5 is no class \(1 such rows\); labels are"
                r" the integers 0 to 2. For a target that is a quantity set `data.task: regression`"
            ),
        ),
        ("-1", r"line 3, column 'target': the label -1 is no class.*Number the classes from 0"),
        ("3", r"line 3, column 'target': the label 3 is no class.*`data.classes`, which is 3"),
    ],
)
def test_a_label_out_of_range_is_refused_with_its_line(csv: Any, label: str, expected: str) -> None:
    table = read_rows(csv(GOOD.replace("1.8,1", f"1.8,{label}")), "target")
    with pytest.raises(InputError, match=expected):
        class_labels(table, 3)


def test_classes_are_counted_when_no_number_is_given(csv: Any) -> None:
    labels, n_classes = class_labels(read_rows(csv(GOOD), "target"), None)
    assert labels.dtype == np.int64
    assert (labels.tolist(), n_classes) == ([0, 1], 2)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("0", "every label is 0. Give rows of at least two classes"),
        ("2", "the labels are 0, 2; none is 1"),
        ("-2", "the label -2 is no class"),
        ("0.5", "the label 0.5 is no class.*integers 0, 1, 2 and so on. For a target that is a"),
    ],
)
def test_counting_refuses_gaps_and_a_single_class(csv: Any, label: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        class_labels(read_rows(csv(GOOD.replace("1.8,1", f"1.8,{label}")), "target"), None)


@pytest.mark.parametrize("name", ["rows.xlsx", "ROWS.XLS", "rows.ods"])
def test_whoever_gives_a_spreadsheet_is_told_to_save_it_as_csv(name: str) -> None:
    with pytest.raises(InputError, match=r"name must end in .*; save its sheet as \.csv\."):
        read_rows(name, "y")
