"""The story of fl-sv, one line for each arrow: from private data to payouts.

    companies join -> learning rates are chosen, where the config leaves them to the run
        -> the teacher is trained -> coalitions train the small models -> large runs
        -> the audit -> the law predicts the large model's losses -> values -> payouts
        -> the model's files, ledger and report

Every stage reads the results of earlier ones from the journal and writes its own there. So a killed
run can resume where it stopped. A result that is missing raises an exception; it is never a number.
"""

import threading
from contextlib import closing
from dataclasses import replace
from functools import partial

from flwr.serverapp import Grid

from fl_sv.config import Config
from fl_sv.design.sample import design_steps
from fl_sv.game.averaged import AveragedLosses
from fl_sv.game.utilities import UtilityTable
from fl_sv.machine import keep_freed_memory, software, use_threads
from fl_sv.payment.settlement import Evidence, Settlement, StudentLoss, TeacherLoss, settle
from fl_sv.payment.stopping import is_large_enough
from fl_sv.progress import Progress
from fl_sv.report import write_report
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.files import COST, JOURNAL, PROGRESS
from fl_sv.runs.journal import Journal
from fl_sv.runs.publish import publish
from fl_sv.valuation.appraise import paid_weighting, shapley_weighting
from server.audit import audit
from server.averages import average_singletons
from server.job import Job, open_job
from server.large_runs import measure_large_runs
from server.meter import Meter
from server.models import keep_round, save_models
from server.rates import choose_rates
from server.students import deploy_student
from server.sweep import sweep_coalitions, validation_values
from server.teacher import train_teacher


def value_companies(
    config: Config, run: RunDirectory, grid: Grid, progress: Progress, stop: threading.Event
) -> Settlement:
    """Values each company's data by their worth to the large model, and divides the pot.

    config: validated and checked.
    run: the run directory, locked; all files of the run are written there.
    grid: Flower's grid, behind which the companies are.
    progress: where the stages report. stop: when it is set, the run is interrupted.

    Raises RunError when the run cannot be finished; the journal keeps what is.
    """
    use_threads(config.compute.threads)
    keep_freed_memory()
    with closing(Journal(run.file(JOURNAL))) as journal, Meter(journal) as meter:
        progress.record(run.file(PROGRESS), lambda: meter.traffic.n_bytes)
        job = open_job(config, journal, grid, progress, stop, meter)  # the companies join
        job = choose_rates(job)  #                                 learning rates that are auto
        curve = train_teacher(job, partial(keep_round, job, run))  # large model, grand coalition
        student = deploy_student(job)  #                           where one is deployed
        for step in design_steps(config):  #                       all coalitions, or a sample
            sweep_coalitions(job, step)  #                         small models, these coalitions
            large_runs = measure_large_runs(job)  #                large model, few coalitions
            table = job.table(step.coalitions, large_runs)  #      every utility so far
            averaged = average_singletons(job, table)  #           the companies' own models
            evidence = gather(job, table, averaged, curve, student)  # all else that payouts need
            if is_large_enough(evidence, progress):  #             the sample is large enough
                break
        evidence = replace(evidence, audit=audit(job))  #          what the companies' work says
        settlement = settle(evidence, progress)  #                 law, values, payouts
        save_models(job, run)  #                                   what the companies joined for
        meter.enter()
        costs = journal.costs()
    run.write_text(COST, CostRecord.of(costs).to_json())
    with progress.step("report"):
        publish(run, evidence, settlement, software())  #          tables and the signed ledger
        write_report(run, settlement.law)  #                       a page that anybody can follow
    return settlement


def gather(
    job: Job,
    table: UtilityTable,
    averaged: AveragedLosses,
    curve: list[TeacherLoss],
    student: StudentLoss | None,
) -> Evidence:
    """The evidence from which law, values and payouts are computed, all but the audit."""
    config, roster = job.config, job.federation.roster
    weighting, coalitions = shapley_weighting(config, table), table.coalitions(table.largest_small)
    return Evidence(
        config=config,
        table=table,
        sizes=job.sizes,
        examples={company: roster.examples[company] for company in config.companies},
        fingerprints={company: roster.fingerprints[company] for company in config.companies},
        weighting=weighting,
        validation_NV=validation_values(job, coalitions, paid_weighting(config, weighting)),
        curve=tuple(curve),
        averaged=averaged,
        student=student,
        rows_left_out=job.rows_left_out,
        rates=job.rates,
        groups=job.groups,
    )
