"""Texts as rows of tokens: documents, what is held out, windows, and what is wrong with a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from fl_sv.config.load import config_of
from fl_sv.config.redact import for_companies, with_bases
from fl_sv.config.text import Text
from fl_sv.data import all_company_data, operator_data
from fl_sv.data.dataset import IGNORED
from fl_sv.data.federation import read_source
from fl_sv.data.text import read_texts
from fl_sv.errors import InputError
from fl_sv.training.models import model_specs, tensors
from fl_sv.training.stack import score_stack
from tests.pretrained import LETTERS, lm_config, make_tokenizer, write_lines


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


def letters(row: np.ndarray[Any, Any]) -> str:
    """The letters of a row of ids; `_` where a place does not count."""
    return "".join("_" if i == IGNORED else LETTERS[i] for i in row)


def test_a_row_predicts_each_next_letter_and_windows_do_not_overlap(
    tmp_path: Path, tokenizer: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcdefgh\n")
    rows = read_texts(str(path), Text(tokenizer=tokenizer, places=3))
    assert [*map(letters, rows.x)] == ["abc", "def", "gaa"]
    assert [*map(letters, rows.y)] == ["bcd", "efg", "h__"]
    assert rows.n_classes == len(LETTERS)


def test_documents_are_packed_or_begin_a_row_each(tmp_path: Path, tokenizer: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcd\n\n\nefgh\n")
    packed = read_texts(str(path), Text(tokenizer=tokenizer, places=4))
    apart = read_texts(str(path), Text(tokenizer=tokenizer, places=4, packed=False))
    assert [*map(letters, packed.y)] == ["bcde", "fgh_"]
    assert [*map(letters, apart.y)] == ["bcd_", "fgh_"]


def test_three_kinds_of_files_give_the_same_rows(tmp_path: Path, tokenizer: str) -> None:
    texts = ["abcd efgh.", "a bad cab."]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": each}) for each in texts))
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "a.parquet")
    rows = [
        read_texts(str(tmp_path / f"a.{end}"), Text(tokenizer=tokenizer, places=5))
        for end in ("txt", "jsonl", "parquet")
    ]
    for other in rows[1:]:
        np.testing.assert_array_equal(rows[0].x, other.x)
        np.testing.assert_array_equal(rows[0].y, other.y)


def test_no_validation_row_shares_a_document_with_a_company(tmp_path: Path, tokenizer: str) -> None:
    # Every document is one letter, repeated, so a row shows of which documents it is.
    documents = {"Ash": ("bbbbbbb", "ccccccc", "ddddddd"), "Beech": ("eeeeeee", "fffffff")}
    path = write_lines(tmp_path / "a.jsonl", documents)
    text = Text(tokenizer=tokenizer, places=4)
    rows = read_texts(str(path), text, "owner", 0.4)
    assert rows.held_out is not None
    held, kept = (
        {each for row in rows.y[mask] for each in letters(row)} - {"_"}
        for mask in (rows.held_out, ~rows.held_out)
    )
    assert not held & kept
    assert len(held & {*"bcd"}) == 2 and len(held & {*"ef"}) == 1  # of each owner, rounded up


def test_the_order_of_documents_changes_nothing_about_what_is_held_out(
    tmp_path: Path, tokenizer: str
) -> None:
    texts = ("aaaa", "bbbb", "cccc", "dddd", "eeee")
    held = []
    for order in (texts, texts[::-1]):
        path = write_lines(tmp_path / "a.jsonl", {"Ash": order})
        rows = read_texts(str(path), Text(tokenizer=tokenizer, places=3), "owner", 0.4)
        held.append({letters(row)[0] for row in rows.x[rows.held_out]})
    assert held[0] == held[1] and len(held[0]) == 2


def test_each_company_gets_the_texts_of_its_name(tmp_path: Path) -> None:
    config = config_of(lm_config(tmp_path, bases=False), "test")
    source = read_source(config)
    assert source is not None
    operator = operator_data(config, source)
    rows = all_company_data(config, operator.scaling, source)
    assert sum(map(len, rows.values())) + len(operator.validation) == len(source.raw)
    assert operator.task.places == (6,) and operator.task.n_outputs == len(LETTERS)


def test_a_folder_of_texts_gives_each_company_what_lies_under_its_name(
    tmp_path: Path, tokenizer: str
) -> None:
    texts = tmp_path / "texts"
    (texts / "Ash" / "deep").mkdir(parents=True)
    (texts / "Ash" / "b.txt").write_text("bbb\n\nccc")
    (texts / "Ash" / "deep" / "d.jsonl").write_text('{"text": "ddd"}')
    (texts / "Ash" / ".hidden.pdf").write_text("no text")
    (texts / "Beech.txt").write_text("eee")
    text = Text(tokenizer=tokenizer, places=2)
    rows = read_texts(f"{texts}/", text, "folder")
    of_owner = {
        owner: "".join(letters(row) for row in rows.y[rows.columns["folder"] == owner])
        for owner in ("Ash", "Beech")
    }
    assert of_owner["Beech"] == "ee"
    assert sorted(of_owner["Ash"].replace("_", "")) == sorted("bbcccddd")  # but the first letter
    # A folder of one company alone names no owner; its rows are those of one file.
    alone = read_texts(f"{texts / 'Ash'}/", text)
    np.testing.assert_array_equal(alone.y, rows.y[rows.columns["folder"] == "Ash"])
    for name, part in (("report.pdf", "report.pdf is no text"), ("x.txt", "holds no text")):
        wrong = tmp_path / name.replace(".", "-")
        wrong.mkdir()
        (wrong / name).write_text("")
        with pytest.raises(InputError, match=part):
            read_texts(f"{wrong}/", text, "folder")
    with pytest.raises(InputError, match="column: folder"):
        read_texts(f"{texts}/", text, "author")


def test_another_tokenizer_at_a_company_is_refused(tmp_path: Path, tokenizer: str) -> None:
    content = lm_config(tmp_path, bases=False)
    scaling = operator_data(config_of(content, "test")).scaling
    (tmp_path / "other").mkdir()
    other = make_tokenizer(tmp_path / "other" / "tokenizer.json", LETTERS[::-1])
    content["data"]["text"]["tokenizer"] = str(other)
    with pytest.raises(InputError, match="the tokenizer is not that of the validation set"):
        all_company_data(config_of(content, "test"), scaling)


def faults(write: Callable[[str, str | bytes], str]) -> dict[str, str]:
    """What a message has to say, by the path of a file that is wrong."""
    return {
        write("empty.txt", ""): "holds no text",
        write("blank.txt", " \n\n \n"): "holds no text",
        write("one.txt", "a"): "no document has two tokens",
        write("latin.txt", b"caf\xe9"): "byte 3 is not UTF-8",
        write("broken.jsonl", '{"text": "ab"}\n{"text": '): "line 2 is no JSON object",
        write("list.jsonl", '["ab"]'): "line 1 is no JSON object",
        write("lacks.jsonl", '{"txt": "ab"}'): "line 1 has no 'text' (data.text.column)",
        write("number.jsonl", '{"text": 3}'): "line 1: 'text' (data.text.column) is no text",
        write("void.jsonl", '{"text": "ab"}\n{"text": " "}'): "line 2: the text is empty",
        write("not.parquet", "ab"): "not a readable Parquet file",
        write("table.csv", "ab"): "its name must end in .txt, .jsonl, .parquet",
        "nowhere.txt": "does not exist",
    }


def test_what_is_wrong_with_texts_is_a_sentence(tmp_path: Path, tokenizer: str) -> None:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    for path, said in faults(write).items():
        with pytest.raises(InputError) as refused:
            read_texts(path, Text(tokenizer=tokenizer, places=4))
        assert said in str(refused.value) and "\n" not in str(refused.value), path


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    path = tmp_path / "a.txt"
    path.write_text("abc")
    for name, content in (("tokenizer.json", "{}"), ("other.json", "[")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=r"is no tokenizer\.json"):
            read_texts(str(path), Text(tokenizer=str(tmp_path / name)))
    with pytest.raises(InputError, match="cannot be read"):
        read_texts(str(path), Text(tokenizer=str(tmp_path / "nowhere.json")))


def test_keys_that_do_not_fit_texts_are_refused(tmp_path: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "data.text: the key is missing": {"text": None},
        "it is for `data.task: next_token`": {"task": "classification", "source": "digits"},
        "set `data.task: next_token`": {"task": None, "text": None},
        "holds no texts": {"source": "rows.npz"},
        "the ids of tokens; leave the key out": {"inputs": "numbers"},
        "the classes are the tokenizer's tokens": {"classes": 5},
    }
    for said, changes in wrong.items():
        content = lm_config(tmp_path, bases=False)
        content["data"] |= changes
        with pytest.raises(InputError) as refused:
            config_of(content, "test")
        assert said in str(refused.value), (said, str(refused.value))


def test_scores_are_the_same_however_few_outputs_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = lm_config(tmp_path, bases=False)
    module = {"kind": "module", "factory": "tests.own_modules:by_place"}
    content["models"] = {
        "small": [{**module, "name": "small", "options": {"width": 2}}],
        "large": {**module, "name": "large", "options": {"width": 4}},
    }
    config = config_of(content, "test")
    operator = operator_data(config)
    (model,), _ = model_specs(config, operator.task)
    x, y = tensors(operator.validation, config)
    stack = torch.randn(5, model.n_params, generator=torch.Generator().manual_seed(0))
    whole = score_stack(model, stack, x, y, chunk=4, keep=[3])
    monkeypatch.setattr("fl_sv.training.stack.MOST_OUTPUTS", 2 * 6 * len(LETTERS))  # of two rows
    parts = score_stack(model, stack, x, y, chunk=4, keep=[3])
    assert len(x) > 2
    torch.testing.assert_close(whole[0], parts[0])
    torch.testing.assert_close(whole[1], parts[1])
    torch.testing.assert_close(whole[2][3], parts[2][3])


def test_a_company_reads_bases_and_tokenizer_of_its_own(tmp_path: Path) -> None:
    config = config_of(lm_config(tmp_path / "operator", bases=False), "test")
    sent = for_companies(config)
    assert str(tmp_path) not in sent.model_dump_json()
    own = with_bases(sent, tmp_path / "company")
    assert own.models.large.path == str(tmp_path / "company" / "large")
    assert own.models.small[0].path == str(tmp_path / "company" / "tiny")
    assert own.data.text.tokenizer == str(tmp_path / "company" / "tokenizer.json")
    assert with_bases(config, tmp_path / "company") == config  # paths that are its own stay
