"""The next best large run, in a sentence."""

from collections.abc import Sequence

from fl_sv.game.coalitions import coalition_name
from fl_sv.report.wording import percent
from fl_sv.runs.records import NextRunRecord


def next_run_sentence(next_run: NextRunRecord, companies: Sequence[str]) -> str:
    """The `next_run` of law.json: its coalition, the `law.anchors` for it, its gain and price."""
    return (
        f"Next best run: {coalition_name(next_run.coalition, companies)} (law.anchors:"
        f" {next_run.anchors}). It cuts the law's share of the uncertainty by"
        f" {percent(next_run.narrower)} for {percent(next_run.price, 0)} of a large training."
    )
