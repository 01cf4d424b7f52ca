"""Everything that the report is made from, read once from the run directory.

Shapes: C coalitions of the design, ascending: all 2**N of N companies, or a sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import place_of
from fl_sv.law import Law
from fl_sv.payment.settlement import NOT_DIVIDED, Evidence
from fl_sv.payment.stopping import SampleState, sample_state
from fl_sv.report.splits import by_amount
from fl_sv.runs import files
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.held import HeldRun, hold
from fl_sv.runs.keys import key_fingerprint
from fl_sv.runs.ledger import (
    LedgerLine,
    newest,
    records_of,
    tables_head,
)
from fl_sv.runs.model_form import teacher_record
from fl_sv.runs.records import CloseRecord, ConfigRecord, LawRecord, OpenRecord, PaymentRecord
from fl_sv.runs.tables import read_cost, read_evidence, read_law, read_valuation
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.records import CompanyValue, Valuation


@dataclass(frozen=True)
class Predictions:
    """The losses that the law predicts for the coalitions of the design, ascending."""

    coalitions: Sequence[int]
    small_C: NDArray[np.float64]  # mean loss of the largest small model
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
    """The line of the ledger that closes the newest tables, and the sections that lead to it."""

    lines: int
    digest: str  # sha256 of this line
    sections: tuple[Section, ...]
    config_digest: str
    files: dict[str, str]  # sha256 of every file, by name


@dataclass(frozen=True)
class FinishedRun:
    """A finished run as the report sees it: every company goes by the name that a person reads."""

    evidence: Evidence
    valuation: Valuation
    law: LawRecord
    predictions: Predictions
    payment: PaymentRecord  # the newest
    ledger: LedgerHead
    cost: CostRecord
    sample: SampleState | None  # None where all coalitions were measured
    trainable: int  # parameters of the large model that are trained, of `parameters` in all
    parameters: int

    @property
    def by_amount(self) -> list[CompanyValue]:
        """The companies from the largest amount down, equal amounts by value, then by name."""
        return by_amount(self.valuation.companies, self.payment.amounts)

    def loss(self, coalition: int) -> float:
        """The large model's loss on a coalition of the design: measured, else predicted."""
        if coalition in self.law.anchors:
            return self.law.anchors[coalition]
        place = place_of(coalition, self.predictions.coalitions)
        assert place is not None, coalition
        return float(self.predictions.predicted_C[place])

    @property
    def gain(self) -> float:
        """The large model's total improvement."""
        return self.valuation.utility_grand - self.valuation.utility_empty

    @property
    def is_divided(self) -> bool:
        """Whether the pot was divided; where it could not be, every amount is zero."""
        return all(alarm.code != NOT_DIVIDED for alarm in self.payment.alarms)

    @property
    def is_complete(self) -> bool:
        """Whether every coalition has a loss."""
        return len(self.predictions.coalitions) == 1 << self.evidence.config.n_companies


def read_finished_run(directory: RunDirectory, law: Law | None = None) -> FinishedRun:
    """Everything that the report needs from the run directory.

    law: fitted to the run's tables; None fits it again.

    Raises InputError for a table that is missing or damaged, VerificationError for one that was
    changed after it was signed.
    """
    run = hold(directory)
    ledger = run.ledger()
    _require_as_signed(run, ledger)
    evidence, valuation = read_evidence(run), read_valuation(run)
    recorded = read_law(run)
    # Runs of older versions have no such file, and nothing frozen.
    model = teacher_record(run) if run.has(files.MODEL_RECORD) else None
    size = evidence.sizes[evidence.table.large]
    if law is None:
        law = _fitted(evidence, recorded)
    finished = FinishedRun(
        evidence=evidence,
        valuation=valuation,
        law=recorded,
        predictions=_predictions(law, evidence, valuation),
        payment=newest(ledger, PaymentRecord),
        ledger=_head(ledger),
        cost=read_cost(run),
        sample=None if evidence.config.coalitions.stop is None else sample_state(evidence),
        trainable=model.trainable if model else size,
        parameters=model.parameters if model else size,
    )
    return with_names(finished, evidence.config.names)


def with_names(run: FinishedRun, names: Mapping[str, str]) -> FinishedRun:
    """The same run with names for the companies' handles. Nothing may be computed from it again.

    names: by handle, where the two differ.
    """

    def name(company: str) -> str:
        return names.get(company, company)

    def by_name(mapping: dict[str, Any]) -> dict[str, Any]:
        return {name(company): value for company, value in mapping.items()}

    evidence, config = run.evidence, run.evidence.config
    companies = tuple(map(name, config.companies))
    unions = {key: tuple(map(name, some)) for key, some in config.values.unions.items()}
    defects = tuple(
        defect.model_copy(
            update={key: name(getattr(defect, key)) for key in ("company", "of") if key in fields}
        )
        for defect in config.data.corruptions
        for fields in [type(defect).model_fields]
    )
    shown = config.model_copy(
        update={
            "companies": companies,
            "data": config.data.model_copy(update={"corruptions": defects}),
            "values": config.values.model_copy(update={"unions": unions}),
        }
    )
    return replace(
        run,
        evidence=replace(
            evidence,
            config=shown,
            table=replace(evidence.table, companies=companies),
            examples=by_name(evidence.examples),
            fingerprints=by_name(evidence.fingerprints),
        ),
        valuation=run.valuation.named(names),
        payment=run.payment.model_copy(update={"amounts": by_name(run.payment.amounts)}),
    )


def _require_as_signed(run: HeldRun, ledger: Sequence[LedgerLine]) -> None:
    """Raises VerificationError for a table that differs from its hash in the ledger.

    The page quotes the head of the ledger, so every table on it must be covered by that head.
    """
    for name, expected in newest(ledger, CloseRecord).files.items():
        if not run.was_read(name):
            problem = f"cannot be read: {run.faults.get(name, 'it is missing')}"
        elif run.digest(name) != expected:
            problem = "was changed after it was signed"
        else:
            continue
        raise VerificationError(
            f"{name} {problem}, so no report is made from it. `fl-sv verify` names every"
            " difference."
        )


def _fitted(evidence: Evidence, recorded: LawRecord) -> Law:
    """The law, fitted to the tables.

    Raises InputError when the config names a user's function that differs from that of the run.
    """
    law = fit_to_table(
        evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
    )
    family = evidence.config.law.family
    same = law.name == recorded.name and _equal(law.parameters, recorded.parameters)
    if ":" in family and not same:
        raise InputError(
            f"law.family: {family} is not the function that the run used. It gives {law.name} with"
            f" {law.parameters}; law.json has {recorded.name} with {recorded.parameters}. Put the"
            " function of the run on the Python path."
        )
    return law


def _equal(parameters: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Whether the parameters agree, except for the last digits, in which machines differ."""
    return parameters.keys() == others.keys() and all(
        math.isclose(value, others[name], rel_tol=1e-6, abs_tol=1e-9)
        for name, value in parameters.items()
    )


def _predictions(law: Law, evidence: Evidence, valuation: Valuation) -> Predictions:
    low_C, high_C = law.interval()
    small_C = evidence.table.mean_loss(valuation.small_model)
    coalitions = evidence.table.coalitions(valuation.small_model)
    return Predictions(coalitions, small_C, law.predict(), low_C, high_C)


def _head(ledger: Sequence[LedgerLine]) -> LedgerHead:
    head = tables_head(ledger)
    lines = ledger[: head.number]
    sections = tuple(
        Section(
            number, opened.command, opened.time, key_fingerprint(opened.signer), opened.software
        )
        for number, opened in enumerate(records_of(lines, OpenRecord), start=1)
    )
    config = newest(lines, ConfigRecord)
    return LedgerHead(
        len(lines), head.digest, sections, config.sha256, head.read(CloseRecord).files
    )
