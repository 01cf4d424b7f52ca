"""What each number of the law means: the parameters in law.json and the figures of its checks."""

from fl_sv.law.checks import (
    CEILING,
    DISAGREEMENT,
    ERROR_SHARE,
    LEAST_RANGE,
    LEAST_RANK,
    MATERIAL,
    MISSED,
    NOISY,
    PATTERN_SHARE,
)
from fl_sv.law.families import FORMULAS
from fl_sv.report.blocks import PageTable
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.wording import percent, sentence_case, short

GAIN = "the large model's total improvement"

WEIGHTS = {
    f"weight of {formula.name}": (
        f"how much the law {formula.name} counts in the blend, by how well it predicts the largest"
        " small model from the smaller ones"
    )
    for formula in FORMULAS
}

CHECKS_AND_SCALE = {
    "deviation_std": (
        "typical distance, in units of loss, of a single company's large loss from the law"
    ),
    "D1 p_value": (
        "probability of a large run as far off as the farthest one, if the law is right; alarm"
        f" below {ERROR_SHARE}"
    ),
    "D1 share_of_gain": (
        f"how far that run is off, as a share of {GAIN}; negative when its loss is higher than"
        " predicted"
    ),
    "D2 spearman": (
        "agreement of the large runs' order with the law's: 1 is the same order, 0 is none; an"
        f" alarm needs less than {LEAST_RANK:.2f}"
    ),
    "D2 p_value": (
        f"probability of so little agreement, if the law is right; alarm below {ERROR_SHARE}"
    ),
    "D3 disagreement": (
        f"how far the blended laws lie apart, as a share of {GAIN}; alarm from"
        f" {percent(DISAGREEMENT, 0)}"
    ),
    "D6 error_of_one_training": (
        "by how much the values would be off if every coalition were trained with as many seeds as"
        f" the large runs; alarm from {percent(NOISY, 0)}"
    ),
    "D5 small_gain": "by how much all companies together lower the small model's loss",
    "D5 large_gain": (
        "by how much all companies together lower the large model's loss; alarm when the small"
        " model's loss goes the other way"
    ),
    "D5 range_over_seed_std": (
        "the small model's whole range, in standard deviations of one training; alarm below"
        f" {LEAST_RANGE:g}"
    ),
    "D5 share_at_ceiling": (
        "share of the coalitions on which the small model is as good as with all companies; alarm"
        f" above {percent(CEILING, 0)}"
    ),
    "D5 share_missed": (
        "of the coalitions that clearly improve the large model, the share that leave the small one"
        f" worse than untrained; alarm above {percent(MISSED, 0)}"
    ),
    "D9 error": f"how far the law misses a large run that it has not seen, as a share of {GAIN}",
    "D9 error_without_small_model": (
        "how far the mean of the other large runs of the same size misses it; alarm when the law is"
        " no better and misses by twice what it expects"
    ),
}

PATTERNS = {
    f"D4 {figure}, {covariate}": sentence.format(covariate=covariate)
    for covariate in ("number of members", "log data size")
    for figure, sentence in {
        "p_value": (
            "probability of such a pattern by {covariate} in the law's errors, if there is none;"
            f" alarm below {PATTERN_SHARE}, shared among the patterns"
        ),
        "trend": (
            f"size of that pattern from one end to the other, as a share of {GAIN}; an alarm needs"
            f" {percent(MATERIAL, 0)}"
        ),
    }.items()
}

FIGURES = WEIGHTS | CHECKS_AND_SCALE | PATTERNS


def law_table(run: FinishedRun) -> PageTable:
    """The law's parameters and the figures of its checks, each with its meaning."""
    named = [*run.law.parameters.items(), *run.law.diagnostics.items()]
    return PageTable(
        caption="The numbers of the law",
        head=("Name", "Value", "Meaning"),
        rows=tuple(
            (name, short(value), sentence_case(FIGURES.get(name, ""))) for name, value in named
        ),
        source="law.json",
        text_columns=True,
    )
