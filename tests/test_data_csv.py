"""How a table is written: separators, decimal signs, thousands, encodings, and cells in doubt."""

import csv as standard
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fl_sv.config.columns import Csv
from fl_sv.data.files import read_rows
from fl_sv.data.raw import RawRows
from fl_sv.errors import InputError

PLAIN = Csv()
GERMAN = Csv(separator=";", decimal=",", thousands=".")


def rows(folder: Path, content: str | bytes, csv: Csv = PLAIN, owner: str | None = None) -> RawRows:
    path = folder / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_rows(str(path), "target", owner, csv)


def refusal(folder: Path, content: str | bytes, csv: Csv = PLAIN) -> str:
    with pytest.raises(InputError) as error:
        rows(folder, content, csv)
    return str(error.value).replace(str(folder / "a.csv"), "FILE")


def slowly(text: str, csv: Csv) -> list[list[float]]:
    """The slow twin: the standard library's reader, and one replacement after the other."""
    _, *lines = standard.reader(text.splitlines(), delimiter=csv.letter)
    return [
        [
            float(cell.strip().replace(csv.thousands or "", "").replace(csv.decimal or ".", "."))
            for cell in line
        ]
        for line in lines
        if line
    ]


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "|", "tab"])
@pytest.mark.parametrize(("decimal", "thousands"), [(",", "."), (".", ","), (",", " "), (".", "'")])
def test_a_table_means_what_its_signs_say(
    tmp_path: Path, separator: Any, decimal: Any, thousands: Any
) -> None:
    csv = Csv(separator=separator, decimal=decimal, thousands=thousands)
    rng = np.random.default_rng(5)
    lines = [csv.letter.join(("a", "b", "target"))]
    for number in np.round(rng.normal(0, 10**5, 40), 3).tolist():
        signs = str.maketrans({",": thousands, ".": decimal})
        grouped, plain = f"{number:,.2f}".translate(signs), f"{number:.3f}".translate(signs)
        lines.append(csv.letter.join((f'"{grouped}"', f'"{plain}"', "1")))
    text = "\r\n".join(lines) + "\r\n"
    found = rows(tmp_path, text, csv)
    assert np.c_[found.x, found.y].tolist() == slowly(text, csv)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "latin-1", "cp850", "mac-roman"])
def test_letters_are_the_same_in_every_encoding(tmp_path: Path, encoding: Any) -> None:
    text = 'Größe;Käufer;target\r\n1,5;"Müller ""&"" Söhne";0\r\n2,5;Ørsted;1\r\n'
    found = rows(
        tmp_path,
        text.encode(encoding),
        Csv(separator=";", decimal=",", encoding=encoding),
        "Käufer",
    )
    assert found.features == ("Größe",)
    assert found.x.tolist() == [[1.5], [2.5]]
    assert found.columns["Käufer"].tolist() == ['Müller "&" Söhne', "Ørsted"]


def test_a_quote_inside_a_letter_of_two_bytes_is_no_quote(tmp_path: Path) -> None:
    """U+2200 has the byte of a quote in UTF-16."""
    text = "∀;target\n1;0\n2;1\n".encode("utf-16")
    found = rows(tmp_path, text, Csv(separator=";", encoding="utf-16"))
    assert found.features == ("∀",)


def test_a_quote_in_the_name_of_a_column_is_one_quote(tmp_path: Path) -> None:
    assert rows(tmp_path, '"the ""big"" one",target\n1,0\n2,1\n').features == ('the "big" one',)


def test_a_table_without_a_header_counts_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2,0\n\n3,4,1\n")
    found = read_rows(str(path), "column_3", None, Csv(header=False))
    assert found.features == ("column_1", "column_2")
    assert found.x.tolist() == [[1, 2], [3, 4]]
    assert [found.place(0), found.place(1)] == [f"{path}, line 1", f"{path}, line 3"]


def test_texts_of_a_parquet_file_have_the_same_signs(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": ["3.750,5", "1,25"], "b": [1.5, 2.5], "target": [0, 1]}).write_parquet(path)
    found = read_rows(str(path), "target", None, GERMAN)
    assert found.x.tolist() == [[3750.5, 1.5], [1.25, 2.5]]


@pytest.mark.parametrize(
    "cell", ["0.750", "012.345", "1.23,5", "12.3456", "1.2.3", "1,2,3", ".5", "1_5", "٣", "0x1"]
)
def test_groups_that_have_not_three_digits_are_no_number(tmp_path: Path, cell: str) -> None:
    found = refusal(tmp_path, f"a;target\n1,5;0\n{cell};1\n", GERMAN)
    assert f"FILE, line 3, column 'a': found {cell!r}" in found


# --- what may mean two numbers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "csv"),
    [
        ("a;target\n3.750;0\n4.200;1\n", Csv(separator=";")),
        ("a\ttarget\n3.750\t0\n4.200\t1\n", Csv(separator="tab")),
        ("a,target\n850,0\n3.750,1\n", Csv()),
        ('a,b,target\n3.751,"1,5",0\n4.200,"2,5",1\n', Csv()),
        ('a,b,target\n3.751,"1.000,5",0\n4.200,"2,5",1\n', Csv()),
    ],
    ids=["semicolons", "tabs", "mixed column", "decimal comma elsewhere", "both signs elsewhere"],
)
def test_a_point_that_may_part_thousands_is_asked_about(
    tmp_path: Path, text: str, csv: Csv
) -> None:
    found = refusal(tmp_path, text, csv)
    line = next(line for line in found.splitlines() if "'3.75" in line)
    assert line.startswith("FILE, line ")
    assert "column 'a': found '3.75" in line
    assert 'state `data: {csv: {decimal: ",", thousands: "."}}` if it does' in line
    assert 'and `{decimal: "."}` if it is the decimal sign' in line


@pytest.mark.parametrize(
    "cells",
    [
        ["3.750", "4.200", "12.500"],  # decimals of a fixed number
        ["3.75", "4.2", "850"],
        ["0.500", "1", "2"],
        ["3.125", "2", "1"],  # as short as they can be
        ["3.750", "1200", "5"],  # a whole number without a sign of thousands
        ["3.750", "0.1234", "5"],
        ["1", "2", "3"],
    ],
)
def test_a_plain_table_of_decimals_is_read_as_ever(tmp_path: Path, cells: list[str]) -> None:
    text = "a,target\n" + "".join(f"{cell},0\n" for cell in cells)
    assert rows(tmp_path, text).x[:, 0].tolist() == [float(cell) for cell in cells]


def test_the_answer_is_taken(tmp_path: Path) -> None:
    text = "a;target\n850;0\n3.750;1\n"
    assert rows(tmp_path, text, GERMAN).x.tolist() == [[850], [3750]]
    decimal = rows(tmp_path, text, Csv(separator=";", decimal="."))
    assert decimal.x.tolist() == [[850], [3.75]]


def test_texts_of_a_parquet_file_are_asked_about_and_its_numbers_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"a": ["850", "3.750"], "target": [0, 1]})
    frame.write_parquet(path)
    with pytest.raises(InputError, match=r"row 2, column 'a': found '3.750', which is 3750 where"):
        read_rows(str(path), "target")
    frame.with_columns(pl.col("a").cast(pl.Float64)).write_parquet(path)
    assert read_rows(str(path), "target").x.tolist() == [[850], [3.75]]


def test_two_equal_signs_are_refused() -> None:
    for signs in ({"thousands": "."}, {"decimal": ",", "thousands": ","}):
        with pytest.raises(ValueError, match="thousands and decimal are both"):
            Csv.model_validate(signs)


# --- what is refused, and the way out -------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "csv", "remedy"),
    [
        ('"1,5"', Csv(), 'give `data: {csv: {decimal: ","}}`'),
        ('"1.234,5"', Csv(), 'give `data: {csv: {decimal: ",", thousands: "."}}`'),
        ('"3,750"', Csv(), "it is 3750 where a comma parts thousands, and 3.750 where it is the"),
        ("1.234.567", Csv(), "if '.' parts thousands in it, give `data.csv.thousands: '.'`"),
        ("1'250", Csv(), 'if "\'" parts thousands in it'),
        ("3.750", Csv(decimal=","), "give `data.csv.thousands: '.'`"),
        ("12 %", Csv(), "give its unit in `data.columns`, such as `{kind: numeric, unit: EUR}`"),
        ("€ 5", Csv(), "or write the number alone"),
        ("5-", Csv(), "if it is a number below zero, give `data.csv.minus: after`"),
        ("(5)", Csv(minus="after"), "give `data.csv.minus: brackets`"),
        ("-----", Csv(), "it is a ruling and no row; remove the line"),
        ("5 EUR", Csv(), "write the number alone"),
        ("N/A", Csv(), "give `data.csv.empty: ['N/A']` and a `missing` in `data.columns`"),
        ("-", Csv(), "give `data.csv.empty: ['-']`"),
    ],
)
def test_a_cell_that_is_no_number_is_told_the_way_out(
    tmp_path: Path, cell: str, csv: Csv, remedy: str
) -> None:
    found = refusal(tmp_path, f"a,target\n{cell},0\n2,1\n", csv)
    assert remedy in found
    assert found.startswith("FILE, line 2, column 'a': found ")


@pytest.mark.parametrize(("sign", "name"), [(";", '";"'), ("\t", "tab"), ("|", '"|"')])
def test_another_separator_is_named(tmp_path: Path, sign: str, name: str) -> None:
    found = refusal(tmp_path, f"a{sign}target\n1,5{sign}0\n")
    assert f"give `data: {{csv: {{separator: {name}}}}}`" in found


def test_another_encoding_is_named(tmp_path: Path) -> None:
    found = refusal(tmp_path, "Größe,target\n1,0\n".encode("cp1252"))
    assert "bytes that are not UTF-8; save it as UTF-8, or name the file's own encoding" in found
    found = refusal(tmp_path, b"a;target\n1;0\n\x81;1\n", Csv(separator=";", encoding="cp1252"))
    assert "bytes that are not CP1252" in found


def test_a_text_that_means_an_empty_cell_is_one(tmp_path: Path) -> None:
    found = refusal(tmp_path, "a,target\n-,0\n2,1\n", Csv(empty=("-", "N/A")))
    assert "FILE, line 2, column 'a': the cell is empty" in found


def test_all_bad_cells_are_named_at_once_and_twenty_at_most(tmp_path: Path) -> None:
    found = refusal(tmp_path, "a,b,target\nx,1,0\n2,y,1\n3,4,\n")
    assert [line.split(":")[0] for line in found.splitlines()] == [
        "FILE, line 2, column 'a'",
        "FILE, line 3, column 'b'",
        "FILE, line 4, column 'target'",
    ]
    many = "a,b,target\n" + "x,1,0\n" * 50 + "\n1,y,1\n"
    lines = refusal(tmp_path, many).splitlines()
    assert len(lines) == 21
    assert "(51 such cells)" in lines[0]
    assert [line.split(": ")[0] for line in lines[:19]] == [
        f"FILE, line {i}, column 'a'" for i in range(2, 21)
    ]
    assert lines[19].startswith("FILE, line 53, column 'b': found 'y'")
    assert lines[20] == "and 31 more such cells."
