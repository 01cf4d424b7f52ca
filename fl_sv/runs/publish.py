"""A finished run's files, and the first section of its ledger: every number that the payouts rest on."""

from dataclasses import asdict
from typing import Any

from fl_sv.config import Config, config_hash
from fl_sv.game.utilities import utilities_csv
from fl_sv.payment.payouts import payouts_csv
from fl_sv.payment.settlement import Evidence, Payment, Settlement
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section
from fl_sv.runs.records import FiredAlarm, LawRecord, ModelsRecord, NextRunRecord, PaymentRecord
from fl_sv.runs.tables import companies_csv, save_validation, student_csv, teacher_csv
from fl_sv.valuation.students import student_remarks

PAYOUTS = "payouts"  # the kind of the ledger's record of a payment

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


def sealed(config: Config) -> tuple[str, ...]:
    """The files whose hashes a section of the ledger closes with."""
    return SEALED if config.deployed is None else (*SEALED, files.STUDENT)


def publish(
    run: RunDirectory, evidence: Evidence, settlement: Settlement, software: dict[str, str]
) -> None:
    """Writes the run's tables and, last and in one piece, the first section of its ledger."""
    config, valuation = evidence.config, settlement.valuation
    run.write_text(files.UTILITIES, utilities_csv(evidence.table))
    run.write_text(files.COMPANIES, companies_csv(evidence))
    run.write_text(files.TEACHER, teacher_csv(evidence))
    if evidence.student is not None:
        run.write_text(files.STUDENT, student_csv(evidence.student))
    validation = save_validation(evidence.validation_NV, config.companies, valuation.small_model)
    run.write_bytes(files.VALIDATION, validation)
    run.write_text(files.LAW, law_record(evidence, settlement).to_json())
    run.write_text(files.VALUATION, valuation.to_json())
    run.write_text(files.PAYOUTS, payouts_csv(settlement.payment.amounts))
    records = run_records(evidence, settlement)
    append_section(run, owner_key(), "run", software, records, sealed(config))


def law_record(evidence: Evidence, settlement: Settlement) -> LawRecord:
    """The content of law.json."""
    law, next_run = settlement.law, settlement.next_run
    return LawRecord(
        name=law.name,
        increasing=law.increasing,
        holds=law.holds,
        alarms=tuple(map(str, law.alarms)),
        fired=tuple(map(FiredAlarm.of, law.alarms)),
        tested=law.tested,
        untested=law.untested,
        parameters=law.parameters,
        anchors=dict(sorted(law.anchors.items())),
        diagnostics=law.diagnostics,
        remarks=student_remarks(evidence.config, law.findings),
        next_run=NextRunRecord(**asdict(next_run)) if next_run else None,
        sizes=evidence.sizes,
    )


def run_records(evidence: Evidence, settlement: Settlement) -> list[tuple[str, dict[str, Any]]]:
    """The ledger's records of a run, (kind, body), each a function of the evidence."""
    config, law = evidence.config, law_record(evidence, settlement)
    models = ModelsRecord(
        parameters=evidence.sizes,
        deployed_utility=evidence.deployed_utility,
        student=asdict(evidence.student) if evidence.student else None,
    )
    values = {company.name: company.value for company in settlement.valuation.companies}
    return [
        ("config", {"sha256": config_hash(config), "seed": config.seed}),
        ("companies", {"examples": evidence.examples, "fingerprints": evidence.fingerprints}),
        ("models", models.body()),
        ("law", {"name": law.name, "holds": law.holds, "alarms": list(law.alarms)}),
        ("values", values),
        (PAYOUTS, payment_record(settlement.payment).body()),
    ]


def payment_record(payment: Payment) -> PaymentRecord:
    """The ledger's record of a payment."""
    return PaymentRecord(
        amounts=payment.amounts,
        rules=payment.rules,
        accepted=payment.accepted,
        payable=not payment.objections,
        alarms=tuple(map(FiredAlarm.of, payment.alarms)),
    )
