"""The audit: what the companies' updates say about their work and their rows.

All of it follows from what arrived while the small models trained, and from one round of the
operator's own on the validation rows.

Shapes: N companies, V validation examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl_sv.audit.lines import COPIES, GROWTH, LENGTH, MOST_PAIRED, WORK, AuditLine, due, named
from fl_sv.audit.rows import FEWEST_PARTS, MOST_PARTS, shared_noise
from fl_sv.audit.sketch import WIDTH, sketch
from fl_sv.audit.wave import Deviation, WaveWork, Work
from fl_sv.audit.work import beside_others, difference, factors
from fl_sv.config import Config
from fl_sv.config.training import Optimizer
from fl_sv.flower import wire
from fl_sv.streams import stream
from fl_sv.training.models import ModelSpec
from fl_sv.training.sgd import Recipe, make_recipe
from fl_sv.training.stack import train_stack
from fl_sv.valuation.groups import Groups
from server.job import Job

Floats = NDArray[np.float64]

FEWEST_ALIKE = 3  # companies, so that one of them can be unlike the others
LEAST_ROWS = 4  # of a part of the validation rows
MOST_ROWS = 256  # of a group, in one step


def audit(job: Job) -> tuple[AuditLine, ...]:
    """Every line of the audit, from what the journal has of the waves so far."""
    waves = job.journal.wave_work()
    work = _first_work(waves)
    figures: dict[tuple[str, str, str], float] = {}
    others: dict[tuple[str, str], str] = {}
    deviations = _deviations(waves, work, equal_steps=job.config.training.local_steps is not None)
    if len(deviations) >= FEWEST_ALIKE:
        residual_N = np.array([each.figure for each in deviations.values()])
        beside_N = beside_others(residual_N).tolist()
        for (company, deviation), figure in zip(deviations.items(), beside_N, strict=True):
            figures[WORK, company, ""] = figure
            others[WORK, company] = named(deviation.coalition, job.config)
    figures |= {(LENGTH, company, ""): each for company, each in _lengths(job, work).items()}
    figures |= {(GROWTH, company, ""): each for company, each in _growth(job).items()}
    figures |= _shared(job, work)
    return tuple(
        AuditLine(check, company, others.get((check, company), other), figures.get(key))
        for key in due(job.config.companies)
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
    if job.config.training.local_steps is None:
        return {}  # a company with more rows takes more steps
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
        own_VK = kept[singleton].astype(np.float64)
        if own_VK.shape[-1] > 1:
            own_VK = own_VK - own_VK.mean(axis=-1, keepdims=True)
        with np.errstate(over="ignore"):  # a class that a model rules out has the lowest number
            sizes.append(np.sqrt((own_VK**2).mean()))
    size_N = np.array(sizes)
    return np.log(size_N) if np.isfinite(size_N).all() and (size_N > 0).all() else None


# --- rows -----------------------------------------------------------------------------------------


def _shared(job: Job, work: Mapping[tuple[str, str], Work]) -> dict[tuple[str, str, str], float]:
    """How much noise each two companies' first updates share."""
    companies = job.config.companies
    keys = sorted({key for key, _ in work})
    operator = Operator(job.config, job.validation.x, job.validation.y, job.groups)
    if (
        not keys
        or len(companies) > MOST_PAIRED
        or job.config.students  # they learn from a teacher whom the operator's rows do not have
        or any((key, company) not in work for key in keys for company in companies)
        or len(operator.parts) < FEWEST_PARTS
    ):
        return {}
    updates = []
    for key in keys:
        name, replicate = wire.parse_stack_key(key)
        model = next(model for model in job.small if model.name == name)
        own = np.array([work[key, company].first for company in companies])
        updates.append(
            (
                np.concatenate([own, operator.updates(model, replicate)]),
                operator.directions(model, replicate),
            )
        )
    shared_NN = shared_noise(updates, len(companies))
    return {
        (COPIES, one, other): float(shared_NN[i, j])
        for (i, one), (j, other) in combinations(enumerate(companies), 2)
    }


@dataclass(frozen=True)
class Operator:
    """The operator as companies of its own, which hold parts of the validation rows.

    groups: of the validation rows.
    """

    config: Config
    x: Tensor
    y: Tensor
    groups: Groups | None

    @cached_property
    def parts(self) -> list[Tensor]:
        """The validation rows of each part, drawn by a stream of their own."""
        order = stream(self.config.seed, "audit", "parts").permutation(len(self.y))
        n_parts = min(MOST_PARTS, len(self.y) // LEAST_ROWS)
        return [*torch.from_numpy(order).tensor_split(n_parts)] if n_parts else []

    def updates(self, model: ModelSpec, replicate: int) -> Floats:
        """(P, WIDTH) the first update on each part."""
        start = self._start(model, replicate)
        trained = [
            train_stack(model, start, self.x[rows], self.y[rows], recipe, 1)
            for rows, recipe in self._recipes(model, replicate)
        ]
        return _sketched(torch.cat(trained) - start)

    def directions(self, model: ModelSpec, replicate: int) -> Floats:
        """In which a mix of groups moves an update: the gradient of each group's loss, at the start
        and after a first round.
        """
        start = self._start(model, replicate)
        rows, recipe = self._recipes(model, replicate)[0]
        both = torch.cat([start, train_stack(model, start, self.x[rows], self.y[rows], recipe, 1)])
        steps = [
            _sketched(
                train_stack(model, both, self.x[rows], self.y[rows], _one_step(recipe, rows), 2)
                - both
            )
            for rows in self._groups()
        ]
        return np.concatenate(steps) if steps else np.empty((0, WIDTH))

    def _recipes(self, model: ModelSpec, replicate: int) -> list[tuple[Tensor, Recipe]]:
        return [
            (
                rows,
                make_recipe(
                    self.config, model, f"part {i}\n", len(rows), replicate, 1, model.learning_rate
                ),
            )
            for i, rows in enumerate(self.parts)
        ]

    def _groups(self) -> list[Tensor]:
        """The validation rows of each group."""
        if self.groups is None:
            return []
        of_V = torch.from_numpy(self.groups.of_V)
        rows = [
            torch.nonzero(of_V == group)[:MOST_ROWS, 0] for group in range(len(self.groups.names))
        ]
        return [each for each in rows if len(each)]

    def _start(self, model: ModelSpec, replicate: int) -> Tensor:
        return model.initial_params(self.config.seed, replicate)[None].to(self.x.device)


def _one_step(recipe: Recipe, rows: Tensor) -> Recipe:
    """A step of plain gradient descent on all rows."""
    return Recipe(Optimizer(), recipe.rates[:1], 0.0, (np.arange(len(rows)),), recipe.torch_seed)


def _sketched(stack: Tensor) -> Floats:
    return sketch(stack.cpu().numpy())
