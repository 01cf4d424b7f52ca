"""Tables as spreadsheets, SAP, SAS and R write them: read as they are meant, or asked about."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_sv.config import config_of
from fl_sv.config.columns import ANSWER
from fl_sv.config.dialect import parse_yaml
from fl_sv.data.federation import operator_data, read_source
from fl_sv.data.infer import proposal
from fl_sv.errors import InputError
from tests.test_data_columns import MODELS

VALUES = [1210.5, -98.25, 6262.0, 12.75, 1003.5, -7.5, 88.0, 45.5]
GERMAN = ["1.210,50", "-98,25", "6.262,00", "12,75", "1.003,50", "-7,50", "88,00", "45,50"]


def write(path: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> str:
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return str(path)


def table(cells: list[str], name: str = "n") -> list[str]:
    """Lines with `;`: the cells, and the target, 0 and 1 in turn."""
    return [f"{name};target", *(f"{cell};{i % 2}" for i, cell in enumerate(cells))]


def answered(path: str, **answers: Any) -> dict[str, Any]:
    """The section `data` that is proposed, with these answers by key in place of questions."""
    data: dict[str, Any] = parse_yaml(proposal(path, "target"), "the proposal")["data"]
    data["partition"] = {"kind": "iid"}
    data["validation"] = {"fraction": 0.5}
    for key, value in answers.items():
        place = data["csv"] if key in data.get("csv", {}) else data["columns"]
        assert ANSWER in str(place[key]), f"{key} was not asked"
        place[key] = value
    assert ANSWER not in str(data), "more was asked"
    return data


def read(data: dict[str, Any], column: str = "n") -> list[Any]:
    """A column of the source, in the order of the file, as numbers or texts."""
    config = config_of({"companies": ["Ash", "Beech"], "data": data, **MODELS}, "a config")
    source = read_source(config)
    assert source is not None and source.raw.table is not None
    operator_data(config, source)  # and it can be encoded and scaled
    cells: list[Any] = source.raw.table[column].to_list()
    return cells


@pytest.mark.parametrize(
    ("cells", "csv", "column"),
    [
        (GERMAN, {"decimal": ",", "thousands": "."}, "numeric"),
        ([c.replace(".", "\u202f") for c in GERMAN], {"thousands": " "}, "numeric"),
        ([c.replace("-", "\u2212") for c in GERMAN], {"decimal": ","}, "numeric"),
        ([f"{c[1:]}-" if "-" in c else c for c in GERMAN], {"minus": "after"}, "numeric"),
        ([f"({c[1:]})" if "-" in c else c for c in GERMAN], {"minus": "brackets"}, "numeric"),
        ([f"{c} €" for c in GERMAN], {"decimal": ","}, {"kind": "numeric", "unit": "€"}),
        ([f"{c}%" for c in GERMAN], {"decimal": ","}, {"kind": "numeric", "unit": "%"}),
        ([f"{c} Stk." for c in GERMAN], {"decimal": ","}, {"kind": "numeric", "unit": "Stk."}),
        ([f"EUR {c}" for c in GERMAN], {"decimal": ","}, {"kind": "numeric", "unit": "EUR"}),
        ([f"{v:,.2f}".replace(",", "'") for v in VALUES], {"thousands": "'"}, "numeric"),
        ([f"{v:,.2f}".replace(",", "\u2019") for v in VALUES], {"thousands": "'"}, "numeric"),
        ([f"{v:,.2f}" for v in VALUES], {"thousands": ","}, "numeric"),
        (
            [f"-${-v:,.2f}" if v < 0 else f"${v:,.2f}" for v in VALUES],
            {"thousands": ","},
            {"kind": "numeric", "unit": "$"},
        ),
        (
            [f"(${-v:,.2f})" if v < 0 else f"${v:,.2f}" for v in VALUES],
            {"minus": "brackets"},
            {"kind": "numeric", "unit": "$"},
        ),
        ([f"{v:.4E}".replace(".", ",") for v in VALUES], {"decimal": ","}, "numeric"),
    ],
)
def test_however_a_number_is_written_it_is_read_as_that_number(
    tmp_path: Path, cells: list[str], csv: dict[str, str], column: Any
) -> None:
    data = answered(write(tmp_path / "a.csv", *table(cells)))
    assert csv.items() <= data["csv"].items() and data["columns"]["n"] == column
    assert read(data) == VALUES


def test_thousands_as_in_india_are_read(tmp_path: Path) -> None:
    cells = ["1,23,456.50", "12,34,567.00", "99,999.25", "1,000.00"]
    assert read(answered(write(tmp_path / "a.csv", *table(cells)))) == [
        123456.5,
        1234567,
        99999.25,
        1000,
    ]


def test_a_cell_without_the_unit_of_its_column_is_refused_and_never_a_number(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.csv", *table(["12 %", "0.13", "5 %", "7 kg"]))
    kind = {"n": {"kind": "numeric", "unit": "%"}}
    data = {"source": path, "csv": {"separator": ";"}, "columns": kind, "task": "regression"}
    with pytest.raises(InputError) as caught:
        read({**data, "partition": {"kind": "iid"}})
    assert "line 3, column 'n': found '0.13', which lacks the unit '%'" in str(caught.value)
    assert "line 5, column 'n': found '7 kg', which lacks the unit '%'" in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "form", "parts"),
    [
        (["4. August 2025", "17. März 2024", "1. Mai 2025", "2. Dezember 2025"], "%d. %b %Y", 8),
        (["04AUG2025", "17MAR2024", "01MAY2025", "02DEC2025"], "%d%b%Y", 8),
        (["August 4, 2025", "March 17, 2024", "May 1, 2025", "December 2, 2025"], "%b %d, %Y", 8),
        (["4 août 2025", "17 mars 2024", "1 mai 2025", "2 déc. 2025"], "%d %b %Y", 8),
        (["04-ago-2025", "17-mar-2024", "01-may-2025", "02-dic-2025"], "%d-%b-%Y", 8),
    ],
)
def test_months_may_have_names(tmp_path: Path, cells: list[str], form: str, parts: int) -> None:
    data = answered(write(tmp_path / "a.csv", *table(cells)))
    assert data["columns"]["n"]["format"] == form
    assert read(data, "n.month") == [parts, 3, 5, 12]
    assert read(data, "n.year") == [2025, 2024, 2025, 2025]


def test_a_word_that_is_no_month_is_no_date(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *table(["4 May 2025", "17 Mai 2024", "1 Mayo 2025", "x"]))
    kind = {"kind": "date", "format": "%d %b %Y", "parts": ["month"]}
    data = {"source": path, "csv": {"separator": ";"}, "columns": {"n": kind}}
    with pytest.raises(InputError, match=r"line 5, column 'n': found 'x', which is no date"):
        read({**data, "partition": {"kind": "iid"}})


@pytest.mark.parametrize(
    ("above", "answers", "skip"),
    [
        (["Orders of 2025", ""], {}, 2),
        (["sep=;"], {}, 1),
        ([";"], {"skip": 1}, 1),
        (["Orders of 2025;", ";"], {"skip": 2}, 2),
    ],
)
def test_lines_above_the_header_are_found_and_counted(
    tmp_path: Path, above: list[str], answers: dict[str, Any], skip: int
) -> None:
    data = answered(write(tmp_path / "a.csv", *above, *table(GERMAN)), **answers)
    assert data["csv"]["skip"] == skip
    assert read(data) == VALUES
    broken = write(tmp_path / "a.csv", *above, *table([*GERMAN, "many"]))
    with pytest.raises(InputError, match=rf"line {skip + 10}, column 'n': found 'many'"):
        read({**data, "source": broken})


def test_a_header_that_may_be_a_row_is_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *table(GERMAN)[1:])
    text = proposal(path)
    assert "does the first line name the columns, true or false? It is ['1.210,50', '0']" in text
    assert "  header: <answer>" in text and "column_1: numeric" in text


def test_columns_without_name_and_cell_are_none_and_others_are_called_by_their_place(
    tmp_path: Path,
) -> None:
    lines = [f"|{line}|x||" for line in (line.replace(";", "|") for line in table(GERMAN))]
    lines[0] = "|n|target|||"
    data = answered(write(tmp_path / "a.csv", *lines), column_4="ignore")
    assert read(data) == VALUES and [*data["columns"]] == ["n", "column_4"]


def test_lines_without_a_filled_cell_are_refused_until_the_config_skips_them(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.csv", *table(GERMAN), ";", ";")
    data = answered(path)
    assert data["csv"]["empty_lines"] == "skip" and read(data) == VALUES
    del data["csv"]["empty_lines"]
    with pytest.raises(InputError, match=r"line 10, column 'n': the cell is empty.* \(4 such"):
        read(data)


def test_a_total_below_the_table_is_named_and_raises_no_other_question(tmp_path: Path) -> None:
    text = proposal(write(tmp_path / "a.csv", *table(GERMAN), "Sum: 8.316,00;"), "target")
    assert "# QUESTION: 1 rows have no target, the first in line 10. Remove them" in text
    assert text.count(ANSWER) == 3  # in the heading, the target, and the partition


def test_ticks_in_some_cells_are_a_yes_and_what_the_others_are_is_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *table(["x", "", "x", "x", "", "x"]))
    assert "What is an empty cell: refuse, mean, indicator or unticked, which is no?" in proposal(
        path, "target"
    )
    ticked = {"kind": "boolean", "yes": ["x"], "missing": "unticked"}
    assert read(answered(path, n=ticked)) == [1, 0, 1, 1, 0, 1]


def test_a_letter_and_its_accent_are_one_however_a_file_holds_them(tmp_path: Path) -> None:
    composed, apart = "gr\u00fcn", "gru\u0308n"
    path = write(tmp_path / "a.csv", *table([composed, apart, "rot", "rot"]))
    columns = {"n": {"kind": "category", "categories": [apart, "rot"]}}
    data: dict[str, Any] = {"source": path, "csv": {"separator": ";"}, "columns": columns}
    data |= {"partition": {"kind": "iid"}, "validation": {"fraction": 0.5}}
    config = config_of({"companies": ["Ash", "Beech"], "data": data, **MODELS}, "a config")
    source = read_source(config)
    assert source is not None
    encoding = operator_data(config, source).scaling.encoding
    assert encoding is not None and encoding.features == (f"n={composed}", "n=rot")
    assert np.array_equal(encoding.apply(source.raw).x, [[1, 0], [1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize(("yes", "no"), [("WAHR", "FALSCH"), ("oui", "non"), ("TRUE", "FALSE")])
def test_truth_is_told_in_several_languages(tmp_path: Path, yes: str, no: str) -> None:
    data = answered(write(tmp_path / "a.csv", *table([yes, no, no, yes])))
    assert data["columns"]["n"] == "boolean" and read(data) == [1, 0, 0, 1]


def test_a_cell_without_end_is_named_before_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"n;target\n" + b"x" * ((1 << 22) + 1) + b";1\n")
    with pytest.raises(InputError, match=r"line 2: a cell has more than 4,194,304 letters"):
        proposal(str(path))
