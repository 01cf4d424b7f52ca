"""What a run cost, by stage: the content of cost.json."""

import json
from collections.abc import Mapping

STAGES = ("teacher", "sweep", "anchors")


def cost_json(costs: Mapping[str, Mapping[str, float]], seconds: float) -> str:
    """The text of cost.json: seconds, companies' seconds, bytes and FLOPs of each stage, over all
    resumptions.

    costs: sums by stage from the journal; seconds: wall time of the run, of which `rest` is what no
    stage used (joining, law, report).
    """
    nothing = {"seconds": 0.0, "company_seconds": 0.0, "bytes": 0, "flops": 0.0}
    stages = {stage: dict(costs.get(stage, nothing)) for stage in dict.fromkeys([*STAGES, *costs])}
    spent = sum(stage["seconds"] for stage in stages.values())
    stages["rest"] = {**nothing, "seconds": max(0.0, seconds - spent)}
    teacher = stages["teacher"]["flops"]
    share = stages["sweep"]["flops"] / teacher if teacher else None
    return (
        json.dumps(
            {"stages": stages, "sweep_share_of_teacher_flops": share}, indent=2, allow_nan=False
        )
        + "\n"
    )
