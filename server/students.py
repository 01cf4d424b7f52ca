"""Students of the finished teacher: the one that is deployed, and the small models of all
coalitions.

Shapes: P parameters of a model.
"""

from collections.abc import Iterable

import torch

from fl_sv.config.students import Deployed
from fl_sv.design.workloads import DEPLOYED
from fl_sv.flower import wire
from fl_sv.payment.settlement import StudentLoss
from fl_sv.runs.journal import TrainedStudent
from fl_sv.training.deployed import deployed_spec, distilled, n_rows, teacher_passes
from fl_sv.training.models import ModelSpec
from server.interleave import run_to_end
from server.job import Job
from strategies.roster import check_metrics


def deploy_student(job: Job) -> StudentLoss | None:
    """What the deployed student loses on the validation set; None when the teacher itself is
    deployed.
    """
    deployed, scaling = job.config.deployed, job.federation.roster.scaling
    if deployed is None:
        return None
    spec, rows = deployed_spec(job.config, deployed, scaling), n_rows(job.config, deployed, scaling)
    student = job.journal.student() or _distil(job, deployed, spec, rows)
    return StudentLoss(
        spec.name, spec.n_params, deployed.transfer_set.kind, rows, student.loss, student.accuracy
    )


def send_teacher(job: Job) -> None:
    """Every company asks the finished teacher about each of its rows. The answers stay with the
    company.
    """
    with job.costed("sweep", job.large.forward_flops * float(sum(job.examples.values()))):
        compute_teacher_logits(job, job.federation.roster.by_name)


def compute_teacher_logits(job: Job, companies: Iterable[str]) -> None:
    """These companies ask the finished teacher. Nodes keep what they heard no longer than they
    live, so one that has to be asked anything again is given the teacher again first."""
    finished = job.journal.teacher_rounds(DEPLOYED)[-1]
    arrays = {wire.stack_key(job.large.name, 0): finished.params}
    roster = job.federation.roster
    run_to_end(
        job.federation.exchange(
            [
                roster.message(company, wire.TEACHER_LOGITS, finished.number, arrays)
                for company in companies
            ],
            lambda _, content: check_metrics(content.metric_records[wire.METRICS]),
            "listening to the finished teacher",
        )
    )


def _distil(job: Job, deployed: Deployed, spec: ModelSpec, rows: int) -> TrainedStudent:
    scaling, teacher = job.federation.roster.scaling, job.journal.teacher_rounds(DEPLOYED)[-1]
    flops = deployed.epochs * spec.training_flops(rows)
    flops += job.large.training_flops(teacher_passes(deployed, rows) * rows)
    with (
        job.progress.stage("student", 1, "student") as bar,
        job.costed("student", flops),
    ):
        params_P = distilled(job.config, deployed, job.large, torch.tensor(teacher.params), scaling)
        ((loss, accuracy),) = job.validation.means(spec, params_P[None], "the deployed student")
        student = TrainedStudent(params_P.numpy(), loss, accuracy)
        job.journal.add_student(student)
        bar.advance(1)
    return student
