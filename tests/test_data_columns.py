"""Tables whose columns the config describes: what a cell becomes, everywhere the same."""

import datetime
import json
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fl_sv.config import Config, config_of, for_companies
from fl_sv.data import Scaling, all_company_data, company_data, fingerprint, operator_data
from fl_sv.data.encoding import Encoding
from fl_sv.data.federation import read_source
from fl_sv.data.raw import RawRows
from fl_sv.data.sources import read_file
from fl_sv.errors import InputError
from fl_sv.planning.checks import check
from tests.runs import Command

MODELS = {
    "models": {"small": [{"kind": "mlp", "hidden": [4]}], "large": {"kind": "mlp", "hidden": [64]}},
    "training": {"rounds": 2, "seeds": 2},
    "payouts": {"pot": {"kind": "fixed", "cents": 1000}},
}
COLUMNS = {
    "weight": {"kind": "numeric", "missing": "indicator"},
    "price": {"kind": "numeric", "missing": "median"},
    "colour": {"kind": "category", "missing": "category"},
    "size": {"kind": "ordinal", "order": ["S", "M", "L"], "missing": "median"},
    "gift": {"kind": "boolean", "missing": "mean"},
    "sold": {"kind": "date", "format": "%d.%m.%Y", "parts": ["month", "weekday", "days"]},
    "code": "ignore",
    "verdict": {"kind": "label", "classes": ["bad", "good"]},
}
HEADER = ["weight", "price", "colour", "size", "gift", "sold", "code", "plain", "verdict"]
OPERATORS = [
    ["3.750,5", "1,5", "red", "S", "ja", "01.02.2026", "0107", "1", "bad"],
    ["", "2,5", "blue", "L", "nein", "28.02.2026", "x", "2", "good"],
    ["1,25", "", "", "M", "", "3.12.2025", "", "3", "good"],
    ["2,75", "100", "red", "", "JA", "29.02.2024", "-", "4", "bad"],
]
ASH = [
    ["7", "", "green", "XL", "nein", "15.06.2026", "", "5", "good"],
    ["", "4", "red", "", "", "16.06.2026", "", "6", "bad"],
    ["-1.000", "5", "", "L", "Nein", "17.06.2026", "", "7", "good"],
]


def table(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    """A table as a spreadsheet writes it; it has the same rows wherever it stands."""
    lines = [";".join(f'"{cell}"' for cell in row) for row in (header, *rows)]
    path.write_bytes("\r\n".join(lines).encode("utf-16"))
    return path


def config(folder: Path, columns: Mapping[str, Any] = COLUMNS, **data: Any) -> Config:
    content: dict[str, Any] = {
        "source": "own",
        "target": "verdict",
        "columns": dict(columns),
        "csv": {"separator": ";", "decimal": ",", "thousands": ".", "encoding": "utf-16"},
        "files": {"Ash": "ash.csv", "Beech": "beech.csv"},
        "validation": {"file": "validation.csv"},
    }
    content = {key: value for key, value in {**content, **data}.items() if value is not None}
    return config_of({"companies": ["Ash", "Beech"], "data": content, **MODELS}, "config", folder)


def encoded(found: Config, path: Path) -> RawRows:
    """The rows of a file with their features, unscaled."""
    encoding = operator_data(found).scaling.encoding
    assert encoding is not None
    return encoding.apply(read_file(str(path), found.data))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    table(tmp_path / "validation.csv", OPERATORS)
    table(tmp_path / "ash.csv", ASH)
    table(tmp_path / "beech.csv", OPERATORS)
    return tmp_path


# --- the slow twin --------------------------------------------------------------------------------


def number(cell: str) -> float | None:
    return float(cell.replace(".", "").replace(",", ".")) if cell else None


def slowly(rows: Sequence[Sequence[str]]) -> list[list[float]]:
    """The features of COLUMNS, cell by cell, filled and named by the operator's rows."""

    def known(column: str) -> list[str]:
        return [cell for row in OPERATORS if (cell := row[HEADER.index(column)])]

    weights = [number(cell) for cell in known("weight")]
    prices = [number(cell) for cell in known("price")]
    places = ["SML".index(cell) for cell in known("size")]
    gifts = [float(cell.lower() == "ja") for cell in known("gift")]
    features = []
    for row in rows:
        cell = dict(zip(HEADER, row, strict=True))
        weight, price = number(cell["weight"]), number(cell["price"])
        day, month, year = map(int, cell["sold"].split("."))
        date = datetime.date(year, month, day)
        is_word = cell["size"] in ("S", "M", "L")
        features.append(
            [
                statistics.fmean(weights) if weight is None else weight,
                float(weight is None),
                statistics.median(prices) if price is None else price,
                *(float(cell["colour"] == word) for word in sorted({*known("colour")})),
                float(not cell["colour"]),
                float("SML".index(cell["size"])) if is_word else statistics.median(places),
                float(cell["gift"].lower() == "ja") if cell["gift"] else statistics.fmean(gifts),
                date.month,
                date.isoweekday(),
                (date - datetime.date(1970, 1, 1)).days,
                float(cell["plain"]),
            ]
        )
    return features


FEATURES = (
    "weight",
    "weight.missing",
    "price",
    "colour=blue",
    "colour=red",
    "colour.missing",
    "size",
    "gift",
    "sold.month",
    "sold.weekday",
    "sold.days",
    "plain",
)


def test_every_kind_of_column_becomes_what_the_slow_twin_says(files: Path) -> None:
    found = config(files)
    operator = operator_data(found)
    assert operator.scaling.features == FEATURES
    assert operator.task.input_shape == (12,)
    assert operator.validation.y.tolist() == [0, 1, 1, 0]
    assert encoded(found, files / "validation.csv").x.tolist() == slowly(OPERATORS)
    rows = encoded(found, files / "ash.csv")
    assert rows.x.tolist() == slowly(ASH)
    assert rows.y.tolist() == [1, 0, 1]


def test_features_are_scaled_by_the_operators_mean_and_deviation(files: Path) -> None:
    found = config(files)
    scaling = operator_data(found).scaling
    twin = np.array(slowly(OPERATORS))
    expected = (np.array(slowly(ASH)) - twin.mean(axis=0)) / twin.std(axis=0)
    rows = all_company_data(found, scaling)["Ash"]
    np.testing.assert_allclose(rows.x, expected, rtol=1e-5)


def test_categories_are_those_of_scikit_learns_column_transformer(files: Path) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(2)
    words, places = np.array(list("aaaaaaaabbbbbccd")), np.arange(300)
    held = {"word": words[rng.integers(0, 16, 300)], "n": rng.normal(size=300)}
    held["n"][::7] = np.nan
    frame = pl.DataFrame(held | {"verdict": places % 2}).with_columns(pl.col("n").fill_nan(None))
    frame.write_parquet(files / "v.parquet")
    columns = {
        "word": {"kind": "category", "rare": 30},
        "n": {"kind": "numeric", "missing": "mean"},
    }
    of_parquet = {"files": {"Ash": "v.parquet", "Beech": "v.parquet"}, "classes": 2}
    found = config(
        files, columns, validation={"file": "v.parquet"}, standardise=False, **of_parquet
    )
    transformer = ColumnTransformer(
        [
            ("w", OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist"), ["word"]),
            ("n", SimpleImputer(), ["n"]),
        ],
        sparse_threshold=0,
    )
    expected = transformer.fit_transform(frame)
    operator = operator_data(found)
    assert "word.rare" in operator.scaling.features
    assert operator.validation.x.tolist() == expected.astype(np.float32).tolist()


# --- the same everywhere --------------------------------------------------------------------------


def test_what_is_sent_encodes_as_what_was_fitted(files: Path) -> None:
    found = config(files)
    scaling = operator_data(found).scaling
    sent = Scaling.from_json(scaling.to_json())
    assert sent == scaling
    sent.require_sound()
    assert sent.encoding is not None
    assert Encoding.from_json(sent.encoding.to_json()) == scaling.encoding
    here, there = (all_company_data(found, known) for known in (scaling, sent))
    assert all(here[name].x.tobytes() == there[name].x.tobytes() for name in here)


def test_a_company_makes_the_same_rows_from_what_is_sent_and_its_own_path(files: Path) -> None:
    found = config(files)
    scaling = operator_data(found).scaling
    sent = Config.model_validate_json(for_companies(found).model_dump_json())
    assert str(files) not in sent.model_dump_json()
    there = company_data(sent, "Ash", Scaling.from_json(scaling.to_json()), str(files / "ash.csv"))
    assert fingerprint(there) == fingerprint(all_company_data(found, scaling)["Ash"])


def test_formats_and_sources_of_one_table_give_the_same_bytes(files: Path) -> None:
    """A file for each company, one file with an owner column, .csv and .parquet."""
    owned = [[*row, who] for who, rows in (("Ash", ASH), ("Beech", OPERATORS)) for row in rows]
    table(files / "all.csv", owned, [*HEADER, "who"])
    pl.DataFrame(owned, schema=[*HEADER, "who"], orient="row").write_parquet(files / "all.parquet")
    shared = {"partition": {"kind": "column", "column": "who"}, "files": None}
    own = config(files)
    expected = all_company_data(own, operator_data(own).scaling)
    for source in ("all.csv", "all.parquet"):
        found = config(files, source=source, **shared)
        scaling = operator_data(found).scaling
        assert scaling == operator_data(own).scaling
        rows = all_company_data(found, scaling)
        assert all(rows[name].x.tobytes() == expected[name].x.tobytes() for name in rows)


def test_typed_columns_of_a_parquet_file_are_what_their_texts_are(files: Path) -> None:
    """Dates, truth values and categories need no form; NaN is an empty cell of pandas."""
    typed = pl.DataFrame(
        {
            "sold": [datetime.date(2026, 2, 1), datetime.date(2024, 2, 29)],
            "gift": [True, None],
            "colour": pl.Series(["red", "blue"], dtype=pl.Categorical),
            "weight": [float("nan"), 2.0],
            "verdict": pl.Series(["bad", "good"], dtype=pl.Enum(["bad", "good"])),
        }
    )
    for name in ("validation", "ash", "beech"):
        typed.write_parquet(files / f"{name}.parquet")
    columns = {name: COLUMNS[name] for name in typed.columns}
    found = config(
        files,
        columns,
        files={"Ash": "ash.parquet", "Beech": "beech.parquet"},
        validation={"file": "validation.parquet"},
    )
    rows = encoded(found, files / "ash.parquet")
    named = dict(zip(rows.features, rows.x.T.tolist(), strict=True))
    assert named["gift"] == [1, 1]
    assert named["weight"] == [2, 2]
    assert named["weight.missing"] == [1, 0]
    assert named["sold.weekday"] == [7, 4]
    assert named["colour=red"] == [1, 0]


def test_the_encoding_depends_on_the_operators_rows_alone(files: Path) -> None:
    before = operator_data(config(files)).scaling.to_json()
    table(files / "ash.csv", [ASH[0]])
    assert operator_data(config(files)).scaling.to_json() == before
    owned = [[*row, who] for who, rows in (("Ash", ASH), ("Beech", OPERATORS * 9)) for row in rows]
    table(files / "all.csv", owned, [*HEADER, "who"])
    found = config(
        files,
        source="all.csv",
        files=None,
        validation={},
        partition={"kind": "iid"},
        columns={**COLUMNS, "who": "ignore"},
    )
    source = read_source(found)
    assert source is not None
    operator, held = operator_data(found, source), source.raw.take(np.flatnonzero(source.held_out))
    assert operator.scaling.encoding == Encoding.fitted(held, found.data.columns)


# --- what is not known ----------------------------------------------------------------------------


def test_unknown_words_are_counted_at_the_company_and_stop_nothing(
    files: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    from clients.company import load_company

    found = config(files)
    scaling = operator_data(found).scaling
    assert all_company_data(found, scaling)["Ash"].unknown.tolist() == [2, 0, 0]  # green and XL
    sentence = (
        "Ash: 2 cells hold words that the operator's rows and the config do not know, in 1 of 3"
        " rows."
    )
    assert check(found).remarks[0] == sentence
    with caplog.at_level(logging.WARNING, "flwr"):
        load_company("Ash", found, scaling, None)
    assert sentence in caplog.text
    assert "green" not in caplog.text
    path = files / "run.yaml"
    path.write_text(found.model_dump_json())
    answer = command("data", "check", path, "--company", "Ash")
    assert (answer.code, answer.err) == (0, "")
    assert f"unknown   {sentence} They count as no word:" in answer.out
    assert "examples  3 in 2 of 2 classes: bad: 1, good: 2" in answer.out
    assert "column 'colour': 'green' (1)" in answer.out
    assert "column 'size': 'XL' (1)" in answer.out
    assert (
        "empty     cells that `missing` fills: 'weight': 1, 'price': 1, 'colour': 1" in answer.out
    )
    assert "unknown   " not in command("data", "check", path, "--company", "Beech").out


def test_words_that_few_rows_hold_share_a_feature_with_unknown_ones(files: Path) -> None:
    columns = {**COLUMNS, "colour": {"kind": "category", "rare": 2, "missing": "category"}}
    rows = encoded(config(files, columns), files / "ash.csv")
    shown = dict(zip(rows.features, rows.x.T.tolist(), strict=True))
    assert [name for name in rows.features if name.startswith("colour")] == [
        "colour=red",
        "colour.rare",
        "colour.missing",
    ]
    assert shown["colour.rare"] == [1, 0, 0]
    assert rows.unknown.tolist() == [1, 0, 0]  # XL


def test_listed_categories_are_features_although_no_row_of_the_operator_holds_them(
    files: Path,
) -> None:
    listed = {"kind": "category", "categories": ["green", "red"], "missing": "category"}
    found = config(files, {**COLUMNS, "colour": listed})
    operator = operator_data(found)
    assert operator.scaling.features[3:6] == ("colour=green", "colour=red", "colour.missing")
    assert operator.validation.unknown.tolist() == [0, 1, 0, 0]  # blue
    assert check(found).remarks[0].startswith("The operator: 1 cell holds a word that")


# --- what is refused ------------------------------------------------------------------------------


def refusal(found: Config) -> list[str]:
    with pytest.raises(InputError) as error:
        check(found)
    return str(error.value).splitlines()


def test_all_bad_cells_are_named_at_once_with_what_is_allowed(files: Path) -> None:
    row = ["heavy", "1.5", "red", "M", "perhaps", "30.02.2026", "", "", "ugly"]
    path = table(files / "validation.csv", [*OPERATORS, row])
    lines = refusal(config(files))
    at = f"{path}, line 6, column"
    assert [line[: line.index(": ")] for line in lines] == [
        f"{at} '{name}'" for name in ("weight", "price", "gift", "sold", "plain", "verdict")
    ]
    text = "\n".join(lines)
    for expected in (
        "found 'heavy' (6 such cells); `data.columns` and `data.csv` say what a cell may be",
        "found '1.5'",
        "found 'perhaps'; yes is one of true, yes, y",
        "found '30.02.2026', which is no date of the form %d.%m.%Y",
        "'plain': the cell is empty, and `missing` of this column is refuse",
        "found 'ugly'; the classes are 'bad', 'good'",
    ):
        assert expected in text


@pytest.mark.parametrize("date", ["1.2.26", "2026-02-01", "01.02.2026 x", "01.13.2026", "0.1.2026"])
def test_a_date_of_another_form_is_no_date(files: Path, date: str) -> None:
    rows = [[*OPERATORS[0][:5], date, *OPERATORS[0][6:]], *OPERATORS]
    table(files / "ash.csv", rows)
    (line,) = refusal(config(files))
    assert f"column 'sold': found {date!r}, which is no date of the form %d.%m.%Y" in line


def test_columns_that_a_file_lacks_are_all_named(files: Path) -> None:
    kept = [HEADER.index(name) for name in ("weight", "colour", "verdict")]
    rows = [[row[i] for i in kept] for row in OPERATORS]
    table(files / "ash.csv", rows, [HEADER[i] for i in kept])
    (line,) = refusal(config(files))
    assert "ash.csv has no column 'price', 'size', 'gift', 'sold'," in line


def test_a_number_that_may_be_two_is_asked_about_beside_empty_cells_too(files: Path) -> None:
    for name in ("validation", "ash", "beech"):
        (files / f"{name}.csv").write_text("a,target\n850,0\n3.750,1\n,1\n")
    mean: dict[str, Any] = {"a": {"kind": "numeric", "missing": "mean"}}
    (line,) = refusal(config(files, mean, csv={}, target="target", classes=2))
    assert "line 3, column 'a': found '3.750', which is 3750 where a point parts thousands" in line


def test_a_column_without_a_name_is_one_by_the_empty_name(files: Path) -> None:
    """As pandas writes its index."""
    for name in ("validation", "ash", "beech"):
        (files / f"{name}.csv").write_text(",a,target\n0,x,0\n1,y,1\n")
    plain: dict[str, Any] = {"csv": {}, "target": "target", "classes": 2}
    found = config(files, {"": "ignore", "a": "category"}, **plain)
    assert operator_data(found).scaling.features == ("a=x", "a=y")
    found = config(files, {"": "category", "a": "ignore"}, **plain)
    assert operator_data(found).scaling.features == ("=0", "=1")


def test_columns_that_nobody_described_hold_numbers(files: Path) -> None:
    without = {name: kind for name, kind in COLUMNS.items() if name not in ("colour", "code")}
    lines = refusal(config(files, without))
    assert "column 'colour': found 'red'" in lines[0]
    assert any("column 'code': found 'x'" in line for line in lines)


@pytest.mark.parametrize("kind", ["numeric", "category", "boolean", "label"])
def test_a_type_that_is_no_such_kind_is_refused_by_name(files: Path, kind: str) -> None:
    dates = pl.DataFrame({"a": [datetime.date(2026, 1, 1)] * 2, "verdict": ["bad", "good"]})
    if kind == "label":
        dates = dates.rename({"a": "verdict", "verdict": "a"})
    dates.write_parquet(files / "v.parquet")
    columns: dict[str, Any] = {"verdict": COLUMNS["verdict"], "a": kind}
    if kind == "label":
        columns["a"] = "category"
    (line,) = refusal(config(files, columns, validation={"file": "v.parquet"}))
    name = "verdict" if kind == "label" else "a"
    assert f"v.parquet: column {name!r} has the type Date, which is not {kind}" in line


def test_an_archive_has_no_columns(files: Path) -> None:
    np.savez(files / "v.npz", x=np.ones((2, 2)), y=[0, 1])
    (line,) = refusal(config(files, validation={"file": "v.npz"}))
    assert "describes columns, and an .npz archive has none" in line


def test_twenty_thousand_columns_of_which_one_is_described_are_read_at_once(files: Path) -> None:
    width = 20_000
    frame = pl.DataFrame(np.ones((3, width)), schema=[f"c{i}" for i in range(width)])
    frame = frame.with_columns(c0=pl.Series(["a", "b", "a"]), verdict=pl.Series([0, 1, 0]))
    frame.write_parquet(files / "v.parquet")
    found = config(files, {"c0": "category"}, classes=2)
    began = time.perf_counter()
    rows = read_file(str(files / "v.parquet"), found.data)
    encoding = Encoding.fitted(rows, found.data.columns)
    assert encoding.apply(rows).x.shape == (3, width + 1)
    assert time.perf_counter() - began < 20  # three on a machine that has nothing else to do


def test_a_column_of_very_many_words_is_refused_before_it_fills_the_memory(files: Path) -> None:
    n = 20_000
    frame = pl.DataFrame({"a": [f"w{i}" for i in range(n)], "verdict": ["bad", "good"] * (n // 2)})
    frame.write_parquet(files / "v.parquet")
    columns = {"a": "category", "verdict": COLUMNS["verdict"]}
    (line,) = refusal(config(files, columns, validation={"file": "v.parquet"}))
    assert "20,000 different words in the validation set; at most 1,000" in line
    listed = {"kind": "category", "categories": [f"w{i}" for i in range(1000)]}
    words = {f"a{i}": pl.Series(["w1"] * n) for i in range(5)}
    frame = frame.select("verdict").with_columns(**words)
    frame.write_parquet(files / "v.parquet")
    many = {**dict.fromkeys(words, listed), "verdict": COLUMNS["verdict"]}
    (line,) = refusal(config(files, many, validation={"file": "v.parquet"}))
    assert "would take 800,000,000 in memory" in line


def test_a_column_without_any_number_fills_no_empty_cell(files: Path) -> None:
    rows = [["", *row[1:]] for row in OPERATORS]
    table(files / "validation.csv", rows)
    (line,) = refusal(config(files))
    assert "column 'weight': no row of the validation set has a number that an empty cell" in line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"columns": {"colour": "label"}}, "the key data.columns.colour.classes is missing"),
        (
            {"columns": {"colour": {"missing": "mean"}}},
            "the key data.columns.colour.kind is missing",
        ),
        (
            {"columns": {"colour": {"kind": "category", "missing": "mean"}}},
            "'refuse' or 'category'",
        ),
        ({"columns": {"sold": {"kind": "date", "parts": ["year"], "format": "%d.%m"}}}, "the year"),
        ({"columns": {"sold": {"kind": "date", "parts": []}}}, "columns.sold.parts"),
        ({"columns": {"numeric": {"kind": "numeric", "mising": 1}}}, "data.columns.numeric.mising"),
        ({"columns": {"size": {"kind": "ordinal", "order": ["a", "a"]}}}, "'a' is there twice"),
        ({"columns": {"size": {"kind": "ordinal", "order": ["a "]}}}, "data.columns.size"),
        (
            {"columns": {"verdict": "boolean"}, "classes": 2},
            "the target 'verdict' is of the kind boolean",
        ),
        ({"columns": COLUMNS, "classes": 3}, "3 given, and the label has 2 classes"),
        ({"columns": {}, "classes": None}, "or the texts of a label in `data.columns`"),
        ({"source": "wine", "partition": {"kind": "iid"}}, "wine has no columns"),
        (
            {"source": "a.csv", "partition": {"kind": "column", "column": "size"}, "files": None},
            "'size' names the owner",
        ),
    ],
)
def test_a_description_that_means_nothing_is_refused(
    files: Path, changes: dict[str, Any], expected: str
) -> None:
    if changes.get("source") == "wine":
        changes = changes | {"files": None, "target": None}
    with pytest.raises(InputError) as error:
        config(files, **changes)
    assert expected in str(error.value)


STEP = {"column": "a", "kind": "category", "words": ["x"], "rare": False, "fill": None}
STEP["missing"] = False


@pytest.mark.parametrize(
    "content",
    [
        "1",
        "[]",
        "{}",
        "[1]",
        json.dumps([STEP, STEP]),
        *(
            json.dumps([STEP | change])
            for change in (
                {"kind": "eval"},
                {"words": "xx"},
                {"words": [1]},
                {"words": []},
                {"words": ["x", "x"]},
                {"words": [str(i) for i in range(1001)]},
                {"rare": 1},
                {"fill": float("nan")},
                {"fill": "0"},
                {"column": 3},
                {"more": 1},
            )
        ),
    ],
)
def test_a_forged_encoding_is_none(content: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Encoding.from_json(content)


def test_an_encoding_must_fit_the_features_that_are_scaled(files: Path) -> None:
    fields = json.loads(operator_data(config(files)).scaling.to_json())
    fields["encoding"] = fields["encoding"][1:]
    with pytest.raises(ValueError, match="the scaling does not fit the task"):
        Scaling.from_json(json.dumps(fields)).require_sound()
