"""The alarm and the remarks of a run whose small models are students of the teacher."""

from dataclasses import replace

from fl_sv.config import Config
from fl_sv.law.alarms import Alarm, codes_of
from fl_sv.law.diagnostics import Findings

# Results of benchmarks/distillation/alarms.py with the singletons as large runs, plain small models
# first, then students: weight of the teacher's soft targets, R2 between small and large losses,
# error of the values in %, games of ten with an alarm.
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
    """The findings, with an alarm where students have too few large runs to test the law."""
    if config.students is None:
        return findings
    tested = replace(findings, tested=(*findings.tested, STUDENTS_UNTESTED))
    if "D9" in findings.tested:
        return tested
    sentence = (
        "the small models are students of the teacher, and there are too few large runs to show"
        " whether they predict the large model. As many as companies are needed:"
        f" {config.n_companies} (law.anchors: singletons). In a study without large runs the values"
        " of students were off by 12 to 39 %, and their 90 % intervals covered 12 to 44 %"
    )
    alarm = Alarm(
        STUDENTS_UNTESTED, sentence, figures={"large_runs_needed": float(config.n_companies)}
    )
    return replace(tested, alarms=(*findings.alarms, alarm))


def student_remarks(config: Config, findings: Findings) -> tuple[str, ...]:
    """What a reader must know about a law on students; nothing for plain small models."""
    students = config.students
    if students is None:
        return ()
    (_, plain_r2, plain_error, plain_alarms), *studied = STUDIED
    by_weight = "; ".join(
        f"{weight:g}: {r2:g}, {error} %, {alarms}" for weight, r2, error, alarms in studied
    )
    return (
        (
            f"The small models are students of the finished teacher (loss {students.loss}, weight"
            f" {students.weight:g}). Students predict the large model less well than plain small"
            " models do. A study on digits with the singletons as large runs measured three things"
            " (docs/studies/distillation.md): R2 between small and large losses, error of the"
            f" values, games of ten with an alarm. Plain small models: {plain_r2:g}, {plain_error}"
            f" %, {plain_alarms}. Students by weight: {by_weight}."
        ),
        f"{_checks(findings)} {_measured(findings)}",
    )


def _checks(findings: Findings) -> str:
    """Which checks were made on the students, and which alarms fired."""
    fired = ", ".join(codes_of(findings.alarms)) or "none"
    return (
        f"Checks made on these students: {', '.join(findings.tested) or 'none'}. Alarms: {fired}."
        f" Not tested: {', '.join(findings.untested) or 'none'}."
    )


def _measured(findings: Findings) -> str:
    """How well the law on these students predicts the large runs of this run."""
    figures = findings.diagnostics
    if "D9 error" not in figures:
        return (
            "How well these students do is not measured here. This takes as many large runs as"
            " there are companies."
        )
    return (
        f"The law misses a large run that it has not seen by {figures['D9 error']:.3f} of the"
        " large model's gain. The mean of the other runs of the same size misses it by"
        f" {figures['D9 error_without_small_model']:.3f}."
    )
