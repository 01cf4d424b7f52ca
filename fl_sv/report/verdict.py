"""The verdict: may these amounts be paid, and why?"""

from dataclasses import dataclass

from fl_sv.config.valuation import PerformancePot
from fl_sv.payment.payouts import pot_cents
from fl_sv.payment.settlement import NOT_DIVIDED
from fl_sv.report.checks import Finding, accepted_finding, objection_finding, untested_finding
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.pot import is_different_pot
from fl_sv.report.wording import counted, enumerated, percent, sentence_case
from fl_sv.runs.records import FiredAlarm, PaymentRecord


@dataclass(frozen=True)
class Verdict:
    """The answer to the first question of every reader: may these amounts be paid?"""

    payable: bool
    headline: str
    summary: str
    decision: str
    command: str  # that accepts the alarms which block payment; empty where nothing can be accepted
    objections: tuple[Finding, ...]  # alarms that block payment
    accepted: tuple[Finding, ...]  # alarms that were accepted by name
    untested: tuple[Finding, ...]


def verdict(run: FinishedRun, notation: Notation) -> Verdict:
    """The verdict of a run, with every alarm and every check that was not made."""
    payment, n_companies = run.payment, run.evidence.config.n_companies
    return Verdict(
        payable=payment.payable,
        headline="Payable" if payment.payable else "NOT payable",
        summary=_summary(run, notation),
        decision=_decision(run),
        command=accept_command(payment),
        objections=tuple(map(objection_finding, payment.objections)),
        accepted=tuple(map(accepted_finding, payment.accepted_alarms)),
        untested=tuple(untested_finding(code, run.law, n_companies) for code in run.law.untested),
    )


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
    if not accept_command(payment):
        return "Choose the other rule for negative values, or another pot."
    one = len(_codes(payment.objections)) == 1
    return (
        f"Decide on {'this alarm' if one else 'each alarm'}: remove its cause and run again, or"
        f" accept it by name. This command accepts {'it' if one else 'all of them'}:"
    )


def accept_command(payment: PaymentRecord) -> str:
    """The command that accepts the alarms which block payment; empty where it would not help.

    It does not help where the pot could not be divided: then there are no amounts to accept.
    """
    codes = _codes(payment.objections)
    if not codes or NOT_DIVIDED in codes:
        return ""
    return f"fl-sv pay DIR --pot CENTS {' '.join(f'--accept {code}' for code in codes)}"


def _summary(run: FinishedRun, notation: Notation) -> str:
    """What was trained, how good it is, and what is divided."""
    evidence = run.evidence
    first, last = evidence.curve[0], evidence.curve[-1]
    companies = counted(evidence.config.n_companies, "company", "companies")
    learned = (
        f"On the operator's {notation.validation_examples:,} validation examples its loss went from"
        f" {notation.value(first.loss)} {notation.unit} (untrained) to"
        f" {notation.value(last.loss)} {notation.unit}"
    )
    if first.accuracy is not None and last.accuracy is not None:
        learned += f", and its accuracy from {percent(first.accuracy)} to {percent(last.accuracy)}"
    sentences = [
        f"{sentence_case(companies)} trained one large model together.",
        f"{learned}.",
        *_student(run, notation),
        *_pot(run, notation),
    ]
    return " ".join(sentences)


def _student(run: FinishedRun, notation: Notation) -> list[str]:
    student = run.evidence.student
    if student is None:
        return []
    return [
        f"A student of this model is deployed: {student.model}, with a loss of"
        f" {notation.value(student.loss)} {notation.unit}."
    ]


def _pot(run: FinishedRun, notation: Notation) -> list[str]:
    evidence, rules = run.evidence, run.payment.rules
    pot = notation.money(pot_cents(rules.pot, evidence.deployed_utility))
    sentences = [
        f"A pot of {pot} is divided according to what each company's data contributed to the large"
        " model."
    ]
    if is_different_pot(evidence.config, rules):
        sentences.append("This is a different pot from the run's own.")
    elif evidence.student is not None and isinstance(rules.pot, PerformancePot):
        sentences.append("This pot follows the student's loss.")
    return sentences


def _decision(run: FinishedRun) -> str:
    """May the amounts be paid, which checks were made, and what to do."""
    payment, law = run.payment, run.law
    if not payment.payable:
        n_alarms = len(payment.objections)
        return (
            f"These amounts may NOT be paid yet. {sentence_case(counted(n_alarms, 'alarm'))} fired"
            f" and {'was' if n_alarms == 1 else 'were'} not accepted. Until this is"
            f" decided every amount on this page is provisional. {decision_sentence(payment)}"
        )
    sentences = [f"These amounts may be paid. {accepted_sentence(payment)}"]
    if law.tested:
        sentences.append(f"Checks made: {enumerated(law.tested)}.")
    if law.untested:
        checks = sentence_case(counted(len(law.untested), "check"))
        were, them, they = (
            ("was", "it", "It") if len(law.untested) == 1 else ("were", "them", "They")
        )
        sentences.append(
            f"{checks} {were} not made, because this run lacks the data for {them}. {they} might"
            " have raised an alarm."
        )
    return " ".join(sentences)


def _codes(alarms: tuple[FiredAlarm, ...]) -> list[str]:
    """The codes of the alarms, each once, in order."""
    return list(dict.fromkeys(alarm.code for alarm in alarms))
