"""The law on the page: the points of its picture, the sentences beside it, and its numbers."""

from fl_sv.config.models import model_name
from fl_sv.game.coalitions import coalition_name
from fl_sv.report.figures import FIGURES
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.next_run import more_certain_sentences
from fl_sv.report.notation import Notation
from fl_sv.report.page_table import PageTable
from fl_sv.report.pictures import MOST_POINTS, LargeRun, LawPoints
from fl_sv.report.wording import counted, percent, sentence_case, short


def law_points(run: FinishedRun) -> LawPoints:
    """What the picture of the law shows."""
    predictions, companies = run.predictions, run.evidence.config.companies
    coalitions = run.evidence.table.coalitions(run.valuation.small_model)
    small = dict(zip(coalitions, predictions.small_C, strict=True))
    return LawPoints(
        small_C=predictions.small_C,
        predicted_C=predictions.predicted_C,
        low_C=predictions.low_C,
        high_C=predictions.high_C,
        large_runs=tuple(
            LargeRun(coalition_name(coalition, companies), float(small[coalition]), loss)
            for coalition, loss in sorted(run.law.anchors.items())
        ),
    )


def law_sentences(run: FinishedRun, notation: Notation) -> tuple[str, ...]:
    """How to read the picture, and what would make the values more certain."""
    trained = len(run.predictions.small_C)
    shown = f"all {trained:,}" if trained <= MOST_POINTS else f"{MOST_POINTS:,} of {trained:,}"
    large = model_name(run.evidence.config.models.large)
    reading = (
        f"Each point is a coalition ({shown} are shown). The horizontal axis is its loss with the"
        f" small model {run.valuation.small_model}, the vertical axis its loss with the large model"
        f" {large}. Diamonds are measured. Dots are what the law predicts from the small models,"
        f" with a faint line for the {notation.level} interval. Lower is better. The closer the"
        " points lie to one rising curve, the better the small model predicts the large one."
    )
    sentences = [reading, *more_certain_sentences(run.law, run.evidence.config.companies)]
    of_one = run.law.diagnostics.get("D6 error_of_one_training")
    if of_one is not None:
        seeds = run.evidence.config.training.large_seeds
        sentences.append(
            "For comparison: if the large model trained on every coalition, with"
            f" {counted(seeds, 'seed')}, the values would be off by about {percent(of_one, 0)}, by"
            " the chance of seeds alone."
        )
    return tuple(sentences)


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
