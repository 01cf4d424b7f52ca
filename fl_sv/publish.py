"""From a settlement to the files of the run directory, and back from the files to the evidence.

`utilities.csv`, `valuation.json` and `payouts.csv` are functions of config and seed alone, byte for byte.
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from fl_sv import rundir
from fl_sv.config import config_hash
from fl_sv.config.schema import Payouts
from fl_sv.errors import InputError
from fl_sv.keys import owner_key
from fl_sv.ledger import append_section
from fl_sv.payouts import payouts_csv
from fl_sv.rundir import RunDirectory
from fl_sv.settlement import Evidence, Settlement, TeacherLoss
from fl_sv.utilities import read_utilities, utilities_csv
from fl_sv.valuation import law_text, load_validation, save_validation

SEALED = (
    rundir.CONFIG,
    rundir.UTILITIES,
    rundir.COMPANIES,
    rundir.TEACHER,
    rundir.VALIDATION,
    rundir.LAW,
    rundir.VALUATION,
    rundir.PAYOUTS,
    rundir.COST,
)


def publish(run: RunDirectory, evidence: Evidence, settlement: Settlement, software: dict[str, str]) -> None:
    """Writes the run's tables and, last and in one piece, the first section of its ledger."""
    config = evidence.config
    companies = config.companies
    run.write_text(rundir.UTILITIES, utilities_csv(evidence.table))
    run.write_text(rundir.COMPANIES, _companies_csv(evidence))
    run.write_text(rundir.TEACHER, _teacher_csv(evidence))
    run.write_bytes(
        rundir.VALIDATION, save_validation(evidence.validation_NV, companies, settlement.valuation.small_model)
    )
    run.write_text(rundir.LAW, law_text(settlement.law, evidence.sizes))
    run.write_text(rundir.VALUATION, settlement.valuation.to_json())
    run.write_text(rundir.PAYOUTS, payouts_csv(settlement.amounts))
    records = [
        ("config", {"sha256": config_hash(config), "seed": config.seed}),
        ("companies", {"examples": evidence.examples, "fingerprints": evidence.fingerprints}),
        ("models", {"parameters": evidence.sizes, "deployed_utility": evidence.deployed_utility}),
        ("law", {"name": settlement.law.name, "holds": settlement.law.holds, "alarms": list(settlement.law.alarms)}),
        ("values", {company.name: company.value for company in settlement.valuation.companies}),
        payouts_record(settlement.amounts, config.payouts, config.law.accept, settlement.objections),
    ]
    append_section(run, owner_key(), "run", software, records, SEALED)


def payouts_record(
    amounts: dict[str, int], rules: Payouts, accepted: Sequence[str], objections: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """The ledger's record of amounts, with the rules by which they are recomputed."""
    body = {
        "amounts": amounts,
        "rules": rules.model_dump(mode="json"),
        "accepted": list(accepted),
        "payable": not objections,
        "objections": list(objections),
    }
    return "payouts", body


def read_evidence(run: RunDirectory) -> Evidence:
    """The evidence of a finished run, from its tables alone. Raises InputError when one is missing or damaged."""
    config = run.config
    examples, fingerprints = read_companies(run)
    if tuple(examples) != config.companies:
        raise InputError(f"{run.file(rundir.COMPANIES)}: the companies are not those of {rundir.CONFIG}.")
    law = json.loads(run.read_text(rundir.LAW))
    run.read_text(rundir.UTILITIES)
    return Evidence(
        config=config,
        table=read_utilities(run.file(rundir.UTILITIES), config.companies),
        sizes={model: int(size) for model, size in law["sizes"].items()},
        examples=examples,
        fingerprints=fingerprints,
        validation_NV=load_validation(run.file(rundir.VALIDATION).read_bytes()),
        curve=_read_teacher(run),
    )


def _companies_csv(evidence: Evidence) -> str:
    rows = [[name, evidence.examples[name], evidence.fingerprints[name]] for name in evidence.config.companies]
    return _csv(["company", "examples", "fingerprint"], rows)


def _teacher_csv(evidence: Evidence) -> str:
    rows = [[p.number, repr(p.loss), "" if p.accuracy is None else repr(p.accuracy)] for p in evidence.curve]
    return _csv(["round", "loss", "accuracy"], rows)


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def read_companies(run: RunDirectory) -> tuple[dict[str, int], dict[str, str]]:
    rows = _rows(run, rundir.COMPANIES)
    try:
        examples = {row["company"]: int(row["examples"]) for row in rows}
        return examples, {row["company"]: row["fingerprint"] for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.file(rundir.COMPANIES)} is damaged: {error}.") from None


def _read_teacher(run: RunDirectory) -> tuple[TeacherLoss, ...]:
    rows = _rows(run, rundir.TEACHER)
    try:
        return tuple(
            TeacherLoss(int(row["round"]), float(row["loss"]), float(row["accuracy"]) if row["accuracy"] else None)
            for row in rows
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.file(rundir.TEACHER)} is damaged: {error}.") from None


def _rows(run: RunDirectory, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run.read_text(name))))
