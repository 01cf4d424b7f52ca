"""`fl-sv data infer`: what is certain is proposed, and what may mean two things is asked."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from fl_sv.config import config_of
from fl_sv.config.columns import ANSWER
from fl_sv.config.dialect import parse_yaml
from fl_sv.data.federation import operator_data, read_source
from fl_sv.data.infer import proposal
from fl_sv.errors import InputError
from tests.runs import Command
from tests.test_data_columns import MODELS

WORDS = ["red", "blue", "red", "green", "blue", "red", "red", "blue"]


def file(folder: Path, header: str, *columns: list[str], encoding: str = "utf-8") -> str:
    """A table with `;`, whose last column is the target: 0 and 1 in turn."""
    lines = [f"{header};target"]
    lines += [";".join([*cells, str(i % 2)]) for i, cells in enumerate(zip(*columns, strict=True))]
    path = folder / "a.csv"
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return str(path)


def proposed(path: str, target: str | None = None, owner: str | None = None) -> dict[str, Any]:
    content: dict[str, Any] = parse_yaml(proposal(path, target, owner), "the proposal")["data"]
    return content


def questions(text: str) -> list[str]:
    """The questions, each with the line below it, which holds the mark."""
    lines = text.splitlines()
    asked = [i for i, line in enumerate(lines) if line.lstrip().startswith("# QUESTION: ")]
    marked = [i for i, line in enumerate(lines) if ANSWER in line and "#" not in line]
    assert marked == [i + 1 for i in asked]
    return [lines[i].lstrip().removeprefix("# QUESTION: ") + lines[i + 1] for i in asked]


def asked(path: str, **options: str) -> list[str]:
    """The questions besides the one on owners."""
    return [text for text in questions(proposal(path, **options)) if "who owns" not in text]


# --- what is certain ------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_without_doubts_is_read_as_it_is_proposed(tmp_path: Path, encoding: str) -> None:
    rng = np.random.default_rng(4)
    prices = [f"{n:,.2f}".translate(str.maketrans(",.", ".,")) for n in rng.uniform(1, 1e4, 60)]
    dates = [f"{d:02}.{m:02}.2025" for d, m in rng.integers((1, 1), (29, 13), (60, 2))]
    columns = [prices, dates, (WORDS * 8)[:60], ["ja", "nein"] * 30, ["Süd", "Nord", "Ost"] * 20]
    path = file(
        tmp_path, "Preis (€);Tag;Farbe: außen;Geschenk;Filiale", *columns, encoding=encoding
    )
    text = proposal(path, None, "Filiale")
    assert questions(text) == []
    assert "# Nothing had to be asked" in text
    data = parse_yaml(text, "the proposal")["data"]
    assert data["csv"] == {
        **({"encoding": encoding} if "utf-8" not in encoding else {}),
        "separator": ";",
        "decimal": ",",
        "thousands": ".",
    }
    assert data["columns"] == {
        "Preis (€)": "numeric",
        "Tag": {"kind": "date", "format": "%d.%m.%Y", "parts": ["year", "month", "weekday"]},
        "Farbe: außen": {"kind": "category", "categories": ["blue", "green", "red"]},
        "Geschenk": "boolean",
    }
    names = {"Sued": "Süd", "Nord": "Nord", "Ost": "Ost"}
    data["partition"]["owners"] = names
    found = config_of({"companies": [*names], "data": data, **MODELS}, "config")
    source = read_source(found)
    assert source is not None
    assert len(source.raw) == 60
    assert operator_data(found, source).task.input_shape == (1 + 3 + 3 + 1,)


def test_labels_of_texts_and_a_target_with_decimals_are_proposed(tmp_path: Path) -> None:
    path = file(tmp_path, "a;b", ["1,5", "2,5", "1,25"] * 4, ["good", "bad", "good"] * 4)
    data = proposed(path, target="b")
    assert data["target"] == "b"
    assert data["columns"]["b"] == {"kind": "label", "classes": ["bad", "good"]}
    data = proposed(path, target="a")
    assert (data["task"], data["columns"]["a"]) == ("regression", "numeric")


def test_types_of_a_parquet_file_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame(
        {
            "n": [1.5, 2.5, 1.0],
            "gap": [1.5, None, 2.0],
            "day": [datetime.date(2026, 1, d) for d in (1, 2, 3)],
            "b": [True, False, True],
            "list": [[1.5], [2.5], [1.0]],
            "target": [0, 1, 0],
        }
    )
    frame.write_parquet(path)
    columns = proposed(str(path))["columns"]
    assert columns == {
        "n": "numeric",
        "gap": {"kind": "numeric", "missing": ANSWER},
        "day": {"kind": "date", "parts": ["year", "month", "weekday"]},
        "b": "boolean",
        "list.0": "numeric",
    }


# --- what is asked --------------------------------------------------------------------------------

NUMBERS = ["1", "2", "3", "4", "5", "6"]
DOUBTS = {
    "thousands or decimals": (["850", "3.750", "9", "4.200", "7"], "'3.750' (column 'a', line 3)"),
    "every cell in thousands": (["3.750", "4.200", "1.100"] * 2, "decimal: <answer>"),
    "commas or decimals": (["3,750", "4,200", "1,100"] * 2, "decimal: <answer>"),
    "both signs": (["1,5", "1.5", "2,25", "3.5", "2,5", "1.25"], "speaks for a comma"),
    "thousands beside decimals": (["3.750", "1,5", "2,5"] * 2, 'is 3750 if "." parts thousands'),
    "day or month": (["01/02/2026", "03/04/2026"] * 3, 'as "%d/%m/%Y" or as "%m/%d/%Y"'),
    "years of two digits": (["01.02.26", "13.04.26"] * 3, '"%d.%m.%y"'),
    "two forms of a date": (["01.02.2026", "2026-02-01"] * 3, "dates in several forms"),
    "nothing said in words": (["1", "N/A", "3", "-", "5", "6"], "'N/A' (1 in column 'a')"),
    "an empty cell": (["1", "", "3", "4", "5", "6"], "are empty or say so, the first in line 3"),
    "mixed types": (["1", "2", "many", "4", "5", "6"], "texts such as 'many' (line 4)"),
    "leading zeros": (["01067", "10115", "80331", "04109", "20095"], "'01067' (line 2) begins"),
    "codes of one length": (["10115", "80331", "20095", "50667", "60311"], "all numbers have 5"),
    "one value": (["7"] * 6, "every cell is '7'"),
    "no value": ([""] * 6, "every cell is empty"),
    "ids": (["101", "102", "103", "104", "105", "106"], "in ascending order, as ids do"),
    "texts that are all different": ([f"note {c}" for c in "abcdef"], "different texts in 6 rows"),
    "two units": (["12 %", "13 %", "5 kg"] * 2, "'12 %' (line 2) has a unit, and not every cell"),
    "a unit somewhere": (["€ 12", "13", "€ 5"] * 2, "has a unit, and not every cell has the same"),
    "two signs of minus": (["5-", "(3)", "4", "1", "8", "2"], "Other cells have brackets"),
    "a ruling": (["-----", "3", "4", "1", "8", "2"], "'-----' (line 2) is a ruling. Remove"),
    "only the month by name": (["04-Aug-25", "05-Sep-26"] * 3, '"%d-%b-%y" or "%y-%b-%d"'),
    "capital letters": (["Red", "red", "blue"] * 2, "'Red' and 'red' differ in capital"),
}  # fmt: skip


@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_may_mean_two_things_is_asked_and_no_run_takes_it(tmp_path: Path, doubt: str) -> None:
    cells, expected = DOUBTS[doubt]
    path = file(tmp_path, "a;n", cells, ["4", "3", "9", "1", "8", "2"][: len(cells)])
    text = proposal(path)
    found = asked(path)
    assert any(expected in question for question in found), found
    data = parse_yaml(text, "the proposal")["data"] | {"partition": {"kind": "iid"}}
    with pytest.raises(InputError) as error:
        config_of({"companies": ["Ash", "Beech"], "data": data, **MODELS}, "config")
    message = str(error.value)
    assert message.startswith("config: data: a question of `fl-sv data infer` is open: c")
    assert ANSWER in message


@pytest.mark.parametrize("name", ["PLZ", "zip code", "customer_id", "Konto-Nr", "phone"])
def test_numbers_under_a_name_as_codes_have_are_asked_about(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, f"{name};n", ["12", "7", "12"] * 2, ["4", "3", "9", "1", "8", "2"])
    assert "whole numbers under a name as codes have" in asked(path)[0]


@pytest.mark.parametrize("name", ["node", "zipper", "valid", "number_of_rooms"])
def test_names_that_only_begin_or_end_like_codes_are_none(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, f"{name};n", ["12", "7", "12"] * 2, ["4", "3", "9", "1", "8", "2"])
    assert asked(path) == [] or name == "number_of_rooms"


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["2026-02-01", "2026-12-31"], "%Y-%m-%d"),
        (["1.2.2026", "31.12.2026"], "%d.%m.%Y"),
        (["1.2.2026", "3.4.2026"], "%d.%m.%Y"),
        (["13/02/2026", "01/12/2026"], "%d/%m/%Y"),
        (["02/13/2026", "12/01/2026"], "%m/%d/%Y"),
        (["2026/02/01", "2026/12/31"], "%Y/%m/%d"),
        (["01.02.2026 09:30", "31.12.2026 23:59"], "%d.%m.%Y %H:%M"),
        (["2026-02-01T09:30:00", "2026-12-31T23:59:59"], "%Y-%m-%dT%H:%M:%S"),
    ],
)
def test_dates_are_proposed_in_the_form_that_they_have(
    tmp_path: Path, cells: list[str], form: str
) -> None:
    path = file(tmp_path, "a;n", cells * 3, ["4", "3", "9", "1", "8", "2"])
    assert asked(path) == []
    assert proposed(path)["columns"]["a"]["format"] == form


def test_the_target_and_the_owners_are_asked_for(tmp_path: Path) -> None:
    path = file(tmp_path, "shop;n", ["North", "South", "North"] * 2, ["4", "3", "9", "1", "8", "2"])
    Path(path).write_text(Path(path).read_text().replace("target", "y"))
    found = questions(proposal(path))
    assert found[0].startswith("which column is predicted? [shop, n, y]")
    assert found[-1].startswith("who owns which rows?")
    assert questions(proposal(path, "y", "shop")) == []
    for options in (("z", None), ("y", "z")):
        with pytest.raises(InputError, match="has no column 'z'"):
            proposal(path, *options)


def test_labels_that_are_not_numbered_from_0_are_asked_about(tmp_path: Path) -> None:
    path = file(tmp_path, "a", ["4", "3", "9", "1", "8", "2"])
    Path(path).write_text(Path(path).read_text().replace(";0", ";2"))
    assert "which are not 0, 1, ...: classification or regression?" in asked(path)[0]


def test_a_table_without_a_header_or_with_two_separators_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,4\n5,6\n")
    text = proposal(str(path), "column_2")
    assert any("does the first line name the columns" in question for question in questions(text))
    path.write_text("a,b;c\n1,5;2\n2,5;3\n")
    assert any("what parts the cells" in question for question in questions(proposal(str(path))))


# --- what others wrote ----------------------------------------------------------------------------


def test_no_cell_and_no_name_leaves_its_place_in_the_proposal(tmp_path: Path) -> None:
    nasty = [
        "x\ncompanies: [Eve]",
        "\x1b[2J",
        "# no",
        "a: b",
        "{a",
        "\u202egnp",
        "'",
        "- x",
        "null",
    ]
    header = [f"c{i} {name}" for i, name in enumerate(nasty)]
    columns = {
        name: pl.Series([word, f"{word}!", word, word])
        for name, word in zip(header, nasty, strict=True)
    }
    path = tmp_path / "a.parquet"
    pl.DataFrame({**columns, "target": [0, 1, 0, 1]}).write_parquet(path)
    text = proposal(str(path))
    assert text.isprintable() or {*filter(lambda c: not c.isprintable(), text)} == {"\n"}
    content = yaml.safe_load(text)
    assert [*content] == ["data"]
    assert [*content["data"]["columns"]] == header
    assert content["data"]["columns"][header[3]]["categories"] == ["a: b", "a: b!"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty. Give a header line"),
        (b",".join([b"a"] * 100_001), "the header has 100,001 columns; a .csv file may have"),
        (b"a\n1\n", "no separator"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells, and the header one less. R's write.table"),
        (b"a,b\n", "no rows below its header"),
        (b"a,a\n1,2\n", "names the column 'a' twice"),
        (b"a,b\n\0,1\n", "NUL bytes"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: Path, command: Command, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    answer = command("data", "infer", path)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_proposal_that_nobody_would_read_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame(np.zeros((2, 1001)), schema=[f"c{i}" for i in range(1001)]).write_parquet(path)
    with pytest.raises(
        InputError, match=r"has 1,001 columns; a proposal is made for at most 1,000"
    ):
        proposal(str(path))


def test_the_command_prints_the_proposal(tmp_path: Path, command: Command) -> None:
    path = file(tmp_path, "shop;n", ["North", "South", "North"] * 2, ["4", "3", "9", "1", "8", "2"])
    answer = command("data", "infer", path, "--target", "target", "--owner", "shop")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == proposal(path, "target", "shop")
    assert command("data", "infer", tmp_path / "no.csv").code == 2
    assert "must end in" in command("data", "infer", tmp_path / "a.xlsx").err


def test_a_folder_of_texts_belongs_to_the_companies_that_its_folders_are_named_after(
    tmp_path: Path,
) -> None:
    for name in ("Ash", "Beech"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "a.txt").write_text("A text.")
    said = proposal(f"{tmp_path}/texts")
    assert "task: next_token" in said and "classes" not in said
    assert "partition: {kind: column, column: folder}" in said


def test_the_owners_are_named_as_the_config_has_to_list_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,target,shop\n" + "".join(f"{i},{i % 2},{'Ö b'[i % 3]}\n" for i in range(9)))
    said = proposal(str(path), "target", "shop")
    assert "# The owners, for `companies`: [b, Ö].\n" in said
