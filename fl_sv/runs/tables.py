"""From a settlement to the files of the run directory, and back from the files to the evidence.

`utilities.csv`, `valuation.json` and `payouts.csv` are functions of config and seed alone, byte for
byte.
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config, config_hash
from fl_sv.config.valuation import Payouts
from fl_sv.errors import InputError
from fl_sv.game.csv import read_table
from fl_sv.game.utilities import read_utilities, utilities_csv
from fl_sv.payment.payouts import payouts_csv
from fl_sv.payment.settlement import Evidence, Payment, Settlement, StudentLoss, TeacherLoss
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import owner_key
from fl_sv.runs.ledger import append_section
from fl_sv.valuation.students import student_remarks

PAYOUTS = "payouts"  # the kind of the ledger's record
COMPANY_COLUMNS = ("company", "examples", "fingerprint")
TEACHER_COLUMNS = ("round", "loss", "accuracy")
STUDENT_COLUMNS = tuple(field.name for field in fields(StudentLoss))
Number = TypeVar("Number", int, float)

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
    config = evidence.config
    companies = config.companies
    run.write_text(files.UTILITIES, utilities_csv(evidence.table))
    run.write_text(files.COMPANIES, _companies_csv(evidence))
    run.write_text(files.TEACHER, _teacher_csv(evidence))
    if evidence.student is not None:
        run.write_text(files.STUDENT, _student_csv(evidence.student))
    run.write_bytes(
        files.VALIDATION,
        save_validation(evidence.validation_NV, companies, settlement.valuation.small_model),
    )
    run.write_text(files.LAW, law_text(evidence, settlement))
    run.write_text(files.VALUATION, settlement.valuation.to_json())
    run.write_text(files.PAYOUTS, payouts_csv(settlement.payment.amounts))
    append_section(
        run, owner_key(), "run", software, run_records(evidence, settlement), sealed(config)
    )


def law_text(evidence: Evidence, settlement: Settlement) -> str:
    """The text of law.json."""
    law, next_run = settlement.law, settlement.next_run
    content: dict[str, Any] = {
        "name": law.name,
        "increasing": law.increasing,
        "holds": law.holds,
        "alarms": list(law.alarms),
        "tested": list(law.tested),
        "untested": list(law.untested),
        "parameters": dict(law.parameters),
        "anchors": {str(coalition): loss for coalition, loss in sorted(law.anchors.items())},
        "diagnostics": dict(law.diagnostics),
        "remarks": list(student_remarks(evidence.config, law.findings)),
        "next_run": {"anchors": next_run.anchors, **asdict(next_run)} if next_run else None,
        "sizes": evidence.sizes,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def run_records(evidence: Evidence, settlement: Settlement) -> list[tuple[str, dict[str, Any]]]:
    """The ledger's records of a run, (kind, body), each a function of the evidence."""
    config, student = evidence.config, evidence.student
    deployed = {"student": asdict(student)} if student else {}
    return [
        ("config", {"sha256": config_hash(config), "seed": config.seed}),
        ("companies", {"examples": evidence.examples, "fingerprints": evidence.fingerprints}),
        (
            "models",
            {
                "parameters": evidence.sizes,
                "deployed_utility": evidence.deployed_utility,
                **deployed,
            },
        ),
        (
            "law",
            {
                "name": settlement.law.name,
                "holds": settlement.law.holds,
                "alarms": list(settlement.law.alarms),
            },
        ),
        ("values", {company.name: company.value for company in settlement.valuation.companies}),
        (PAYOUTS, payment_body(settlement.payment)),
    ]


def payment_body(payment: Payment) -> dict[str, Any]:
    """The ledger's record of a payment, with the rules by which it is recomputed."""
    return {
        "amounts": payment.amounts,
        "rules": payment.rules.model_dump(mode="json"),
        "accepted": list(payment.accepted),
        "payable": not payment.objections,
        "objections": list(payment.objections),
    }


def rules_of(body: dict[str, Any]) -> Payouts:
    """The rules in a payment's record."""
    return Payouts.model_validate_json(json.dumps(body["rules"]))


def read_evidence(run: RunDirectory) -> Evidence:
    """The evidence of a finished run, from its tables alone. Raises InputError when one is missing
    or damaged.
    """
    config = run.config
    examples, fingerprints = read_companies(run)
    if tuple(examples) != config.companies:
        raise InputError(
            f"{run.file(files.COMPANIES)}: the companies are not those of {files.CONFIG}."
        )
    return Evidence(
        config=config,
        table=read_utilities(run.file(files.UTILITIES), config.companies),
        sizes=_read_sizes(run),
        examples=examples,
        fingerprints=fingerprints,
        validation_NV=load_validation(run.file(files.VALIDATION).read_bytes()),
        curve=_read_teacher(run),
        student=None if config.deployed is None else _read_student(run),
    )


def _companies_csv(evidence: Evidence) -> str:
    rows = [
        [name, evidence.examples[name], evidence.fingerprints[name]]
        for name in evidence.config.companies
    ]
    return _csv(COMPANY_COLUMNS, rows)


def _teacher_csv(evidence: Evidence) -> str:
    rows = [
        [p.number, repr(p.loss), "" if p.accuracy is None else repr(p.accuracy)]
        for p in evidence.curve
    ]
    return _csv(TEACHER_COLUMNS, rows)


def _student_csv(student: StudentLoss) -> str:
    return _csv(
        STUDENT_COLUMNS, [["" if value is None else value for value in asdict(student).values()]]
    )


def _csv(header: Sequence[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def read_companies(run: RunDirectory) -> tuple[dict[str, int], dict[str, str]]:
    """Examples and fingerprint of each company, as registered."""
    examples: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for row, where in read_table(run.file(files.COMPANIES), COMPANY_COLUMNS):
        company = row["company"]
        examples[company], fingerprints[company] = (
            _number(int, row["examples"], where),
            row["fingerprint"],
        )
    return examples, fingerprints


def _read_teacher(run: RunDirectory) -> tuple[TeacherLoss, ...]:
    path = run.file(files.TEACHER)
    curve = tuple(
        TeacherLoss(
            _number(int, row["round"], where),
            _number(float, row["loss"], where),
            _number(float, row["accuracy"], where) if row["accuracy"] else None,
        )
        for row, where in read_table(path, TEACHER_COLUMNS)
    )
    if not curve:
        raise InputError(f"{path} holds no round of the teacher.")
    return curve


def _read_student(run: RunDirectory) -> StudentLoss:
    path = run.file(files.STUDENT)
    found = [
        StudentLoss(
            row["model"],
            _number(int, row["parameters"], where),
            row["transfer_set"],
            _number(int, row["rows"], where),
            _number(float, row["loss"], where),
            _number(float, row["accuracy"], where) if row["accuracy"] else None,
        )
        for row, where in read_table(path, STUDENT_COLUMNS)
    ]
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} students; one is deployed.")
    return found[0]


def _read_sizes(run: RunDirectory) -> dict[str, int]:
    try:
        sizes = json.loads(run.read_text(files.LAW))["sizes"]
        return {model: int(size) for model, size in sizes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{run.file(files.LAW)} is damaged: {error}.") from None


def _number(kind: type[Number], text: str, where: str) -> Number:
    try:
        number = kind(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from None
    if not math.isfinite(number):
        raise InputError(f"{where}: {text!r} is no finite number.")
    return number


def save_validation(
    validation_NV: NDArray[np.float64], companies: tuple[str, ...], model: str
) -> bytes:
    """The bytes of validation.npz."""
    buffer = io.BytesIO()
    np.savez(buffer, values=validation_NV, companies=np.array(companies), model=np.array(model))
    return buffer.getvalue()


def load_validation(data: bytes) -> NDArray[np.float64]:
    """(N, V) from validation.npz. Raises InputError when it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            values: NDArray[np.float64] = arrays["values"]
    except Exception as error:  # zip and numpy raise a dozen kinds for a damaged file
        raise InputError(f"validation.npz is damaged: {error}.") from None
    return values
