"""The configuration: what is accepted, and one short message for each way to be wrong."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fl_sv.config import Config, config_hash, dump_config, load_config, model_name, parse_config
from fl_sv.config.base import REFERENCE
from fl_sv.config.keys import all_keys, sections_in
from fl_sv.config.load import config_of
from fl_sv.config.reference import reference
from fl_sv.data import operator_data
from fl_sv.errors import InputError

ROOT = Path(__file__).parent.parent
SMALLEST = """\
companies: [Ash, Beech]
data: {source: digits, partition: {kind: iid}}
models: {small: [{kind: mlp, hidden: [4]}], large: {kind: mlp, hidden: [64]}}
payouts: {pot: {kind: fixed, cents: 100}}
"""


def changed(place: str, value: Any) -> str:
    """The smallest config with one value set, at a place like `data.partition.kind`."""
    config: Any = yaml.safe_load(SMALLEST)
    *path, key = place.split(".")
    inner = config
    for part in path:
        inner = inner[int(part)] if part.isdigit() else inner.setdefault(part, {})
    inner[key] = value
    return yaml.safe_dump(config)


def message(text: str) -> str:
    with pytest.raises(InputError) as error:
        parse_config(text, "run.yaml")
    assert_short(str(error.value))
    return str(error.value)


def assert_short(text: str) -> None:
    assert 1 <= len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) < 500
    assert "Traceback" not in text


# --- what is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_config_of_the_repository_is_valid(path: Path) -> None:
    assert load_config(path).n_companies >= 2


@pytest.mark.parametrize(
    "text", [SMALLEST, (ROOT / "configs" / "demo.yaml").read_text()], ids=["smallest", "demo"]
)
def test_a_dumped_config_reads_back_as_the_same(text: str) -> None:
    config = parse_config(text, "run.yaml")
    again = parse_config(dump_config(config), "dump.yaml")
    assert again == config
    assert config_hash(again) == config_hash(config)
    assert dump_config(again) == dump_config(config)
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_the_dump_holds_every_default() -> None:
    dumped = yaml.safe_load(dump_config(parse_config(SMALLEST, "run.yaml")))
    assert dumped["training"]["batch_size"] == 32
    assert set(dumped) == set(Config.model_fields)


@pytest.mark.parametrize(
    "place", ["seed", "training.rounds", "data.validation.fraction", "payouts.pot.cents"]
)
def test_the_hash_knows_every_value(place: str) -> None:
    value = 0.3 if place.endswith("fraction") else 11
    plain, other = (
        parse_config(SMALLEST, "run.yaml"),
        parse_config(changed(place, value), "run.yaml"),
    )
    assert config_hash(plain) != config_hash(other)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse_config(SMALLEST, "run.yaml").seed = 1


def test_relative_data_paths_start_at_the_folder_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        SMALLEST.replace(
            "{source: digits, partition: {kind: iid}}",
            "{source: own, classes: 2, files: {Ash: a.csv, Beech: /data/b.csv}, validation: {file:"
            " sub/v.csv}}",
        )
    )
    data = load_config(path).data
    assert data.files == {"Ash": str(tmp_path / "a.csv"), "Beech": "/data/b.csv"}
    assert data.validation.file == str(tmp_path / "sub" / "v.csv")
    path.write_text(SMALLEST.replace("digits", "../rows.npz"))
    assert load_config(path).data.source == str(tmp_path / "../rows.npz")


def test_models_are_named_by_kind_and_widths_unless_named() -> None:
    text = changed(
        "models.small", [{"kind": "mlp", "hidden": [4, 5]}, {"kind": "cnn", "channels": [2]}]
    )
    assert [model_name(model) for model in parse_config(text, "run.yaml").models.small] == [
        "mlp-4-5",
        "cnn-2",
    ]
    text = changed("models.large", {"kind": "module", "factory": "a.b:make", "name": "big"})
    assert model_name(parse_config(text, "run.yaml").models.large) == "big"


# --- not a configuration at all -------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   \n", "# nothing but a comment\n", "---\n", "null\n"])
def test_an_empty_config_points_to_an_example(text: str) -> None:
    assert "run.yaml is empty. Start from configs/demo.yaml" in message(text)


@pytest.mark.parametrize(
    ("text", "kind"), [("- a\n- b\n", "list"), ("just words\n", "str"), ("42\n", "int")]
)
def test_a_config_that_is_no_mapping_is_refused_with_its_type(text: str, kind: str) -> None:
    assert f"run.yaml holds a {kind}, not a mapping" in message(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("companies: [Ash, Beech\n", r"run.yaml, line 2, column 1: not valid YAML"),
        ("a: b: c\n", r"run.yaml, line 1, column 5: not valid YAML"),
        ("\tseed: 1\n", r"run.yaml, line 1, column 1: not valid YAML"),
        ("seed: 1\nseed: 2\n", r"run.yaml, line 2, column 1: .*'seed' is given twice"),
        ("data: {source: digits, source: wine}\n", r"line 1.*'source' is given twice"),
        ("seed: &x 1\ntitle: *x\n", r"line 2, column 8: .*aliases \(\*name\) are not allowed"),
        ("data: &x {source: *x}\n", r"aliases \(\*name\) are not allowed"),
        ("<<: {seed: 1}\n", r"run.yaml"),
        (
            "seed: !!python/object/apply:os.getcwd []\n",
            r"line 1, column 7: .*the tag \S+ is not allowed",
        ),
        ("seed: !!int '3'\n", r"the tag \S+ is not allowed"),
        ("1: a\n", r"the key 1 is not a text"),
        ("true: a\n", r"the key True is not a text"),
        ("? [a, b]\n: c\n", r"run.yaml"),
        ("a: 1\n---\nb: 2\n", r"run.yaml, line 2, column 1: not valid YAML"),
        ("title: \x07\n", r"run.yaml: not valid YAML"),
        ("[" * 5000, r"run.yaml: not valid YAML"),
    ],
)
def test_faulty_yaml_is_refused_with_line_and_column(text: str, expected: str) -> None:
    assert re.search(expected, message(text))


@pytest.mark.parametrize(
    "written",
    ["010000", "0x10", "0b11", "0o17", "1_000", "16:40:00", "1:30", "08", "-010", "0_1.5"],
)
@pytest.mark.parametrize("place", ["payouts.pot.cents", "training.learning_rate", "title"])
def test_what_only_yaml_takes_for_a_number_is_refused_everywhere(written: str, place: str) -> None:
    text = changed(place, "HERE").replace("HERE", written)
    assert re.search(
        rf"line \d+, column \d+: .*{re.escape(written)} is no plain decimal number; write it with"
        r" the digits 0 to 9 alone, such as 10000, 0.5 or 1e-3, or in quotes if it is a text",
        message(text),
    )


@pytest.mark.parametrize(
    ("written", "number"), [("1e-3", 1e-3), ("1.5E-2", 0.015), (".5", 0.5), ("+2", 2), ("1.", 1)]
)
def test_a_decimal_number_is_one_however_it_is_written(written: str, number: float) -> None:
    config = parse_config(changed("training.learning_rate", "HERE").replace("HERE", written), "")
    assert config.training.learning_rate == number


@pytest.mark.parametrize("text", ["yes", "on", "No", "off", "y", "2026-01-01", "1.2.3", "a:1"])
def test_words_and_dates_are_texts(text: str) -> None:
    assert parse_config(changed("title", "HERE").replace("HERE", text), "").title == text


@given(st.text("0123456789_.:xobeE+-~tnyf #'\"", max_size=8))
def test_every_title_is_read_back_from_the_resolved_config(title: str) -> None:
    config = parse_config(SMALLEST, "").model_copy(update={"title": title})
    assert parse_config(dump_config(config), "") == config


def test_a_word_in_place_of_a_truth_value_is_answered_with_the_two_that_there_are() -> None:
    said = message(changed("data.standardise", "HERE").replace("HERE", "yes"))
    assert "data.standardise: Input should be true or false; given 'yes'." in said


def test_a_missing_file_a_folder_and_a_binary_are_refused_by_name(tmp_path: Path) -> None:
    cases = {"none.yaml": r"^There is no file", "": r"^\S+ is a folder\."}
    cases |= {
        "x" * 300: r"cannot be read: File name too long",
        "a\0b": r"cannot be read: embedded null byte",
    }
    (tmp_path / "binary").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    (tmp_path / "latin").write_bytes("title: Müller\n".encode("latin-1"))
    (tmp_path / "huge").write_bytes(b"#" * 1_000_001)
    cases |= {
        "binary": r"byte 0 is not UTF-8",
        "latin": r"byte 8 is not UTF-8",
        "huge": r"has 1,000,001 bytes; at most 500,000 are read. Give the YAML file",
    }
    for name, expected in cases.items():
        with pytest.raises(InputError, match=expected) as error:
            load_config(tmp_path / name)
        assert_short(str(error.value))


# --- keys and values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("sed", r"unknown key sed\. Did you mean seed\?"),
        ("training.round", r"unknown key training\.round\. Did you mean rounds\?"),
        ("data.partition.alpa", r"unknown key data\.partition\.alpa\. Allowed here: kind, sizes\."),
        ("models.large.hiden", r"unknown key models\.large\.hiden\. Did you mean hidden\?"),
        (
            "models.small.0.learning_rat",
            r"unknown key models\.small\[0\]\.learning_rat\. Did you mean learning_rate\?",
        ),
        ("payouts.pot.cent", r"unknown key payouts\.pot\.cent\. Did you mean cents\?"),
        ("compute.qqq", r"unknown key compute\.qqq\. Allowed here: workers, threads"),
    ],
)
def test_an_unknown_key_names_its_nearest_relative(place: str, expected: str) -> None:
    assert re.search(expected, message(changed(place, 1)))


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("seed", "7", r"seed: .*integer; given '7'"),
        ("seed", 1.5, r"seed: .*given 1\.5"),
        ("seed", True, r"seed: .*given True"),
        ("seed", None, r"seed: .*given None"),
        ("seed", -1, r"seed: .*greater than or equal to 0; given -1"),
        ("seed", 2**63, r"seed: .*less than 9223372036854775808"),
        ("companies", "Ash", r"companies: .*given 'Ash'"),
        ("companies", [], r"companies: .*at least 2"),
        ("companies", ["Ash"], r"companies: .*at least 2"),
        ("companies", ["Ash", "Ash"], r"companies: the name 'Ash' is listed twice"),
        ("companies", ["Ash", "+"], r"companies\[1\]: .* neither a letter nor a digit"),
        ("companies", ["Ash", 3], r"companies\[1\]: .*given 3"),
        ("companies", [f"c{i}" for i in range(1001)], r"companies: .*at most 1000"),
        ("data", [], r"data: .*given \[\]"),
        (
            "data.source",
            "digit",
            r"data\.source: there is no source 'digit'.*digits.*module:function",
        ),
        ("data.options", {"n": 3}, r"data\.options: only a module:function takes options"),
        ("data.classes", 1, r"data\.classes: .*greater than or equal to 2; given 1"),
        ("data.task", "ranking", r"data\.task: .*given 'ranking'"),
        ("data.files", {"Ash": "a.csv", "Beech": "b.csv"}, r"data\.files: only `source: own`"),
        ("data.validation.fraction", 1.0, r"data\.validation\.fraction: .*less than 1; given 1\.0"),
        ("data.validation.fraction", float("nan"), r"data\.validation\.fraction: .*given nan"),
        ("data.partition", None, r"data\.partition: .*missing; give the way in which the rows"),
        ("data.partition.kind", "shard", r"data\.partition: .*'shard'.*'iid'"),
        (
            "data.partition",
            {"kind": "dirichlet", "alpha": 0},
            r"data\.partition\.alpha: .*greater than 0; given 0",
        ),
        ("data.partition", {"kind": "dirichlet"}, r"the key data\.partition\.alpha is missing"),
        (
            "data.partition.sizes",
            {"Ash": 1},
            r"data\.partition\.sizes: 'Beech' is missing; name every company",
        ),
        (
            "data.partition.sizes",
            {"Ash": 1, "Beech": 1, "Elm": 1},
            r"data\.partition\.sizes: there is no company 'Elm'",
        ),
        (
            "data.partition.sizes",
            {"Ash": 1, "Beech": 0},
            r"data\.partition\.sizes\S*Beech: .*greater than 0",
        ),
        (
            "data.corruptions",
            [{"kind": "free_rider", "company": "Elm"}],
            r"corruptions\[0\]: there is no company 'Elm'",
        ),
        (
            "data.corruptions",
            [{"kind": "duplicate", "company": "Ash", "of": "Ash"}],
            r"corruptions\[0\]: a duplicate",
        ),
        (
            "data.corruptions",
            [{"kind": "free_rider", "company": "Ash"}, {"kind": "free_rider", "company": "Ash"}],
            r"corruptions\[1\]: 'Ash' has two defects",
        ),
        (
            "data.corruptions",
            [{"kind": "wrong_labels", "company": "Ash", "fraction": 2}],
            r"data\.corruptions\[0\]\.fraction: .*given 2",
        ),
        ("models.small", [], r"models\.small: .*at least 1"),
        (
            "models.small.0.hidden",
            [0],
            r"models\.small\[0\]\.hidden\[0\]: .*greater than or equal to 1; given 0",
        ),
        (
            "models.small.0.hidden",
            [10**9],
            r"models\.small\[0\]\.hidden\[0\]: .*less than or equal to 16384",
        ),
        ("models.large.hidden", [4], r"models: two models have the name 'mlp-4'"),
        (
            "models.large",
            {"kind": "module", "factory": "no colon"},
            r"models\.large\.factory: .*given 'no colon'",
        ),
        ("training.rounds", 0, r"training\.rounds: .*greater than or equal to 1; given 0"),
        ("training.rounds", 10**9, r"training\.rounds: .*less than or equal to 100000"),
        ("training.batch_size", "big", r"training\.batch_size: .*given 'big'"),
        ("training.learning_rate", float("inf"), r"training\.learning_rate: .*given inf"),
        (
            "law.anchors",
            "all",
            r"law\.anchors: .*'singletons\+loo', or a valid integer; given 'all'",
        ),
        (
            "law.anchors",
            -1,
            r"law\.anchors: .*'singletons\+loo', or greater than or equal to 0; given -1",
        ),
        (
            "law.anchors",
            3,
            r"law\.anchors: 3 large runs given.*form only 2 coalitions; give at most 2",
        ),
        (
            "law.family",
            "cubic",
            r"law\.family: .*'averaged' or 'ladder', or package\.module:attribute; given 'cubic'",
        ),
        (
            "law.family",
            "ladder",
            r"law\.family: ladder needs at least two models in `models\.small`",
        ),
        ("law.accept", ["D11"], r"law\.accept\[0\]: .*given 'D11'"),
        ("values.semivalue", "shapely", r"values\.semivalue: .*given 'shapely'"),
        ("values.semivalue", "beta:0,0", r"values\.semivalue: .*given 'beta:0,0'"),
        ("values.semivalue", "beta:0,1", r"values\.semivalue: .*given 'beta:0,1'"),
        ("values.semivalue", "beta:nan,1", r"values\.semivalue: .*0 < A, B <= 1000000"),
        ("values.semivalue", "beta:1,1e7", r"values\.semivalue: .*given 'beta:1,1e7'"),
        ("payouts.pot", 100, r"payouts\.pot: .*given 100"),
        ("payouts.pot.cents", 10.5, r"payouts\.pot\.cents: .*given 10\.5"),
        ("payouts.currency", "euro", r"payouts\.currency: .*given 'euro'"),
        ("compute.device", "tpu", r"compute\.device: .*given 'tpu'"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_what_is_allowed(
    place: str, value: Any, expected: str
) -> None:
    assert re.search(expected, message(changed(place, value)))


@pytest.mark.parametrize("value", [-1, "all", 1.5, None])
def test_a_value_that_no_branch_of_a_union_takes_is_one_mistake(value: Any) -> None:
    assert len(message(changed("law.anchors", value)).splitlines()) == 1


@pytest.mark.parametrize("place", ["", "models.small.0"])
def test_a_set_has_no_order_and_is_no_list(place: str) -> None:
    content = yaml.safe_load(SMALLEST)
    if place:
        content["models"]["small"][0]["hidden"] = {4, 2}
    else:
        content["companies"] = {"Ash", "Beech"}
    with pytest.raises(
        InputError, match=r"^config: (companies|models\.small\.0\.hidden): a set has"
    ):
        config_of(content, "config")


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (
            "data.corruptions",
            [{"kind": "free_rider", "company": "M\u00fcller"}],
            "a name of the letters A to Z, digits, blanks, `.`",
        ),
        ("models.large.name", "a b", "a name of the letters A to Z, digits, `.`, `_` and `-` that"),
        ("payouts.currency", "euro", "three capital letters, such as EUR"),
        ("law.accept", ["D99"], "the code of an alarm, such as D4"),
    ],
)
def test_what_a_text_may_be_is_said_in_words(place: str, value: Any, sentence: str) -> None:
    found = message(changed(place, value))
    assert f"Input should be {sentence}" in found
    assert "pattern" not in found


@pytest.mark.parametrize("key", ["companies", "data", "models", "payouts"])
def test_a_missing_section_is_named(key: str) -> None:
    text = "\n".join(line for line in SMALLEST.splitlines() if not line.startswith(key))
    assert f"the key {key} is missing" in message(text)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"classes": 2}, r"data\.validation\.file: `source: own` needs"),
        ({"validation": {"file": "v.csv"}}, r"data\.classes: .*missing; with `source: own`"),
        (
            {"classes": 2, "validation": {"file": "v.csv"}, "partition": {"kind": "iid"}},
            r"data\.partition: with",
        ),
        (
            {"classes": 2, "task": "regression", "validation": {"file": "v.csv"}},
            r"data\.classes: a regression has no classes",
        ),
        (
            {
                "classes": 2,
                "validation": {"file": "v.csv"},
                "corruptions": [{"kind": "duplicate", "company": "Ash", "of": "Beech"}],
            },
            r"data\.corruptions\[0\]: a duplicate",
        ),
    ],
)
def test_own_sources_are_checked_as_a_whole(data: dict[str, Any], expected: str) -> None:
    assert re.search(expected, message(changed("data", {"source": "own", **data})))


def test_many_faults_are_cut_at_a_dozen_lines() -> None:
    text = SMALLEST + "".join(f"wrong{i}: 1\n" for i in range(50))
    assert "and 45 more" in message(text)


def test_a_long_value_is_cut_in_the_message() -> None:
    assert "..." in message(changed("seed", "x" * 10_000))
    message(changed("data.source", "x" * 10_000))
    message(changed("x" * 10_000, 1))
    message(changed("a\n" * 10_000, 1))
    message("? 'xxx" + "x" * 1_100_000 + "'\n: 1\n")
    message("".join(f"{'x' * 900}: {i}\n" for i in range(2)))
    message(changed("companies", ["Ash", "x" * 10_000]))
    message(changed("data.partition.sizes", {"x" * 10_000: 1}))


def test_a_data_path_with_a_nul_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SMALLEST.replace("digits", '"a\\0.csv"'))
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        operator_data(load_config(tmp_path / "run.yaml"))


# --- what holds for a key besides its type --------------------------------------------------------


def test_keys_that_import_what_they_name_are_those_that_may_name_it() -> None:
    """A company is shown all of them, so none may lack the mark."""
    imports = {place for place, key in all_keys(Config) if key.imports}
    assert imports == {
        "data.source",
        "models.small.factory",
        "models.large.factory",
        "training.loss",
        "teacher.strategy",
        "law.family",
        "distillation.deployed.model.factory",
    }

    def may_name(model: type[BaseModel], place: str = "") -> Iterator[str]:
        for name, field in model.model_fields.items():
            states = repr(REFERENCE)[1:-1] in f"{field.metadata} {field.annotation}"
            if states or (field.annotation is str and "`module:" in (field.description or "")):
                yield f"{place}{name}"
            for section in sections_in(field.annotation):
                yield from may_name(section, f"{place}{name}.")

    assert imports == {*may_name(Config)}


def test_these_keys_are_paths() -> None:
    assert {place: key.path for place, key in all_keys(Config) if key.path != "never"} == {
        "data.source": "with the suffix of a data file",
        "data.text.tokenizer": "always",
        "data.files": "always",
        "data.validation.file": "always",
        "data.validation.planted": "always",
        "models.small.path": "always",
        "models.large.path": "always",
        "distillation.deployed.model.path": "always",
        "distillation.deployed.transfer_set.file": "always",
    }


def test_these_keys_do_not_travel_to_companies_as_they_are() -> None:
    sent = {place: key.to_companies for place, key in all_keys(Config)}
    assert {place: what for place, what in sent.items() if what != "the value"} == {
        "data.source": "the suffix",
        "data.text.tokenizer": "a placeholder",
        "data.files": "nothing",
        "data.validation.file": "a placeholder",
        "data.validation.planted": "nothing",
        "models.small.path": "a placeholder",
        "models.large.path": "a placeholder",
        "distillation.deployed": "nothing",
        "distillation.deployed.model.path": "a placeholder",
    }


def test_no_key_that_is_a_path_travels() -> None:
    """Its own field says so, or that of a section around it."""
    withheld = [place for place, key in all_keys(Config) if key.to_companies != "the value"]
    for place, key in all_keys(Config):
        if key.path != "never":
            assert any(f"{place}.".startswith(f"{section}.") for section in withheld), place


def test_these_keys_may_change_when_a_run_is_resumed_or_extended() -> None:
    on_resume = ["compute.workers", "compute.max_hours", "faults", "ray"]
    assert [place for place, key in all_keys(Config) if key.may_change_on("resume")] == on_resume
    assert [place for place, key in all_keys(Config) if key.may_change_on("extension")] == [
        "title",
        "companies",
        "names",
        "data.source",
        "data.files",
        "data.validation.file",
        "data.validation.planted",
        "data.partition.owners",
        "data.corruptions",
        "teacher.keep",
        "distillation",
        "coalitions",
        "law",
        "values",
        "payouts",
        *on_resume,
    ]


# --- the public list of keys, and its reference ---------------------------------------------------


def test_the_keys_of_the_config_are_frozen() -> None:
    """Configs of users hold these names: adding one is news for CHANGELOG.md, renaming one breaks
    runs.
    """
    assert sorted({place for place, _ in all_keys(Config)}) == FROZEN_KEYS


def test_every_key_has_a_description_and_every_number_a_lower_and_an_upper_bound() -> None:
    schema = Config.model_json_schema()
    for definition in [schema, *schema["$defs"].values()]:
        assert definition["description"]
        for key, field in definition["properties"].items():
            assert key == "kind" or field.get("description"), key
            for part in parts_of(field):
                if part.get("type") in ("integer", "number") and key != "options":
                    assert {"minimum", "exclusiveMinimum"} & set(part), key
                    assert {"maximum", "exclusiveMaximum"} & set(part), key


def parts_of(field: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield field
    inner = [
        field.get("items"),
        field.get("additionalProperties"),
        *field.get("patternProperties", {}).values(),
    ]
    for part in [*field.get("anyOf", []), *(entry for entry in inner if isinstance(entry, dict))]:
        yield from parts_of(part)


def test_the_reference_in_docs_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert committed == reference(), "run: python -m fl_sv.config.reference > docs/config.md"


def test_the_reference_describes_every_key_and_its_links_lead_somewhere() -> None:
    page = reference()
    for key in FROZEN_KEYS:
        assert f"| `{key.rpartition('.')[2]}` |" in page
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors


FROZEN_KEYS = [
    "coalitions",
    "coalitions.design",
    "coalitions.stop",
    "coalitions.stop.max_evaluations",
    "coalitions.stop.widest_interval_cents",
    "coalitions.wave_megabytes",
    "coalitions.waves",
    "companies",
    "compute",
    "compute.chunk",
    "compute.device",
    "compute.dtype",
    "compute.max_hours",
    "compute.states_megabytes",
    "compute.threads",
    "compute.workers",
    "data",
    "data.classes",
    "data.columns",
    "data.columns.categories",
    "data.columns.classes",
    "data.columns.format",
    "data.columns.kind",
    "data.columns.missing",
    "data.columns.no",
    "data.columns.order",
    "data.columns.parts",
    "data.columns.rare",
    "data.columns.unit",
    "data.columns.yes",
    "data.corruptions",
    "data.corruptions.company",
    "data.corruptions.fraction",
    "data.corruptions.kind",
    "data.corruptions.of",
    "data.corruptions.std",
    "data.csv",
    "data.csv.decimal",
    "data.csv.empty",
    "data.csv.empty_lines",
    "data.csv.encoding",
    "data.csv.header",
    "data.csv.minus",
    "data.csv.separator",
    "data.csv.skip",
    "data.csv.thousands",
    "data.files",
    "data.inputs",
    "data.options",
    "data.partition",
    "data.partition.alpha",
    "data.partition.classes",
    "data.partition.column",
    "data.partition.kind",
    "data.partition.owners",
    "data.partition.prior",
    "data.partition.shards",
    "data.partition.sizes",
    "data.source",
    "data.standardise",
    "data.target",
    "data.task",
    "data.text",
    "data.text.column",
    "data.text.packed",
    "data.text.places",
    "data.text.tokenizer",
    "data.validation",
    "data.validation.file",
    "data.validation.fraction",
    "data.validation.planted",
    "distillation",
    "distillation.deployed",
    "distillation.deployed.epochs",
    "distillation.deployed.model",
    "distillation.deployed.model.adapter",
    "distillation.deployed.model.adapter.alpha",
    "distillation.deployed.model.adapter.dropout",
    "distillation.deployed.model.adapter.kind",
    "distillation.deployed.model.adapter.layers",
    "distillation.deployed.model.adapter.rank",
    "distillation.deployed.model.adapter.target_modules",
    "distillation.deployed.model.average",
    "distillation.deployed.model.channels",
    "distillation.deployed.model.factory",
    "distillation.deployed.model.hidden",
    "distillation.deployed.model.kind",
    "distillation.deployed.model.learning_rate",
    "distillation.deployed.model.name",
    "distillation.deployed.model.optimizer_options",
    "distillation.deployed.model.optimizer_options.betas",
    "distillation.deployed.model.optimizer_options.clip_norm",
    "distillation.deployed.model.optimizer_options.eps",
    "distillation.deployed.model.optimizer_options.momentum",
    "distillation.deployed.model.optimizer_options.weight_decay",
    "distillation.deployed.model.options",
    "distillation.deployed.model.path",
    "distillation.deployed.model.task",
    "distillation.deployed.transfer_set",
    "distillation.deployed.transfer_set.file",
    "distillation.deployed.transfer_set.high",
    "distillation.deployed.transfer_set.kind",
    "distillation.deployed.transfer_set.low",
    "distillation.deployed.transfer_set.rows",
    "distillation.deployed.transfer_set.steps",
    "distillation.loss",
    "distillation.options",
    "distillation.temperature",
    "distillation.transfer_set",
    "distillation.weight",
    "faults",
    "faults.restarts",
    "faults.retries",
    "faults.timeout_seconds",
    "law",
    "law.accept",
    "law.anchors",
    "law.family",
    "law.untrained_loss",
    "models",
    "models.large",
    "models.large.adapter",
    "models.large.adapter.alpha",
    "models.large.adapter.dropout",
    "models.large.adapter.kind",
    "models.large.adapter.layers",
    "models.large.adapter.rank",
    "models.large.adapter.target_modules",
    "models.large.average",
    "models.large.channels",
    "models.large.factory",
    "models.large.hidden",
    "models.large.kind",
    "models.large.learning_rate",
    "models.large.name",
    "models.large.optimizer_options",
    "models.large.optimizer_options.betas",
    "models.large.optimizer_options.clip_norm",
    "models.large.optimizer_options.eps",
    "models.large.optimizer_options.momentum",
    "models.large.optimizer_options.weight_decay",
    "models.large.options",
    "models.large.path",
    "models.large.task",
    "models.small",
    "models.small.adapter",
    "models.small.adapter.alpha",
    "models.small.adapter.dropout",
    "models.small.adapter.kind",
    "models.small.adapter.layers",
    "models.small.adapter.rank",
    "models.small.adapter.target_modules",
    "models.small.average",
    "models.small.channels",
    "models.small.factory",
    "models.small.hidden",
    "models.small.kind",
    "models.small.learning_rate",
    "models.small.name",
    "models.small.optimizer_options",
    "models.small.optimizer_options.betas",
    "models.small.optimizer_options.clip_norm",
    "models.small.optimizer_options.eps",
    "models.small.optimizer_options.momentum",
    "models.small.optimizer_options.weight_decay",
    "models.small.options",
    "models.small.path",
    "models.small.task",
    "names",
    "payouts",
    "payouts.currency",
    "payouts.decimals",
    "payouts.max_charge",
    "payouts.negative",
    "payouts.pot",
    "payouts.pot.cents",
    "payouts.pot.cents_per_utility",
    "payouts.pot.floor",
    "payouts.pot.kind",
    "ray",
    "ray.address",
    "seed",
    "teacher",
    "teacher.keep",
    "teacher.options",
    "teacher.strategy",
    "title",
    "training",
    "training.batch_size",
    "training.betas",
    "training.clip_norm",
    "training.eps",
    "training.large_seeds",
    "training.learning_rate",
    "training.local_epochs",
    "training.local_steps",
    "training.loss",
    "training.momentum",
    "training.optimizer",
    "training.rounds",
    "training.schedule",
    "training.schedule_by",
    "training.seeds",
    "training.warmup_rounds",
    "training.weight_decay",
    "training.weights",
    "values",
    "values.level",
    "values.semivalue",
    "values.unions",
]


def test_an_unknown_key_inside_a_list_is_one_mistake() -> None:
    text = SMALLEST.replace("hidden: [4]", "hidden: [4], lerning_rate: 1")
    with pytest.raises(InputError) as refusal:
        parse_config(text, "run.yaml")
    assert str(refusal.value) == (
        "run.yaml: unknown key models.small[0].lerning_rate. Did you mean learning_rate?"
    )


def test_a_number_in_place_of_a_list_is_answered_with_the_list_that_is_meant() -> None:
    text = SMALLEST.replace("hidden: [4]", "hidden: 16")
    with pytest.raises(InputError, match=r"hidden: Input should be a list, such as \[16\]"):
        parse_config(text, "run.yaml")
