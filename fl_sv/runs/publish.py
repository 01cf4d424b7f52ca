"""A finished run's files, and the sections of its ledger which sign tables and report."""

from fl_sv.game.averaged import averaged_csv
from fl_sv.game.utilities import utilities_csv
from fl_sv.payment.payouts import payouts_csv
from fl_sv.payment.settlement import Evidence, Settlement
from fl_sv.runs import files
from fl_sv.runs.audit_table import audit_csv
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section, file_hash, read_ledger, records_of, tables_head
from fl_sv.runs.records import REPORT_COMMAND, LawRecord, ReportRecord, run_records
from fl_sv.runs.tables import companies_csv, rates_csv, student_csv, teacher_csv
from fl_sv.runs.validation import save_validation


def sealed(run: RunDirectory) -> tuple[str, ...]:
    """The files whose hashes a section of the ledger closes with."""
    known = files.files_of(run.config)
    return tuple(file.name for file in known if file.hashed and run.has(file.name))


def publish(
    run: RunDirectory, evidence: Evidence, settlement: Settlement, software: dict[str, str]
) -> None:
    """Writes the run's tables. The first section of the ledger follows last, in one step."""
    config, valuation = evidence.config, settlement.valuation
    run.write_lines(files.UTILITIES, utilities_csv(evidence.table))
    if evidence.averaged is not None:
        run.write_lines(files.AVERAGED, averaged_csv(evidence.averaged))
    if evidence.rates is not None:
        run.write_text(files.RATES, rates_csv(evidence.rates))
    run.write_text(files.COMPANIES, companies_csv(evidence))
    run.write_text(files.AUDIT, audit_csv(evidence.audit))
    run.write_text(files.TEACHER, teacher_csv(evidence.curve))
    if evidence.student is not None:
        run.write_text(files.STUDENT, student_csv(evidence.student))
    validation = save_validation(
        evidence.validation_NV, config.companies, valuation.small_model, evidence.groups
    )
    run.write_bytes(files.VALIDATION, validation)
    run.write_text(files.LAW, LawRecord.of(evidence, settlement).to_json())
    run.write_text(files.VALUATION, valuation.to_json(config.names))
    run.write_text(files.PAYOUTS, payouts_csv(settlement.payment.amounts))
    records = run_records(evidence, settlement)
    append_section(run, owner_key(), "run", software, records, sealed(run))


def publish_report(run: RunDirectory, page: str, software: dict[str, str]) -> None:
    """Writes report.html, and a section of the ledger with its hash where the ledger lacks it."""
    run.write_text(files.REPORT, page)
    if not report_is_signed(run):
        head = tables_head(read_ledger(run)).digest
        record = ReportRecord(sha256=file_hash(run, files.REPORT), head=head)
        append_section(run, owner_key(), REPORT_COMMAND, software, [record], sealed(run))


def report_is_signed(run: RunDirectory) -> bool:
    """Whether report.html is there, and is the page that was last signed about these tables."""
    lines = read_ledger(run)
    signed = [*records_of(lines, ReportRecord)][-1:]
    if not signed or not run.has(files.REPORT):
        return False
    now = ReportRecord(sha256=file_hash(run, files.REPORT), head=tables_head(lines).digest)
    return signed == [now]
