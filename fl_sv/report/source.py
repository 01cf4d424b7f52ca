"""Everything the report is made from, read once from the run directory.

Shapes: N companies, C coalitions of the design, ascending: all 2**N, or a sample.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, VerificationError
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import fingerprint
from fl_sv.runs.ledger import CLOSE, OPEN, Record, file_hash, newest, read_ledger, signers
from fl_sv.runs.publish import PAYOUTS
from fl_sv.runs.records import LawRecord, PaymentRecord
from fl_sv.runs.tables import read_evidence, read_law
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import Valuation


@dataclass(frozen=True)
class Predictions:
    """What the law says of the design's coalitions, ascending."""

    small_C: NDArray[np.float64]  # mean loss of the small model that is shown beside it
    predicted_C: NDArray[np.float64]  # loss of the large model
    low_C: NDArray[np.float64]
    high_C: NDArray[np.float64]


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
    law: LawRecord
    predictions: Predictions
    decision: PaymentRecord  # the newest: what is paid by which rules, and what stands against it
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
    law = read_law(run)
    try:
        cost = json.loads(run.read_text(files.COST))
        return Tables(
            evidence=evidence,
            valuation=valuation,
            law=law,
            predictions=_predictions(law, evidence, valuation),
            decision=PaymentRecord.read(newest(records, PAYOUTS).body, files.LEDGER),
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


def _predictions(recorded: LawRecord, evidence: Evidence, valuation: Valuation) -> Predictions:
    """Raises InputError when a law of the user's own is not the one that the run used."""
    law = fit_to_table(evidence.config, evidence.table, evidence.sizes, evidence.examples)
    family = evidence.config.law.family
    if ":" in family and not (
        law.name == recorded.name and _equal(law.parameters, recorded.parameters)
    ):
        raise InputError(
            f"law.family: {family} is not the function that the run used: it gives {law.name} with"
            f" {law.parameters}, law.json says {recorded.name} with {recorded.parameters}."
        )
    low_C, high_C = law.interval()
    small_C = np.array(list(evidence.table.mean_losses(valuation.small_model).values()))
    return Predictions(small_C, law.predict(), low_C, high_C)


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
