"""The form of a finished run: what its ledger holds, and how its files are written.

Whoever has the key can sign anything. So it is checked that each section of the ledger has the
lines that its command writes, that it names every file of the run, and that every file is written
exactly as fl-sv writes its content: no key twice, no line twice, no text where a number belongs.

The numbers are those of the rules in `fl_sv.runs.verify`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from itertools import groupby, pairwise, zip_longest

from fl_sv.config import Config, dump_config
from fl_sv.errors import listed
from fl_sv.files import AnyFile, opened
from fl_sv.game.averaged import averaged_csv
from fl_sv.game.utilities import utilities_csv
from fl_sv.payment.payouts import payouts_csv, read_payouts
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.audit_table import audit_csv
from fl_sv.runs.compare import compare
from fl_sv.runs.directory import RunFiles
from fl_sv.runs.held import HeldRun
from fl_sv.runs.ledger import LedgerLine, tables_head
from fl_sv.runs.records import (
    SECTIONS,
    CloseRecord,
    OpenRecord,
    PaymentRecord,
    ReportRecord,
)
from fl_sv.runs.tables import (
    companies_csv,
    rates_csv,
    read_cost,
    read_law,
    read_valuation,
    student_csv,
    teacher_csv,
)
from fl_sv.runs.validation import validation_labels

Difference = tuple[str, str]  # the file that differs, and the sentence


# --- what was signed ------------------------------------------------------------------------------


def hash_differences(run: HeldRun, ledger: Sequence[LedgerLine]) -> Iterator[Difference]:
    """Rule 6: each file that differs from a hash in the ledger."""
    closes = [(line, line.read(CloseRecord)) for line in ledger if line.kind == CloseRecord.KIND]
    last, signed = closes[-1][0], closes[-1][1].files
    for name in [file.name for file in run.known if file.hashed]:
        if name in signed and not run.was_read(name):
            yield name, f"{name} cannot be read: {run.faults.get(name, 'it is missing')}"
        elif name in signed and run.digest(name) != signed[name]:
            yield name, f"{name} was changed after it was signed"
        for line, close in closes:
            if name not in close.files:
                if run.has(name) or name in signed:
                    yield name, f"{line.where}: it does not name {name}"
            # Every payment writes the amounts anew.
            elif name != files.PAYOUTS and close.files[name] != signed.get(name):
                where = f"between lines {line.number} and {last.number} of {files.LEDGER}"
                yield name, f"{name} was changed {where}"
    yield from _report_differences(run, ledger)


def _report_differences(run: HeldRun, ledger: Sequence[LedgerLine]) -> Iterator[Difference]:
    name, signed = files.REPORT, [line for line in ledger if line.kind == ReportRecord.KIND]
    again = "`fl-sv report DIR` writes it again and signs it"
    if not signed:
        if run.has(name):
            yield name, f"{name} is not signed; {again}"
    elif name not in run.data:
        yield name, f"{name} cannot be read: {run.faults.get(name, 'it is missing')}; {again}"
    elif run.digest(name) != signed[-1].read(ReportRecord).sha256:
        yield name, f"{name} was changed after it was signed; {again}"


# --- what the sections hold -----------------------------------------------------------------------


def section_problems(ledger: Sequence[LedgerLine], config: Config) -> Iterator[str]:
    """Rules 7 to 9: what the sections of a ledger lack or have in excess."""
    due = {*files.due(config)}
    for number, lines in groupby(ledger, key=lambda line: line.section):
        opening, *_, closing = section = [*lines]
        where = f"{files.LEDGER}, section {number}"
        command = opening.read(OpenRecord).command
        allowed = ["run"] if number == 1 else [each for each in SECTIONS if each != "run"]
        if command not in allowed:
            must = " or ".join(map(repr, allowed))
            yield f"{where} is of the command {command!r}; it must be {must}"
        kinds = [line.kind for line in section]
        wanted = [record.KIND for record in SECTIONS[command if command in allowed else allowed[0]]]
        if kinds != wanted:
            yield f"{where} holds the lines {listed(kinds)}; it must hold {listed(wanted)}"
        named = {*closing.read(CloseRecord).files}
        if missing := sorted(due - named):
            yield f"{closing.where}: it does not name {listed(missing)}"
        if others := sorted(named - due):
            yield f"{closing.where}: it names {listed(others)}, which is no file of this run"
    openings = [(line.section, line.read(OpenRecord)) for line in ledger if _opens(line)]
    for (_, one), (number, other) in pairwise(openings):
        if other.time < one.time:
            yield (
                f"{files.LEDGER}, section {number} is dated {other.time}, before the one that it"
                f" follows ({one.time})"
            )


def report_problems(ledger: Sequence[LedgerLine]) -> Iterator[Difference]:
    """Rule 10: each report is about the newest tables of its time, and the last about the newest.

    A run that was stopped before its report has none.
    """
    before: ReportRecord | None = None
    for line in (line for line in ledger if line.kind == ReportRecord.KIND):
        report = line.read(ReportRecord)
        head = tables_head(ledger[: line.number - 1]) if line.section > 1 else None
        if head is None or report.head != head.digest or report == before:
            yield files.REPORT, f"{line.where}: it is no new report about the tables before it"
        before = report
    newest_head = tables_head(ledger)
    if before is not None and before.head != newest_head.digest:
        yield (
            files.REPORT,
            f"{files.REPORT} is older than the newest payment, on line {newest_head.number} of"
            f" {files.LEDGER}; `fl-sv report DIR` writes it again",
        )


def payment_problems(ledger: Sequence[LedgerLine], config: Config) -> Iterator[str]:
    """Rule 6, of payouts.csv: each close has the hash of the amounts that were paid last."""
    amounts: dict[str, int] = {}
    for line in ledger:
        if line.kind == PaymentRecord.KIND:
            amounts = line.read(PaymentRecord).amounts
        if line.kind == CloseRecord.KIND:
            paid = payouts_csv({c: amounts[c] for c in config.companies if c in amounts})
            if line.read(CloseRecord).files.get(files.PAYOUTS) != sha256(paid.encode()).hexdigest():
                yield f"{line.where}: its hash of {files.PAYOUTS} is not that of the payment"


def _opens(line: LedgerLine) -> bool:
    return line.kind == OpenRecord.KIND


# --- how files are written ------------------------------------------------------------------------


def writing_problems(
    run: RunFiles, evidence: Evidence, amounts: dict[str, int]
) -> Iterator[Difference]:
    """Rules 11 and 12: each file that is not written as fl-sv writes its content.

    evidence: read from the run's tables. amounts: of the newest payment, by company.
    """
    config, student = evidence.config, evidence.student
    texts: dict[str, Callable[[], str | Iterable[str]]] = {
        files.CONFIG: lambda: dump_config(config),
        files.UTILITIES: lambda: utilities_csv(evidence.table),
        files.COMPANIES: lambda: companies_csv(evidence),
        files.AUDIT: lambda: audit_csv(evidence.audit),
        files.TEACHER: lambda: teacher_csv(evidence.curve),
        files.LAW: lambda: read_law(run).to_json(),
        files.VALUATION: lambda: read_valuation(run).to_json(config.names),
        files.PAYOUTS: lambda: payouts_csv({c: amounts[c] for c in config.companies}),
        files.COST: lambda: read_cost(run).to_json(),
    }
    if (averaged := evidence.averaged) is not None:
        texts[files.AVERAGED] = lambda: averaged_csv(averaged)
    paid = read_payouts(run.file(files.PAYOUTS))
    yield from ((files.PAYOUTS, each) for each in compare(files.PAYOUTS, paid, amounts))
    if (rates := evidence.rates) is not None:
        texts[files.RATES] = lambda: rates_csv(rates)
    if student is not None:
        texts[files.STUDENT] = lambda: student_csv(student)
    for name, written in texts.items():
        if (problem := _first_difference(run.file(name), written())) is not None:
            yield name, f"{name}, {problem}"
    labels = validation_labels(run.read_bytes(files.VALIDATION))
    expected = (config.companies, evidence.table.largest_small)
    if labels != expected:
        problem = f"{files.VALIDATION} is of {labels!r}; it must be of {expected!r}"
        yield files.VALIDATION, problem


def _first_difference(file: AnyFile, written: str | Iterable[str]) -> str | None:
    """The first line in which a file is not as written, ends of lines included.

    written: the text, or its lines, of which there may be millions.
    """
    lines = (
        BytesIO(written.encode())
        if isinstance(written, str)
        else (line.encode() for line in written)
    )
    with opened(file) as found:
        for number, (one, other) in enumerate(zip_longest(found, lines), start=1):
            if one != other:
                return f"line {number} is {_shown(one)}; as fl-sv writes it, it is {_shown(other)}"
    return None


def _shown(line: bytes | None) -> str:
    if line is None:
        return "missing"
    return ascii(line[:80].decode(errors="replace")) + ("..." if len(line) > 80 else "")
