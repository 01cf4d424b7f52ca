"""Students of the finished teacher: it goes to every company once, for the small models of all coalitions."""

from fl_sv import messages as words
from server.job import Job
from server.large import DEPLOYED
from strategies.roster import check_metrics


def send_teacher(job: Job) -> None:
    """Every company asks the deployed teacher about each of its rows. The answers stay with the company.

    Asked again after a crash: nodes keep what they heard no longer than they live.
    """
    roster = job.federation.roster
    finished = job.journal.teacher_rounds(DEPLOYED)[-1]
    arrays = {words.stack_key(job.large.name, 0): finished.params}
    requests = [roster.message(company, words.LISTEN, finished.number, arrays) for company in roster.by_name]
    with job.costed("sweep", job.large.forward_flops * float(sum(job.examples.values()))):
        job.federation.exchange(
            requests,
            lambda _, content: check_metrics(content.metric_records[words.METRICS]),
            "listening to the finished teacher",
        )
