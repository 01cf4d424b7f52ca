"""What would make the values more certain: the next best large run, and more seeds."""

from collections.abc import Sequence

from fl_sv.game.coalitions import coalition_name
from fl_sv.report.wording import percent
from fl_sv.runs.records import LawRecord


def more_certain_sentences(law: LawRecord, companies: Sequence[str]) -> tuple[str, ...]:
    """The `next_run` and the `more_seeds` of law.json: what to set, what it brings, its price."""
    sentences = []
    if law.next_run is not None:
        run = law.next_run
        sentences.append(
            f"Next best run: {coalition_name(run.coalition, companies)} (law.anchors:"
            f" {run.anchors}). It cuts the law's share of the uncertainty by"
            f" {percent(run.narrower)} for {percent(run.price, 0)} of a large training."
        )
    if law.more_seeds is not None and law.more_seeds.narrower > 0:
        seeds = law.more_seeds
        sentences.append(
            f"More seeds of the large runs (training.large_seeds: {seeds.large_seeds}) cut the"
            f" law's share of the uncertainty by {percent(seeds.narrower)} for"
            f" {seeds.price:.1f} large trainings."
        )
    return tuple(sentences)
