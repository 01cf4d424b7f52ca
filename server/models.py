"""The models that come out of a run: the deployed ones, and rounds that the config asks to keep."""

from fl_sv.deployment.save import save_record, save_tensors
from fl_sv.design.workloads import DEPLOYED
from fl_sv.payment.settlement import TeacherLoss
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import TEACHER as TEACHER_LOSSES
from fl_sv.runs.journal import TeacherRound
from fl_sv.runs.models import BEST, STUDENT, TEACHER
from fl_sv.runs.tables import teacher_csv
from fl_sv.training.deployed import deployed_spec
from fl_sv.training.models import as_tensor
from server.job import Job


def keep_round(job: Job, run: RunDirectory, finished: TeacherRound) -> None:
    """Writes teacher.csv so far, and the teacher itself where `teacher.keep` asks for it.

    The journal does not have the round yet: a run that is killed in between trains it again, and
    writes the same bytes.
    """
    earlier = job.journal.teacher_curve(DEPLOYED)
    now = TeacherLoss(finished.number, finished.loss, finished.accuracy)
    run.write_text(TEACHER_LOSSES, teacher_csv([*earlier, now]))
    match job.config.teacher.keep:
        case "rounds" if finished.number < job.config.training.rounds:
            which = f"round-{finished.number}"
        case "best" if all(now.loss < each.loss for each in earlier):
            which = BEST
        case _:
            return
    save_tensors(run, which, job.large, as_tensor(finished.params))


def save_models(job: Job, run: RunDirectory) -> None:
    """Writes the deployed models of a run that is trained to its end."""
    last = job.journal.teacher_rounds(DEPLOYED)[-1]
    params, scaling = as_tensor(last.params), job.federation.roster.scaling
    save_tensors(run, TEACHER, job.large, params)
    save_record(
        run,
        TEACHER,
        job.large,
        params,
        config=job.config,
        scaling=scaling,
        number=last.number,
        loss=last.loss,
        accuracy=last.accuracy,
    )
    deployed, student = job.config.deployed, job.journal.student()
    if deployed is None or student is None:
        return
    spec, params = deployed_spec(job.config, deployed, scaling), as_tensor(student.params)
    save_tensors(run, STUDENT, spec, params)
    save_record(
        run,
        STUDENT,
        spec,
        params,
        config=job.config,
        scaling=scaling,
        number=None,
        loss=student.loss,
        accuracy=student.accuracy,
    )
