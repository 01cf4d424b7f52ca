"""What follows from a run's evidence, computed again, and where what was signed differs from it.

Three rules, so that a processor that rounds otherwise finds no difference, and a changed number is
one:

1. Law, values and intervals are computed again from the evidence. Floats agree to 1e-9 of the
   numbers from which they are computed: the losses of a model for values, 1 for the law's figures,
   which are shares of the model's gain.
2. All else follows from the values *as they were signed*, and agrees exactly: order, cents, the
   records of the ledger.
3. A decision that lies on its threshold may fall the other way on another processor. Where the law
   or its alarms differ, everything is computed again from losses that are changed by rounding
   (`fl_sv.runs.elsewhere`). What was signed must agree as a whole with one of the outcomes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fl_sv.config.valuation import FixedPot
from fl_sv.design.large_runs import require_planned_large_runs
from fl_sv.errors import FlsvError, listed
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law.alarms import Alarm, codes_of
from fl_sv.payment.settlement import Evidence, Payment, Settlement, divide_pot, settle
from fl_sv.payment.stopping import require_large_enough
from fl_sv.runs import files
from fl_sv.runs.compare import Units, compare
from fl_sv.runs.elsewhere import rounded_elsewhere
from fl_sv.runs.ledger import LedgerLine
from fl_sv.runs.records import (
    FileRecord,
    FiredAlarm,
    LawRecord,
    LawSummary,
    LedgerRecord,
    PaymentRecord,
    run_records,
)
from fl_sv.valuation.appraise import order_of, paid_weighting, ranking, uncertainty_of_values
from fl_sv.valuation.axioms import AXIOM_QUESTIONS
from fl_sv.valuation.records import Order, Valuation

# The law's figures are shares of what a model gains. Where it gains little of its loss, so many
# times more of the last digits are noise.
MOST_NOISE = 1000.0


@dataclass(frozen=True)
class Signed:
    """What the directory says."""

    evidence: Evidence
    law: LawRecord
    valuation: Valuation
    ledger: Sequence[LedgerLine]


@dataclass(frozen=True)
class Outcome:
    """What was computed again, and where what was signed differs from it.

    settlement: with the signed values; None where nothing could be computed.
    undecided: whether rounding could decide otherwise, so that another outcome is worth a try.
    """

    settlement: Settlement | None
    differences: tuple[str, ...]
    undecided: bool


def recomputed(signed: Signed) -> Outcome:
    """The outcome with which what was signed agrees; else the one of this processor."""
    here = _outcome(signed, signed.evidence)
    if not here.undecided:
        return here
    elsewhere = (_outcome(signed, other) for other in rounded_elsewhere(signed.evidence))
    return next((outcome for outcome in elsewhere if not outcome.differences), here)


def _outcome(signed: Signed, evidence: Evidence) -> Outcome:
    """evidence: the signed one, or the same with losses that are changed by rounding."""
    config = evidence.config
    try:
        require_planned_large_runs(
            config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
        )
        require_large_enough(evidence)
        settlement = settle(evidence)
    except FlsvError as error:
        return Outcome(None, (f"nothing more can be recomputed: {error}",), undecided=True)
    units = _units(signed.evidence)
    alarms = settlement.alarms
    payment = divide_pot(
        signed.evidence, signed.valuation, alarms, config.payouts, config.law.accept
    )
    decided = [
        *_law_differences(signed, settlement, units),
        *_alarm_differences(signed, alarms, units),
    ]
    valuation = replace(
        settlement.valuation,
        payable=not payment.objections,
        order=_order(signed, evidence, settlement),
    )
    as_signed = replace(settlement, valuation=signed.valuation, payment=payment)
    differences = [
        *_valuation_differences(signed, valuation, units),
        *decided,
        *_record_differences(signed, as_signed),
        *_later_payment_differences(signed, alarms),
    ]
    return Outcome(as_signed, tuple(differences), undecided=bool(decided))


# --- units ----------------------------------------------------------------------------------------


def _units(evidence: Evidence) -> Units:
    """Of the law's figures, and of losses and utilities."""
    table = evidence.table
    noise, scale = [1.0], {}
    for model in (table.largest_small, table.large):
        losses = table.mean_losses(model)
        scale[model] = max(map(abs, losses.values()))
        gain = abs(losses[EMPTY] - losses[grand(evidence.config.n_companies)])
        noise.append(scale[model] / gain if gain else MOST_NOISE)
    large = ("utility_empty", "utility_grand", "value", "low", "high", "anchors")
    of_large = dict.fromkeys(large, scale[table.large])
    return Units(
        min(max(noise), MOST_NOISE), of_large | {"small_value": scale[table.largest_small]}
    )


def _units_of(alarm: FiredAlarm, units: Units) -> Units:
    """An axiom's figures are values; those of the law are shares."""
    return Units(units.of["value"]) if alarm.code in AXIOM_QUESTIONS else Units(units.usual)


# --- what is computed again -----------------------------------------------------------------------


def _law_differences(signed: Signed, settlement: Settlement, units: Units) -> Iterator[str]:
    again = LawRecord.of(signed.evidence, settlement)
    yield from compare(files.LAW, _content(signed.law), _content(again), units)


def _alarm_differences(signed: Signed, alarms: Sequence[Alarm], units: Units) -> Iterator[str]:
    """The alarms of every payment: those of law and axioms, and those of its own division."""
    for line in signed.ledger:
        if line.kind != PaymentRecord.KIND:
            continue
        paid = line.read(PaymentRecord)
        again = PaymentRecord.of(_paid_again(signed, alarms, paid)).alarms
        where = f"{line.where}, alarms"
        if len(paid.alarms) != len(again):
            yield (
                f"{where} are {[alarm.code for alarm in paid.alarms]}; recomputed they are"
                f" {[alarm.code for alarm in again]}"
            )
            continue
        for one, other in zip(paid.alarms, again, strict=True):
            yield from compare(where, one.body(), other.body(), _units_of(other, units))


def _valuation_differences(signed: Signed, again: Valuation, units: Units) -> Iterator[str]:
    evidence = signed.evidence
    recorded, computed = (
        json.loads(each.to_json(evidence.config.names)) for each in (signed.valuation, again)
    )
    yield from compare(files.VALUATION, recorded, computed, units)
    means = evidence.validation_NV.mean(axis=1).tolist()
    weighting = paid_weighting(evidence.config, evidence.weighting)
    small = weighting.values(-evidence.table.mean_loss(evidence.table.largest_small)).tolist()
    yield from compare(
        f"{files.VALIDATION}: mean of row ", means, small, units.under("small_value")
    )


def _order(signed: Signed, evidence: Evidence, settlement: Settlement) -> tuple[Order, ...]:
    """The order of the signed values: equal ones may be a last digit apart on this processor."""
    companies, value_N = evidence.config.companies, signed.valuation.values
    again = settlement.valuation.order
    ranked = [companies[i] for i in ranking(companies, value_N)]
    if ranked == [again[0].first, *(pair.second for pair in again)]:
        return again
    uncertainty = uncertainty_of_values(
        evidence.config, evidence.table, settlement.law, evidence.weighting, evidence.validation_NV
    )
    return order_of(companies, value_N, uncertainty)


# --- what follows exactly from the signed files ---------------------------------------------------


def _record_differences(signed: Signed, as_signed: Settlement) -> Iterator[str]:
    """The first section of the ledger, without the alarms of its payment."""
    law = signed.law
    summary = LawSummary(name=law.name, holds=law.holds, alarms=law.alarms)
    records = {record.KIND: record for record in run_records(signed.evidence, as_signed)}
    records[LawSummary.KIND] = summary
    for line in signed.ledger:
        if line.section == 1 and line.kind in records:
            yield from _exact_differences(line, records[line.kind])


def _later_payment_differences(signed: Signed, alarms: Sequence[Alarm]) -> Iterator[str]:
    """Every payment of `fl-sv pay`: by the values that were signed, and as that command pays."""
    config = signed.evidence.config
    for line in signed.ledger:
        if line.section == 1 or line.kind != PaymentRecord.KIND:
            continue
        paid = line.read(PaymentRecord)
        again = _paid_again(signed, alarms, paid)
        yield from _exact_differences(line, PaymentRecord.of(again))
        chosen = {"pot": paid.rules.pot, "negative": paid.rules.negative}
        if paid.rules != config.payouts.model_copy(update=chosen):
            yield f"{line.where}: its rules differ from the config's in more than pot and negative"
        if not isinstance(paid.rules.pot, FixedPot):
            yield f"{line.where}: its pot is not fixed"
        fired = {*config.law.accept, *codes_of(again.alarms)}
        if not {*config.law.accept} <= {*paid.accepted} <= fired:
            yield f"{line.where}: it accepts other alarms than the config's and those that fired"
        if again.objections:
            yield f"{line.where}: it pays although {listed(codes_of(again.objections))} blocks it"


def _exact_differences(line: LedgerLine, computed: LedgerRecord) -> Iterator[str]:
    recorded, again = (
        {key: value for key, value in body.items() if key != "alarms"}
        if line.kind == PaymentRecord.KIND
        else body
        for body in (line.body, computed.body())
    )
    yield from compare(line.where, recorded, again)


def _paid_again(signed: Signed, alarms: Sequence[Alarm], paid: PaymentRecord) -> Payment:
    """A payment, computed again by the rules that it names."""
    return divide_pot(signed.evidence, signed.valuation, alarms, paid.rules, paid.accepted)


def _content(record: FileRecord) -> Any:
    return json.loads(record.to_json())
