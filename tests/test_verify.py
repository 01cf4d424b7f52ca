"""`verify` and `pay` on a really finished run: what was changed is found and named, and nobody is
paid from it.
"""

import csv
import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fl_sv.config.valuation import FixedPot
from fl_sv.machine import software
from fl_sv.payment.payouts import allocate, read_payouts
from fl_sv.payment.settlement import settle
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import HOME_VARIABLE, key_fingerprint, owner_key, raw
from fl_sv.runs.ledger import append_section, newest, read_ledger
from fl_sv.runs.publish import publish, sealed
from fl_sv.runs.records import CloseRecord, LedgerRecord, PaymentRecord
from fl_sv.runs.tables import read_evidence, read_law
from fl_sv.runs.validation import save_validation
from fl_sv.valuation.records import Valuation
from fl_sv.values.exact import semivalue
from tests.runs import NAMES, Command, averages_with, published, with_sections

D_ALARMS = tuple(f"D{number}" for number in range(1, 10))


@pytest.fixture
def payable(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """The same run, with every alarm of the law accepted in its config."""
    evidence = read_evidence(run)
    accepting = with_sections(evidence.config, law={"accept": D_ALARMS})
    return published(tmp_path / "payable", run, dataclasses.replace(evidence, config=accepting))


def contents(run: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


# --- verify ---------------------------------------------------------------------------------------


def test_untouched_copy_at_another_place_verifies_and_says_who_signed(
    command: Command, run: RunDirectory, owner_home: Path
) -> None:
    before = contents(run)
    mark = key_fingerprint(raw(owner_key().public_key()))
    answer = command("verify", run.path)
    assert (answer.code, answer.err) == (0, "")
    assert mark in answer.out
    assert "so the signer is not checked" in answer.out
    pinned = command("verify", run.path, "--key", owner_home / "owner.pub")
    assert (pinned.code, pinned.err) == (0, "")
    assert "so the signer is not checked" not in pinned.out
    assert contents(run) == before


@pytest.mark.parametrize("name", NAMES)
def test_any_changed_digit_is_found_and_its_file_named(
    command: Command, run: RunDirectory, name: str
) -> None:
    original = run.file(name).read_bytes()
    digits = [at for at, byte in enumerate(original) if byte in b"0123456789"]
    for at in random.Random(name).sample(digits, min(6, len(digits))):
        other = str((int(chr(original[at])) + 1) % 10).encode()
        run.write_bytes(name, original[:at] + other + original[at + 1 :])
        answer = command("verify", run.path)
        assert (answer.code, answer.out) == (1, "")
        assert f"{name} was changed after it was signed" in answer.err
    run.write_bytes(name, original)
    assert command("verify", run.path).code == 0


@pytest.mark.parametrize("name", [*NAMES, files.LEDGER])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "no text", "a folder"])
def test_file_that_is_missing_or_garbage_is_named(
    command: Command, run: RunDirectory, name: str, damage: str
) -> None:
    path = run.file(name)
    data = path.read_bytes()
    path.unlink()
    match damage:
        case "emptied":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "no text":
            path.write_bytes(b"\xff\x00" * 200)
        case "a folder":
            path.mkdir()
    answer = command("verify", run.path)
    assert (answer.code, answer.out) == (1, "")
    assert name in answer.err


def test_changed_ledger_line_is_named(command: Command, run: RunDirectory) -> None:
    lines = run.read_text(files.LEDGER).splitlines(keepends=True)
    lines[3] = lines[3].replace('"number": 4', '"number": 5')
    run.write_text(files.LEDGER, "".join(lines))
    answer = command("verify", run.path)
    assert answer.code == 1
    assert "ledger.jsonl, line 4:" in answer.err


def test_lines_cut_off_the_end_are_noticed(command: Command, run: RunDirectory) -> None:
    lines = run.read_text(files.LEDGER).splitlines(keepends=True)
    run.write_text(files.LEDGER, "".join(lines[:-1]))
    answer = command("verify", run.path)
    assert answer.code == 1
    assert "without a close; lines were cut off" in answer.err


def test_table_that_its_owner_changed_and_signed_in_a_later_section_is_named(
    command: Command, run: RunDirectory
) -> None:
    rewritten = run.read_text(files.VALUATION).replace("0.9", "0.8", 1)
    run.write_text(files.VALUATION, rewritten)
    run.write_text(files.PAYOUTS, run.read_text(files.PAYOUTS).replace("Ash,", "Ash,1"))
    append_section(run, owner_key(), "forge", {}, [], sealed(run))
    answer = command("verify", run.path)
    assert answer.code == 1
    assert "valuation.json was changed between lines 8 and 13 of ledger.jsonl" in answer.err
    assert "payouts.csv was changed between" not in answer.err  # `pay` may
    assert "Nothing was computed from it." in answer.err


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        (files.VALUATION, lambda content: content.pop("order"), "it lacks 'order'"),
        (files.VALUATION, lambda content: content.update(level="high"), "level: "),
        (files.LAW, lambda content: content.update(anchors=[1]), "anchors: "),
        (files.LAW, lambda content: content.pop("fired"), "another version of fl-sv"),
        (files.COST, lambda content: content.update(stages=7), "stages: "),
        (files.COST, lambda content: content["stages"]["sweep"].pop("bytes"), "stages.sweep.bytes"),
    ],
)
def test_file_that_its_owner_damaged_and_signed_is_named_without_a_traceback(
    command: Command,
    run: RunDirectory,
    name: str,
    damage: Callable[[dict[str, Any]], object],
    problem: str,
) -> None:
    content = json.loads(run.read_text(name))
    damage(content)
    run.write_text(name, json.dumps(content))
    append_section(run, owner_key(), "damage", {}, [], sealed(run))
    answer = command("report", run.path)
    assert (answer.code, answer.out) == (2, "")
    assert f"{name} is damaged: " in answer.err and problem in answer.err


def test_ledger_line_that_is_no_record_of_its_kind_is_named_without_a_traceback(
    command: Command, run: RunDirectory
) -> None:
    class Empty(LedgerRecord):
        KIND: ClassVar[str] = PaymentRecord.KIND

    append_section(run, owner_key(), "pay", {}, [Empty()], sealed(run))
    for answer in (command("verify", run.path), command("report", run.path)):
        assert (answer.code, answer.out) == (1, "")
        assert "ledger.jsonl, line 13: it is no record of the kind payouts: it lacks" in answer.err


def test_rounding_of_another_machine_is_no_difference(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    settlement = settle(evidence)
    shares = [
        dataclasses.replace(company, value=company.value * (1 + 1e-12))
        for company in settlement.valuation.companies
    ]
    elsewhere = dataclasses.replace(
        settlement, valuation=dataclasses.replace(settlement.valuation, companies=tuple(shares))
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in (files.CONFIG, files.COST, files.MODEL, files.MODEL_RECORD):
        shutil.copy(run.file(name), folder / name)
    publish(RunDirectory(folder), evidence, elsewhere, software())
    assert run.file(files.VALUATION).read_bytes() != (folder / files.VALUATION).read_bytes()
    assert command("verify", folder).code == 0


def test_validation_part_must_belong_to_the_values(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    shifted = dataclasses.replace(evidence, validation_NV=evidence.validation_NV + 0.001)
    answer = command("verify", published(tmp_path / "shifted", run, shifted).path)
    assert answer.code == 1
    assert "validation.npz: mean of row [0] is" in answer.err


def test_validation_part_of_another_semivalue_is_refused(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    config = with_sections(evidence.config, values={"semivalue": "loo"})
    answer = command(
        "verify",
        published(tmp_path / "loo", run, dataclasses.replace(evidence, config=config)).path,
    )
    assert answer.code == 1
    assert "validation.npz: mean of row [0] is" in answer.err


def test_small_values_are_shapley_whichever_semivalue_is_paid(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    config = with_sections(evidence.config, values={"semivalue": "banzhaf"})
    utility_C = -evidence.table.mean_loss(evidence.table.largest_small)
    more_N = semivalue(utility_C, "banzhaf") - semivalue(utility_C, "shapley")
    banzhaf = dataclasses.replace(
        evidence, config=config, validation_NV=evidence.validation_NV + more_N[:, None]
    )
    other = published(tmp_path / "banzhaf", run, banzhaf)
    assert command("verify", other.path).code == 0
    before, now = (
        json.loads(each.file(files.VALUATION).read_text())["companies"] for each in (run, other)
    )
    assert [company["small_value"] for company in now] == [
        company["small_value"] for company in before
    ]
    assert [company["value"] for company in now] != [company["value"] for company in before]


def test_directory_signed_anew_by_another_key_is_found_only_when_the_signer_is_pinned(
    command: Command,
    run: RunDirectory,
    tmp_path: Path,
    owner_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "stranger"))
    forged = published(tmp_path / "forged", run, read_evidence(run))
    unpinned = command("verify", forged.path)
    assert unpinned.code == 0
    assert "somebody signed anew as a whole passes" in unpinned.out
    assert command("verify", forged.path, "--key", tmp_path / "stranger" / "owner.pub").code == 0
    pinned = command("verify", forged.path, "--key", owner_home / "owner.pub")
    assert (pinned.code, pinned.out) == (1, "")
    assert "ledger.jsonl: section 1 is not signed by the owner of" in pinned.err


def test_section_that_a_stranger_appended_is_found_when_the_signer_is_pinned(
    command: Command,
    payable: RunDirectory,
    tmp_path: Path,
    owner_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "stranger"))
    assert command("pay", payable.path, "--pot", 5).code == 0
    answer = command("verify", payable.path, "--key", owner_home / "owner.pub")
    assert answer.code == 1
    assert "section 2 is not signed by the owner" in answer.err


@pytest.mark.parametrize("content", [None, b"", b"no key"])
def test_key_that_is_no_key_is_wrong_input(
    command: Command, run: RunDirectory, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "some.pub").write_bytes(content)
    answer = command("verify", run.path, "--key", tmp_path / "some.pub")
    assert (answer.code, answer.out) == (2, "")
    assert "some.pub" in answer.err


# --- pay ------------------------------------------------------------------------------------------


def test_pay_writes_the_amounts_and_a_section_that_verifies(
    command: Command, payable: RunDirectory
) -> None:
    before = read_ledger(payable)
    answer = command("pay", payable.path, "--pot", 1234567)
    assert (answer.code, answer.err) == (0, "")
    assert "12,345.67" in answer.out
    amounts = read_payouts(payable.file(files.PAYOUTS))
    values = Valuation.from_json(payable.read_text(files.VALUATION)).values
    assert list(amounts.values()) == allocate(values, 1234567, names=list(amounts)).tolist()
    records = read_ledger(payable)
    assert records[: len(before)] == before
    kinds = [record.kind for record in records[len(before) :]]
    assert kinds == ["open", "payouts", "close", "open", "report", "close"]
    assert newest(records, PaymentRecord).amounts == amounts
    assert payable.file(files.REPORT).exists()
    assert command("verify", payable.path).code == 0


def test_pay_may_be_repeated_and_the_newest_section_counts(
    command: Command, payable: RunDirectory
) -> None:
    unpaid = {name: data for name, data in contents(payable).items() if name != files.LEDGER}
    for pot in (0, 77):
        assert command("pay", payable.path, "--pot", pot).code == 0
        assert sum(read_payouts(payable.file(files.PAYOUTS)).values()) == pot
    assert command("verify", payable.path).code == 0
    now = contents(payable)
    assert [name for name in unpaid if now[name] != unpaid[name]] == [files.PAYOUTS]
    older = payable.read_text(files.LEDGER).splitlines(keepends=True)[:-6]
    payable.write_text(files.LEDGER, "".join(older))
    answer = command("verify", payable.path)
    assert answer.code == 1
    assert "payouts.csv was changed after it was signed" in answer.err


def test_payment_of_the_runs_own_pot_speaks_of_no_other(
    command: Command, payable: RunDirectory
) -> None:
    pot = payable.config.payouts.pot
    assert isinstance(pot, FixedPot)
    for cents in (pot.cents, pot.cents + 1):
        answer = command("pay", payable.path, "--pot", cents)
        assert answer.code == 0
        is_other = cents != pot.cents
        assert ("This payment divides a different pot." in " ".join(answer.out.split())) == is_other
        page = payable.read_text(files.REPORT)
        assert ("a different pot from the run" in page) == is_other


def test_charge_makes_companies_of_negative_value_pay(
    command: Command, payable: RunDirectory
) -> None:
    answer = command("pay", payable.path, "--pot", 1000, "--negative", "charge")
    assert (answer.code, answer.err) == (0, "")
    amounts = read_payouts(payable.file(files.PAYOUTS))
    valuation = Valuation.from_json(payable.read_text(files.VALUATION))
    assert sum(amounts.values()) == 1000
    for company in valuation.companies:
        assert amounts[company.name] * company.value >= 0
    assert newest(read_ledger(payable), PaymentRecord).rules.negative == "charge"
    assert command("verify", payable.path).code == 0


def test_when_there_is_nothing_to_split_everyone_gets_nothing_and_an_alarm_says_so(
    command: Command, run: RunDirectory, tmp_path: Path
) -> None:
    evidence = read_evidence(run)
    harm = {
        key: dataclasses.replace(score, loss=-score.loss)
        for key, score in evidence.table.scores.items()
    }
    table = dataclasses.replace(evidence.table, scores=harm)
    harmful = published(
        tmp_path / "harmful",
        run,
        dataclasses.replace(
            evidence,
            config=with_sections(evidence.config, law={"accept": D_ALARMS}),
            table=table,
            averaged=averages_with(evidence, table),
            validation_NV=-evidence.validation_NV,
            curve=tuple(dataclasses.replace(p, loss=-p.loss) for p in evidence.curve),
        ),
    )
    assert set(read_payouts(harmful.file(files.PAYOUTS)).values()) == {0}
    assert json.loads(harmful.read_text(files.VALUATION))["payable"] is False
    before = contents(harmful)
    for negative, reason in (
        ("clip", "no value is positive"),
        ("charge", "the sum of the values is not positive"),
    ):
        answer = command("pay", harmful.path, "--pot", 1000, "--negative", negative)
        assert answer.code == 1
        assert f"P1: There is nothing to split: {reason}" in answer.err
        assert "Take the other rule (--negative) or another pot." in answer.err
    accepted = command("pay", harmful.path, "--pot", 1000, "--accept", "P1")
    assert (accepted.code, accepted.out) == (2, "")
    assert "there are no amounts to accept" in accepted.err
    assert contents(harmful) == before | {".lock": b""}
    answer = command("verify", harmful.path)
    assert (answer.code, answer.err) == (3, "")
    assert "NOT PAYABLE: " in answer.out and "this pot cannot be divided" in answer.out


def test_unpayable_run_says_its_alarms_and_writes_nothing(
    command: Command, unpayable: RunDirectory
) -> None:
    assert json.loads(unpayable.read_text(files.VALUATION))["payable"] is False
    alarms = json.loads(unpayable.read_text(files.LAW))["alarms"]
    before = contents(unpayable)
    answer = command("pay", unpayable.path, "--pot", 100)
    assert (answer.code, answer.out) == (1, "")
    assert all(alarm in answer.err for alarm in alarms)
    assert not any(" = {" in alarm for alarm in alarms)  # companies are named, not numbered
    assert contents(unpayable) == before | {".lock": b""}


def test_unpayable_run_is_paid_once_each_alarm_is_accepted_by_name(
    command: Command, unpayable: RunDirectory
) -> None:
    codes = [alarm.code for alarm in read_law(unpayable).fired]
    accepting = [word for code in codes for word in ("--accept", code)]
    assert command("pay", unpayable.path, "--pot", 100, *accepting[:-2]).code == 1
    answer = command("pay", unpayable.path, "--pot", 100, *accepting)
    assert (answer.code, answer.err) == (0, "")
    paid = newest(read_ledger(unpayable), PaymentRecord)
    assert (paid.accepted, paid.payable) == (tuple(codes), True)
    assert [alarm.code for alarm in paid.alarms] == codes
    assert sum(paid.amounts.values()) == 100
    assert command("verify", unpayable.path).code == 0


@pytest.mark.parametrize("code", ["D99", "d5", "", "A1"])
def test_alarm_that_did_not_fire_cannot_be_accepted(
    command: Command, run: RunDirectory, code: str
) -> None:
    before = contents(run)
    answer = command("pay", run.path, "--pot", 100, "--accept", code)
    assert (answer.code, answer.out) == (2, "")
    assert f"--accept {code}: that alarm did not fire. Alarms of this run:" in answer.err
    assert contents(run) == before | {".lock": b""}


@pytest.mark.parametrize(
    "name", [files.UTILITIES, files.VALUATION, files.VALIDATION, files.TEACHER]
)
def test_nobody_is_paid_from_a_directory_that_was_changed(
    command: Command, payable: RunDirectory, name: str
) -> None:
    match name:
        case files.VALIDATION:
            evidence = read_evidence(payable)
            doubled = save_validation(
                2 * evidence.validation_NV, evidence.config.companies, "small"
            )
            payable.write_bytes(name, doubled)
        case _:
            text = payable.read_text(name)
            at = max(at for at, character in enumerate(text) if character in "12345678")
            payable.write_text(name, text[:at] + "9" + text[at + 1 :])
    before = contents(payable)
    answer = command("pay", payable.path, "--pot", 100)
    assert (answer.code, answer.out) == (1, "")
    assert f"{name} was changed after it was signed" in answer.err
    assert contents(payable) == before | {".lock": b""}


def test_pay_mends_a_payout_table_that_a_crash_left_ahead_of_its_ledger(
    command: Command, payable: RunDirectory
) -> None:
    payable.write_text(files.PAYOUTS, "company,amount_cents\nAsh,5\n")
    assert command("pay", payable.path, "--pot", 100).code == 0
    assert command("verify", payable.path).code == 0


def test_pay_without_a_usable_key_writes_nothing(
    command: Command, payable: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file" / "home"))
    before = contents(payable)
    answer = command("pay", payable.path, "--pot", 100)
    assert (answer.code, answer.out) == (2, "")
    assert f"Set {HOME_VARIABLE}" in answer.err
    assert contents(payable) == before | {".lock": b""}


# --- the tables -----------------------------------------------------------------------------------


def test_values_sum_to_what_there_is_to_be_divided(run: RunDirectory) -> None:
    valuation = Valuation.from_json(run.read_text(files.VALUATION))
    total = valuation.utility_grand - valuation.utility_empty
    assert abs(valuation.values.sum() - total) <= 1e-9
    assert abs(sum(company.share for company in valuation.companies) - 1) <= 1e-9


def test_payout_table_is_the_newest_record_in_config_order(run: RunDirectory) -> None:
    with run.file(files.PAYOUTS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    amounts = newest(read_ledger(run), PaymentRecord).amounts
    assert rows == [
        ["company", "amount_cents"],
        *([name, str(amounts[name])] for name in run.config.companies),
    ]


def test_last_line_is_a_close_over_every_sealed_file(run: RunDirectory) -> None:
    last = read_ledger(run)[-1]
    assert last.kind == CloseRecord.KIND
    assert set(last.read(CloseRecord).files) == {*NAMES}


def test_validation_values_average_to_the_small_models_values(run: RunDirectory) -> None:
    evidence = read_evidence(run)
    valuation = Valuation.from_json(run.read_text(files.VALUATION))
    small = [company.small_value for company in valuation.companies]
    np.testing.assert_allclose(evidence.validation_NV.mean(axis=1), small, rtol=0, atol=1e-9)
