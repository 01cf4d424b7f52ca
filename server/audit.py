"""The audit: what the companies' updates say about their work and their rows.

All of it follows from what arrived while the small models trained, and from what the operator's own
rows say of it.

Shapes: N companies, V validation examples, K outputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fl_sv.audit.lines import (
    ANSWERS,
    COPIES,
    GROWTH,
    LENGTH,
    PLANTED,
    WORK,
    AuditLine,
    due,
    named,
)
from fl_sv.audit.planted import (
    chance_of_labels,
    chance_of_targets,
    log_probabilities,
    remains,
)
from fl_sv.audit.rows import shared_noise, surprise
from fl_sv.audit.wave import Deviation, WaveWork, Work
from fl_sv.audit.work import (
    beside_others,
    difference,
    factors,
    strangeness,
)
from fl_sv.streams import stream
from fl_sv.training.models import ModelSpec
from server.job import Job

Floats = NDArray[np.float64]

FEWEST_ALIKE = 3  # companies, so that one of them can be unlike the others
MOST_ROWS = 2000  # that score, beside the planted ones
# Of labels: for each company, at least and at most.
DRAWS, LEAST_DRAWS, MOST_DRAWS = 1000, 10_000, 100_000


def audit(job: Job) -> tuple[AuditLine, ...]:
    """Every line of the audit, from what the journal has of the waves so far.

    Companies are compared only where all take as many steps: one of few rows takes few else, and
    differs from the others by that.
    """
    waves = job.journal.wave_work()
    work = _first_work(waves)
    equal_steps = job.config.training.local_steps is not None
    figures: dict[tuple[str, str, str], float] = {}
    others: dict[tuple[str, str], str] = {}
    deviations = _deviations(waves, work, equal_steps=equal_steps)
    if len(deviations) >= FEWEST_ALIKE:
        residual_N = np.array([each.figure for each in deviations.values()])
        beside_N = beside_others(residual_N).tolist()
        for (company, deviation), figure in zip(deviations.items(), beside_N, strict=True):
            figures[WORK, company, ""] = figure
            others[WORK, company] = named(deviation.coalition, job.config)
    of_each = {PLANTED: _planted(job)}
    if equal_steps:
        of_each |= {LENGTH: _lengths(job, work), GROWTH: _growth(job), ANSWERS: _answers(job)}
        figures |= _shared(job, waves)
    for check, found in of_each.items():
        figures |= {(check, company, ""): figure for company, figure in found.items()}
    return tuple(
        AuditLine(check, company, others.get((check, company), other), figures.get(key))
        for key in due(job.config)
        for check, company, other in [key]
    )


def _first_work(waves: Sequence[WaveWork]) -> dict[tuple[str, str], Work]:
    """Of each model and company the work in its first wave."""
    return {place: each for wave in reversed(waves) for place, each in wave.work.items()}


def _deviations(
    waves: Sequence[WaveWork], work: Mapping[tuple[str, str], Work], *, equal_steps: bool
) -> dict[str, Deviation]:
    """The largest deviation of each company, that from wave to wave included.

    In the first round all waves start from the same models on the same batches. What follows from
    other coalitions counts only where all companies take as many steps: a company of few rows takes
    one, which depends on where it starts far more than many steps do.
    """
    found: dict[str, Deviation] = {}
    for wave in waves:
        for (key, company), each in wave.work.items():
            apart = Deviation(difference(each.first, work[key, company].first), 0)
            if apart.figure > 0 and (company not in found or apart.figure > found[company].figure):
                found[company] = apart
        for company, deviation in wave.deviations.items() if equal_steps else ():
            if company not in found or deviation.figure > found[company].figure:
                found[company] = deviation
    return found


def _lengths(job: Job, work: Mapping[tuple[str, str], Work]) -> dict[str, float]:
    """By what factor each company's updates are longer or shorter than the others', in the round in
    which it is furthest; a round's is the mean over models and seeds.
    """
    companies = job.config.companies
    keys = sorted({key for key, _ in work})
    if len(companies) < FEWEST_ALIKE or any((k, c) not in work for k in keys for c in companies):
        return {}
    # (companies, models and seeds, rounds)
    logs = np.array([[work[key, company].lengths for key in keys] for company in companies])
    if not np.isfinite(logs).all():
        return {}
    by_round = [factors(log_N) for log_N in logs.mean(axis=1).T]
    return dict(zip(companies, np.max(by_round, axis=0).tolist(), strict=True))


def _growth(job: Job) -> dict[str, float]:
    """By what factor the outputs of each company's own large model have grown more, or less, than
    those of its own small model, beside the other companies'.
    """
    companies = job.config.companies
    sizes = [_log_sizes(job, model) for model in (job.small[-1], job.large)]
    if len(companies) < FEWEST_ALIKE or any(size_N is None for size_N in sizes):
        return {}
    small_N, large_N = sizes
    assert small_N is not None and large_N is not None
    return dict(zip(companies, factors(large_N - small_N).tolist(), strict=True))


def _log_sizes(job: Job, model: ModelSpec) -> Floats | None:
    """(N,) logarithms of how large the outputs of each company's own model are; None if unknown."""
    kept = job.journal.outputs(model.name, 0)
    singletons = [1 << i for i in range(job.config.n_companies)]
    if not kept.keys() >= {*singletons}:
        return None
    sizes = []
    for singleton in singletons:
        own_VK = kept[singleton][: len(job.validation.y)].astype(np.float64)
        if own_VK.shape[-1] > 1:
            own_VK = own_VK - own_VK.mean(axis=-1, keepdims=True)
        with np.errstate(over="ignore"):  # a class that a model rules out has the lowest number
            sizes.append(np.sqrt((own_VK**2).mean()))
    size_N = np.array(sizes)
    return np.log(size_N) if np.isfinite(size_N).all() and (size_N > 0).all() else None


def _answers(job: Job) -> dict[str, float]:
    """By what factor the answers of each company's own large model are less those of its own small
    ones than other companies' are.
    """
    small, large = _own_outputs(job)
    if len(small) < 2 or not large or job.config.n_companies < FEWEST_ALIKE:
        return {}
    n_scored = len(job.validation.y)
    strange_N = strangeness(*([each[:, :n_scored] for each in own] for own in (small, large)))
    figure_N = beside_others(strange_N)
    return dict(zip(job.config.companies, figure_N.tolist(), strict=True))


# --- rows -----------------------------------------------------------------------------------------


def _shared(job: Job, waves: Sequence[WaveWork]) -> dict[tuple[str, str, str], float]:
    """How much noise each two companies' updates share."""
    companies = job.config.companies
    together = [each for wave in waves for _, each in sorted(wave.together.items())]
    if not together:
        return {}
    shared_NN = shared_noise([(each.updates, each.directions) for each in together], len(companies))
    return {
        (COPIES, one, other): float(shared_NN[i, j])
        for (i, one), (j, other) in combinations(enumerate(companies), 2)
        if np.isfinite(shared_NN[i, j])
    }


def _planted(job: Job) -> dict[str, float]:
    """How surprising it is how well each company's own models know the planted labels."""
    config = job.config
    own = [outputs for outputs in _own_outputs(job) if outputs]
    if job.validation.planted is None or not own or config.n_companies < 2:
        return {}
    labels = job.validation.planted[1].cpu().numpy()
    n_scored = len(job.validation.y)
    some = stream(config.seed, "audit", "rows").permutation(n_scored)[:MOST_ROWS]
    rows = np.concatenate([np.sort(some), n_scored + np.arange(len(labels))])
    n_draws = min(max(LEAST_DRAWS, DRAWS * config.n_companies), MOST_DRAWS)

    def chance(outputs: list[Floats], i: int) -> float:
        """That of one company by some models: how likely drawn labels suit it as well."""
        said = [each[:, rows] for each in outputs]
        others = [each[j] for each in said for j in range(config.n_companies) if j != i]
        remaining = remains(np.mean([each[i] for each in said], axis=0), others)[len(some) :]
        draw = stream(config.seed, "audit", "planted", config.companies[i])
        if job.large.task.kind == "classification":
            return chance_of_labels(remaining, labels, n_draws, draw)
        return chance_of_targets(remaining[:, 0], labels, n_draws, draw)

    # The small models and the large one, as a company may use other rows for them.
    least_N = np.array([min(chance(each, i) for each in own) for i in range(config.n_companies)])
    figure_N = surprise(least_N, len(own) * config.n_companies)
    return dict(zip(config.companies, figure_N.tolist(), strict=True))


def _own_outputs(job: Job) -> tuple[list[Floats], list[Floats]]:
    """Of each size and seed the outputs (N, rows, K) of every company's own model, of small models
    and of the large one, as far as all were kept; of classes their log-probabilities.
    """
    is_classes = job.large.task.kind == "classification" and not job.large.task.places
    small = [each for model in job.small for each in _own(job, model)]
    large = [*_own(job, job.large)]
    if not is_classes:
        return small, large
    return [*map(log_probabilities, small)], [*map(log_probabilities, large)]


def _own(job: Job, model: ModelSpec) -> Iterator[Floats]:
    """Of each seed the outputs (N, rows, K) of every company's own model, where all were kept."""
    singletons = [1 << i for i in range(job.config.n_companies)]
    for replicate in range(max(job.config.training.seeds, job.config.training.large_seeds)):
        kept = job.journal.outputs(model.name, replicate)
        if kept.keys() >= {*singletons}:
            yield np.array([kept[singleton] for singleton in singletons], dtype=np.float64)
