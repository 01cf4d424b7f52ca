"""Everything the report is made from, read once from the run directory.

Shapes: N companies, C coalitions of the design, ascending: all 2**N, or a sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, VerificationError
from fl_sv.payment.settlement import Evidence
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.keys import fingerprint
from fl_sv.runs.ledger import LedgerLine, file_hash, newest, read_ledger, records_of
from fl_sv.runs.records import CloseRecord, ConfigRecord, LawRecord, OpenRecord, PaymentRecord
from fl_sv.runs.tables import read_cost, read_evidence, read_law, read_valuation
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
    cost: CostRecord


def read_tables(run: RunDirectory) -> Tables:
    """Raises InputError for a table that is missing or damaged, VerificationError for one that was
    changed.
    """
    ledger = read_ledger(run)
    _require_as_signed(run, ledger)
    evidence, valuation, law = read_evidence(run), read_valuation(run), read_law(run)
    return Tables(
        evidence=evidence,
        valuation=valuation,
        law=law,
        predictions=_predictions(law, evidence, valuation),
        decision=newest(ledger, PaymentRecord),
        ledger=_head(ledger),
        cost=read_cost(run),
    )


def _require_as_signed(run: RunDirectory, ledger: Sequence[LedgerLine]) -> None:
    """The page quotes the ledger's head, so it must not be made from tables that the head does not
    cover.
    """
    for name, expected in newest(ledger, CloseRecord).files.items():
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


def _head(ledger: Sequence[LedgerLine]) -> LedgerHead:
    sections = tuple(
        Section(number, opened.command, opened.time, fingerprint(opened.signer), opened.software)
        for number, opened in enumerate(records_of(ledger, OpenRecord), start=1)
    )
    config = newest(ledger, ConfigRecord)
    return LedgerHead(len(ledger), ledger[-1].digest, sections, config.sha256)
