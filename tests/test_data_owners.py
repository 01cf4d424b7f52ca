"""The column of owners: whose rows are whose, what is refused, and what is counted as left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fl_sv.config import Config
from fl_sv.config.data import ColumnPartition
from fl_sv.data import all_company_data, operator_data, read_source, rows_left_out
from fl_sv.data.owners import owned_rows
from fl_sv.errors import InputError
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_evidence
from tests.config_of import config_of
from tests.runs import GENUINE, Command

NAMES = ("Ash", "Beech")
FORMATS = ("csv", "parquet", "npz")


def source(folder: Path, suffix: str, owners: list[Any]) -> str:
    """A file with one row for each owner, two features and both classes."""
    rng, path = np.random.default_rng(0), folder / f"pool.{suffix}"
    x, y = rng.normal(size=(len(owners), 2)).round(3), np.arange(len(owners)) // 2 % 2
    if suffix == "npz":
        np.savez(path, x=x, y=y, who=np.array(owners))
        return str(path)
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "who": owners, "target": y}, strict=False)
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    return str(path)


def config(path: str, owners: dict[str, str] | None = None) -> Config:
    partition = {"kind": "column", "column": "who", "owners": owners}
    return config_of({"source": path, "partition": partition}, companies=NAMES)


def refusal(path: str, owners: dict[str, str] | None = None) -> str:
    with pytest.raises(InputError) as refused:
        read_source(config(path, owners))
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


# --- counted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_row_of_the_source_is_held_out_owned_or_counted_as_left_out(
    tmp_path: Path, suffix: str
) -> None:
    owners = [*NAMES * 30, *["Elm"] * 17, *[""] * 3]
    settings = config(source(tmp_path, suffix, owners))
    pool = read_source(settings)
    operator = operator_data(settings, pool)
    rows = all_company_data(settings, operator.scaling, pool)
    left_out = rows_left_out(settings, pool)
    assert set(left_out) == {"Elm", ""}
    assert len(operator.validation) == 16  # a fifth of 80
    held = [*map(len, rows.values()), *left_out.values()]
    assert sum(held) + len(operator.validation) == 80
    assert left_out["Elm"] > left_out[""] > 0


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_rows_without_an_owner_belong_to_nobody_not_even_to_a_company_called_nan(
    tmp_path: Path, suffix: str
) -> None:
    path = source(tmp_path, suffix, [1.0, 2.0, 3.0, float("nan")] * 10)
    settings = config(path, {"Ash": "1.0", "Beech": "2.0"})
    assert set(rows_left_out(settings, read_source(settings))) == {"3.0", ""}
    named = config(path, {"Ash": "1.0", "Beech": "nan"})
    with pytest.raises(InputError, match="Beech would get no row"):
        all_company_data(named, operator_data(named).scaling)


@pytest.fixture
def with_strangers(tmp_path: Path) -> Path:
    """A config whose source has 24 rows of Elm's, of which some are held out."""
    source(tmp_path, "csv", [*NAMES * 70, *["Elm"] * 24])
    path = tmp_path / "run.yaml"
    path.write_text(
        "companies: [Ash, Beech]\ndata: {source: pool.csv, partition: {kind: column, column: who}}"
        "\nmodels: {small: [{kind: mlp, hidden: [2]}], large: {kind: mlp, hidden: [4]}}\ntraining:"
        " {rounds: 1}\nlaw: {anchors: none}\npayouts: {pot: {kind: fixed, cents: 100}}\n"
    )
    return path


def test_rows_that_are_left_out_are_counted_wherever_a_person_looks(
    command: Command, with_strangers: Path, tmp_path: Path
) -> None:
    settings = json.loads(command("plan", with_strangers, "--json").out)
    count = settings["rows_left_out"]
    sentence = (
        f"{count} rows of the source belong to no company of the run (column 'who'): left out of"
        " every training."
    )
    whose = sentence.replace("training.", f"training ('Elm': {count}).")
    assert 0 < count < 24
    assert settings["remarks"] == [whose]
    assert command("plan", with_strangers).out.endswith(whose + "\n")
    looked = command("data", "check", with_strangers, "--company", "Ash").out
    assert f"{sentence}\nleft out  'Elm': {count}\n" in looked
    out = tmp_path / "run"
    shown = command("run", with_strangers, "--out", out, "--backend", "inline")
    assert (shown.code, sentence in " ".join(shown.out.split())) == (0, True)
    assert sentence.replace("'", "&#39;") in (out / "report.html").read_text()
    run = RunDirectory(out)
    evidence = read_evidence(run)
    assert evidence.rows_left_out == count
    assert (out / "companies.csv").read_text().splitlines()[-1] == f",{count},"
    assert sum(evidence.examples.values()) + count + evidence.validation_NV.shape[1] == 164
    assert command("verify", out).code in GENUINE


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "wrong",
    [
        "Ash ",
        " Ash",
        "ASH",
        "ash",
        "A sh",
        "Ash\u00a0",
        "A\u200bsh",
        "\u0410sh",  # Cyrillic
        "\uff21sh",  # full width
        "\u00c5sh",
    ],
)
def test_an_owner_that_is_almost_a_companys_is_refused_and_named(
    tmp_path: Path, suffix: str, wrong: str
) -> None:
    text = refusal(source(tmp_path, suffix, [*NAMES * 20, wrong, wrong, "Elm"]))
    where = {"csv": "line 42", "parquet": "row 41", "npz": "row 41 (index 40)"}[suffix]
    shown = repr(wrong) if wrong == "\u00c5sh" else ascii(wrong)  # an accent is seen
    assert f"pool.{suffix}, {where}, column 'who': {shown} (2 rows) is almost 'Ash'." in text


def test_owners_are_written_as_they_are_where_a_company_has_no_row() -> None:
    partition = config("pool.csv").data.partition
    assert isinstance(partition, ColumnPartition)
    with pytest.raises(InputError, match=r"it holds 'Beech', 'M\u00fcller & S\u00f6hne'"):
        owned_rows(partition, NAMES, {"who": np.array(["M\u00fcller & S\u00f6hne", "Beech"])})


def test_names_that_only_resemble_a_companys_are_owners_of_their_own(tmp_path: Path) -> None:
    others = ["Ashe", "Ash-1", "Ash 2", "Bee", "Elm", "A.sh"]
    settings = config(source(tmp_path, "csv", [*NAMES * 40, *others * 3]))
    assert set(rows_left_out(settings, read_source(settings))) == set(others)


@pytest.mark.parametrize(
    ("owners", "value", "wrong"),
    [
        ([1.0, 7.0] * 20, "1", "1.0"),
        (["01", "7"] * 20, "1", "01"),
        (["1e0", "7"] * 20, "1", "1e0"),
        ([True, False] * 20, "true", "True"),
        (["Caf\u00e9", "7"] * 20, "Cafe\u0301", "Caf\u00e9"),
    ],
)
def test_an_owner_in_another_notation_is_refused_with_both_notations(
    tmp_path: Path, owners: list[Any], value: str, wrong: str
) -> None:
    text = refusal(source(tmp_path, "npz", owners), {"Ash": value, "Beech": "7"})
    assert f"{wrong!a} (20 rows) is almost {value!a}" in text


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("wrong", ["Ash\n", "Ash\nBeech", "Ash\r", "Ash\u2028", "Elm\n1,2,Ash,0\n"])
def test_an_owner_of_several_lines_is_refused_with_its_row(
    tmp_path: Path, suffix: str, wrong: str
) -> None:
    text = refusal(source(tmp_path, suffix, [*NAMES * 20, wrong]))
    where = {"csv": "line 42", "parquet": "row 41", "npz": "row 41 (index 40)"}[suffix]
    assert f"pool.{suffix}, {where}, column 'who': the name of an owner has" in text
    assert f"begins with {wrong.splitlines()[0]!r}. Did a quote open here" in text


def test_a_quote_that_swallows_rows_is_refused_where_it_opens(tmp_path: Path) -> None:
    path = Path(source(tmp_path, "csv", [*NAMES * 150]))
    lines = path.read_text().splitlines()
    lines[10] = lines[10].replace("Beech", '"Beech')
    lines[250] = lines[250].replace("Beech", 'Beech"')
    path.write_text("\n".join(lines))
    text = refusal(str(path))
    assert "line 11, column 'who': the name of an owner has 241 lines and begins with" in text


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("owner", ["Ash\0", "A\0sh"])
def test_an_owner_with_a_nul_is_refused_and_not_cut(
    tmp_path: Path, suffix: str, owner: str
) -> None:
    found = refusal(source(tmp_path, suffix, [*NAMES * 10, owner]))
    assert f"column 'who': {owner!a} holds a NUL character" in found


def test_two_companies_cannot_own_the_same_rows(tmp_path: Path) -> None:
    text = refusal(source(tmp_path, "csv", ["x", "y"] * 10), {"Ash": "x", "Beech": "x"})
    assert text.startswith("data.partition.owners: Ash and Beech both own the rows of 'x'.")
