"""What law.json and the lines of the ledger hold, as typed records that are read as they are written.

Every record is a function of the evidence, so `fl-sv verify` makes it again and compares.
"""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError

from fl_sv.config.base import Frozen
from fl_sv.config.valuation import Payouts
from fl_sv.errors import InputError
from fl_sv.law.alarms import Alarm
from fl_sv.payment.settlement import NOT_DIVIDED


class Record(Frozen):
    """A record with a text of its own."""

    def body(self) -> dict[str, Any]:
        """As JSON has it."""
        return self.model_dump(mode="json")

    @classmethod
    def read(cls, body: Mapping[str, Any], where: str) -> Self:
        """The record in `body`. Raises InputError that names `where` when it is none."""
        try:
            return cls.model_validate_json(json.dumps(body))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, problem["loc"]))
            what = (
                f"lacks {place!r}" if problem["type"] == "missing" else f"{place}: {problem['msg']}"
            )
            raise InputError(
                f"{where} is damaged: {what}. `fl-sv verify` tells what changed."
            ) from None


class FiredAlarm(Record):
    """An alarm: its code, what a person reads, the coalition it is about, the figures of the check."""

    code: str
    sentence: str
    coalition: int | None
    figures: dict[str, float]

    @classmethod
    def of(cls, alarm: Alarm) -> Self:
        return cls(
            code=alarm.code,
            sentence=str(alarm),
            coalition=alarm.coalition,
            figures=alarm.figures,
        )


class NextRunRecord(Record):
    """The large run that one more would be (`fl_sv.design.large_runs.NextLargeRun`)."""

    anchors: int = Field(description="the number to ask for as `law.anchors`")
    coalition: int
    narrower: float
    price: float


class LawRecord(Record):
    """The content of law.json."""

    name: str
    increasing: bool  # in the loss of the largest small model alone
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
    sizes: dict[str, int]  # parameters of every model, ascending

    def to_json(self) -> str:
        return json.dumps(self.body(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises InputError when the text is no law.json."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise InputError(
                f"law.json is damaged: {error}. `fl-sv verify` tells what changed."
            ) from None
        return cls.read(content, "law.json")


class PaymentRecord(Record):
    """The ledger's record of a payment, with the rules by which it is computed again."""

    amounts: dict[str, int]  # cents
    rules: Payouts
    accepted: tuple[str, ...]  # codes of the alarms that somebody decided on
    payable: bool
    alarms: tuple[FiredAlarm, ...]  # all that fired, accepted or not

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


class ModelsRecord(Record):
    """The ledger's record of the models: their parameters, and what the deployed one reached."""

    parameters: dict[str, int]
    deployed_utility: float
    student: dict[str, Any] | None = None
