"""Pictures with two axes: the teacher's curve, and the law from small losses to large ones.

Shapes: C coalitions of the design.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fl_sv.config.models import model_name
from fl_sv.game.coalitions import coalition_name
from fl_sv.report.blocks import Block, Drawing, PageTable, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.marks import Scale, label, line, picture, polyline, symbol
from fl_sv.report.next_run import more_certain_sentences
from fl_sv.report.notation import Notation
from fl_sv.report.wording import counted, percent

MOST_POINTS = 512  # coalitions drawn; a thousand would only be a cloud, and a heavy page
CURVE, LAW = 170, 330  # pixels


def curve_blocks(run: FinishedRun, notation: Notation) -> tuple[Block, ...]:
    """The deployed teacher's loss by round, and its accuracy where there is one."""
    curve = run.evidence.curve
    rounds = [point.number for point in curve]
    losses = [(point.loss, notation.value(point.loss)) for point in curve]
    columns = [(f"Validation loss, {notation.unit}", losses)]
    known = [point.accuracy for point in curve if point.accuracy is not None]
    if len(known) == len(curve):
        columns.append(("Classified correctly", [(share, percent(share)) for share in known]))
    table = PageTable(
        caption="The teacher by round",
        head=("Round", *(heading for heading, _ in columns)),
        rows=tuple(
            (str(number), *(texts[row][1] for _, texts in columns))
            for row, number in enumerate(rounds)
        ),
        source="teacher.csv",
    )
    drawing = Drawing(
        tuple((heading, _curve(rounds, texts, heading)) for heading, texts in columns), table
    )
    name = "deployed model" if run.evidence.student is None else "teacher"
    text = (
        f"The {name} on the operator's validation examples after each round. Round 0 is the"
        " untrained model. The model of the last round counts."
    )
    return Text((text,)), drawing


def law_blocks(run: FinishedRun, notation: Notation) -> tuple[Block, ...]:
    """Small loss against large loss: predicted coalitions, and the large runs by name."""
    predictions, companies = run.predictions, run.evidence.config.companies
    trained = len(predictions.small_C)
    shown = f"all {trained:,}" if trained <= MOST_POINTS else f"{MOST_POINTS:,} of {trained:,}"
    large = model_name(run.evidence.config.models.large)
    small = dict(zip(predictions.coalitions, predictions.small_C.tolist(), strict=True))
    runs = [
        (coalition_name(coalition, companies), small[coalition], loss)
        for coalition, loss in sorted(run.law.anchors.items(), key=lambda run: (-run[1], run[0]))
    ]
    reading = (
        f"Each point is a coalition ({shown} are shown): its loss with the small model"
        f" {run.valuation.small_model} to the right, its loss with the large model {large} upward."
        f" Diamonds are measured. Dots are predicted, with a line for the {notation.level}"
        " interval. The closer the points lie to one rising curve, the better the small model"
        " predicts the large one."
    )
    table = PageTable(
        caption=f"Where the large model was measured: losses, {notation.unit}",
        head=("Coalition", "Small model", "Large model"),
        rows=tuple((name, notation.value(x), notation.value(y)) for name, x, y in runs),
        source="utilities.csv, law.json",
    )
    heading = f"Large model's loss, {notation.unit}"
    drawing = Drawing(
        ((heading, _law(run, runs, notation)),),
        table,
        key=(("diamond", "measured"), ("point", f"predicted, with its {notation.level} interval")),
    )
    return Text((reading,)), drawing, Text(_more(run))


def drawn_coalitions(small_C: NDArray[np.float64]) -> NDArray[np.intp]:
    """Positions of at most MOST_POINTS coalitions, evenly spread in the order of the small loss.

    Both ends are included.
    """
    order_C = np.argsort(small_C, kind="stable")
    if len(order_C) <= MOST_POINTS:
        return order_C
    return order_C[np.linspace(0, len(order_C) - 1, MOST_POINTS).round().astype(np.intp)]


def _more(run: FinishedRun) -> tuple[str, ...]:
    """What would make the values more certain."""
    sentences = [*more_certain_sentences(run.law, run.evidence.config.companies)]
    of_one = run.law.diagnostics.get("D6 error_of_one_training")
    if of_one is not None:
        seeds = run.evidence.config.training.large_seeds
        sentences.append(
            "For comparison: if the large model trained on every coalition, with"
            f" {counted(seeds, 'seed')}, the values would be off by about {percent(of_one, 0)}, by"
            " the chance of seeds alone."
        )
    return tuple(sentences)


def _curve(rounds: Sequence[int], heights: Sequence[tuple[float, str]], heading: str) -> Markup:
    across = Scale(rounds[0], rounds[-1], margin=4)
    upward = Scale.over(0.0, *(height for height, _ in heights), upward=True, margin=14)
    points = [
        (across.at(number), upward.at(height))
        for number, (height, _) in zip(rounds, heights, strict=True)
    ]
    dots = [
        symbol(x, y, "dot", f"Round {number}: {text}")
        for (x, y), number, (_, text) in zip(points, rounds, heights, strict=True)
    ]
    (_, first), (_, last) = heights[0], heights[-1]
    texts = [
        # Beside the first point where the curve rises from it, else above.
        label(4, points[0][1], first, lower=4, right=12)
        if heights[-1][0] > heights[0][0]
        else label(4, points[0][1], first, lower=-9),
        label(96, points[-1][1], last, "end", -9),
        label(4, 99, f"round {rounds[0]}", lower=-1),
        label(96, 99, f"round {rounds[-1]}", "end", -1),
    ]
    floor = line(2, upward.at(0.0), 98, upward.at(0.0), "axis")
    description = f"{heading}: from {first} untrained to {last} after round {rounds[-1]}."
    return picture(CURVE, [floor, polyline(points, "curve"), *dots, *texts], description)


def _law(run: FinishedRun, runs: Sequence[tuple[str, float, float]], notation: Notation) -> Markup:
    found = run.predictions
    drawn = drawn_coalitions(found.small_C)
    across = Scale.over(*found.small_C.tolist(), margin=4)
    upward = Scale.over(
        *found.low_C[drawn].tolist(), *found.high_C[drawn].tolist(), *(y for *_, y in runs),
        upward=True, margin=9,
    )  # fmt: skip
    x = [across.at(loss) for loss in found.small_C[drawn].tolist()]
    ends = zip(found.low_C[drawn].tolist(), found.high_C[drawn].tolist(), strict=True)
    intervals = [
        line(at, upward.at(low), at, upward.at(high), "faint")
        for at, (low, high) in zip(x, ends, strict=True)
    ]
    dots = [
        symbol(at, upward.at(loss), "point")
        for at, loss in zip(x, found.predicted_C[drawn].tolist(), strict=True)
    ]
    diamonds = [
        symbol(
            across.at(small), upward.at(large), "diamond",
            f"{name}: {notation.value(small)} small, {notation.value(large)} large",
        )
        for name, small, large in runs
    ]  # fmt: skip
    low, high = notation.value(across.low), notation.value(across.high)
    texts = [
        label(2, 99, f"small model's loss {low}", lower=-1),
        label(98, 99, high, "end", -1),
        label(2, 4, notation.value(upward.high)),
        label(2, 90, notation.value(upward.low)),
    ]
    description = (
        f"The large model's loss against the small model's, for {len(drawn)} predicted and"
        f" {len(runs)} measured coalitions."
    )
    return picture(LAW, [*intervals, *dots, *diamonds, *texts], description)
