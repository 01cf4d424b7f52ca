"""What somebody with the key can sign, and `verify` finds: every line, file and number in its form.

Each forgery is signed anew as a whole, so that every hash and signature is right.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fl_sv.files import sha256
from fl_sv.machine import software
from fl_sv.payment.payouts import payouts_csv, read_payouts
from fl_sv.payment.settlement import settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section, file_hash, read_ledger, tables_head
from fl_sv.runs.publish import sealed
from fl_sv.runs.records import LedgerRecord, ReportRecord
from fl_sv.runs.tables import read_evidence
from tests.runs import NAMES, Command

Body = dict[str, Any]
Lines = list[tuple[str, Body]]  # kind and body
KINDS = ("config", "companies", "models", "law", "values", "payouts")
WHOLE = "holds what was signed, but that does not follow from its tables"


def record(kind: str, body: Body) -> LedgerRecord:
    """A record with any content."""
    made = type("AnyRecord", (LedgerRecord,), {"KIND": kind, "body": lambda _: body})
    return made()  # type: ignore[no-any-return]


def signed_anew(
    run: RunDirectory,
    change: Callable[[Lines], object] = lambda lines: None,
    named: tuple[str, ...] = (),
    command: str = "run",
) -> None:
    """The ledger of the run's tables, signed anew with other lines, and its report.

    named: the files of its close; by default all.
    """
    lines = [(line.kind, line.body) for line in read_ledger(run) if line.section == 1]
    content = [line for line in lines if line[0] not in ("open", "close")]
    change(content)
    run.file(files.LEDGER).unlink()
    append_section(
        run,
        owner_key(),
        command,
        software(),
        [record(*line) for line in content],
        named or sealed(run),
    )
    sign_report(run, named)


def sign_report(run: RunDirectory, named: tuple[str, ...] = ()) -> None:
    """Signs the page that is there, if one is, as if it were about the newest tables."""
    if not run.has(files.REPORT):
        return
    page = ReportRecord(
        sha256=file_hash(run, files.REPORT), head=tables_head(read_ledger(run)).digest
    )
    append_section(run, owner_key(), "report", software(), [page], named or sealed(run))


def signed_after(run: RunDirectory, lines: Lines, command: str = "pay") -> None:
    records = [record(*line) for line in lines]
    append_section(run, owner_key(), command, software(), records, sealed(run))
    sign_report(run)


def body_of(run: RunDirectory, kind: str) -> Body:
    return next(line.body for line in read_ledger(run) if line.kind == kind)


def found(command: Command, run: RunDirectory) -> str:
    answer = command("verify", run.path)
    assert (answer.code, answer.out) == (1, ""), answer
    assert "Traceback" not in answer.err
    assert WHOLE in answer.err
    return answer.err


def test_ledger_that_is_signed_anew_as_it_was_is_whole(command: Command, run: RunDirectory) -> None:
    signed_anew(run)
    assert command("verify", run.path).code == 0


# --- lines of the ledger --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_line_that_is_left_out_or_stands_twice_is_missed(
    command: Command, run: RunDirectory, kind: str
) -> None:
    place = KINDS.index(kind)
    text = run.read_text(files.LEDGER)
    signed_anew(run, lambda lines: lines.pop(place))
    assert "ledger.jsonl, section 1 holds the lines open, " in found(command, run)
    run.write_text(files.LEDGER, text)
    signed_anew(run, lambda lines: lines.insert(place, lines[place]))
    assert "ledger.jsonl, section 1 holds the lines open, " in found(command, run)


def test_order_of_the_lines_is_fixed_and_no_kind_is_invented(
    command: Command, run: RunDirectory
) -> None:
    for change in (
        lambda lines: lines.reverse(),
        lambda lines: lines.append(("note", {"text": "all is well"})),
    ):
        text = run.read_text(files.LEDGER)
        signed_anew(run, change)
        assert "ledger.jsonl, section 1 holds the lines open, " in found(command, run)
        run.write_text(files.LEDGER, text)


@pytest.mark.parametrize(
    "kinds", [(), ("law",), ("values", "payouts"), ("payouts", "payouts"), ("config",)]
)
def test_later_section_holds_one_payment_and_nothing_else(
    command: Command, run: RunDirectory, kinds: tuple[str, ...]
) -> None:
    signed_after(run, [(kind, body_of(run, kind)) for kind in kinds])
    error = found(command, run)
    assert "section 3 holds the lines open" in error
    assert "it must hold open, payouts, close" in error


def test_payment_under_another_kind_is_no_payment(command: Command, run: RunDirectory) -> None:
    signed_after(run, [("payment", body_of(run, "payouts"))])
    assert "section 3 holds the lines open, payment, close" in found(command, run)


def test_commands_of_the_sections_are_run_and_then_pay(command: Command, run: RunDirectory) -> None:
    signed_after(run, [("payouts", body_of(run, "payouts"))], command="run")
    assert "section 3 is of the command 'run'; it must be 'pay' or 'report'" in found(command, run)
    signed_anew(run, lambda lines: lines.pop(), command="pay")
    assert "section 1 is of the command 'pay'; it must be 'run'" in found(command, run)


@pytest.mark.parametrize("name", NAMES)
def test_file_that_a_section_does_not_name_is_missed(
    command: Command, run: RunDirectory, name: str
) -> None:
    signed_anew(run, named=tuple(each for each in NAMES if each != name))
    answer = command("verify", run.path)
    assert answer.code == 1
    assert f"ledger.jsonl, line 8: it does not name {name}" in answer.err


def test_file_of_no_run_is_not_named(command: Command, run: RunDirectory) -> None:
    run.write_text("notes.txt", "mine\n")
    (run.path.parent / "outside").write_text("not the run's\n")
    signed_anew(run, named=(*NAMES, "notes.txt", "../outside"))
    run.file("notes.txt").unlink()
    assert "line 8: it names ../outside, notes.txt, which is no file" in found(command, run)


def test_file_of_the_run_that_is_a_link_is_not_the_runs_file(
    command: Command, run: RunDirectory
) -> None:
    for name in (files.VALUATION, files.LEDGER):
        outside = run.path.parent / name
        run.file(name).rename(outside)
        run.file(name).symlink_to(outside)
        answer = command("verify", run.path)
        assert answer.code == 1
        assert f"{name} cannot be read: it is a link" in answer.err
        run.file(name).unlink()
        outside.rename(run.file(name))


# --- how files are written ------------------------------------------------------------------------


def lines_from(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def without_seed_1(text: str) -> str:
    return "".join(line for line in lines_from(text) if line.split(",")[3] != "1")


def other_order(text: str) -> str:
    head, *rows = lines_from(text)
    return "".join([head, *reversed(rows)])


def twice(text: str) -> str:
    return text + lines_from(text)[-1]


TEXTS = [name for name in NAMES if not name.endswith((".npz", ".safetensors"))]
WRITINGS: list[tuple[str, Callable[[str], str]]] = [
    *((name, lambda text: text.replace("\n", "\r\n")) for name in TEXTS),
    *((name, lambda text: text + "\n") for name in TEXTS),
    *((name, lambda text: "\ufeff" + text) for name in NAMES if name[-4:] in (".csv", "yaml")),
    *((name, twice) for name in NAMES if name[-4:] == ".csv"),
    *((name, other_order) for name in NAMES if name[-4:] == ".csv"),
    (files.VALUATION, lambda text: text.replace('"level"', '"level": 0.5,\n  "level"', 1)),
    (files.VALUATION, lambda text: text.replace('"level": 0.9', '"level": "0.9"')),
    (files.VALUATION, lambda text: text.replace('"level": 0.9', '"level": 9e-1')),
    (files.VALUATION, lambda text: text.replace('"level": 0.9', '"level": NaN')),
    (files.VALUATION, lambda text: text.replace('"payable": true', '"payable": 1')),
    (files.VALUATION, lambda text: text.replace('"sampling_share": 0.0', '"sampling_share": 0')),
    (files.VALUATION, lambda text: text.replace("0.9,", f"{'9' * 5000},", 1)),
    (files.LAW, lambda text: text.replace('"holds"', '"holds": false,\n  "holds"', 1)),
    (files.LAW, lambda text: text.replace('"holds": true', '"holds": 1')),
    (files.LAW, lambda text: "[" * 100_000 + "]" * 100_000),
    (files.COST, lambda text: text.replace('"seconds"', '"seconds": 1.0, "seconds"', 1)),
    (files.PAYOUTS, lambda text: text.replace("Ash,", "Ash,0")),
    (files.PAYOUTS, lambda text: text.replace("Ash,", "Ash,+")),
    (files.PAYOUTS, lambda text: text + "Elm,0\n"),
    (files.PAYOUTS, lambda text: text.replace("Ash", '"Ash"')),
    (files.UTILITIES, without_seed_1),
    (files.UTILITIES, lambda text: text.replace(".", ".0", 1).replace(".0", ".", 1) + " "),
    (files.COMPANIES, lambda text: text.replace("Ash", '"Ash"')),
    (files.CONFIG, lambda text: "# my own\n" + text),
    (files.CONFIG, lambda text: text.replace("seed: 0", "seed: +0", 1) + "# the end\n"),
]


@pytest.mark.parametrize(("name", "rewrite"), WRITINGS)
def test_file_that_is_not_written_as_fl_sv_writes_it_is_named(
    command: Command, run: RunDirectory, name: str, rewrite: Callable[[str], str]
) -> None:
    text = run.read_text(name)
    assert rewrite(text) != text
    run.write_text(name, rewrite(text))
    if name == files.UTILITIES:
        run.file(files.AVERAGED).unlink()  # it has losses of utilities.csv
    signed_anew(run)
    assert name in found(command, run)


def test_validation_file_holds_these_companies_of_this_model_and_nothing_else(
    command: Command, run: RunDirectory
) -> None:
    with np.load(run.file(files.VALIDATION)) as arrays:
        content = dict(arrays)
    for change in (
        {"companies": content["companies"][::-1]},
        {"model": np.array("another")},
        {"further": np.zeros(3)},
        {"groups": content["groups"] + 100},  # there are no such groups
        {"groups": content["groups"][1:]},
        {"groups": content["groups"].astype(float)},
        {"group_names": np.arange(10)},
    ):
        np.savez(run.file(files.VALIDATION), **(content | change))
        signed_anew(run)
        assert files.VALIDATION in found(command, run)


# --- numbers --------------------------------------------------------------------------------------


def rewritten(run: RunDirectory, name: str, change: Callable[[Body], object]) -> None:
    content = json.loads(run.read_text(name))
    change(content)
    run.write_text(name, json.dumps(content, indent=2) + "\n")


def test_cent_that_moves_from_one_company_to_another_is_found(
    command: Command, run: RunDirectory
) -> None:
    def move(lines: Lines) -> None:
        amounts = lines[-1][1]["amounts"]
        amounts["Ash"] += 1
        amounts["Beech"] -= 1
        run.write_text(files.PAYOUTS, payouts_csv(amounts))

    amounts = read_payouts(run.file(files.PAYOUTS))
    signed_anew(run, move)
    error = found(command, run)
    assert (
        f"line 7, amounts, Ash is {amounts['Ash'] + 1}; recomputed it is {amounts['Ash']}" in error
    )


@pytest.mark.parametrize("field", ["value", "low", "high", "share", "small_value"])
def test_number_of_one_company_that_changes_by_a_millionth_is_found(
    command: Command, run: RunDirectory, field: str
) -> None:
    rewritten(
        run,
        files.VALUATION,
        lambda v: v["companies"][1].update({field: v["companies"][1][field] + 1e-6}),
    )
    signed_anew(run)
    assert f"valuation.json, companies[1], {field} is" in found(command, run)


def test_two_companies_that_change_places_are_found(command: Command, run: RunDirectory) -> None:
    def swap(valuation: Body) -> None:
        ash, beech, *_ = valuation["companies"]
        ash["name"], beech["name"] = beech["name"], ash["name"]

    rewritten(run, files.VALUATION, swap)
    signed_anew(run)
    assert "companies[0], name is 'Beech'; recomputed it is 'Ash'" in found(command, run)


def test_order_follows_from_the_signed_values(command: Command, run: RunDirectory) -> None:
    def swap(valuation: Body) -> None:
        pair = valuation["order"][0]
        pair["first"], pair["second"] = pair["second"], pair["first"]

    rewritten(run, files.VALUATION, swap)
    signed_anew(run)
    assert "valuation.json, order[0], first is" in found(command, run)


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("values", lambda body: body.update(Ash=body["Ash"] + 1e-13), "line 6, Ash is"),
        ("payouts", lambda body: body.update(payable=False), "line 7, payable is False"),
        ("payouts", lambda body: body.update(payable=1), "line 7"),
        ("payouts", lambda body: body.update(accepted=["D1"]), "line 7, accepted is"),
        ("payouts", lambda body: body["rules"].update(currency="USD"), "currency is 'USD'"),
        ("payouts", lambda body: body["amounts"].update(Elm=0), "line 7, amounts has the keys"),
        ("law", lambda body: body.update(holds=False), "line 5, holds is False"),
        ("models", lambda body: body.update(deployed_utility=-0.1), "line 4, deployed_utility is"),
        ("models", lambda body: body["parameters"].update({"mlp-8": 1}), "line 4, parameters"),
        ("companies", lambda body: body["examples"].update(Ash=1), "line 3, examples, Ash is 1"),
        ("config", lambda body: body.update(seed=True), "line 2, seed is True"),
    ],
)
def test_record_that_does_not_follow_from_the_files_is_found(
    command: Command,
    run: RunDirectory,
    kind: str,
    change: Callable[[Body], object],
    problem: str,
) -> None:
    signed_anew(run, lambda lines: change(dict(lines)[kind]))
    assert problem in found(command, run)


def test_verdict_and_figures_of_the_law_follow(command: Command, run: RunDirectory) -> None:
    law = run.read_text(files.LAW)
    for change, problem in (
        (lambda law: law.update(holds=False), "law.json, holds is False"),
        (lambda law: law.update(remarks=["well done"]), "law.json, remarks is"),
        (lambda law: law["next_run"].update(coalition=1), "law.json, next_run, coalition is 1"),
        (lambda law: law["sizes"].update({"mlp-8": 9999}), "law.json: the sizes"),
    ):
        run.write_text(files.LAW, law)
        rewritten(run, files.LAW, change)
        signed_anew(run)
        assert problem in found(command, run)


def test_alarm_that_is_removed_everywhere_is_found(
    command: Command, unpayable: RunDirectory
) -> None:
    def quieten(law: Body) -> None:
        law.update(holds=True, alarms=[], fired=[])

    def pay(lines: Lines) -> None:
        dict(lines)["law"].update(holds=True, alarms=[])
        dict(lines)["payouts"].update(payable=True, alarms=[])

    assert command("verify", unpayable.path).code == 3
    rewritten(unpayable, files.LAW, quieten)
    rewritten(unpayable, files.VALUATION, lambda valuation: valuation.update(payable=True))
    signed_anew(unpayable, pay)
    error = found(command, unpayable)
    assert "valuation.json, payable is True; recomputed it is False" in error
    assert "law.json, holds is True; recomputed it is False" in error
    assert "law.json, fired is []; recomputed it is" in error
    assert "ledger.jsonl, line 7, alarms are []; recomputed they are" in error


@pytest.mark.parametrize(
    "change",
    [
        lambda sentence: sentence[:3] + re.sub(r"\d", "0", sentence[3:], count=1),
        lambda sentence: sentence + " It is harmless.",
        lambda sentence: sentence[:-1],
    ],
)
def test_alarm_in_other_words_or_with_other_figures_is_found(
    command: Command, unpayable: RunDirectory, change: Callable[[str], str]
) -> None:
    def rephrase(law: Body) -> None:
        law["fired"][-1]["sentence"] = change(law["fired"][-1]["sentence"])

    rewritten(unpayable, files.LAW, rephrase)
    signed_anew(unpayable)
    assert "law.json, fired[" in found(command, unpayable)


def test_teacher_that_earns_the_pot_is_the_large_model_of_all_companies(
    command: Command, run: RunDirectory
) -> None:
    head, *rows, last = run.read_text(files.TEACHER).splitlines()
    number, _, accuracy = last.split(",")
    forged = f"{number},0.001,{accuracy}"
    run.write_text(files.TEACHER, "\n".join([head, *rows, forged]) + "\n")
    evidence = read_evidence(run)
    signed_anew(
        run, lambda lines: dict(lines)["models"].update(deployed_utility=evidence.deployed_utility)
    )
    assert "teacher.csv: the last loss is 0.001" in found(command, run)
    run.write_text(files.TEACHER, "\n".join([head, *rows[1:], last]) + "\n")
    signed_anew(run)
    assert "teacher.csv: the rounds are not 0 to" in found(command, run)


# --- later payments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda body: body["rules"].update(max_charge=5), "differ from the config's in more than"),
        (
            lambda body: body["rules"].update(
                pot={"kind": "performance", "cents_per_utility": 1.0, "floor": -9.0}
            ),
            "its pot is not fixed",
        ),
        (lambda body: body.update(accepted=["D1"]), "it accepts other alarms than"),
        (lambda body: body.update(payable=False), "payable is False; recomputed it is True"),
    ],
)
def test_later_payment_is_one_that_pay_makes(
    command: Command,
    run: RunDirectory,
    change: Callable[[Body], object],
    problem: str,
) -> None:
    body = json.loads(json.dumps(body_of(run, "payouts")))
    change(body)
    signed_after(run, [("payouts", body)])
    assert problem in found(command, run)


def test_payment_that_an_alarm_blocks_is_none(command: Command, unpayable: RunDirectory) -> None:
    signed_after(unpayable, [("payouts", body_of(unpayable, "payouts"))])
    codes = [alarm.code for alarm in settle(read_evidence(unpayable)).payment.alarms]
    assert f"it pays although {', '.join(dict.fromkeys(codes))} blocks it" in found(
        command, unpayable
    )


# --- another version ------------------------------------------------------------------------------


def test_run_of_another_version_is_said_to_be_that_and_not_to_be_forged(
    command: Command, run: RunDirectory
) -> None:
    rewritten(run, files.LAW, lambda law: law["parameters"].update(deviation_std=0.5))
    lines = [(line.kind, line.body) for line in read_ledger(run) if line.section == 1][1:-1]
    run.file(files.LEDGER).unlink()
    theirs = {**software(), "fl-sv": "0.0.9", "fl_sv source": "c0ffee" * 10}
    append_section(run, owner_key(), "run", theirs, [record(*line) for line in lines], NAMES)
    sign_report(run)
    answer = command("verify", run.path)
    assert (answer.code, answer.out) == (1, "")
    text = " ".join(answer.err.split())
    assert (
        "every hash and signature is whole, but this version of fl-sv does not come to the" in text
    )
    assert "The run was made by fl-sv 0.0.9 (source c0ffeec0ffee); this is fl-sv 0." in text
    assert "law.json, parameters, deviation_std is 0.5; recomputed it is" in text
    assert "Verify the run with the version that made it" in text
    assert "not what was signed" not in text
    # A file that was changed afterwards is that to every version.
    run.write_text(files.VALUATION, run.read_text(files.VALUATION) + " ")
    assert "is not what was signed" in command("verify", run.path).err


def test_run_of_another_version_that_comes_to_the_same_verifies(
    command: Command, run: RunDirectory
) -> None:
    lines = [(line.kind, line.body) for line in read_ledger(run) if line.section == 1][1:-1]
    run.file(files.LEDGER).unlink()
    theirs = {**software(), "fl_sv source": "c0ffee" * 10}
    rewritten(run, files.MODEL_RECORD, lambda said: said.update(software=theirs))
    append_section(run, owner_key(), "run", theirs, [record(*line) for line in lines], NAMES)
    sign_report(run)
    assert command("verify", run.path).code == 0


# --- the models -----------------------------------------------------------------------------------


def with_numbers(run: RunDirectory, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Other numbers in the model's file, and their hash in its JSON file."""
    numbers = load_file(run.file(files.MODEL))
    change(numbers)
    save_file(numbers, run.file(files.MODEL))
    rewritten(
        run, files.MODEL_RECORD, lambda said: said.update(sha256=sha256(run.file(files.MODEL)))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n["1.bias"].fill(np.inf), "1.bias holds NaN or infinite numbers"),
        (lambda n: n.pop("1.bias"), "holds 4,746 numbers; the model has 4,810 parameters"),
        (lambda n: n.update(more=np.zeros(3, np.float32)), "holds 4,813 numbers"),
        (lambda n: n.update({"1.bias": n["1.bias"].astype(np.int32)}), "I32; the model is float32"),
    ],
)
def test_21_model_without_its_numbers_is_found(
    change: Callable[[dict[str, np.ndarray]], object],
    message: str,
    command: Command,
    run: RunDirectory,
) -> None:
    with_numbers(run, change)
    signed_anew(run)
    assert message in found(command, run)


def header(entry: Body) -> bytes:
    """The header of a file with one tensor."""
    text = json.dumps({"a": entry}).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it ends too early"),
        ((2**60).to_bytes(8, "little") + b"{}", "it ends too early"),
        ((2).to_bytes(8, "little") + b"[]", "its header is none"),
        ((2).to_bytes(8, "little") + b"{}more", "it goes on behind its last tensor"),
        (
            header({"dtype": "F32", "shape": [2**47] * 65, "data_offsets": [0, 4]}),
            "its header is wrong about 'a'",
        ),
    ],
)
def test_21_file_that_is_no_model_is_found(
    data: bytes, message: str, command: Command, run: RunDirectory
) -> None:
    run.write_bytes(files.MODEL, data)
    digest = sha256(run.file(files.MODEL))
    rewritten(run, files.MODEL_RECORD, lambda said: said.update(sha256=digest))
    signed_anew(run)
    said = f"model.safetensors is no file of the format safetensors: {message}"
    assert said in found(command, run)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": 0.1},
        {"round": 4},
        {"accuracy": 1.0},
        {"options": {"hidden": [65]}},
        {"name": "mlp-65"},
        {"classes": 11},
        {"trainable": 4811, "parameters": 4811},
        {"trainable": 4809},
        {"trainable": 4811},
        {"trainable": 1, "base_sha256": "0" * 64},
        {"base_sha256": "0" * 64},
        {"sha256": "0" * 64},
        {"seed": 8},
        {"software": {}},
        {"config_sha256": "0" * 64},
        {"which": "student"},
        {"dtype": "float64"},
    ],
)
def test_22_model_that_is_said_to_be_another_is_found(
    change: Body, command: Command, run: RunDirectory
) -> None:
    rewritten(run, files.MODEL_RECORD, lambda said: said.update(change))
    signed_anew(run)
    assert "model.json" in found(command, run)
