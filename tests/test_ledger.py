"""The ledger: a chain of signed lines in which no character can be changed, moved or left out
unnoticed.
"""

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fl_sv.errors import InputError, VerificationError
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import LEDGER
from fl_sv.runs.keys import HOME_VARIABLE, key_fingerprint, owner_key, raw, read_public_key
from fl_sv.runs.ledger import (
    append_section,
    canonical,
    newest,
    parse_ledger,
    read_ledger,
    records_of,
)
from fl_sv.runs.records import CloseRecord, LedgerRecord, OpenRecord

KEY = Ed25519PrivateKey.generate()


class Fraction(LedgerRecord):
    """A record of the tests' own."""

    KIND: ClassVar[str] = "a"

    x: float


class Count(LedgerRecord):
    """Another one."""

    KIND: ClassVar[str] = "b"

    y: tuple[int, ...]


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    """Two sections of four lines: open, two records, close."""
    directory = RunDirectory(tmp_path)
    directory.write_text("table.csv", "1\n")
    for _ in range(2):
        append_section(
            directory,
            KEY,
            "test",
            {"python": "3"},
            [Fraction(x=0.1), Count(y=(12,))],
            ["table.csv"],
        )
    return directory.read_text(LEDGER).splitlines(keepends=True)


def changed(line: str, at: int) -> str:
    """The line with another character at a place, a digit for a digit."""
    other = str((int(line[at]) + 1) % 10) if line[at].isdigit() else "~"
    return line[:at] + other + line[at + 1 :]


def test_sections_open_close_and_chain(lines: list[str]) -> None:
    records = parse_ledger("".join(lines))
    assert [record.kind for record in records] == ["open", "a", "b", "close"] * 2
    assert [record.section for record in records] == [1] * 4 + [2] * 4
    assert [close.lines for close in records_of(records, CloseRecord)] == [4, 8]
    assert newest(records, Count).y == (12,)
    assert [opened.signer for opened in records_of(records, OpenRecord)] == [
        raw(KEY.public_key())
    ] * 2


def test_appending_leaves_every_earlier_byte(run: RunDirectory) -> None:
    before = run.read_text(LEDGER)
    append_section(run, owner_key(), "test", {}, [], [])
    assert run.read_text(LEDGER).startswith(before)


@pytest.mark.parametrize("number", range(1, 9))
def test_any_changed_character_is_found_in_its_line(lines: list[str], number: int) -> None:
    line = lines[number - 1]
    for at in random.Random(number).sample(range(len(line) - 1), 40):
        tampered = [*lines[: number - 1], changed(line, at), *lines[number:]]
        with pytest.raises(VerificationError, match=rf"ledger\.jsonl, line {number}:"):
            parse_ledger("".join(tampered))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda line: line[:-1] + " \n",
        lambda line: " " + line,
        lambda line: line[:-1] + "\r\n",
        lambda line: json.dumps(json.loads(line), separators=(",", ":")) + "\n",
        lambda line: line.replace('"number"', '"number": 99, "number"'),
        lambda line: line.replace('"section": ', '"section": 0.0e0'),
        lambda line: line.replace('"body": {', '"body": {"z": NaN, '),
        lambda line: line.replace(
            '"body": {', '"body": {"z": ' + "[" * 100_000 + "]" * 100_000 + ", "
        ),
        lambda line: "[]\n",
        lambda line: "{}\n",
        lambda line: "\n",
        lambda line: "null\n",
    ],
)
@pytest.mark.parametrize("number", [1, 2, 8])
def test_line_with_the_same_content_in_other_characters_is_no_line_of_a_ledger(
    lines: list[str], number: int, rewrite: Callable[[str], str]
) -> None:
    lines[number - 1] = rewrite(lines[number - 1])
    with pytest.raises(
        VerificationError, match=rf"ledger\.jsonl, line {number}: it is not written"
    ):
        parse_ledger("".join(lines))


@pytest.mark.parametrize(
    ("field", "forged"), [("number", True), ("number", 1.0), ("section", True)]
)
def test_true_and_one_point_zero_are_not_the_number_one(
    lines: list[str], field: str, forged: object
) -> None:
    entry = json.loads(lines[0])
    del entry["signature"]
    entry[field] = forged
    entry["signature"] = b64encode(KEY.sign(canonical(entry))).decode()
    with pytest.raises(VerificationError, match=r"ledger\.jsonl, line 1: it does not follow"):
        parse_ledger(json.dumps(entry, sort_keys=True) + "\n")


@pytest.mark.parametrize("number", [1, 8])
def test_signature_of_the_same_bytes_in_other_letters_is_found(
    lines: list[str], number: int
) -> None:
    """Base64 ignores the last bits of its last letter; without care they change unnoticed."""
    line = lines[number - 1]
    signature = json.loads(line)["signature"]
    other = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="
    assert b64decode(other) == b64decode(signature)
    lines[number - 1] = line.replace(signature, other)
    with pytest.raises(VerificationError, match=rf"line {number}: the signature is not base64"):
        parse_ledger("".join(lines))


@pytest.mark.parametrize("kept", [1, 2, 3, 5, 6, 7])
def test_cutting_off_the_last_lines_leaves_a_ledger_without_a_close(
    lines: list[str], kept: int
) -> None:
    with pytest.raises(
        VerificationError, match=f"ends after line {kept} without a close; lines were cut off"
    ):
        parse_ledger("".join(lines[:kept]))


def test_cutting_off_part_of_the_last_line_is_found(lines: list[str]) -> None:
    for n_characters in (1, 2, 50):
        with pytest.raises(VerificationError, match="ends after line 7 without a close"):
            parse_ledger("".join(lines)[:-n_characters])


@pytest.mark.parametrize("number", range(1, 8))
def test_line_that_is_left_out_is_missed_by_the_next(lines: list[str], number: int) -> None:
    with pytest.raises(
        VerificationError, match=rf"line {number}: (it does not follow|the signature)"
    ):
        parse_ledger("".join([*lines[: number - 1], *lines[number:]]))


@pytest.mark.parametrize(("one", "other"), [(2, 3), (2, 6), (4, 8), (5, 6)])
def test_swapped_lines_are_found_at_the_first(lines: list[str], one: int, other: int) -> None:
    lines[one - 1], lines[other - 1] = lines[other - 1], lines[one - 1]
    with pytest.raises(VerificationError, match=rf"line {one}: it does not follow"):
        parse_ledger("".join(lines))


def test_repeated_section_is_found(lines: list[str]) -> None:
    with pytest.raises(VerificationError, match="line 5: it does not follow"):
        parse_ledger("".join(lines[:4] + lines[:4]))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"\x00" * 100])
def test_ledger_that_is_empty_or_no_text_is_a_difference(tmp_path: Path, data: bytes) -> None:
    (tmp_path / LEDGER).write_bytes(data)
    with pytest.raises(VerificationError, match=r"ledger\.jsonl (is empty|ends after line 0)"):
        read_ledger(RunDirectory(tmp_path))


def test_nothing_is_appended_to_a_ledger_that_was_changed(run: RunDirectory) -> None:
    text = run.read_text(LEDGER).replace('"number": 1', '"number": 7', 1)
    run.write_text(LEDGER, text)
    with pytest.raises(VerificationError, match="line 1"):
        append_section(run, owner_key(), "test", {}, [], [])
    assert run.read_text(LEDGER) == text


# --- the owner's key ------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "new" / "home"))
    return tmp_path / "new" / "home"


def test_key_is_made_on_first_use_and_kept(home: Path) -> None:
    key = owner_key()
    assert (
        raw(owner_key().public_key())
        == raw(key.public_key())
        == raw(read_public_key(home / "owner.pub"))
    )
    assert (home / "owner.pem").stat().st_mode & 0o077 == 0
    assert isinstance(
        load_pem_private_key((home / "owner.pem").read_bytes(), None), Ed25519PrivateKey
    )


def test_key_never_enters_the_run(run: RunDirectory, owner_home: Path) -> None:
    secret = (owner_home / "owner.pem").read_bytes().splitlines()[1]
    assert not any(secret in path.read_bytes() for path in run.path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff\x00"])
def test_file_that_is_no_key_is_refused_with_its_name(home: Path, content: bytes) -> None:
    home.mkdir(parents=True)
    (home / "owner.pem").write_bytes(content)
    with pytest.raises(InputError, match=r"owner\.pem is no private key in PEM form"):
        owner_key()
    with pytest.raises(InputError, match=r"owner\.pem is no public key in PEM form"):
        read_public_key(home / "owner.pem")


def test_home_that_cannot_hold_a_key_is_refused(home: Path) -> None:
    home.parent.mkdir()
    home.write_text("a file")
    with pytest.raises(InputError, match=f"cannot be used: .* Set {HOME_VARIABLE}"):
        owner_key()


def test_fingerprint_is_short_enough_for_the_telephone() -> None:
    assert key_fingerprint(b"\x00" * 32) == "6668 7aad f862 bd77"
