"""Names as in the trade register: a name is what people read, its handle is the key of everything.

Names are hostile input. A name that needs no other handle is its own, so runs of before are as they
were.
"""

import getpass
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.common.command_line import SMOKE
from fl_sv.config import Config, config_hash, dump_config, load_config, parse_config
from fl_sv.config.dialect import yaml_text
from fl_sv.config.look_alikes import LOOK_ALIKES
from fl_sv.config.names import HANDLE, check_names, legal_name, made_handle, registered
from fl_sv.data import all_company_data, operator_data
from fl_sv.errors import InputError
from fl_sv.federation import folder
from fl_sv.report import write_report
from fl_sv.report.marks import tag
from fl_sv.report.screen import summary
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.tables import read_valuation
from fl_sv.terminal import console
from fl_sv.text import isolated
from fl_sv.valuation.records import Valuation
from tests.report_runs import CONFIG, make_run
from tests.runs import Command, fl_sv, published

BAKERY = "B\u00e4ckerei M\u00fc\u00df & S\u00f6hne GmbH"
GREEK = "\u03a0\u03b1\u03c0\u03c0\u03ac\u03c2 \u0391.\u0395."
ARABIC = "\u0634\u0631\u0643\u0629 \u0627\u0644\u0646\u0648\u0631"
CHINESE = "\u5317\u4eac\u6570\u636e\u6709\u9650\u516c\u53f8"
QUOTED = '=2+3;"L\u2019Or\u00e9al" <b>O\'Neil</b>'
# Of the four companies of configs/smoke.yaml and of tests/report_runs.py, by handle.
NAMES = {"Ash": BAKERY, "Beech": GREEK, "Chestnut": CHINESE, "Damson": QUOTED}
REGISTERED = [{"name": name, "handle": handle} for handle, name in NAMES.items()]


def smoke(**changes: Any) -> Config:
    """configs/smoke.yaml with other values of some keys, read as a user's file."""
    content = load_config(SMOKE).model_dump(mode="json", exclude={"names"})
    return parse_config(yaml_text({**content, **changes}), "config")


# --- handles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("Ash", "Ash"),
        ("ACME-2 Ltd. (UK)", "ACME-2 Ltd. UK"),
        (BAKERY, "Baeckerei Muess Soehne GmbH"),
        ("M\u00fcller", "Mueller"),
        ("Mu\u0308ller", "Mueller"),  # decomposed
        ("\u00c5se \u00d8stergaard \u00c6 ApS", "Aase Oestergaard Ae ApS"),
        ("\u0141\u00f3d\u017a \u010cesk\u00e1 \u00ddesil \u0130\u015f", "Lodz Ceska Yesil Is"),
        ("L\u2019Or\u00e9al \u00abX\u00bb", "LOreal X"),
        ("=SUM(A1)", "SUM A1"),
        ("+Plus", "Plus"),
        ("-tec", "tec"),
        ("@home", "home"),
        ("1&1 AG", "1 1 AG"),
        ("Fran\u00e7ois \u2013 Fils", "Francois Fils"),
        ("\ufb01x \u00b2", "fix 2"),
    ],
)
def test_a_handle_is_the_name_in_letters_of_ascii(name: str, handle: str) -> None:
    assert registered(name) == (handle, unicodedata.normalize("NFC", name))
    assert re.fullmatch(HANDLE, handle)


@pytest.mark.parametrize("name", ["Ash", "Bank 24", "a_b-c.d", "0", "x" * 64])
def test_a_name_that_can_be_a_handle_is_its_own(name: str) -> None:
    assert registered(name) == (name, name)


@pytest.mark.parametrize(
    "name", [GREEK, ARABIC, CHINESE, "\u041e\u041e\u041e \u041c\u0438\u0440", "\u03a9mega"]
)
def test_letters_of_other_scripts_are_not_guessed(name: str) -> None:
    with pytest.raises(ValueError, match="no handle of A to Z and digits can be made; state one:"):
        made_handle(name)
    assert registered({"name": name, "handle": "Company 1"}) == ("Company 1", name)


def test_a_handle_is_not_cut() -> None:
    with pytest.raises(ValueError, match="has 84 letters, and at most 64 are allowed; state one"):
        made_handle("W\u00f6hler" * 12)


# --- what a name may be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "neither a letter nor a digit"),
        ("&&&", "neither a letter nor a digit"),
        ("a" * 300, "has 300 letters; at most 200"),
        ("A\u200bsh", "not seen, or steer a line: U\\+200B"),
        ("A\u00adsh", "U\\+00AD"),  # soft hyphen
        ("Ash\ufe0f", "U\\+FE0F"),
        ("Ash\u3164", "U\\+3164"),  # a letter that shows nothing
        ("\u202eknaB", "U\\+202E"),
        ("\u2066Ash", "U\\+2066"),
        ("\ufeffAsh", "U\\+FEFF"),
        ("Ash\tBank", "U\\+0009"),
        ("Ash\nBank", "U\\+000A"),
        ("Ash\x00", "U\\+0000"),
        ("Ash\x1b[2J", "U\\+001B"),
        ("Ash\ue000", "does not assign: U\\+E000"),
        ("Ash\u0378", "does not assign: U\\+0378"),
        ("Ash\u00a0Bank", "blanks other than the plain one: U\\+00A0"),
        ("M\u00fcller ", "blanks at an end"),
        ("M\u00fcller  AG", "several in a row"),
        ("\U0001f642 AG", "pictures, which are no letters: U\\+1F642"),
        ("Ash\u00ae", "pictures, which are no letters: U\\+00AE"),
        ("Z\u0323\u0324\u0325\u0326\u0327algo", "more than 3 on one"),
        ("\u0301Ash", "marks without a letter"),
        ("\ud800", "U\\+D800"),
    ],
)
def test_what_no_register_holds_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as error:
        legal_name(name)
    assert str(error.value).isprintable()


def test_all_that_is_wrong_is_said_at_once() -> None:
    bad = [GREEK, "A\u200b\U0001f642", {"handle": "x"}, {"name": "Ash", "handle": "A+B"}]
    with pytest.raises(InputError) as error:
        smoke(companies=bad)
    lines = str(error.value).splitlines()
    assert [line[: line.index("]") + 1] for line in lines] == [
        f"config: companies[{place}]" for place in range(4)
    ]
    assert "U+200B" in lines[1] and "U+1F642" in lines[1]
    assert "the handle 'A+B' must have 1 to 64 of the letters A to Z" in lines[3]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u0412\u0410NK", "BANK"),  # Cyrillic
        ("\u0391\u03a1\u0395\u03a7 AG", "APEX AG"),  # Greek
        ("\u041d\u043e\u0432\u0430", "HOBA"),  # Cyrillic, and Latin capitals
        ("Stra\u00dfe & Co", "STRASSE & Co"),
        ("L\u2019Or\u00e9al", "L'Or\u00e9al"),
        ("A\u2013B \u00c4", "A-B \u00c4"),
        ("Barn", "Bam"),
        ("\u017dil\u0131na", "\u017diIina"),
        ("\uff21sh", "Ash"),  # full width
        ("\u00c4RZTE", "\u00e4rzte"),
    ],
)
def test_names_that_look_alike_are_refused(one: str, other: str) -> None:
    with pytest.raises(ValueError, match="look alike, and one would be taken for the other"):
        check_names(("x", "y"), {"x": one, "y": other})


def test_names_of_different_letters_are_none_of_them() -> None:
    names = ("Ali", "All", "M\u00fcller", "Muller AG", "Bank A", "Bank \u0416", GREEK, CHINESE)
    handles = tuple("abcdefgh")
    assert check_names(handles, dict(zip(handles, names, strict=True))) == handles


def test_a_handle_is_not_the_name_of_another_company() -> None:
    with pytest.raises(ValueError, match="look alike"):
        check_names(("Ash", "Elm"), {"Ash": "Elm", "Elm": "\u00c4sh"})


def test_two_names_of_one_handle_need_another() -> None:
    with pytest.raises(InputError, match="have the same handle, 'Mueller AG'; for one of them"):
        smoke(companies=["M\u00fcller AG", "Mueller AG"], data={"source": "own"})


def test_the_table_of_look_alikes_has_letters_that_normalisation_leaves() -> None:
    assert len(LOOK_ALIKES) == 493
    for code, letter in LOOK_ALIKES.items():
        assert code > 127 and letter.isascii() and len(letter) == 1
        assert unicodedata.normalize("NFKC", chr(code)) == chr(code)


# --- the config -----------------------------------------------------------------------------------


def test_a_config_names_companies_by_name_or_handle_and_keeps_handles() -> None:
    config = smoke(
        companies=[BAKERY, {"name": GREEK, "handle": "Pappas"}, "Chestnut"],
        data={
            "source": "digits",
            "partition": {"kind": "sizes", "sizes": {BAKERY: 3, GREEK: 2, "Chestnut": 1}},
            "corruptions": [{"kind": "duplicate", "company": GREEK, "of": BAKERY}],
        },
        values={"unions": {"Z\u00fcrich": [BAKERY, "Pappas"]}},
    )
    bakery = "Baeckerei Muess Soehne GmbH"
    assert config.companies == (bakery, "Pappas", "Chestnut")
    assert config.legal_names == (BAKERY, GREEK, "Chestnut")
    assert config.data.partition.sizes == {bakery: 3, "Pappas": 2, "Chestnut": 1}  # type: ignore[union-attr]
    assert config.data.corruptions[0].company == "Pappas"
    assert config.values.unions == {"Z\u00fcrich": (bakery, "Pappas")}
    again = parse_config(dump_config(config), "again")
    assert again == config and config_hash(again) == config_hash(config)


def test_a_column_of_owners_holds_the_names_as_they_are_in_the_register(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 5}.5,{i % 2},{name}" for i, name in enumerate((BAKERY, "Ash") * 40))
    (tmp_path / "rows.csv").write_text(f"x,target,owner\n{rows}\n", encoding="utf-8")
    config = smoke(
        companies=[BAKERY, "Ash"],
        data={
            "source": str(tmp_path / "rows.csv"),
            "partition": {"kind": "column", "column": "owner"},
        },
        law={},
    )
    rows_of = all_company_data(config, operator_data(config).scaling)
    assert {name: len(held) for name, held in rows_of.items()} == {
        "Baeckerei Muess Soehne GmbH": 32,
        "Ash": 32,
    }


def test_a_config_without_other_names_is_as_it_was() -> None:
    assert load_config(SMOKE).names == {}
    assert load_config(SMOKE).legal_names == load_config(SMOKE).companies


def test_a_name_of_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="names: there is no company 'Elm'"):
        smoke(names={"Elm": "\u00c9lm"})


# --- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The smoke run, published again with other names; its handles are the names of before."""
    from fl_sv.runs.tables import read_evidence

    source = RunDirectory(finished_run)
    evidence = read_evidence(source)
    config = smoke(companies=REGISTERED)
    folder = tmp_path_factory.mktemp("names") / "run"
    run = published(folder, source, replace(evidence, config=config))
    write_report(run)
    return run


def test_tables_hold_handles_and_their_bytes_do_not_know_the_names(
    named_run: RunDirectory, finished_run: Path
) -> None:
    for name in (files.UTILITIES, files.PAYOUTS, files.COMPANIES):
        assert named_run.read_bytes(name) == (finished_run / name).read_bytes(), name
    for table in named_run.path.glob("*.csv"):
        assert table.read_bytes().isascii(), table


def test_valuation_json_holds_the_name_and_the_handle_where_they_differ(
    named_run: RunDirectory, finished_run: Path
) -> None:
    text = named_run.read_text(files.VALUATION)
    rows = json.loads(text)["companies"]
    assert {row["handle"]: row["name"] for row in rows} == NAMES
    assert list(rows[0])[:3] == ["name", "handle", "value"]
    assert {pair["first"] for pair in json.loads(text)["order"]} < {*NAMES.values()}
    plain = (finished_run / files.VALUATION).read_text(encoding="utf-8")
    assert '"handle"' not in plain
    assert Valuation.from_json(text) == Valuation.from_json(plain) == read_valuation(named_run)


@pytest.mark.parametrize("text", ['{"handle"', '{"companies": [{"handle": 1}]}', '["handle"]'])
def test_a_damaged_valuation_is_said_to_be_damaged(text: str) -> None:
    with pytest.raises(InputError, match=r"valuation.json is damaged"):
        Valuation.from_json(text)


def test_a_run_with_any_names_is_genuine(named_run: RunDirectory) -> None:
    answer = fl_sv("verify", named_run.path)
    assert answer.code in (0, 3), answer.err
    assert not answer.err


def test_a_name_that_was_changed_later_is_found(named_run: RunDirectory, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(named_run.path, tmp_path / "copy")
    config = (copy / files.CONFIG).read_text(encoding="utf-8")
    assert CHINESE in config
    (copy / files.CONFIG).write_text(config.replace(CHINESE, ARABIC), encoding="utf-8")
    answer = fl_sv("verify", copy)
    assert answer.code == 1 and "config.yaml was changed after it was signed" in answer.err


def test_the_report_and_the_screen_show_names_and_escape_them(named_run: RunDirectory) -> None:
    page = named_run.read_text(files.REPORT)
    assert BAKERY.replace("&", "&amp;") in page and GREEK in page and CHINESE in page
    assert "<b>O" not in page and "&lt;b&gt;O&#39;Neil&lt;/b&gt;" in page
    assert not re.search(r"\b(Ash|Beech|Chestnut|Damson)\b", page)
    shown = summary(named_run)
    assert BAKERY in shown and CHINESE in shown and "Chestnut" not in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_narrow_terminal_escapes_what_it_lacks(encoding: str, tmp_path: Path) -> None:
    import io

    with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as stream:
        screen: Console = console(file=stream, width=200)
        screen.print(f"{BAKERY} {GREEK} {CHINESE} {ARABIC}")
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        text = stream.buffer.getvalue().decode(encoding)
    assert "\\u5317" in text and ("M\\xfc\\xdf" if encoding == "ascii" else "M\u00fc\u00df") in text


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        (f"{ARABIC} 12.5 %", f"<{ARABIC}> 12.5 %"),
        (f"{ARABIC} 3 {ARABIC}", f"<{ARABIC} 3 {ARABIC}>"),
        (f"{ARABIC} GmbH {ARABIC}", f"<{ARABIC}> GmbH <{ARABIC}>"),
        ("\u05d0\u05b8 (0.25)", "<\u05d0\u05b8> (0.25)"),  # a letter with its vowel
        (f"{BAKERY} 12.5 %", f"{BAKERY} 12.5 %"),
    ],
)
def test_a_name_from_the_right_moves_no_number_beside_it(text: str, marked: str) -> None:
    found = isolated(text)
    assert found.replace("\u2068", "<").replace("\u2069", ">") == marked
    assert found.replace("\u2068", "").replace("\u2069", "") == text
    assert tag("td", text) == f"<td>{found.replace('&', '&amp;')}</td>"
    assert "\\u2068" in tag("td", f"\u2068{ARABIC}")  # of the name itself: escaped


def test_the_screen_marks_names_from_the_right_where_it_can(tmp_path: Path) -> None:
    import io

    for encoding, marked in (("utf-8", True), ("ascii", False)):
        with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as stream:
            console(file=stream, width=200).print(f"{ARABIC} 12.5")
            stream.flush()
            assert isinstance(stream.buffer, io.BytesIO)
            text = stream.buffer.getvalue().decode(encoding)
        assert (f"\u2068{ARABIC}\u2069 12.5" in text) == marked and "u2068" not in text


def test_a_company_reads_its_name_when_its_data_are_checked(tmp_path: Path) -> None:
    config = smoke(companies=REGISTERED)
    (tmp_path / "run.yaml").write_text(dump_config(config), encoding="utf-8")
    found = fl_sv("data", "check", tmp_path / "run.yaml", "--company", "Beech")
    assert found.code == 0, found.err
    assert f"{GREEK}:" in found.out and f"coalitions with {GREEK}" in found.out
    assert "Beech" not in found.out


def test_alarms_and_remarks_call_companies_by_name(tmp_path: Path) -> None:
    content = re.sub(
        r"companies: \[.*?\]", lambda _: f"companies: {json.dumps(REGISTERED)}", CONFIG
    )
    run = make_run(tmp_path / "run", config_text=content)
    page = run.read_text(files.REPORT) if run.has(files.REPORT) else ""
    write_report(run)
    page = run.read_text(files.REPORT)
    assert GREEK in page
    assert not re.search(r"\b(Ash|Beech|Chestnut|Damson)\b", page)


def test_the_data_frame_has_names_and_handles(named_run: RunDirectory) -> None:
    from fl_sv.api import read_run

    frame = read_run(named_run.path).frame("companies")
    assert dict(zip(frame["handle"], frame["name"], strict=True)) == NAMES


# --- a federation ---------------------------------------------------------------------------------


def test_a_federation_takes_names_and_keeps_handles_in_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = smoke(companies=[BAKERY, {"name": GREEK, "handle": "Pappas"}], data=OWN, law={})
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    home = tmp_path / "fl"
    user = ("--user", getpass.getuser())
    init = ("federation", "init", home, "--address", "fl.example.com", *user)
    assert fl_sv(*init, "--config", tmp_path / "config.yaml").code == 0
    kit = home / folder.KIT
    rows = tmp_path / "rows.csv"
    rows.write_text("x,target\n" + "1.5,0\n2.5,1\n" * 20, encoding="utf-8")
    join = ("federation", "join", "--dir", kit, "--data-path", rows, *user)
    decomposed = unicodedata.normalize("NFD", BAKERY)
    answer = fl_sv(*join, "--company", decomposed)
    assert answer.code == 0, answer.err
    assert f"{BAKERY} agrees to {kit}/config.yaml" in answer.out
    handle = "Baeckerei Muess Soehne GmbH"
    assert (kit / f"{handle}.pub").exists()
    unit = (kit / "fl-sv-supernode.service").read_bytes()
    assert unit.isascii() and f"SuperNode of {handle} (".encode() in unit
    asked: list[str] = []
    from fl_sv.federation import flower

    monkeypatch.setattr(flower, "register_node", lambda *given: asked.append(given[2]) or "17")
    register: Command = ("federation", "register", kit / f"{handle}.pub", "--dir", home)  # type: ignore[assignment]
    answer = fl_sv(*register, "--name", BAKERY)
    assert answer.out == f"{BAKERY} is registered as node 17.\n"
    assert asked == [handle]  # by which Flower calls the node, and replies are signed
    answer = fl_sv(*join, "--company", "Elm")
    assert answer.code == 2 and f"it has {BAKERY}, {GREEK}." in answer.err


OWN = {"source": "own", "classes": 2, "validation": {"file": "validation.csv"}}
