"""A finished run's files, and the first section of its ledger, which signs them."""

from fl_sv.game.averaged import averaged_csv
from fl_sv.game.utilities import utilities_csv
from fl_sv.payment.payouts import payouts_csv
from fl_sv.payment.settlement import Evidence, Settlement
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section
from fl_sv.runs.records import LawRecord, run_records
from fl_sv.runs.tables import companies_csv, rates_csv, save_validation, student_csv, teacher_csv

SEALED = (
    files.CONFIG,
    files.UTILITIES,
    files.COMPANIES,
    files.TEACHER,
    files.VALIDATION,
    files.LAW,
    files.VALUATION,
    files.PAYOUTS,
    files.COST,
)
# AVERAGED is missing in runs of older versions, RATES where the config states all learning rates,
# and STUDENT where the teacher is deployed.
NOT_IN_EVERY_RUN = (files.AVERAGED, files.RATES, files.STUDENT)


def sealed(run: RunDirectory) -> tuple[str, ...]:
    """The files whose hashes a section of the ledger closes with."""
    return (*SEALED, *(name for name in NOT_IN_EVERY_RUN if run.file(name).exists()))


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
    run.write_text(files.TEACHER, teacher_csv(evidence))
    if evidence.student is not None:
        run.write_text(files.STUDENT, student_csv(evidence.student))
    validation = save_validation(evidence.validation_NV, config.companies, valuation.small_model)
    run.write_bytes(files.VALIDATION, validation)
    run.write_text(files.LAW, LawRecord.of(evidence, settlement).to_json())
    run.write_text(files.VALUATION, valuation.to_json())
    run.write_text(files.PAYOUTS, payouts_csv(settlement.payment.amounts))
    records = run_records(evidence, settlement)
    append_section(run, owner_key(), "run", software, records, sealed(run))
