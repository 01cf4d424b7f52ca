"""The checks in sentences: what each one examines, and what its alarm says, means and asks for."""

from dataclasses import replace

from fl_sv.law.diagnostics import CHECKS, large_runs_needed
from fl_sv.payment.coverage import NOT_COVERED
from fl_sv.payment.settlement import NOT_DIVIDED
from fl_sv.report.advice import advice_for
from fl_sv.report.blocks import Finding, PageTable
from fl_sv.report.wording import counted
from fl_sv.runs.records import FiredAlarm, LawRecord, PaymentRecord
from fl_sv.valuation.axioms import AXIOM_QUESTIONS
from fl_sv.valuation.students import STUDENTS_QUESTION, STUDENTS_UNTESTED

# What each check examines, a clause with "whether". An alarm means no.
QUESTIONS = {
    **{check.code: check.question for check in CHECKS},
    STUDENTS_UNTESTED: STUDENTS_QUESTION,
    **AXIOM_QUESTIONS,
    NOT_DIVIDED: "whether the pot can be divided by the agreed rule",
    NOT_COVERED: "whether the values account for the total improvement",
}

# What a check needs besides large runs.
NEEDS = {check.code: check.also_needs for check in CHECKS if check.also_needs}


def objection_finding(alarm: FiredAlarm) -> Finding:
    """An alarm that blocks payment, with what it means and what to do."""
    advice = advice_for(alarm)
    return Finding(alarm.sentence, _question(alarm.code), advice.meaning, advice.action)


def accepted_finding(alarm: FiredAlarm) -> Finding:
    """An alarm that was accepted, with what it means; there is nothing left to do."""
    return replace(objection_finding(alarm), action="")


def untested_finding(code: str, law: LawRecord, n_companies: int) -> Finding:
    """A check that was not made, with what it needs."""
    return Finding(missing_sentence(code, law, n_companies), _question(code))


def missing_sentence(code: str, law: LawRecord, n_companies: int) -> str:
    """What a check that was not made needs: `D4 needs four more large runs.`"""
    measured = len(law.anchors) - 2  # besides the empty and the grand coalition
    more = large_runs_needed(code, n_companies) - measured
    if more > 0:
        return f"{code} needs {counted(more, 'more large run')}."
    return f"{code} needs {NEEDS[code]}." if code in NEEDS else f"{code} could not be made."


def check_table(law: LawRecord, payment: PaymentRecord) -> PageTable:
    """Every check of the law with its result."""
    accepted = {alarm.code for alarm in payment.accepted_alarms}
    fired = {alarm.code for alarm in law.fired}
    results = dict.fromkeys(law.untested, "not tested")
    for code in (*law.tested, *fired):
        alarm = "alarm, accepted by name" if code in accepted else "ALARM"
        results[code] = alarm if code in fired else "no alarm"
    in_order = sorted(results, key=lambda code: (len(code), code))  # D10 is the last
    return PageTable(
        caption="The checks of the law",
        head=("Check", "What it checks", "Result"),
        rows=tuple((code, QUESTIONS.get(code, ""), results[code]) for code in in_order),
        source="law.json",
        text_columns=True,
    )


def _question(code: str) -> str:
    return f"{code} checks {QUESTIONS[code]}." if code in QUESTIONS else ""
