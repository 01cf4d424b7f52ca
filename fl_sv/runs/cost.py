"""What a run cost, by stage: the content of cost.json."""

from collections.abc import Mapping
from typing import ClassVar, Self

from fl_sv.runs import files
from fl_sv.runs.records import FileRecord, Record

# Every run has these; others are listed only where they cost something.
STAGES = ("teacher", "sweep", "anchors")
REST = "rest"  # what no other stage used: joining, law, tables


class StageCost(Record):
    """What one stage cost, over all resumptions and failed attempts."""

    seconds: float  # elapsed
    company_seconds: float  # of training, summed over companies
    bytes: int  # of messages, both ways
    flops: float


class CostRecord(FileRecord):
    """The content of cost.json."""

    FILE: ClassVar[str] = files.COST

    stages: dict[str, StageCost]
    sweep_share_of_teacher_flops: float | None  # None without a teacher's FLOPs

    @property
    def total(self) -> StageCost:
        """The sum over all stages."""
        stages = self.stages.values()
        return StageCost(
            seconds=sum(stage.seconds for stage in stages),
            company_seconds=sum(stage.company_seconds for stage in stages),
            bytes=sum(stage.bytes for stage in stages),
            flops=sum(stage.flops for stage in stages),
        )

    @classmethod
    def of(cls, costs: Mapping[str, Mapping[str, float]]) -> Self:
        """The cost of a whole run. costs: sums by stage, from the journal."""
        nothing = {"seconds": 0.0, "company_seconds": 0.0, "bytes": 0, "flops": 0.0}
        others = [stage for stage in costs if stage != REST]
        stages = {
            stage: StageCost.model_validate(costs.get(stage, nothing))
            for stage in dict.fromkeys([*STAGES, *others, REST])
        }
        teacher_flops = stages["teacher"].flops
        return cls(
            stages=stages,
            sweep_share_of_teacher_flops=stages["sweep"].flops / teacher_flops
            if teacher_flops
            else None,
        )
