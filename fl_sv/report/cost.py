"""What the run cost to compute, stage by stage."""

from fl_sv.report.blocks import PageTable
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.wording import decimal, scaled
from fl_sv.runs.cost import StageCost

_STAGES = {
    "rates": "Learning rates on trial (all models, all companies)",
    "teacher": "Teacher (large model, all companies)",
    "student": "Student (deployed; trained by the operator)",
    "sweep": "Sweep (small models, coalitions)",
    "anchors": "Large runs (large model, few coalitions)",
    "averages": "Averages of the companies' own models (evaluated, not trained)",
    "rest": "Rest (registration, law, tables)",
}


def cost_table(run: FinishedRun) -> PageTable:
    """Seconds, messages and arithmetic of every stage."""
    return PageTable(
        caption="Cost by stage",
        head=("Stage", "Seconds", "Companies' seconds", "Messages, MB", "Arithmetic"),
        rows=tuple(
            _row(_STAGES.get(stage, stage), cost) for stage, cost in run.cost.stages.items()
        ),
        foot=_row("Sum", run.cost.total),
        source="cost.json",
    )


def cost_sentences(run: FinishedRun) -> tuple[str, ...]:
    """How the cost was measured, and how the sweep compares with the teacher."""
    measured = (
        "The cost was measured during the run, over all resumptions. Seconds are elapsed time."
        " Companies' seconds are the time that the companies spent on training, added up. FLOP"
        " counts multiplications and additions. The ledger holds the hash of these numbers, but"
        " they cannot be computed again."
    )
    share = run.cost.sweep_share_of_teacher_flops
    if share is None:
        return (measured,)
    times = decimal(share, 2 if share < 10 else 0)
    return (
        measured,
        f"The sweep over the coalitions took {times} times the arithmetic of the teacher's"
        " training.",
    )


def _row(name: str, cost: StageCost) -> tuple[str, ...]:
    return (
        name,
        decimal(cost.seconds, 1),
        decimal(cost.company_seconds, 1),
        decimal(cost.bytes / 1e6, 1),
        scaled(cost.flops, "FLOP"),
    )
