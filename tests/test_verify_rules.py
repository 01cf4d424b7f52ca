"""Each rule of `fl-sv verify`, and what breaks it: a table of named attacks.

The rules and their numbers are those of `fl_sv.runs.verify`. An attack changes the bytes of a
finished run. From rule 7 on the owner of the key signs the changed files again, so that every hash
and signature is right.
"""

import io
import json
import os
import re
import socket
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.common.command_line import SMOKE
from benchmarks.common.forging import (
    Data,
    Section,
    bytes_of,
    sections_of,
    signed_again,
    verified_bytes,
)
from fl_sv.api import verify as verify_of_python
from fl_sv.config import load_config
from fl_sv.errors import VerificationError
from fl_sv.payment.settlement import settle
from fl_sv.runs import files, verify
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import key_fingerprint, owner_key, raw
from fl_sv.runs.ledger import read_ledger, tables_head
from fl_sv.runs.records import CloseRecord
from fl_sv.runs.tables import read_evidence
from fl_sv.runs.validation import load_validation, save_validation
from tests.runs import NAMES, Command, published, with_sections

SECONDS = 20.0  # one on a machine that has nothing else to do
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # of base64
Files = dict[str, bytes]


class Attack(NamedTuple):
    """A change of a run's files, and what `verify` says."""

    rule: int
    name: str
    change: Callable[[Files], object]
    sentence: str


@pytest.fixture(scope="module")
def data(finished_run: Path) -> Data:
    return bytes_of(RunDirectory(finished_run))


# --- changes --------------------------------------------------------------------------------------


def text(name: str, old: str, new: str, count: int = 1) -> Callable[[Files], None]:
    def change(data: Files) -> None:
        before = data[name].decode()
        assert old in before, before
        data[name] = before.replace(old, new, count).encode()

    return change


def cell(name: str, line: int, column: int, new: str) -> Callable[[Files], None]:
    """Line 1 is the first one after the head; -1 is the last one."""

    def change(data: Files) -> None:
        head, *rows = data[name].decode().splitlines()
        row = rows[line - 1 if line > 0 else line].split(",")
        row[column] = new
        rows[line - 1 if line > 0 else line] = ",".join(row)
        data[name] = ("\n".join([head, *rows]) + "\n").encode()

    return change


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Files], None]:
    """Of the ledger, without signing again."""

    def changed(data: Files) -> None:
        found = data[files.LEDGER].decode().splitlines(keepends=True)
        data[files.LEDGER] = "".join(change(found)).encode()

    return changed


def sections(change: Callable[[list[Section]], object]) -> Callable[[Files], None]:
    """Of the ledger, signed again."""

    def changed(data: Files) -> None:
        found = sections_of(data)
        change(found)
        data.update(signed_again(data, owner_key(), found))

    return changed


def both(*changes: Callable[[Files], object]) -> Callable[[Files], None]:
    def changed(data: Files) -> None:
        for change in changes:
            change(data)

    return changed


def spare_bits(number: int) -> Callable[[Files], None]:
    """Another text of the same bytes of a signature: the last letter before == has spare bits."""

    def change(found: list[str]) -> list[str]:
        signature = json.loads(found[number])["signature"]
        other = LETTERS[LETTERS.index(signature[-3]) ^ 1]
        found[number] = found[number].replace(signature, f"{signature[:-3]}{other}==")
        return found

    return lines(change)


def opened(number: int, **facts: Any) -> Callable[[list[Section]], None]:
    def change(found: list[Section]) -> None:
        found[number].opening = found[number].opening.model_copy(update=facts)

    return change


def without_kind(kind: str) -> Callable[[list[Section]], None]:
    def change(found: list[Section]) -> None:
        for section in found:
            section.lines = [line for line in section.lines if line[0] != kind]

    return change


def npz(change: Callable[[dict[str, Any]], Any], save: Any = np.savez) -> Callable[[Files], None]:
    def changed(data: Files) -> None:
        with np.load(io.BytesIO(data[files.VALIDATION])) as found:
            arrays = dict(found)
        buffer = io.BytesIO()
        save(buffer, **(change(arrays) or arrays))
        data[files.VALIDATION] = buffer.getvalue()

    return changed


def repeated(data: Files) -> None:
    """Each validation row twice: the values stay, and their intervals get narrower."""
    value_NV = load_validation(data[files.VALIDATION], 4)
    companies = ("Ash", "Beech", "Chestnut", "Damson")
    data[files.VALIDATION] = save_validation(np.tile(value_NV, 2), companies, "mlp-16")


def hidden_bytes(data: Files) -> None:
    data[files.VALIDATION] = b"x" * 4000 + data[files.VALIDATION]


def larger_than_its_bytes(data: Files) -> None:
    """A header of 10**15 numbers, and none of them."""
    with np.load(io.BytesIO(data[files.VALIDATION])) as found:
        arrays = dict(found)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, array)
            content = part.getvalue()
            if name == "values":
                content = content.replace(b"(4, 360), }  ", b"(4, %d), }" % 10**15)[:128]
            file.writestr(f"{name}.npy", content)
    data[files.VALIDATION] = buffer.getvalue()


def json_value(name: str, change: Callable[[Any], object]) -> Callable[[Files], None]:
    def changed(data: Files) -> None:
        content = json.loads(data[name])
        change(content)
        data[name] = (json.dumps(content, indent=2) + "\n").encode()

    return changed


def cent(data: Files) -> None:
    """One cent goes from one company to another, in the table and in the ledger."""
    found = sections_of(data)
    amounts = found[0].lines[-1][1]["amounts"]
    rows = []
    for company, more in (("Ash", 1), ("Beech", -1), ("Chestnut", 0), ("Damson", 0)):
        amounts[company] += more
        rows.append(f"{company},{amounts[company]}")
    data[files.PAYOUTS] = "\n".join(["company,amount_cents", *rows, ""]).encode()
    data.update(signed_again(data, owner_key(), found))


def paid_again(**changes: Any) -> Callable[[list[Section]], None]:
    """A later payment that is the first one, but for these facts."""

    def change(found: list[Section]) -> None:
        kind, body = found[0].lines[-1]
        opening = found[0].opening.model_copy(update={"command": "pay"})
        found.insert(1, Section(opening, [(kind, body | changes)]))

    return change


RUN_KINDS = ("config", "companies", "models", "law", "values", "payouts")
ATTACKS = [
    Attack(3, "a space more", lines(lambda ls: [ls[0].replace(": ", ":  ", 1), *ls[1:]]), "line 1"),
    Attack(3, "keys in another order", lines(lambda ls: ["{}\n", *ls[1:]]), "line 1: it is not w"),
    Attack(3, "spare bits", spare_bits(3), "line 4: the signature is not base64"),
    Attack(3, "spare bits of the last line", spare_bits(-1), "line 11: the signature is not base6"),
    Attack(4, "a digit", lines(lambda ls: [ls[0], ls[1].replace(": 7", ": 8"), *ls[2:]]), "line 2"),
    Attack(5, "a line less", lines(lambda ls: [*ls[:3], *ls[4:]]), "line 4: it does not follow"),
    Attack(5, "two lines swapped", lines(lambda ls: [*ls[:2], ls[3], ls[2], *ls[4:]]), "line 3: "),
    Attack(5, "a line cut off", lines(lambda ls: ls[:-1]), "ends after line 10 without a close"),
    Attack(5, "an empty line", lines(lambda ls: [*ls, "\n"]), "line 12: it is not written as"),
    *(Attack(6, f"a byte of {n}", lambda d, n=n: d.update({n: d[n] + b"\n"}), n) for n in NAMES),
    *(Attack(6, f"no {n}", lambda d, n=n: d.pop(n), f"{n} cannot be read") for n in NAMES),
    Attack(6, "another page", text(files.REPORT, "Ash", "Oak"), "report.html was changed after it"),
    Attack(
        6, "no page", lambda d: d.pop(files.REPORT), "report.html cannot be read: it is missing"
    ),
    Attack(6, "a page unsigned", lines(lambda ls: ls[:8]), "report.html is not signed"),
    *(
        Attack(7, f"no line {k}", sections(without_kind(k)), "section 1 holds the")
        for k in RUN_KINDS
    ),
    Attack(7, "no line report", sections(without_kind("report")), "report.html is not signed"),
    Attack(
        6,
        "false hash of the amounts of an earlier payment",
        sections(lambda s: (paid_again()(s), s[0].hashes.update({files.PAYOUTS: "0" * 64}))),
        "line 8: its hash of payouts.csv is not that of the payment",
    ),
    Attack(7, "a note", sections(lambda s: s[1].lines.append(("note", {}))), "section 2 holds the"),
    Attack(7, "pay first", sections(opened(0, command="pay")), "section 1 is of the command 'pay'"),
    Attack(7, "run twice", sections(lambda s: s.append(s[0])), "section 3 is of the command 'run'"),
    Attack(8, "no config", lambda d: d.pop(files.CONFIG), "config.yaml cannot be read: it is miss"),
    *(
        Attack(8, f"{n} is left out", lambda d, n=n: d.pop(n), f"it does not name {n}")
        for n in NAMES
        if n != files.CONFIG
    ),
    Attack(8, "a learning rate", lambda d: d.update({files.RATES: b"x"}), "names rates.csv, which"),
    Attack(8, "a student", lambda d: d.update({files.STUDENT: b"x"}), "names student.csv, which"),
    Attack(
        9,
        "a report before its run",
        sections(opened(1, time="2001-01-01T00:00:00+00:00")),
        "section 2 is dated 2001-01-01T00:00:00+00:00, before the one that it follows",
    ),
    Attack(
        10, "no new page", sections(lambda s: paid_again()(s) or s.append(s.pop(1))), "is older"
    ),
    Attack(
        10, "one page twice", sections(lambda s: s.append(s[1])), "line 13: it is no new report"
    ),
    Attack(11, "ends of lines", text(files.TEACHER, "\n", "\r\n"), "teacher.csv, line 1 is"),
    Attack(11, "a comment", text(files.CONFIG, "seed", "# mine\nseed"), "config.yaml, line "),
    Attack(11, "a key twice", text(files.COST, "{", '{"stages": {},'), "cost.json"),
    Attack(
        12, "compressed", npz(lambda a: None, np.savez_compressed), "npz is damaged: it is comp"
    ),
    Attack(12, "one more array", npz(lambda a: a | {"x": np.zeros(2)}), "npz is damaged: it holds"),
    Attack(12, "hidden bytes", hidden_bytes, "npz is damaged: it holds more than arrays"),
    Attack(
        12,
        "bytes at the end",
        lambda d: d.update({files.VALIDATION: d[files.VALIDATION] + b"x"}),
        "npz is damaged: ",
    ),
    Attack(12, "a false header", larger_than_its_bytes, "validation.npz is damaged: "),
    Attack(
        12, "other names", npz(lambda a: a | {"companies": a["companies"][::-1]}), "npz is of ("
    ),
    Attack(12, "another model", npz(lambda a: a | {"model": np.array("mlp-8")}), "npz is of ("),
    Attack(12, "numbers", npz(lambda a: a | {"model": np.array(7)}), "its names are no texts"),
    Attack(
        13, "a model", text(files.UTILITIES, "mlp-64,0", "mlp-65,0"), "the models are mlp-8, ml"
    ),
    Attack(
        13, "a seed", text(files.UTILITIES, "mlp-64,0", "mlp-64,1", 99), "utilities.csv: the row"
    ),
    Attack(13, "sizes", text(files.LAW, '"mlp-8": ', '"mlp-8": 9'), "law.json: the sizes"),
    Attack(14, "a round less", text(files.TEACHER, "\n1,", "\n0,"), "the rounds are not 0 to 5"),
    Attack(15, "a better teacher", cell(files.TEACHER, -1, 1, "0.125"), "the last loss is 0.125"),
    Attack(15, "its accuracy", cell(files.TEACHER, -1, 2, "0.95"), "the last accuracy is 0.95"),
    Attack(15, "a worse beginning", cell(files.TEACHER, 1, 1, "9.5"), "the loss of round 0 is 9.5"),
    Attack(16, "each row twice", repeated, "validation.npz is of 720 rows: the operator's 720"),
    Attack(16, "more examples", cell(files.COMPANIES, 1, 1, "9999"), "are not the share 0.2 that"),
    Attack(
        16, "an odd accuracy", cell(files.TEACHER, 2, 2, "0.7001"), "no whole number of the 360"
    ),
    Attack(16, "no accuracy", cell(files.TEACHER, 2, 2, ""), "there is an accuracy where the task"),
    Attack(
        18, "a value", json_value(files.VALUATION, lambda v: v.update(level=0.8)), "level is 0.8"
    ),
    Attack(18, "the law", json_value(files.LAW, lambda v: v.update(name="mine")), "name is 'mine'"),
    Attack(
        17, "a cheap sweep", text(files.COST, '_flops": 6', '_flops": 7'), "json, sweep_share_of"
    ),
    Attack(19, "a cent", cent, "line 7, amounts, Ash is"),
    Attack(20, "a payment by pay", sections(paid_again(payable=False)), "payable is False"),
    Attack(
        21,
        "a number that is none",
        lambda d: d.update({files.MODEL: d[files.MODEL][:-4] + b"\0\0\xc0\x7f"}),
        "model.safetensors",
    ),
    Attack(
        22, "another task", text(files.MODEL_RECORD, "classification", "regression"), "model.json"
    ),
    Attack(20, "an alarm that is none", sections(paid_again(accepted=["D1"])), "it accepts other"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.rule}: {attack.name}")
def test_each_attack_is_found_and_its_place_named(attack: Attack, data: Data) -> None:
    changed = dict(data)
    attack.change(changed)
    assert changed != data
    if attack.rule > 6 and changed[files.LEDGER] == data[files.LEDGER]:
        changed = signed_again(changed, owner_key())
    with pytest.raises(VerificationError) as found:
        verified_bytes(changed)
    assert attack.sentence in str(found.value)
    assert "Traceback" not in str(found.value)


def test_what_is_signed_again_as_it_was_is_genuine(data: Data) -> None:
    assert verified_bytes(data).payable
    assert verified_bytes(signed_again(data, owner_key())).payable


def test_every_rule_is_broken_by_an_attack() -> None:
    assert verify.__doc__
    rules = {int(number) for number in re.findall(r"^ ?(\d+)\. ", verify.__doc__, re.MULTILINE)}
    here = {
        int(number) for number in re.findall(r"^def test_(\d+)_", Path(__file__).read_text(), re.M)
    }
    assert {attack.rule for attack in ATTACKS} | here == rules == {*range(1, 23)}


# --- what lies in the directory -------------------------------------------------------------------


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


STRANGERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("notes.txt", Path.touch, "notes.txt (file) is no file of a run"),
    (".hidden", Path.touch, ".hidden (file) is no file of a run"),
    ("a\nb\x1b[2J", Path.touch, "(file) is no file of a run"),
    ("tables", folder, "tables (folder) is no file of a run"),
    ("latest", link, "latest (link) is no file of a run"),
    ("queue", os.mkfifo, "queue (pipe) is no file of a run"),
    ("door", listening, "door (socket) is no file of a run"),
    (files.PROGRESS, folder, "progress.jsonl is a folder"),
    (f"{files.JOURNAL}-wal", link, "journal.sqlite-wal is a link"),
]


def test_1_all_that_belongs_to_no_run_is_named(command: Command, run: RunDirectory) -> None:
    run.file(files.PROGRESS).unlink(missing_ok=True)
    for name, make, _ in STRANGERS:
        make(run.file(name))
    answer = command("verify", run.path)
    assert (answer.code, answer.out) == (1, "")
    assert all(sentence in answer.err for _, _, sentence in STRANGERS)
    assert "\x1b" not in answer.err


def test_1_what_only_this_machine_needs_may_be_there_or_not(
    command: Command, run: RunDirectory
) -> None:
    for name in (files.PROGRESS, files.LOCK, f"{files.JOURNAL}-wal", ".law.json.part"):
        run.file(name).touch()
    run.write_text(files.JOURNAL, "verify never opens it")
    assert command("verify", run.path).code == 0
    run.file(files.JOURNAL).unlink()
    assert command("verify", run.path).code == 0


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "pipe"), (link, "link"), (folder, "folder")]
)
def test_1_what_is_no_regular_file_is_refused_at_once(
    make: Callable[[Path], object], kind: str, command: Command, run: RunDirectory
) -> None:
    names = (*NAMES, files.REPORT)
    for name in names:
        run.file(name).unlink()
        make(run.file(name))
    began = time.perf_counter()
    answer = command("verify", run.path)
    assert time.perf_counter() - began < SECONDS
    assert answer.code == 1
    assert all(f"{name} cannot be read: it is a {kind}" in answer.err for name in names)


def test_2_a_file_that_is_larger_than_the_config_allows_is_not_read(
    command: Command, run: RunDirectory
) -> None:
    names = (*NAMES, files.REPORT)
    for name in names:
        with run.file(name).open("r+b") as file:
            file.truncate(1 << 40)  # it takes no space
    began = time.perf_counter()
    answer = command("verify", run.path)
    assert all(f"{name} cannot be read: it has 1,099,511,627,776" in answer.err for name in names)
    for verb in (["report"], ["pay", "--pot", "1"]):
        other = command(verb[0], run.path, *verb[1:])
        assert other.code == 1 and "cannot be read: it has 1,099,511,627,776" in other.err
    assert time.perf_counter() - began < SECONDS


def test_2_the_signed_config_says_how_large_a_table_may_be() -> None:
    def most(name: str, **training: object) -> int:
        return {file.name: file for file in files.FILES}[name].at_most(
            with_sections(load_config(SMOKE), training=training)
        )

    assert most(files.UTILITIES) < 200_000
    assert most(files.UTILITIES, seeds=40) > 10 * most(files.UTILITIES)
    assert most(files.TEACHER, rounds=100) > 10 * most(files.TEACHER)


def test_12_zip_that_would_expand_is_not_expanded(data: Data) -> None:
    buffer = io.BytesIO()
    names = np.array(("Ash", "Beech", "Chestnut", "Damson"))
    values_NV = np.zeros((4, 5_000_000))
    np.savez_compressed(buffer, values=values_NV, companies=names, model=np.array("mlp-16"))
    del values_NV
    bomb = signed_again({**data, files.VALIDATION: buffer.getvalue()}, owner_key())
    tracemalloc.start()
    with pytest.raises(VerificationError, match=r"validation\.npz is damaged: it is compressed"):
        verified_bytes(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_nothing_is_parsed_after_a_hash_that_differs(data: Data) -> None:
    """Also of a config that would not even be YAML."""
    for name in NAMES:
        with pytest.raises(VerificationError) as found:
            verified_bytes({**data, name: b"[" * 1_000_000})
        assert f"{name} was changed after it was signed\nNothing was computed from it." in str(
            found.value
        )


# --- the verdict ----------------------------------------------------------------------------------


def test_verdict_is_on_the_first_lines_and_the_exit_code(
    command: Command, run: RunDirectory, unpayable: RunDirectory
) -> None:
    for directory, code, verdict in (
        (run, 0, "PAYABLE. No alarm fired."),
        (unpayable, 3, "NOT PAYABLE: D3 and D5 stop payment until they are accepted by name."),
    ):
        lines, answer = read_ledger(directory), command("verify", directory.path)
        assert (answer.code, answer.err) == (code, "")
        head, signer, payable, *_ = answer.out.splitlines()
        assert head == f"Ledger's head: {lines[-1].digest} (line {len(lines)})."
        assert key_fingerprint(raw(owner_key().public_key())) in signer
        assert payable == verdict
        found = verify_of_python(directory.path)
        assert (found.head, found.payable) == (lines[-1].digest, code == 0)
        assert [alarm.code for alarm in found.payment.objections] == re.findall(r"D\d", verdict)


def test_head_that_the_report_quotes_is_printed(command: Command, run: RunDirectory) -> None:
    head = tables_head(read_ledger(run))
    assert head.kind == CloseRecord.KIND and head.number == 8
    assert head.digest in run.read_text(files.REPORT)
    sentence = f"The tables are closed by line 8; the report quotes it as {head.digest}."
    assert sentence in command("verify", run.path).out


def test_payment_of_an_accepted_alarm_is_payable(command: Command, unpayable: RunDirectory) -> None:
    codes = [alarm.code for alarm in settle(read_evidence(unpayable)).payment.alarms]
    accepting = [word for code in codes for word in ("--accept", code)]
    assert command("pay", unpayable.path, "--pot", 100, *accepting).code == 0
    assert command("verify", unpayable.path).code == 0


def test_report_that_is_as_it_was_adds_nothing_to_the_ledger(
    command: Command, run: RunDirectory
) -> None:
    before = run.read_bytes(files.LEDGER)
    assert command("report", run.path).code == 0
    assert run.read_bytes(files.LEDGER) == before
    run.write_text(files.REPORT, "<p>All is well.</p>")
    assert command("verify", run.path).code == 1
    assert command("report", run.path).code == 0
    assert command("verify", run.path).code == 0


def test_run_that_was_stopped_before_its_report_is_genuine(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    without = published(tmp_path / "without", run, read_evidence(run))
    assert command("verify", without.path).code == 0
