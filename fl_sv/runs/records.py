"""The contents of a run's JSON files and of its ledger, as typed records.

The records are functions of the run's evidence, so `fl-sv verify` makes them again and compares.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, ValidationError

from fl_sv.config import config_hash
from fl_sv.config.base import Frozen, first_problem
from fl_sv.config.valuation import Payouts
from fl_sv.design.rates import rates_in_force
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import EMPTY
from fl_sv.law.alarms import Alarm
from fl_sv.payment.settlement import NOT_DIVIDED, Evidence, Payment, Settlement
from fl_sv.runs import files
from fl_sv.valuation.students import student_remarks
from fl_sv.valuation.untrained import untrained_remarks


def _require_base64(text: str) -> str:
    if b64encode(b64decode(text, validate=True)).decode() != text:
        raise ValueError("it is not base64 as it is written")
    return text


def _require_time(text: str) -> str:
    if datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="seconds") != text:
        raise ValueError("it is not a time in UTC, to the second, as it is written")
    return text


def _require_sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("it is no sha256 in hex digits")
    return text


Sha256 = Annotated[str, AfterValidator(_require_sha256)]


class Record(Frozen):
    """Facts with one JSON form."""

    def body(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return self.model_dump(mode="json")


class FileRecord(Record):
    """The whole content of a JSON file of the run directory."""

    FILE: ClassVar[str]

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(self.body(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record in the text of the file. Raises InputError when it is damaged."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(
                f"{cls.FILE} is damaged: {first_problem(error)}. `fl-sv verify` tells what changed."
                " A file of another version of fl-sv needs that version."
            ) from None


class LedgerRecord(Record):
    """The body of a line of the ledger."""

    KIND: ClassVar[str]

    @classmethod
    def from_body(cls, body: Mapping[str, Any], where: str) -> Self:
        """The record in the body of the line at `where`.

        Raises VerificationError when it is none of this kind.
        """
        try:
            return cls.model_validate_json(json.dumps(body))
        except ValidationError as error:
            raise VerificationError(
                f"{where}: it is no record of the kind {cls.KIND}: {first_problem(error)}."
            ) from None


# --- law.json -------------------------------------------------------------------------------------


class FiredAlarm(Record):
    """An alarm: which check, the sentence for a person, the coalition, and the figures."""

    code: str
    sentence: str
    coalition: int | None
    figures: dict[str, float]

    @classmethod
    def of(cls, alarm: Alarm) -> Self:
        """The alarm as a record."""
        return cls(
            code=alarm.code,
            sentence=str(alarm),
            coalition=alarm.coalition,
            figures=alarm.figures,
        )


class NextRunRecord(Record):
    """The large run to add next (`fl_sv.design.large_runs.NextLargeRun`)."""

    anchors: int = Field(description="the value of `law.anchors` that adds it")
    coalition: int
    narrower: float
    price: float


class MoreSeedsRecord(Record):
    """More seeds of every large run (`fl_sv.design.large_runs.MoreSeeds`)."""

    large_seeds: int
    narrower: float
    price: float


class LawRecord(FileRecord):
    """The content of law.json."""

    FILE: ClassVar[str] = files.LAW

    name: str
    increasing: bool  # in the loss of the largest small model, and in nothing else
    holds: bool
    alarms: tuple[str, ...]  # sentences, each starting with its code
    fired: tuple[FiredAlarm, ...]  # the same alarms, with code, coalition and figures
    tested: tuple[str, ...]
    untested: tuple[str, ...]
    parameters: dict[str, float]
    anchors: dict[int, float]  # measured mean loss of the large model, by coalition
    diagnostics: dict[str, float]
    remarks: tuple[str, ...]  # what else must be known about the small models
    next_run: NextRunRecord | None
    more_seeds: MoreSeedsRecord | None = None  # None in runs of older versions
    sizes: dict[str, int]  # parameters of every model, ascending

    @classmethod
    def of(cls, evidence: Evidence, settlement: Settlement) -> Self:
        """The record of the law that was fitted."""
        law, next_run = settlement.law, settlement.next_run
        return cls(
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
            remarks=(
                *student_remarks(evidence.config, law.findings),
                *untrained_remarks(evidence.config, _untrained_losses(evidence)),
            ),
            next_run=NextRunRecord(**asdict(next_run)) if next_run else None,
            more_seeds=MoreSeedsRecord(**asdict(settlement.more_seeds)),
            sizes=evidence.sizes,
        )


def _untrained_losses(evidence: Evidence) -> dict[str, list[float]]:
    """The losses of each untrained model by seed; the empty coalition is the first of a column."""
    table = evidence.table
    return {model: table.loss_by_seed(model)[:, EMPTY].tolist() for model in table.models}


# --- the ends of a ledger's section ---------------------------------------------------------------


class OpenRecord(LedgerRecord):
    """The first line of a section: command, time, software, and the public key of the signer."""

    KIND: ClassVar[str] = "open"

    command: str
    time: Annotated[str, AfterValidator(_require_time)]  # ISO 8601
    software: dict[str, str]  # versions, by name
    public_key: Annotated[str, AfterValidator(_require_base64)]  # its 32 bytes in base64

    @property
    def signer(self) -> bytes:
        """The bytes of the public key."""
        return b64decode(self.public_key)


class CloseRecord(LedgerRecord):
    """The last line of a section: how many lines there are, and the hashes of the run's files."""

    KIND: ClassVar[str] = "close"

    lines: int
    files: dict[str, Sha256]  # by name


# --- the records of a run -------------------------------------------------------------------------


class ConfigRecord(LedgerRecord):
    """Which config the run had."""

    KIND: ClassVar[str] = "config"

    sha256: str
    seed: int


class CompaniesRecord(LedgerRecord):
    """What every company registered."""

    KIND: ClassVar[str] = "companies"

    examples: dict[str, int]
    fingerprints: dict[str, str]


class StudentRecord(Record):
    """The deployed student on the validation set (`fl_sv.payment.settlement.StudentLoss`)."""

    model: str
    parameters: int
    transfer_set: str
    rows: int
    loss: float
    accuracy: float | None


class ModelsRecord(LedgerRecord):
    """Parameters and learning rate of every model, and the utility of the deployed one."""

    KIND: ClassVar[str] = "models"

    parameters: dict[str, int]
    deployed_utility: float
    student: StudentRecord | None
    learning_rates: dict[str, float] | None = None  # None where the config states all of them

    def body(self) -> dict[str, Any]:
        body = super().body()
        if self.learning_rates is None:
            del body["learning_rates"]
        return body


class LawSummary(LedgerRecord):
    """Which law was fitted, and whether it holds."""

    KIND: ClassVar[str] = "law"

    name: str
    holds: bool
    alarms: tuple[str, ...]


class ValuesRecord(LedgerRecord):
    """The value of every company; its body is the mapping itself."""

    KIND: ClassVar[str] = "values"

    values: dict[str, float]

    def body(self) -> dict[str, Any]:
        return dict(self.values)

    @classmethod
    def from_body(cls, body: Mapping[str, Any], where: str) -> Self:
        return super().from_body({"values": body}, where)


class PaymentRecord(LedgerRecord):
    """A payment, with the rules by which it is computed again."""

    KIND: ClassVar[str] = "payouts"

    amounts: dict[str, int]  # cents
    rules: Payouts
    accepted: tuple[str, ...]  # codes of the alarms that were accepted
    payable: bool
    alarms: tuple[FiredAlarm, ...]  # all that fired, accepted or not

    @classmethod
    def of(cls, payment: Payment) -> Self:
        """The record of a payment."""
        return cls(
            amounts=payment.amounts,
            rules=payment.rules,
            accepted=payment.accepted,
            payable=not payment.objections,
            alarms=tuple(map(FiredAlarm.of, payment.alarms)),
        )

    @property
    def objections(self) -> tuple[FiredAlarm, ...]:
        """The alarms that block payment."""
        return tuple(
            alarm
            for alarm in self.alarms
            if alarm.code == NOT_DIVIDED or alarm.code not in self.accepted
        )

    @property
    def accepted_alarms(self) -> tuple[FiredAlarm, ...]:
        """The alarms that fired and were accepted by name."""
        return tuple(alarm for alarm in self.alarms if alarm not in self.objections)


class ReportRecord(LedgerRecord):
    """The page that was written about the tables."""

    KIND: ClassVar[str] = "report"

    sha256: Sha256  # of report.html
    head: Sha256  # of the ledger's line that the page quotes


def run_records(evidence: Evidence, settlement: Settlement) -> list[LedgerRecord]:
    """The records of the ledger's first section, each a function of the evidence."""
    config, law, student = evidence.config, settlement.law, evidence.student
    values = {company.name: company.value for company in settlement.valuation.companies}
    return [
        ConfigRecord(sha256=config_hash(config), seed=config.seed),
        CompaniesRecord(examples=evidence.examples, fingerprints=evidence.fingerprints),
        ModelsRecord(
            parameters=evidence.sizes,
            deployed_utility=evidence.deployed_utility,
            student=StudentRecord(**asdict(student)) if student else None,
            learning_rates=rates_in_force(config, evidence.rates) if evidence.rates else None,
        ),
        LawSummary(name=law.name, holds=law.holds, alarms=tuple(map(str, law.alarms))),
        ValuesRecord(values=values),
        PaymentRecord.of(settlement.payment),
    ]


REPORT_COMMAND = "report"
# What a section of the ledger holds, by the command that wrote it: these lines in this order.
SECTIONS: dict[str, tuple[type[LedgerRecord], ...]] = {
    "run": (
        OpenRecord,
        ConfigRecord,
        CompaniesRecord,
        ModelsRecord,
        LawSummary,
        ValuesRecord,
        PaymentRecord,
        CloseRecord,
    ),
    "pay": (OpenRecord, PaymentRecord, CloseRecord),
    REPORT_COMMAND: (OpenRecord, ReportRecord, CloseRecord),
}
