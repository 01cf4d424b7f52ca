"""What else a reader of a run must know: sentences that block no payment, alike in law.json, on screen and page."""

from fl_sv.config import Config
from fl_sv.config.schema import FixedPot, Payouts, PerformancePot
from fl_sv.law.alarms import Findings
from fl_sv.payouts import money, pot_cents

# What benchmarks/_distilled_alarms.py found with the singletons as large runs, plain small models first, then students:
# weight of the teacher's word, R2 between small and large losses, error of the values in %, games with an alarm of ten.
STUDIED = ((0.0, 0.99, 2, 0), (0.3, 0.93, 5, 2), (0.5, 0.85, 7, 6), (0.7, 0.73, 9, 8), (1.0, 0.58, 10, 8))


def student_alarms(config: Config, findings: Findings) -> tuple[str, ...]:
    """An alarm where the small models are students, and too few large runs say whether the law holds for them."""
    if config.students is None or "D9" in findings.tested:
        return ()
    return (
        "D9: the small models are students of the teacher, and too few large runs say whether they tell anything of "
        f"the large model: as many as companies are needed, {config.n_companies} (law.anchors: singletons). Without "
        "any, students' values were off by 12 to 39 % in a study, and their 90 % intervals covered 12 to 44 %",
    )


def student_remarks(config: Config, findings: Findings) -> tuple[str, ...]:
    """What it means for the law that the small models are students; nothing for plain ones."""
    students = config.students
    if students is None:
        return ()
    columns = zip(*STUDIED[1:], strict=True)
    weights, r2s, errors, fired = (", ".join(f"{figure:g}" for figure in column) for column in columns)
    _, plain_r2, plain_error, plain_fired = STUDIED[0]
    return (
        f"The small models are students of the finished teacher (loss {students.loss}, weight {students.weight:g}). "
        "Students tell less of the large model than plain small models do. In a study on digits with the singletons as "
        f"large runs, at the weights {weights} R2 between small and large losses was {r2s} ({plain_r2:g} for plain "
        f"ones), the values were off by {errors} % ({plain_error} %), and an alarm fired in {fired} of ten games "
        f"({plain_fired}): docs/studies/distillation.md.",
        f"{_checks(findings)} {_measured(findings)}",
    )


def whose_words(config: Config, rules: Payouts, deployed_utility: float) -> str:
    """Whose values these are and which model the pot follows; empty where all is the teacher's and the pot fixed."""
    performance = isinstance(rules.pot, PerformancePot)
    said = []
    if config.deployed is not None or config.students is not None:
        said.append("The values are those of the teacher, the large model.")
    if config.students is not None:
        said.append("The small models, whose losses the law carries to it, are its students.")
    if config.deployed is not None:
        pot = "The pot follows" if performance else "The pot is fixed and does not follow"
        said.append(f"{pot} the student deployed in the teacher's place, with a utility of {deployed_utility:.4f}.")
    elif performance:
        said.append(f"The pot follows the deployed model: the teacher, with a utility of {deployed_utility:.4f}.")
    return " ".join(said)


def earlier_pot_words(config: Config, deployed_utility: float) -> str:
    """What the run's own pot was and why, for a later payment with another."""
    rules = config.payouts
    own = money(pot_cents(rules.pot, deployed_utility), rules.currency, rules.decimals)
    match rules.pot:
        case FixedPot():
            was = f"was fixed at {own}"
        case PerformancePot(cents_per_utility=rate, floor=floor):
            deployed = "teacher" if config.deployed is None else "student"
            was = (
                f"was {own}, by performance: {money(round(rate), rules.currency, rules.decimals)} for each unit of "
                f"utility above {floor:g}, and the deployed {deployed} has {deployed_utility:.4f}"
            )
    return f"The run's own pot {was}. This payment divides another, by the same values."


def _checks(findings: Findings) -> str:
    """Which alarms looked at the students, and which could not."""
    fired = list(dict.fromkeys(alarm.partition(":")[0] for alarm in findings.alarms))
    looked = f"Of the law's checks {', '.join(findings.tested) or 'none'} looked at these students"
    return f"{looked}, {', '.join(fired) or 'none'} fired; {', '.join(findings.untested)} could not be made."


def _measured(findings: Findings) -> str:
    """How well the students do in this run, as far as its large runs tell."""
    figures = findings.diagnostics
    if "D9 error" not in figures:
        return "How well these students do is not measured here: that takes as many large runs as there are companies."
    return (
        f"The law misses a large run that it was not shown by {figures['D9 error']:.3f} of the large model's gain, the "
        f"mean of the other runs of its size by {figures['D9 error_without_small_model']:.3f}."
    )
