"""What one more large run would tell, and how to ask for it, as a sentence."""

from collections.abc import Sequence

from fl_sv.game.coalitions import coalition_name
from fl_sv.runs.records import NextRunRecord


def next_run_sentence(next_run: NextRunRecord, companies: Sequence[str]) -> str:
    """The `next_run` of law.json, for a reader.

    It names the coalition, what its run would tell, its price, and the key of the config.
    """
    return (
        f"Next best run: {coalition_name(next_run.coalition, companies)} (law.anchors:"
        f" {next_run.anchors}). It cuts the law's share of the uncertainty by"
        f" {next_run.narrower:.1%} for {next_run.price:.0%} of a large training."
    )
