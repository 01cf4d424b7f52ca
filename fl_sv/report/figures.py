"""What each number of the law says, in a sentence: the parameters of law.json and the figures of
its checks.
"""

from fl_sv.law.checks import (
    CEILING,
    ERROR_SHARE,
    FARTHEST,
    GROWING,
    LEAST_RANGE,
    LEAST_RANK,
    LOWEST,
    MATERIAL,
    MISSED,
    PATTERN_SHARE,
)
from fl_sv.law.families import TURNING
from fl_sv.report.wording import percent

GAIN = "the large model's whole improvement"

FIGURES = {
    "slope": (
        "how many of the ladder's last steps the large model goes on beyond the largest small one"
    ),
    "log_kappa": "how the law's curve bends: at zero it does not",
    "step_reliability": (
        "share of the ladder's last step on which the training seeds agree; the law goes on with"
        " that share"
    ),
    "deviation_std": (
        "how far, in units of loss, one company's own large loss may lie from the law as a rule"
    ),
    "D1 p_value": (
        "the chance of a large run as far off as the farthest one, if the law were right; an alarm"
        f" below {ERROR_SHARE}"
    ),
    "D1 share_of_gain": (
        f"how far that run is off, as a share of {GAIN}; with a minus when its loss is higher than"
        " the law says"
    ),
    "D2 spearman": (
        "agreement of the large runs' order with the law's: 1 is the same order, 0 none; "
        f"an alarm needs less than {LEAST_RANK:.2f}"
    ),
    "D2 p_value": (
        f"the chance of so little agreement, if the law were right; an alarm below {ERROR_SHARE}"
    ),
    "D3 retention": (
        "the ladder's last step over the step before, where 1 is the same; an alarm outside"
        f" {TURNING} to {GROWING}"
    ),
    "D3 shift": (
        "how far the large runs pull the law from where the small sizes lead, in standard"
        f" deviations; an alarm beyond {FARTHEST:g}"
    ),
    "D3 share_of_way_to_zero": (
        "how far the small sizes alone would put the best other coalition's loss on the way from"
        f" all companies' loss down to zero; an alarm above {percent(LOWEST, 0)}"
    ),
    "D5 small_gain": "by how much all companies together lower the small model's loss",
    "D5 large_gain": (
        "by how much they lower the large model's loss; an alarm when the two have opposite signs"
    ),
    "D5 range_over_seed_std": (
        "the small model's whole range in standard deviations of one training; an alarm below"
        f" {LEAST_RANGE:g}"
    ),
    "D5 share_at_ceiling": (
        "share of the coalitions on which the small model is as good as with all companies; an"
        f" alarm above {percent(CEILING, 0)}"
    ),
    "D5 share_missed": (
        "share of the coalitions that teach the large model, but leave the small one worse than"
        f" untrained; an alarm above {percent(MISSED, 0)}"
    ),
    "D9 error": (
        f"by how much the law misses a large run that it was not shown, as a share of {GAIN}"
    ),
    "D9 error_without_small_model": (
        "by how much the mean of the other runs of its size misses it; an alarm when the law does"
        " no better, and misses by twice what it expects"
    ),
} | {
    f"D4 {figure}, {covariate}": sentence.format(covariate=covariate)
    for covariate in ("number of members", "log data size")
    for figure, sentence in {
        "p_value": (
            "the chance of such a pattern by {covariate} in what the law leaves unexplained, if"
            f" there were none; an alarm below {PATTERN_SHARE}, shared among the patterns"
        ),
        "trend": (
            f"how large that pattern is from one end to the other, as a share of {GAIN}; an alarm"
            f" needs {percent(MATERIAL, 0)}"
        ),
    }.items()
}
