"""The verdict: may these amounts be paid, and why?"""

import math
from dataclasses import dataclass
from itertools import chain
from shlex import quote

from fl_sv.audit.lines import COPIES, findings
from fl_sv.config.valuation import PerformancePot
from fl_sv.payment.settlement import NOT_DIVIDED
from fl_sv.report.blocks import Block, Finding, Findings, Folded, Text
from fl_sv.report.checks import (
    accepted_finding,
    check_table,
    objection_finding,
    untested_finding,
)
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.pot import is_different_pot
from fl_sv.report.wording import counted, enumerated, percent, sentence_case, some
from fl_sv.runs.records import FiredAlarm, PaymentRecord


@dataclass(frozen=True)
class Verdict:
    """The answer to the first question of every reader: may these amounts be paid?"""

    payable: bool
    sentence: str
    context: tuple[str, ...]
    decision: str  # what to do where they may not; empty where they may
    command: str  # that accepts the alarms which block payment; empty where nothing can be accepted
    objections: tuple[Finding, ...]  # alarms that block payment


def verdict(run: FinishedRun, notation: Notation) -> Verdict:
    """The verdict of a run: one sentence, and what must be known with it."""
    payment = run.payment
    checks = [accepted_sentence(payment)] if payment.payable else []
    if run.law.untested:
        checks.append(f"Not tested: {enumerated(run.law.untested)}.")
    return Verdict(
        payable=payment.payable,
        sentence=_sentence(run, notation),
        context=(
            *_model(run, notation),
            *_student(run, notation),
            *_pot(run),
            *checks,
            *_audit(run),
        ),
        decision=decision_sentence(payment),
        command=accept_command(payment),
        objections=tuple(map(objection_finding, payment.objections)),
    )


def checks_folded(run: FinishedRun) -> Folded:
    """Every check with its result; those that fired or were not made with what to do."""
    law, payment = run.law, run.payment
    n_alarms, n_untested = len(payment.alarms), len(law.untested)
    fired = counted(n_alarms, "alarm") if n_alarms else "no alarm"
    summary = f"The checks: {counted(len(law.tested), 'check')} of the law made, {fired}"
    if n_untested:
        summary += f", {counted(n_untested, 'check')} not made"
    untested = tuple(
        untested_finding(code, law, run.evidence.config.n_companies) for code in law.untested
    )
    blocks: list[Block] = [check_table(law, payment)]
    for heading, some_found in (
        ("Alarms that block payment:", tuple(map(objection_finding, payment.objections))),
        ("Alarms accepted by name:", tuple(map(accepted_finding, payment.accepted_alarms))),
        ("Not made, because this run lacks the data; each might have raised an alarm:", untested),
    ):
        if some_found:
            blocks += [Text((heading,)), Findings(some_found)]
    return Folded(summary, tuple(blocks))


def accepted_sentence(payment: PaymentRecord) -> str:
    """Which alarms were accepted: `D1 and D5 fired and were accepted by name.`"""
    codes = _codes(payment.accepted_alarms)
    if not codes:
        return "No alarm fired."
    return f"{enumerated(codes)} fired and {'was' if len(codes) == 1 else 'were'} accepted by name."


def payable_sentence(payment: PaymentRecord) -> str:
    """Whether the amounts may be paid, and which alarms stop that.

    `NOT PAYABLE: D1 and D5 stop payment until they are accepted by name.`
    """
    if payment.payable:
        return f"PAYABLE. {accepted_sentence(payment)}"
    codes = _codes(payment.objections)
    verb, they = ("stops", "it is") if len(codes) == 1 else ("stop", "they are")
    if NOT_DIVIDED in codes:
        return f"NOT PAYABLE: {enumerated(codes)} {verb} payment; this pot cannot be divided."
    return f"NOT PAYABLE: {enumerated(codes)} {verb} payment until {they} accepted by name."


def decision_sentence(payment: PaymentRecord) -> str:
    """What to do about the alarms that block payment; empty where none does."""
    if not payment.objections:
        return ""
    if NOT_DIVIDED in _codes(payment.objections):
        return "There are no amounts that could be accepted."
    one = len(_codes(payment.objections)) == 1
    return (
        f"Decide on {'this alarm' if one else 'each alarm'}: remove its cause and run again, or"
        f" accept it by name. This command accepts {'it' if one else 'all of them'}:"
    )


def accept_command(payment: PaymentRecord, where: str = "DIR") -> str:
    """The command that accepts the alarms which block payment; empty where it would not help.

    where: the run directory. The pot and the rule are those of this payment.

    It does not help where the pot could not be divided: then there are no amounts to accept.
    """
    codes = _codes(payment.objections)
    if not codes or NOT_DIVIDED in codes:
        return ""
    rule = payment.rules.negative
    return " ".join(
        [
            f"fl-sv pay {quote(where)} --pot {sum(payment.amounts.values())}",
            *([f"--negative {rule}"] if rule != "clip" else []),
            *(f"--accept {code}" for code in codes),
        ]
    )


def _sentence(run: FinishedRun, notation: Notation) -> str:
    """May the amounts be paid, and who gets most and least."""
    payment, amounts = run.payment, run.payment.amounts
    if not payment.payable:
        codes = _codes(payment.objections)
        fired = f"{counted(len(payment.objections), 'alarm')} fired ({enumerated(codes)})"
        if not run.is_divided:
            return f"Nothing can be paid: the pot cannot be divided by these values, and {fired}."
        return f"NOT payable yet: {fired}, so the amounts below are provisional."
    pot = notation.money(sum(amounts.values()))
    if not any(amounts.values()):
        return f"Payable, but the pot is {pot}: nobody is paid anything."
    first, last = run.by_amount[0].name, run.by_amount[-1].name
    if len(amounts) == 1:
        return f"{pot} may be paid to {first}."
    most, least = notation.money(amounts[first]), amounts[last]
    end = f"{last} least, {notation.money(least)}"
    if least <= 0:
        end = f"{last} {'is charged ' + notation.money(-least) if least else 'gets nothing'}"
    return f"{pot} may be paid: {first} gets most, {most}, and {end}."


def _model(run: FinishedRun, notation: Notation) -> list[str]:
    """What was trained and how good it is."""
    evidence = run.evidence
    first, last = evidence.curve[0], evidence.curve[-1]
    companies = sentence_case(counted(evidence.config.n_companies, "company", "companies"))
    rows = f"of {notation.validation_examples:,} validation examples"
    text = f"{companies} trained one large model together."
    if evidence.config.data.text is not None and last.accuracy is not None:
        text += (
            f" It predicts {percent(last.accuracy)} of the next tokens {rows} correctly (untrained:"
            f" {percent(first.accuracy or 0.0)})."
        )
        if evidence.config.training.loss is None:
            before, after = (f"{math.exp(each.loss):.3g}" for each in (first, last))
            text += f" Its perplexity is {after} (untrained: {before})."
    elif first.accuracy is not None and last.accuracy is not None:
        text += (
            f" It classifies {percent(last.accuracy)} {rows} correctly (untrained:"
            f" {percent(first.accuracy)})."
        )
    else:
        text += (
            f" Its loss on {notation.validation_examples:,} validation examples is"
            f" {notation.value(last.loss)} {notation.unit} (untrained:"
            f" {notation.value(first.loss)})."
        )
    if run.gain <= 0:
        text += " Taken by its loss, that is no better than the untrained model."
    return [text]


def _audit(run: FinishedRun) -> list[str]:
    """Whom to look at before money moves; a finding of the audit blocks no payment."""
    config, found = run.evidence.config, findings(run.evidence.audit)
    seen = [
        (line.company, line.other) if line.check == COPIES else (line.company,) for line in found
    ]
    names = [config.legal_name(name) for name in dict.fromkeys(chain.from_iterable(seen))]
    return (
        [f"Audit: look at {some(names)} before anything is paid; the remarks say why."]
        if names
        else []
    )


def _student(run: FinishedRun, notation: Notation) -> list[str]:
    student = run.evidence.student
    if student is None:
        return []
    return [
        f"A student of this model is deployed: {student.model}, with a loss of"
        f" {notation.value(student.loss)} {notation.unit}."
    ]


def _pot(run: FinishedRun) -> list[str]:
    evidence, rules = run.evidence, run.payment.rules
    if is_different_pot(evidence.config, rules):
        return ["This is a different pot from the run's own."]
    if evidence.student is not None and isinstance(rules.pot, PerformancePot):
        return ["This pot follows the student's loss."]
    return []


def _codes(alarms: tuple[FiredAlarm, ...]) -> list[str]:
    """The codes of the alarms, each once, in order."""
    return list(dict.fromkeys(alarm.code for alarm in alarms))
