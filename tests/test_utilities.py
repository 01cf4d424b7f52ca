"""The utility table names the missing trainings, and reads back exactly what it wrote."""

import math
import re
import tracemalloc
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_sv.errors import InputError
from fl_sv.game.coalitions import ascending, members_of
from fl_sv.game.csv import read_game
from fl_sv.game.scores import Column, Score, Scores
from fl_sv.game.utilities import UtilityTable, planned_rows, read_utilities, utilities_csv

COMPANIES = ("Ash-Co", "Beech 2")
HEADER = "coalition,members,model,seed,loss,accuracy,status\n"
scores = st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.none() | st.floats(0, 1))


def table_of(companies: tuple[str, ...], cells: list[tuple[float, float | None]]) -> UtilityTable:
    """One small model with a seed on the first len(cells) coalitions; the large one is planned and
    not done.
    """
    small = range(len(cells))
    planned = planned_rows(["s", "large"], {"s": 1, "large": 1}, {"s": small, "large": [0, 1]})
    done = [Score(coalition, "s", 0, *cell) for coalition, cell in enumerate(cells)]
    return UtilityTable(companies, ("s", "large"), planned, {score.key: score for score in done})


def read(folder: Path, text: str, companies: tuple[str, ...] = COMPANIES) -> UtilityTable:
    path = folder / "utilities.csv"
    path.write_text(text, encoding="utf-8")
    return read_utilities(path, companies)


@given(st.lists(scores, min_size=4, max_size=4))
def test_every_float_reads_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[float, float | None]]
) -> None:
    table = table_of(COMPANIES, cells)
    text = "".join(utilities_csv(table))
    again = read(tmp_path_factory.mktemp("table"), text)
    assert again == table
    assert "".join(utilities_csv(again)) == text


def test_coalition_of_any_length_is_a_decimal_integer(tmp_path: Path) -> None:
    companies = tuple(f"Company {i}" for i in range(300))
    grand = 2**300 - 1
    score = Score(grand, "s", 0, 1.5, None)
    planned = planned_rows(["s"], {"s": 1}, {"s": [grand]})
    table = UtilityTable(companies, ("s",), planned, Scores.of([score]))
    text = "".join(utilities_csv(table))
    assert text.splitlines()[1].startswith(f"{grand},Company 0+Company 1+")
    assert read(tmp_path, text, companies) == table


def test_rows_are_sorted_by_model_size_then_seed_then_coalition() -> None:
    rows = planned_rows(["s", "large"], {"s": 2, "large": 1}, {"s": [3, 0], "large": [1, 0]})
    assert [(key, [*coalitions]) for key, coalitions in rows.items()] == [
        (("s", 0), [0, 3]),
        (("s", 1), [0, 3]),
        (("large", 0), [0, 1]),
    ]


def test_training_that_is_planned_and_not_done_has_neither_loss_nor_accuracy() -> None:
    assert [*utilities_csv(table_of(COMPANIES, [(1.0, None)]))][2:] == [
        "0,,large,0,,,planned\n",
        "1,Ash-Co,large,0,,,planned\n",
    ]


def test_missing_training_is_named_and_never_a_number() -> None:
    table = table_of(COMPANIES, [(1.0, None)] * 4)
    assert table.mean_losses("s") == dict.fromkeys(range(4), 1.0)
    with pytest.raises(
        InputError,
        match=r"2 trainings of large have no utility: nobody \(seed 0\), Ash-Co \(seed 0\)",
    ):
        table.mean_losses("large")


def test_mean_over_seeds_is_taken_coalition_by_coalition() -> None:
    planned = planned_rows(["s"], {"s": 2}, {"s": [0, 1]})
    cells = [(0, 0, 1.0), (0, 1, 2.0), (1, 0, 5.0), (1, 1, 8.0)]  # seed, coalition, loss
    done = Scores.of(Score(coalition, "s", seed, loss, None) for seed, coalition, loss in cells)
    table = UtilityTable(("Ash",), ("s",), planned, done)
    assert table.mean_losses("s") == {0: 3.0, 1: 5.0}
    assert table.loss_by_seed("s").tolist() == [[1.0, 2.0], [5.0, 8.0]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,,s,0,1.0,,done", "line 3: .*'x'"),
        ("1,Ash-Co,s,zero,1.0,,done", "line 3: .*'zero'"),
        ("1,Ash-Co,s,0,one,,done", "line 3: .*'one'"),
        ("4,Ash-Co,s,0,1.0,,done", "line 3: there is no coalition 4 of 2 companies"),
        ("-1,Ash-Co,s,0,1.0,,done", "line 3: there is no coalition -1"),
        ("1,Beech 2,s,0,1.0,,done", "line 3: members are 'Beech 2'; coalition 1 is 'Ash-Co'"),
        ("1,Ash-Co,s,0,,,done", "line 3: the status is done, but the loss is ''"),
        ("1,Ash-Co,s,0,nan,,done", "line 3: the status is done, but the loss is 'nan'"),
        ("1,Ash-Co,s,0,1.0,1.5,done", "line 3: the accuracy is '1.5'"),
        ("1,Ash-Co,s,0,1.0,nan,done", "line 3: the accuracy is 'nan'"),
        ("1,Ash-Co,s,0,1.0,,planned", "line 3: the status is planned, but there is a loss"),
        ("1,Ash-Co,s,0,1.0,,maybe", "line 3: the status is 'maybe'; it must be done or planned"),
        ("1,Ash-Co,s,0,1.0", "line 3: the row has more or fewer cells than the 7 columns"),
        ("1,Ash-Co,s,0,1.0,,done,", "line 3: the row has more or fewer cells than the 7 columns"),
        ("0,,s,0,2.0,,done", "line 3: coalition 0 of s, seed 0, is listed twice"),
    ],
)
def test_bad_row_is_named_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, f"{HEADER}0,,s,0,1.0,,done\n{row}\n")


def test_planned_row_that_is_listed_twice_is_named_at_any_distance(tmp_path: Path) -> None:
    rows = "0,,s,0,,,planned\n1,Ash-Co,s,0,,,planned\n0,,s,0,,,planned\n"
    with pytest.raises(InputError, match="line 4: coalition 0 of s, seed 0, is listed twice"):
        read(tmp_path, HEADER + rows)


@pytest.mark.parametrize(
    "rows",
    [
        "1,Ash-Co,s,0,1.0,,done\n0,,s,0,2.0,,done\n",
        "0,,s,0,1.0,,done\n0,,s,1,1.0,,done\n1,Ash-Co,s,0,2.0,,done\n",
    ],
)
def test_row_that_is_out_of_order_is_named_with_its_line(tmp_path: Path, rows: str) -> None:
    line = 1 + rows.count("\n")
    with pytest.raises(InputError, match=rf"line {line}: .* is not where it belongs: the rows are"):
        read(tmp_path, HEADER + rows)


def test_seeds_that_are_planned_on_different_coalitions_are_named_and_not_averaged() -> None:
    scores = Scores.of(Score(c, "s", seed, 1.0, None) for seed, c in [(0, 0), (0, 1), (1, 0)])
    table = UtilityTable(("Ash",), ("s",), {("s", 0): range(2), ("s", 1): range(1)}, scores)
    with pytest.raises(InputError, match="The seeds of s are planned on different coalitions"):
        table.mean_losses("s")


@given(st.sets(st.integers(0, 2**70 - 1), min_size=1), st.randoms())
def test_scores_in_columns_are_those_of_a_dictionary(coalitions: set[int], random: Random) -> None:
    made = [
        Score(c, model, seed, float(c % 97), None if model == "s" else 0.25)
        for c in coalitions
        for model in ("s", "large")
        for seed in range(2)
    ]
    random.shuffle(made)
    twin = {score.key: score for score in made}
    scores = Scores.of(made)
    assert scores == twin and len(scores) == len(twin)
    assert all(scores[key] == score for key, score in twin.items())
    half = {key for key in twin if key[2] % 2}
    kept = scores.only({("s", 0): ascending(c for c in coalitions if c % 2)})
    assert kept == {key: twin[key] for key in half if key[:2] == ("s", 0)}
    absent = next(c for c in range(len(coalitions) + 1) if c not in coalitions)
    assert ("s", 0, absent) not in scores and ("t", 0, 0) not in scores


def test_a_table_in_reverse_order_names_the_same_members_and_reverses_back() -> None:
    companies = tuple(f"Company {i}" for i in range(70))  # more than bits in a word
    coalitions = [0, 1, 6, 2**69 + 4, 2**70 - 1]
    scores = Scores.of(Score(c, "s", 0, float(i), 0.5) for i, c in enumerate(coalitions))
    table = UtilityTable(
        companies, ("s",), planned_rows(["s"], {"s": 1}, {"s": coalitions}), scores
    )
    back = table.in_reverse_order()

    def loss_of(table: UtilityTable) -> dict[frozenset[str], float]:
        return {
            frozenset(table.companies[i] for i in members_of(coalition)): score.loss
            for (_, _, coalition), score in table.scores.items()
        }

    assert back.companies == companies[::-1] and loss_of(back) == loss_of(table)
    assert back.in_reverse_order() == table


def test_a_million_scores_take_less_than_forty_bytes_each() -> None:
    """As objects in a dictionary they took three hundred."""
    n = 1 << 18
    tracemalloc.start()
    columns = {("s", r): Column(range(n), np.zeros(n), np.zeros(n)) for r in range(4)}
    table = UtilityTable(
        tuple(f"C{i}" for i in range(18)),
        ("s",),
        planned_rows(["s"], {"s": 4}, {"s": range(n)}),
        Scores(columns),
    )
    turned = table.in_reverse_order()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(turned.scores) == 4 * n and held < 40 * 4 * n


def test_wrong_header_and_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="the columns are 'coalition,loss'; expected coalition,members,model"
    ):
        read(tmp_path, "coalition,loss\n")
    with pytest.raises(InputError, match=r"nowhere\.csv cannot be read: No such file"):
        read_utilities(tmp_path / "nowhere.csv", COMPANIES)


# --- tables from elsewhere ------------------------------------------------------------------------


def game(folder: Path, text: str | bytes) -> np.ndarray:
    path = folder / "game.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_game(path)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("0,0\n1,1_0\n2,2\n3,6\n", "the utility of coalition 1 is '1_0', not a number"),
        ("0,0\n1,\u0661\n2,2\n3,6\n", "the utility of coalition 1 is"),
        ("0,0\n0x1,1\n2,2\n3,6\n", "the coalition is '0x1'"),
        ("0,0\n01,1\n2,2\n3,6\n", "the coalition is '01'"),
        ("0,0\n1_,1\n2,2\n3,6\n", "the coalition is '1_'"),
    ],
)
def test_only_plain_decimal_numbers_are_numbers_of_a_table(
    tmp_path: Path, rows: str, sentence: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"coalition,utility\n{rows}", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_game(path)


@pytest.mark.parametrize(
    "text",
    [
        "coalition,utility\r\n0,0\r\n1,1.5\r\n2,2\r\n3,6\r\n",
        '"coalition","utility"\n"0","0"\n"1","1.5"\n"2","2"\n"3","6"\n',
        "coalition,utility,\n0,0,\n\n1,+1.5,\n2, 2e0,\n3,6.,\n\n",
    ],
    ids=["Windows", "quoted", "blank lines and an empty column"],
)
def test_a_table_as_other_programs_write_it_is_read(tmp_path: Path, text: str) -> None:
    assert game(tmp_path, text).tolist() == [0, 1.5, 2, 6]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("coalition;utility\n0;0,5\n1;1,5\n", "expected coalition,utility"),
        ("coalition,utility\n0,0,5\n1,1,5\n", "line 2: the row has more or fewer cells"),
        ('coalition,utility\n0,"0,5"\n1,1\n', "line 2: the utility of coalition 0 is '0,5'"),
        ('coalition,utility\n0,0\n1,"1,500"\n', "the utility of coalition 1 is '1,500'"),
        ("Coalition,utility\n0,0\n1,1\n", "expected coalition,utility"),
        ("0,0\n1,1\n", "expected coalition,utility"),
        ("coalition,utility\n{},0\nA,1\nB,1\nA+B,2\n", "the coalition is '{}'"),
        ("coalition,utility\n0.0,0\n1.0,1\n", "the coalition is '0.0'"),
        ("coalition,utility\n0,0\n1,\n", "the utility of coalition 1 is ''"),
        ("coalition,utility\n0,0\n,1\n", "the coalition is ''"),
        ("coalition,utility\n0,0\n1,\u22121.5\n", "the utility of coalition 1 is"),
        ("coalition,utility\n0,0\n1,5%\n", "the utility of coalition 1 is '5%'"),
        ("coalition,utility\n0,0\n1,1\n1,1\n", "line 4: coalition 1 is listed twice"),
    ],
)
def test_a_table_that_could_be_read_in_two_ways_is_refused(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        game(tmp_path, text)


@pytest.mark.parametrize("again", ["utility", "Utility", " utility "])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, again: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"coalition,utility,{again}\n0,0,0\n1,1,9\n2,2,9\n3,6,9\n", encoding="utf-8")
    with pytest.raises(InputError, match="the column 'utility' is there twice"):
        read_game(path)


def test_game_may_have_its_rows_in_any_order_and_more_columns(tmp_path: Path) -> None:
    rows = "utility,note,coalition\n6,all,3\n1,a,1\n0,,0\n2,b,2\n"
    assert game(tmp_path, rows).tolist() == [0, 1, 2, 6]
    assert game(tmp_path, b"\xef\xbb\xbf" + rows.encode()).tolist() == [
        0,
        1,
        2,
        6,
    ]  # as Excel writes it


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
def test_game_reads_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, utilities: list[float]
) -> None:
    rows = "".join(f"{coalition},{utility!r}\n" for coalition, utility in enumerate(utilities))
    again = game(tmp_path_factory.mktemp("game"), f"coalition,utility\n{rows}").tolist()
    assert list(map(math.copysign, again, utilities)) == again == utilities


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the columns are ''; expected coalition,utility"),
        ("coalition;utility\n0;1\n", "the columns are 'coalition;utility'; expected"),
        ("coalition,utility\n", "has 0 rows"),
        ("coalition,utility\n0,1\n", "has 1 rows"),
        ("coalition,utility\n0,1\n2,1\n", r"2 of 4 coalitions of 2 companies are missing: 1, 3\."),
        (
            "coalition,utility\n0,1\n8388608,1\n",
            r"16777214 of 16777216 coalitions .* are missing: 1, 2, .* and 16777204",
        ),
        ("coalition,utility\n0,1\n1,1\n1,2\n", "line 4: coalition 1 is listed twice"),
        ("coalition,utility\n0,1\n1.5,1\n", "line 3: the coalition is '1.5'"),
        ("coalition,utility\n0,1\n-1,1\n", "line 3: coalition -1 is out of range"),
        (
            "coalition,utility\n0,1\n16777216,1\n",
            "line 3: coalition 16777216 is out of range; .*at most 24 companies",
        ),
        (
            "coalition,utility\n0,1\n1,much\n",
            "line 3: the utility of coalition 1 is 'much', not a number",
        ),
        (
            "coalition,utility\n0,1\n1,nan\n",
            "line 3: the utility of coalition 1 is nan; it must be finite",
        ),
        ("coalition,utility\n0,1\n1,1e999\n", "line 3: the utility of coalition 1 is inf"),
        ("coalition,utility\n0,1\n1\n", "line 3: the row has more or fewer cells"),
        (b"coalition,utility\n0,\xff\n", "is no CSV text"),
        (b"PK\x03\x04\x00\x00", r"the columns are 'PK\\x03\\x04\\x00\\x00'; expected"),
    ],
)
def test_bad_game_is_refused_with_the_line_or_the_coalitions(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        game(tmp_path, text)
