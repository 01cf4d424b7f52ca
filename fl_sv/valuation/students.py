"""What small models that are students of the teacher mean for the law: an alarm, and remarks that
block no payment.
"""

from dataclasses import replace

from fl_sv.config import Config
from fl_sv.law.alarms import Alarm, codes_of
from fl_sv.law.diagnostics import Findings

# What benchmarks/distillation/alarms.py found with the singletons as large runs, plain small models
# first, then students: weight of the teacher's soft targets, R2 between small and large losses, error of
# the values in %, games with an alarm of ten.
STUDIED = (
    (0.0, 0.99, 2, 0),
    (0.3, 0.93, 5, 2),
    (0.5, 0.85, 7, 6),
    (0.7, 0.73, 9, 8),
    (1.0, 0.58, 10, 8),
)

STUDENTS_UNTESTED = "D10"  # the code of the alarm
STUDENTS_QUESTION = (
    "whether there are enough large runs to show that small models that are students predict the"
    " large one"
)


def with_student_alarm(config: Config, findings: Findings) -> Findings:
    """The findings, and an alarm where the small models are students and too few large runs say
    whether the law holds for them.
    """
    if config.students is None:
        return findings
    tested = replace(findings, tested=(*findings.tested, STUDENTS_UNTESTED))
    if "D9" in findings.tested:
        return tested
    sentence = (
        "the small models are students of the teacher, and too few large runs say whether they"
        f" tell anything of the large model: as many as companies are needed, {config.n_companies}"
        " (law.anchors: singletons). Without any, students' values were off by 12 to 39 % in a"
        " study, and their 90 % intervals covered 12 to 44 %"
    )
    alarm = Alarm(
        STUDENTS_UNTESTED, sentence, figures={"large_runs_needed": float(config.n_companies)}
    )
    return replace(tested, alarms=(*findings.alarms, alarm))


def student_remarks(config: Config, findings: Findings) -> tuple[str, ...]:
    """What it means for the law that the small models are students; nothing for plain ones."""
    students = config.students
    if students is None:
        return ()
    columns = zip(*STUDIED[1:], strict=True)
    weights, r2s, errors, fired = (
        ", ".join(f"{figure:g}" for figure in column) for column in columns
    )
    _, plain_r2, plain_error, plain_fired = STUDIED[0]
    return (
        (
            f"The small models are students of the finished teacher (loss {students.loss}, weight"
            f" {students.weight:g}). Students tell less of the large model than plain small models"
            f" do. In a study on digits with the singletons as large runs, at the weights {weights}"
            f" R2 between small and large losses was {r2s} ({plain_r2:g} for plain ones), the"
            f" values were off by {errors} % ({plain_error} %), and an alarm fired in {fired} of"
            f" ten games ({plain_fired}): docs/studies/distillation.md."
        ),
        f"{_checks(findings)} {_measured(findings)}",
    )


def _checks(findings: Findings) -> str:
    """Which alarms looked at the students, and which could not."""
    fired = codes_of(findings.alarms)
    looked = f"Of the law's checks {', '.join(findings.tested) or 'none'} looked at these students"
    return (
        f"{looked}, {', '.join(fired) or 'none'} fired; {', '.join(findings.untested)} could not be"
        " made."
    )


def _measured(findings: Findings) -> str:
    """How well the students do in this run, as far as its large runs tell."""
    figures = findings.diagnostics
    if "D9 error" not in figures:
        return (
            "How well these students do is not measured here: that takes as many large runs as"
            " there are companies."
        )
    return (
        f"The law misses a large run that it was not shown by {figures['D9 error']:.3f} of the"
        " large model's gain, the mean of the other runs of its size by"
        f" {figures['D9 error_without_small_model']:.3f}."
    )
