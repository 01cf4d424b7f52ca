"""The anchors of the law: the large model untrained, at single companies, and at whatever else the
config asks for.

Single companies train alone, all rounds in one message. The other coalitions share their rounds:
one message a company and round, with the large models of all coalitions of a wave that it belongs
to.

Shapes: C coalitions of a wave, P parameters of the large model.
"""

import torch
from flwr.app import ArrayRecord

from fl_sv.design.large_runs import planned_large_runs
from fl_sv.design.sample import design_steps
from fl_sv.design.waves import large_run_waves
from fl_sv.flower import wire
from fl_sv.game.coalitions import EMPTY, grand, member_names, members_matrix
from fl_sv.game.utilities import Score
from fl_sv.progress import Bar
from server.interleave import run_to_end
from server.job import Job
from strategies.coalitions import CoalitionStrategy
from strategies.roster import check_arrays, to_numpy, to_record


def measure_large_runs(job: Job) -> list[int]:
    """The coalitions on which the large model is measured; their scores go into the journal, once.

    Which they are says `planned_large_runs`: first the singletons, then, once these are measured,
    the larger coalitions."""
    for replicate in range(job.config.training.large_seeds):
        job.keep(job.validation.untrained(job.large, replicate)[1])
    measured = [EMPTY, grand(job.config.n_companies)]
    first_step = design_steps(job.config)[0].coalitions
    for train in (_train_singletons, _train_together):
        table = job.table(first_step, measured)
        planned = planned_large_runs(job.config, table, job.sizes, job.examples)
        train(job, [coalition for coalition in planned if coalition not in measured])
        measured = planned
    return measured


def _train_singletons(job: Job, coalitions: list[int]) -> None:
    """Every company in question trains the large model alone: all rounds and replicates in one
    message.
    """
    config, roster = job.config, job.federation.roster
    bits = {config.companies[c.bit_length() - 1]: c for c in coalitions}
    todo = set(_without_score(job, coalitions))
    missing = [company for company in roster.by_name if bits.get(company) in todo]
    if not missing:
        return
    initial = {key: params_P.numpy() for key, params_P in _initial(job).items()}
    shapes = {key: params.shape for key, params in initial.items()}
    rows = sum(roster.examples[company] for company in missing) * len(initial)
    with (
        job.progress.stage("anchors", len(coalitions), "companies") as bar,
        job.costed("anchors", job.training_flops(job.large, rows, config.training.rounds)),
    ):
        bar.advance(len(coalitions) - len(missing))
        requests = [roster.message(company, wire.SINGLETON, 0, initial) for company in missing]
        replies = run_to_end(
            job.federation.exchange(
                requests,
                lambda _, content: check_arrays(content, shapes, config.compute.dtype),
                "training the large model alone",
                on_reply=lambda: bar.advance(1),
            )
        )
        for company, content in roster.replies_by_name(replies, 0).items():
            for key, params_P in to_numpy(content[wire.ARRAYS]).items():
                job.journal.add_scores(
                    _scores(job, [bits[company]], key, torch.tensor(params_P)[None])
                )


def _train_together(job: Job, coalitions: list[int]) -> None:
    """The coalitions of two companies or more, wave by wave, each wave by FedAvg over the members."""
    rounds, todo = job.config.training.rounds, set(_without_score(job, coalitions))
    if not todo:
        return
    waves = large_run_waves(job.config, job.large.n_params, coalitions)
    with job.progress.stage("anchors", len(waves) * rounds, "rounds") as bar:
        for number, wave in enumerate(waves):
            missing = [coalition for coalition in wave if coalition in todo]
            if missing:
                _train_wave(job, f"anchors/{number}", missing, bar)
            else:
                bar.advance(rounds)


def _train_wave(job: Job, run: str, coalitions: list[int], bar: Bar) -> None:
    """Trains to the last round, from where the journal stands."""
    rounds = job.config.training.rounds
    done, stacks = job.journal.stacks(run)
    if not done:
        stacks = {key: params_P[None].numpy() for key, params_P in _initial(job).items()}
    bar.advance(done)

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        job.journal.keep_stacks(run, server_round, to_numpy(arrays))
        bar.advance(1)

    strategy = CoalitionStrategy(job.federation.roster, coalitions, job.config.compute.dtype)
    what = f"training the large model by coalitions of companies ({run})"
    examples_N = [job.examples[company] for company in job.config.companies]
    rows = float((members_matrix(coalitions, job.config.n_companies) @ examples_N).sum()) * len(
        stacks
    )
    with job.costed("anchors", job.training_flops(job.large, rows, rounds - done)):
        trained = run_to_end(
            job.run_rounds(strategy, to_record(stacks), done + 1, what, after_round)
        )
        scores = [
            score
            for key, stack_CP in to_numpy(trained).items()
            for score in _scores(job, coalitions, key, torch.tensor(stack_CP))
        ]
    job.journal.finish_stacks(run, scores)


def _scores(job: Job, coalitions: list[int], key: str, stack_CP: torch.Tensor) -> list[Score]:
    """What the replicate `key` of the large model reached at each coalition."""
    _, replicate = wire.parse_stack_key(key)
    what = (
        f"the large model of {member_names(coalitions[0], job.config.companies)}, seed {replicate}"
    )
    means = job.validation.means(job.large, stack_CP, what)
    return [
        Score(c, job.large.name, replicate, *mean)
        for c, mean in zip(coalitions, means, strict=True)
    ]


def _initial(job: Job) -> dict[str, torch.Tensor]:
    """The untrained large model of every replicate, (P,), by its key."""
    return {
        wire.stack_key(job.large.name, r): job.large.initial_params(job.config.seed, r)
        for r in range(job.config.training.large_seeds)
    }


def _without_score(job: Job, coalitions: list[int]) -> list[int]:
    scored, replicates = job.journal.scores(), range(job.config.training.large_seeds)
    return [c for c in coalitions if any((job.large.name, r, c) not in scored for r in replicates)]
