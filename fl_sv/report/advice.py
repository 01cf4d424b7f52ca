"""What an alarm means for the values, and what to do: by its code, and by the figures that decided.

Several checks fire for more than one reason, and each reason has a remedy of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fl_sv.law.checks import CEILING, LEAST_RANGE, MISSED
from fl_sv.law.normalized import FLAT
from fl_sv.payment.coverage import NOT_COVERED
from fl_sv.payment.settlement import NOT_DIVIDED
from fl_sv.runs.records import FiredAlarm
from fl_sv.valuation.axioms import AXIOM_QUESTIONS
from fl_sv.valuation.students import STUDENTS_UNTESTED

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Advice:
    """What an alarm means for the values, and what to do."""

    meaning: str
    action: str


def advice_for(alarm: FiredAlarm) -> Advice:
    """The advice for an alarm; empty for a code that is not known."""
    found = ADVICE.get(alarm.code, Advice("", ""))
    return found if isinstance(found, Advice) else found(alarm.figures)


def _outlier(figures: Figures) -> Advice:
    over = figures.get("share_of_gain", -1.0) < 0
    return Advice(
        f"The values of the coalition's members may be too {'high' if over else 'low'}, in every"
        " coalition with them.",
        "Look at these companies' rows"
        + (" for wrong labels and repeats, which do small models less harm" if over else "")
        + "; take small models closer to the large one in size (models.small), or measure more"
        " coalitions with the large one (law.anchors: singletons+loo).",
    )


def _resolution(figures: Figures) -> Advice:
    """D5 in the order of its reasons; the last one is that a model gains nothing at all."""
    if "large_gain" in figures and "small_gain" in figures:
        return _gains(figures["large_gain"])
    if figures.get("range_over_seed_std", LEAST_RANGE) < LEAST_RANGE:
        return Advice(
            "The small model learns so little that chance decides its losses.",
            "Let the small models learn more: wider ones, more rounds, or a learning rate of their"
            " own (models.small: learning_rate: auto). More seeds do not help.",
        )
    if figures.get("share_at_ceiling", 0.0) > CEILING:
        return Advice(
            "The small model reaches its end with few companies already, so it cannot show what"
            " the others add.",
            "Take wider small models (models.small), or train them for fewer rounds. More seeds do"
            " not help.",
        )
    if figures.get("share_missed", 0.0) > MISSED:
        return Advice(
            "The small model learns nothing from data that teach the large one.",
            "Give the small models a learning rate of their own, such as a lower one"
            " (models.small: learning_rate: auto), or take wider ones.",
        )
    return _gains(1.0)


def _gains(large: float) -> Advice:
    """Where small and large model gain in opposite directions, or one of them nothing.

    large: the large model's gain.
    """
    if large <= FLAT:
        return Advice(
            "All companies together do not make the large model better, so there is nothing to"
            " share. Values and payouts mean nothing here.",
            "Look at the large model first (teacher.csv, round by round): another learning rate"
            " (models.large: learning_rate: auto), more rounds, or validation rows like those of"
            " the companies.",
        )
    return Advice(
        "The small models do not learn what the large one learns, so their losses say nothing of"
        " its losses.",
        "Look at the small models first: a learning rate of their own (models.small:"
        " learning_rate: auto), more rounds, or wider ones.",
    )


def _not_divided(figures: Figures) -> Advice:
    if figures.get("largest", 0.0) <= 0:
        return Advice(
            "No company made the model better, so every amount is zero. This alarm cannot be"
            " accepted.",
            "No rule and no pot helps: train again so that the model learns (training.rounds,"
            " learning_rate: auto), and look at the validation rows.",
        )
    clip = "fl-sv pay DIR --pot CENTS --negative clip leaves negative values out."
    if figures.get("sum", 0.0) <= 0:
        return Advice(
            "Taken together the companies did not make the model better, so every amount is zero."
            " This alarm cannot be accepted.",
            "Look first at the rows of the companies with negative values, and train again without"
            f" what is wrong there. If you pay all the same: {clip}",
        )
    return Advice(
        "A company would pay more than was agreed, so every amount is zero. This alarm cannot be"
        " accepted.",
        f"{clip} A higher payouts.max_charge takes a new run, agreed on before it.",
    )


_DEFECT = Advice(
    "The values break a rule that they must keep. This is a defect of the program.",
    "Do not pay. Report the defect.",
)
ADVICE: dict[str, Advice | Callable[[Figures], Advice]] = {
    "D1": _outlier,
    "D2": Advice(
        "The law may rank the companies wrongly.",
        "Take small models closer to the large one in size (models.small), more of their seeds"
        " (training.seeds), or large runs of more coalitions (law.anchors: singletons+loo). Do not"
        " accept this alarm where the order of the companies matters.",
    ),
    "D3": Advice(
        "The ways to get from the small models to the large one contradict each other, so the"
        " predictions may be far off.",
        "Take small models that learn about as far as the large one (models.small: learning_rate:"
        " auto), or measure large runs of more coalitions (law.anchors: singletons+loo).",
    ),
    "D4": Advice(
        "The law errs systematically: small coalitions, or those with few data, are rated"
        " otherwise than large ones.",
        "Measure large runs of coalitions of other sizes (law.anchors: a number), which correct"
        " the law, or train longer, so that the sizes of models are comparable (training.rounds).",
    ),
    "D5": _resolution,
    "D6": Advice(
        "Another seed of the large model would give clearly different values.",
        "Train the large model with more seeds (training.large_seeds).",
    ),
    "D9": Advice(
        "The small models add nothing to the large runs: counting companies predicts as well.",
        "Take small models of the large one's kind and closer to it in size (models.small), each"
        " with a learning rate at which it learns as far (learning_rate: auto).",
    ),
    STUDENTS_UNTESTED: Advice(
        "It is not known whether the small models, which are students, predict the large one.",
        "Measure a large run of every company (law.anchors: singletons), or use small models that"
        " are not students.",
    ),
    **dict.fromkeys(AXIOM_QUESTIONS, _DEFECT),
    NOT_DIVIDED: _not_divided,
    NOT_COVERED: Advice(
        "The pot is divided by values that say little about the total improvement: the payouts may"
        " follow small differences.",
        "Use Shapley values (values.semivalue: shapley), which add up to the total improvement.",
    ),
}
