"""Students of the finished teacher: the one that is deployed, and the sweep's small models."""

from collections.abc import Iterable

from flwr.app import RecordDict

from fl_sv.config.students import Deployed
from fl_sv.design.workloads import DEPLOYED, SWEEP
from fl_sv.flower import schema, wire
from fl_sv.payment.settlement import StudentLoss
from fl_sv.runs.journal import TrainedStudent
from fl_sv.training.deployed import deployed_spec, distilled, n_rows, teacher_passes
from fl_sv.training.models import ModelSpec, as_tensor
from fl_sv.training.trial import tried
from server.interleave import run_to_end
from server.job import Job
from strategies.roster import to_record


def deploy_student(job: Job) -> StudentLoss | None:
    """The deployed student's loss on the validation set; None where the teacher is deployed."""
    deployed = job.config.deployed
    if deployed is None:
        return None
    scaling = job.federation.roster.scaling
    validation = job.validation
    spec = deployed_spec(job.config, deployed, scaling)
    spec = tried(spec, job.config, validation.x, validation.y)
    rows = n_rows(job.config, deployed, scaling)
    student = job.journal.student() or _distil(job, deployed, spec, rows)
    return StudentLoss(
        spec.name, spec.n_params, deployed.transfer_set.kind, rows, student.loss, student.accuracy
    )


def send_teacher(job: Job) -> None:
    """Every company gets the finished teacher and keeps its logits on the company's rows."""
    with job.meter.stage(SWEEP):
        compute_teacher_logits(job, job.federation.roster.by_name)
        job.meter.add(job.large.forward_flops * float(sum(job.examples.values())))


def compute_teacher_logits(job: Job, companies: Iterable[str]) -> None:
    """These companies compute the finished teacher's logits on their rows, and keep them.

    A node loses them when it is started again. So before a message is sent to a company again, the
    company computes its logits again.
    """
    finished = job.journal.teacher_rounds(DEPLOYED)[-1]
    arrays = to_record({wire.stack_key(job.large.name, 0): finished.params})
    roster = job.federation.roster
    requests = [
        roster.message(company, wire.TEACHER_LOGITS, finished.number, arrays)
        for company in companies
    ]

    def check(_company: str, content: RecordDict) -> None:
        schema.check_reply(wire.TEACHER_LOGITS, content)

    run_to_end(job.federation.exchange(requests, check, "computing the teacher's logits"))


def _distil(job: Job, deployed: Deployed, spec: ModelSpec, rows: int) -> TrainedStudent:
    """Trains the student that is deployed and enters it into the journal."""
    scaling = job.federation.roster.scaling
    teacher = as_tensor(job.journal.teacher_rounds(DEPLOYED)[-1].params)
    flops = deployed.epochs * spec.training_flops(rows)
    flops += job.large.training_flops(teacher_passes(deployed, rows) * rows)
    with (
        job.progress.stage("student", 1, "student") as bar,
        job.meter.stage("student"),
    ):
        params = distilled(job.config, deployed, job.large, teacher, scaling)
        ((loss, accuracy),) = job.validation.means(spec, params[None], "the deployed student")
        student = TrainedStudent(params.numpy(), loss, accuracy)
        job.meter.add(flops)
        job.journal.add_student(student)
        bar.advance(1)
    return student
