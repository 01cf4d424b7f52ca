"""Everything the report is made from, read once from the run directory.

Shapes: N companies, C coalitions of the design, ascending: all 2**N, or a sample.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.valuation import Payouts
from fl_sv.errors import InputError, VerificationError
from fl_sv.law.alarms import code_of
from fl_sv.payment.payouts import read_payouts
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import fingerprint
from fl_sv.runs.ledger import CLOSE, OPEN, Record, file_hash, newest, read_ledger, signers
from fl_sv.runs.tables import PAYOUTS, read_evidence, rules_of
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import Valuation


@dataclass(frozen=True)
class LawTable:
    """The content of law.json, and the large model's loss that the law predicts for the design's
    coalitions.
    """

    name: str
    increasing: bool  # in the loss of the largest small model alone
    alarms: tuple[str, ...]
    tested: tuple[str, ...]
    untested: tuple[str, ...]
    parameters: dict[str, Any]
    diagnostics: dict[str, Any]
    remarks: tuple[str, ...]  # what else must be known about the small models
    anchors: dict[int, float]  # measured mean loss of the large model by coalition
    next_run: dict[str, Any] | None  # what one large run more would tell
    small_C: NDArray[np.float64]  # mean loss of the small model that is shown beside it
    predicted_C: NDArray[np.float64]
    low_C: NDArray[np.float64]
    high_C: NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """The newest payouts record of the ledger: what is paid by which rules, and what stands against
    it.
    """

    amounts: dict[str, int]  # cents, as in payouts.csv
    rules: Payouts
    payable: bool
    objections: tuple[str, ...]  # alarms that block payment
    accepted: tuple[str, ...]  # codes of alarms that fired and were accepted by name
    accepted_alarms: tuple[str, ...]  # their sentences


@dataclass(frozen=True)
class Section:
    """One command that wrote to the ledger."""

    number: int
    command: str
    time: str
    signer: str  # fingerprint of its key
    software: dict[str, str]


@dataclass(frozen=True)
class LedgerHead:
    """Where the ledger stands."""

    lines: int
    digest: str  # sha256 of the last line
    sections: tuple[Section, ...]
    config_digest: str


@dataclass(frozen=True)
class Tables:
    """A finished run as the report sees it."""

    evidence: Evidence
    valuation: Valuation
    law: LawTable
    decision: Decision
    ledger: LedgerHead
    costs: dict[str, dict[str, float]]  # by stage: seconds, company_seconds, bytes, flops
    sweep_share: float | None  # the sweep's FLOPs over the teacher's


def read_tables(run: RunDirectory) -> Tables:
    """Raises InputError for a table that is missing or damaged, VerificationError for one that was
    changed.
    """
    records = read_ledger(run)
    _require_as_signed(run, records)
    evidence = read_evidence(run)
    valuation = Valuation.from_json(run.read_text(files.VALUATION))
    try:
        law = _law(json.loads(run.read_text(files.LAW)), evidence, valuation)
        cost = json.loads(run.read_text(files.COST))
        return Tables(
            evidence=evidence,
            valuation=valuation,
            law=law,
            decision=_decision(run, records, law.alarms, evidence.config.law.accept),
            ledger=_head(records),
            costs=cost["stages"],
            sweep_share=cost["sweep_share_of_teacher_flops"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run.path}: a table lacks {error}. `fl-sv verify` tells what changed."
        ) from None


def _require_as_signed(run: RunDirectory, records: Sequence[Record]) -> None:
    """The page quotes the ledger's head, so it must not be made from tables that the head does not
    cover.
    """
    for name, expected in newest(records, CLOSE).body["files"].items():
        if file_hash(run, name) != expected:
            raise VerificationError(
                f"{name} was changed after it was signed; no report is made from it. "
                "`fl-sv verify` names every difference."
            )


def _equal(parameters: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """But for the last digits, in which machines differ."""
    return parameters.keys() == others.keys() and all(
        math.isclose(value, others[name], rel_tol=1e-6, abs_tol=1e-9)
        for name, value in parameters.items()
    )


def _law(content: dict[str, Any], evidence: Evidence, valuation: Valuation) -> LawTable:
    law = fit_to_table(evidence.config, evidence.table, evidence.sizes, evidence.examples)
    family = evidence.config.law.family
    if ":" in family and not (
        law.name == content["name"] and _equal(law.parameters, content["parameters"])
    ):
        raise InputError(
            f"law.family: {family} is not the function that the run used: it gives {law.name} with"
            f" {law.parameters}, law.json says {content['name']} with {content['parameters']}."
        )
    low_C, high_C = law.interval()
    return LawTable(
        name=content["name"],
        increasing=content["increasing"],
        alarms=tuple(content["alarms"]),
        tested=tuple(content["tested"]),
        untested=tuple(content["untested"]),
        parameters=content["parameters"],
        diagnostics=content["diagnostics"],
        remarks=tuple(content["remarks"]),
        anchors={int(coalition): loss for coalition, loss in content["anchors"].items()},
        next_run=content["next_run"],
        small_C=np.array(list(evidence.table.mean_losses(valuation.small_model).values())),
        predicted_C=law.predict(),
        low_C=low_C,
        high_C=high_C,
    )


def _decision(
    run: RunDirectory,
    records: Sequence[Record],
    law_alarms: Sequence[str],
    configured: Sequence[str],
) -> Decision:
    body = newest(records, PAYOUTS).body
    # An axiom's alarm that is accepted now stands in words only among the objections of an earlier
    # section.
    earlier = [
        text for record in records if record.kind == PAYOUTS for text in record.body["objections"]
    ]
    fired = list(dict.fromkeys([*law_alarms, *earlier]))
    # The config may accept what never fired; `fl-sv pay` cannot.
    of_config = [code for code in configured if code in map(code_of, fired)]
    accepted = tuple(
        dict.fromkeys([*of_config, *(code for code in body["accepted"] if code not in configured)])
    )
    return Decision(
        amounts=read_payouts(run.file(files.PAYOUTS)),
        rules=rules_of(body),
        payable=body["payable"],
        objections=tuple(body["objections"]),
        accepted=accepted,
        accepted_alarms=tuple(text for text in fired if code_of(text) in accepted),
    )


def _head(records: Sequence[Record]) -> LedgerHead:
    opened = [record for record in records if record.kind == OPEN]
    sections = tuple(
        Section(
            record.section,
            record.body["command"],
            record.body["time"],
            fingerprint(key),
            record.body["software"],
        )
        for record, key in zip(opened, signers(records), strict=True)
    )
    return LedgerHead(
        len(records), records[-1].digest, sections, newest(records, "config").body["sha256"]
    )
