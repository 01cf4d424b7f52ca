"""What `fl-sv verify` finds of mechanical changes to a finished run.

    python -m benchmarks.tamper [--json] [--run DIR]

Every file of a run of configs/smoke.yaml is changed: bits, ends, lines, whole files, and every
field of every JSON object and CSV table. Each change is made twice: as it is, by somebody without
the key, and signed again by the owner, so that every hash and signature is right. All of it happens
in memory.

A change that is not found is listed with its place. It must fall under one of REASONS: what a
signature cannot show, and no other file of the run says either. Otherwise the exit code is 1.
"""

import argparse
import csv
import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.common.command_line import SMOKE, shell
from benchmarks.common.forging import (
    Data,
    Section,
    bytes_of,
    sections_of,
    signed_again,
    verified_bytes,
)
from benchmarks.common.markdown import table as markdown
from fl_sv.errors import VerificationError
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory

SEED = 0
BITS = 12  # of each file
Files = dict[str, bytes]
# Why a change that its owner signed again may stand. The place begins with the first text.
REASONS = {
    "report.html": "the page is signed, not computed again: its tables count, which it quotes",
    "cost.json": "what a run cost is measured once; nobody is paid by it",
    "ledger.jsonl, open, software": "the versions are those that its owner says",
    "ledger.jsonl, open, time": "the time is what its owner says, while sections stay in order",
    "audit.csv, figure": "figures of the audit are measured once, on what no file holds",
    "audit.csv, bits": "a digit of such a figure",
    "averaged.csv, loss": "averages of a coalition that the law does not ask for",
    "averaged.csv, bits": "a digit of such an average",
    "model.json, scaling": "the scaling is measured on the operator's rows, which no copy holds",
    "model.json, trainable": "how many parameters a model with a base trains is what it says",
    "model.json, bits": "a digit of one of these, or of the probe",
    "model.json, probe": "verify runs no model; `fl_sv.load_model` compares its answers",
    "teacher.csv, accuracy": "accuracies between the ends are measured once, in whole rows",
    "teacher.csv, loss": "losses between the ends are measured once",
    "teacher.csv, bits": "a digit of such a loss",
    "utilities.csv, accuracy": "accuracies are measured once, in whole rows; no value follows",
    "utilities.csv, bits": "a digit of such an accuracy",
    "validation.npz, bits": "bytes of the zip file round its arrays, or below 1e-9 of a mean",
}


class Change(NamedTuple):
    """A change of a run's files."""

    kind: str
    place: str
    make: Callable[[Files], object]
    in_ledger: Callable[[list[Section]], object] | None = None  # of what the owner signs


def changes(data: Data) -> Iterator[Change]:
    """Every change of a run with these files."""
    for name in sorted(data):
        yield from _of_bytes(name, data[name])
        yield from _of_lines(name, data[name])
        others = sorted(other for other in data if other != name)
        yield Change("file dropped", name, lambda d, n=name: d.pop(n))
        yield Change(
            "file of another name", name, lambda d, n=name, o=others[0]: d.update({n: d[o]})
        )
        if name.endswith(".csv"):
            yield from _of_table(name, data[name])
        if name.endswith(".json"):
            yield from _of_json(name, data[name])
    for name in files.SEALED:
        if name not in data:
            yield Change("file added", name, lambda d, n=name: d.update({n: b"a,b\n1,2\n"}))
    yield from _of_records(data)


def _of_bytes(name: str, content: bytes) -> Iterator[Change]:
    draw = random.Random(f"{SEED} {name}")
    for _ in range(BITS):
        at, bit = draw.randrange(len(content)), draw.randrange(8)
        flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        yield _replaced("bit flipped", f"{name}, bits", name, flipped)
    for end in (0, 1, len(content) // 2, len(content) - 1):
        yield _replaced("cut off", name, name, content[:end])
    for more in (b"\n", b"\0", content[-20:]):
        yield _replaced("bytes appended", name, name, content + more)


def _of_lines(name: str, content: bytes) -> Iterator[Change]:
    lines = content.splitlines(keepends=True)
    if name.endswith(".npz") or len(lines) < 3:
        return
    draw = random.Random(f"{SEED} lines {name}")
    for _ in range(3):
        one, other = sorted(draw.sample(range(len(lines)), 2))
        swapped = [*lines]
        swapped[one], swapped[other] = lines[other], lines[one]
        if swapped != lines:
            yield _replaced("lines swapped", name, name, b"".join(swapped))
    for at in {0, len(lines) // 2, len(lines) - 1}:
        yield _replaced("line dropped", name, name, b"".join([*lines[:at], *lines[at + 1 :]]))
        yield _replaced("line twice", name, name, b"".join([*lines[: at + 1], *lines[at:]]))


def _of_table(name: str, content: bytes) -> Iterator[Change]:
    """Each column, in its first row, one in the middle, and the last."""
    head, *rows = csv.reader(io.StringIO(content.decode()))
    for column, title in enumerate(head):
        for at in sorted({0, len(rows) // 2, len(rows) - 1}):
            for other in _other_cells(rows[at][column]):
                changed = [[*row] for row in rows]
                changed[at][column] = other
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows([head, *changed])
                place = f"{name}, {title}, row {at + 1}"
                yield _replaced("CSV cell changed", place, name, text.getvalue().encode())


def _other_cells(cell: str) -> Iterator[str]:
    try:
        number = float(cell)
    except ValueError:
        yield cell + "x"
        return
    yield ""
    yield str(int(cell) + 1) if cell.isdigit() else repr(number * (1 + 1e-6))


def _of_json(name: str, content: bytes) -> Iterator[Change]:
    whole = json.loads(content)
    for path, other in _other_values(whole):
        changed = json.loads(content)
        _set(changed, path, other)
        place = f"{name}, {', '.join(map(str, path))}"
        text = json.dumps(changed, indent=2) + "\n"
        yield _replaced("JSON field changed", place, name, text.encode())


def _of_records(data: Data) -> Iterator[Change]:
    """Each field of each record, and each kind of record, as its owner may sign it."""
    sections = sections_of(data)
    for number, section in enumerate(sections):
        for index, (kind, body) in enumerate(section.lines):
            for path, other in _other_values(body):

                def change(found: list[Section], at: Any = (number, index, path, other)) -> None:
                    number, index, path, other = at
                    kind, body = found[number].lines[index]
                    body = json.loads(json.dumps(body))
                    _set(body, path, other)
                    found[number].lines[index] = kind, body
                    found[number].as_it_is = True

                place = f"{files.LEDGER}, {kind}, {', '.join(map(str, path))}"
                yield Change("record's field changed", place, lambda d: None, change)
            where = f"{files.LEDGER}, {kind}"
            at = (number, index)
            yield Change("record dropped", where, lambda d: None, lambda s, a=at: _drop(s, a))
            yield Change("record twice", where, lambda d: None, lambda s, a=at: _double(s, a))
        for fact, value in (
            ("time", "2001-01-01T00:00:00+00:00"),
            ("time", "2999-01-01T00:00:00+00:00"),
            ("command", "pay"),
            ("command", "note"),
            ("software", {"fl-sv": "9.9"}),
        ):
            update = {fact: value}
            place = f"{files.LEDGER}, open, {fact}, section {number + 1}"
            yield Change(
                "record's field changed",
                place,
                lambda d: None,
                lambda s, n=number, u=update: _reopen(s, n, u),
            )
        for name in (*files.SEALED, "notes.txt"):
            place, false = f"{files.LEDGER}, close, {name}", {name: "0" * 64}
            yield Change(
                "record's field changed",
                place,
                lambda d: None,
                lambda s, n=number, f=false: s[n].hashes.update(f),
            )
    last = len(sections) - 1
    yield Change("section dropped", f"{files.LEDGER}, last", lambda d: None, lambda s: s.pop(last))
    yield Change(
        "section twice", f"{files.LEDGER}, last", lambda d: None, lambda s: s.append(s[-1])
    )


def _drop(sections: list[Section], at: tuple[int, int]) -> None:
    del sections[at[0]].lines[at[1]]


def _double(sections: list[Section], at: tuple[int, int]) -> None:
    lines = sections[at[0]].lines
    lines.insert(at[1], lines[at[1]])


def _reopen(sections: list[Section], number: int, update: dict[str, Any]) -> None:
    section = sections[number]
    section.opening = section.opening.model_copy(update=update)


def _other_values(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each place in a JSON value, with another value that may stand there."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _other_values(inner, (*path, key))
    elif isinstance(value, bool) or value is None:
        yield path, not value
    elif isinstance(value, str):
        yield path, value + "x"
    else:
        yield path, value + 1 if isinstance(value, int) else value * (1 + 1e-6) + 1e-6


def _set(whole: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        whole = whole[key]
    whole[path[-1]] = value


def _replaced(kind: str, place: str, name: str, content: bytes) -> Change:
    return Change(kind, place, lambda d: d.update({name: content}))


def outcomes(
    data: Data, key: Ed25519PrivateKey, every: int = 1
) -> Iterator[tuple[Change, bool, bool]]:
    """Each change (or every so many), whether it was signed again, and whether it was found."""
    for change in islice(changes(data), 0, None, every):
        changed = dict(data)
        change.make(changed)
        if change.in_ledger is None:
            yield change, False, _is_found(changed)
        if not change.place.startswith(files.LEDGER) or change.in_ledger is not None:
            sections = sections_of(data)
            if change.in_ledger is not None:
                change.in_ledger(sections)
            yield change, True, _is_found(signed_again(changed, key, sections))


def _is_found(data: Data) -> bool:
    try:
        verified_bytes(data)
    except VerificationError:
        return True
    return False


def reason_of(place: str) -> str:
    """Why a change at this place may stand; empty where it may not."""
    return REASONS.get(_start_of(place), "")


def _start_of(place: str) -> str:
    """What REASONS calls the place; the place itself where it does not know it."""
    return next((start for start in REASONS if place.startswith(start)), place)


def campaign(data: Data, every: int = 1) -> dict[str, Any]:
    """The numbers of changes made and found by kind, and what was not found.

    every: makes every so many of the changes.
    """
    made, found, missed = Counter[tuple[str, bool]](), Counter[tuple[str, bool]](), []
    for change, signed, is_found in outcomes(data, Ed25519PrivateKey.generate(), every):
        made[change.kind, signed] += 1
        found[change.kind, signed] += is_found
        if not is_found:
            missed.append({"kind": change.kind, "place": change.place, "signed_again": signed})
    rows = [
        {"kind": kind, "signed_again": signed, "made": n, "found": found[kind, signed]}
        for (kind, signed), n in made.items()
    ]
    return {"changes": made.total(), "found": found.total(), "rows": rows, "missed": missed}


def unexplained_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was not found, and should have been."""
    missed: list[dict[str, Any]] = result["missed"]
    return [each for each in missed if not (each["signed_again"] and reason_of(each["place"]))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--run", type=Path, help="a finished run; by default one of smoke.yaml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run
        if run is None:
            run = Path(folder) / "run"
            done = shell("run", SMOKE, "--out", run, "--backend", "inline", "--quiet")
            assert done.code == 0, done.err
        result = campaign(bytes_of(RunDirectory(run)))
    unexplained = unexplained_of(result)
    print(json.dumps(result) if options.json else _text(result))
    for each in unexplained:
        print(f"not found, and no reason is known: {each}", file=sys.stderr)
    return 1 if unexplained else 0


def _text(result: dict[str, Any]) -> str:
    kinds = dict.fromkeys(row["kind"] for row in result["rows"])
    by_key = {(row["kind"], row["signed_again"]): row for row in result["rows"]}

    def cell(kind: str, signed: bool) -> str:
        row = by_key.get((kind, signed))
        return "" if row is None else f"{row['found']} of {row['made']}"

    found = markdown(
        ["change", "as it is", "signed again"],
        ([kind, cell(kind, False), cell(kind, True)] for kind in kinds),
    )
    counts = Counter(_start_of(each["place"]) for each in result["missed"])
    missed = markdown(
        ["not found, signed again", "changes", "why"],
        ([start, str(n), REASONS.get(start, "NOT KNOWN")] for start, n in counts.items()),
    )
    total = f"{result['found']} of {result['changes']} changes are found."
    return "\n\n".join([total, found, missed])


if __name__ == "__main__":
    sys.exit(main())
