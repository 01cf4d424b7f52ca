"""A run that extends a finished one (`--from`) and reuses its trainings.

A company joins or leaves. The utility of a coalition depends only on the rows of its members, the
validation set and the training settings. So every coalition of the companies that stay keeps its
utility, as long as a company's rows do not depend on the other companies.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.config.keys import unchangeable
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import EMPTY, grand, members_of
from fl_sv.game.scores import Score
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.compare import TOLERANCE
from fl_sv.runs.directory import RunDirectory, existing, first_difference
from fl_sv.runs.journal import OPERATOR, REUSED, Journal, Wave
from fl_sv.runs.verify import verified


@dataclass(frozen=True)
class Origin:
    """A finished run whose trainings are reused."""

    run: RunDirectory
    evidence: Evidence

    def coalition_among(self, coalition: int, companies: tuple[str, ...]) -> int | None:
        """The same companies as a coalition of the new run; None when one of them has left."""
        names = [self.evidence.config.companies[i] for i in members_of(coalition)]
        if not set(names) <= set(companies):
            return None
        return sum(1 << companies.index(name) for name in names)


def read_origin(path: Path, config: Config) -> Origin:
    """The run in `path`, verified as a whole.

    Raises InputError when it is not finished, or when a run of `config` could not reuse its
    trainings; VerificationError when its files were changed.
    """
    run = existing(path)
    if not run.finished or not run.has(files.JOURNAL):
        raise InputError(
            f"--from {path} holds no finished run with its {files.JOURNAL}; finish it with"
            " --resume."
        )
    _require_reusable(path, run.config, config)
    return Origin(run, verified(run, but=(files.REPORT,)).evidence)


def _require_reusable(path: Path, before: Config, config: Config) -> None:
    """Raises InputError when a run of `config` can reuse nothing of a run of `before`."""
    partition = config.data.partition
    by_column = partition is None or partition.kind == "column"
    same_rows = (before.companies, before.data) == (config.companies, config.data)
    if not (by_column or same_rows):
        raise InputError(
            "--from: where a partition divides the rows, a company's rows depend on the other"
            " companies, so nothing can be reused. Take the same companies and data,"
            " `data.source: own`, or a partition by an owner column."
        )
    if config.students or before.students:
        raise InputError(
            "--from: the small models are students (distillation.weight > 0) of a teacher that"
            " changes with the companies, so nothing can be reused."
        )
    # Where the rows come from may change. That a company's rows and the validation set are the same
    # is checked by their fingerprints, once all companies have joined.
    was, now = (unchangeable(each, "extension") for each in (before, config))
    if was != now:
        where, old, new = first_difference(was, now)
        raise InputError(
            f"--from {path}: that run was trained with other settings: {where} was {old!r} and is"
            f" {new!r}. docs/config.md says which keys may differ (Rules)."
        )
    if not set(before.companies) & set(config.companies):
        raise InputError(
            f"--from {path}: no company of that run takes part in this one, so there is nothing to"
            " reuse."
        )


def reuse_trainings(origin: Origin, run: RunDirectory) -> int:
    """Enters into the run's journal, once, what the origin trained; returns how many coalitions.

    Raises VerificationError when the origin's journal is not what its ledger signed.
    """
    companies = run.config.companies
    with (
        closing(Journal(origin.run.file(files.JOURNAL))) as old,
        closing(Journal(run.file(files.JOURNAL))) as new,
    ):
        if REUSED in new.finished_waves():
            return len(new.wave_coalitions(REUSED))
        losses_of = _signed_losses(origin, old)
        stay = {*companies, OPERATOR} & {*origin.evidence.config.companies, OPERATOR}
        new.register({name: entry for name, entry in old.holders().items() if name in stay})
        reused = {
            coalition: losses_V
            for old_coalition, losses_V in losses_of.items()
            if (coalition := origin.coalition_among(old_coalition, companies)) is not None
        }
        coalitions = sorted(reused)
        losses_CV = np.array([reused[coalition] for coalition in coalitions])
        scores = _reused_scores(origin, companies)
        outputs = _reused_outputs(old, scores)
        if (rates := origin.evidence.rates) is not None:
            new.add_tried_rates(rates.tried)  # at these the reused models were trained
        new.add_wave(REUSED, scores.values(), Wave(coalitions, losses_CV), outputs)
        return len(coalitions)


def _reused_scores(origin: Origin, companies: tuple[str, ...]) -> dict[tuple[str, int, int], Score]:
    """The origin's scores of coalitions of companies that stay, as scores of the new run.

    The keys are those of the origin.

    Two kinds are left out: the empty coalition, which every run scores itself, and the large model
    of a grand coalition, before or now, which is a teacher of its own.
    """
    *_, large = origin.evidence.table.models
    grand_before = grand(origin.evidence.config.n_companies)
    scores = {}
    for score in origin.evidence.table.scores.values():
        coalition = origin.coalition_among(score.coalition, companies)
        if coalition is None or coalition == EMPTY:
            continue
        is_grand = score.coalition == grand_before or coalition == grand(len(companies))
        if score.model != large or not is_grand:
            scores[score.key] = replace(score, coalition=coalition)
    return scores


def _reused_outputs(
    journal: Journal, scores: Mapping[tuple[str, int, int], Score]
) -> dict[tuple[str, int, int], NDArray[Any]]:
    """The outputs of the singletons' models with these scores, under the keys of the new run.

    The ledger does not hold them. The stage that averages them compares their losses with the
    scores.
    """
    return {
        scores[model, seed, coalition].key: own_VK
        for model, seed in {(model, seed) for model, seed, _ in scores}
        for coalition, own_VK in journal.outputs(model, seed).items()
        if (model, seed, coalition) in scores
    }


def _signed_losses(origin: Origin, journal: Journal) -> dict[int, NDArray[np.float64]]:
    """(V,) losses by validation example of every coalition whose utility the origin signed.

    The ledger does not hold the journal, but the utilities that were computed from it. The journal
    may hold more, from a run that the origin itself extended; that is left out. Raises
    VerificationError when it does not agree with what was signed.
    """
    table = origin.evidence.table
    signed = set(table.coalitions(table.largest_small))
    losses_of = {
        coalition: losses_V
        for wave in map(journal.wave, journal.finished_waves())
        for coalition, losses_V in zip(wave.coalitions, wave.losses_CV, strict=True)
        if coalition in signed
    }
    _require_as_signed(origin, journal, losses_of)
    return losses_of


def _require_as_signed(
    origin: Origin, journal: Journal, losses_of: Mapping[int, NDArray[np.float64]]
) -> None:
    table, path = origin.evidence.table, origin.run.file(files.JOURNAL)
    scores = journal.scores()
    if any(scores.get(key) != score for key, score in table.scores.items()):
        raise VerificationError(
            f"{path} does not hold the utilities that were signed; nothing is reused from it."
        )
    for coalition, mean in table.mean_losses(table.largest_small).items():
        if coalition == EMPTY:  # it is never trained
            continue
        losses_V = losses_of.get(coalition)
        if losses_V is None or not abs(losses_V.mean() - mean) <= TOLERANCE * max(1.0, abs(mean)):
            raise VerificationError(
                f"{path}: the losses of coalition {coalition} are not those that were signed."
            )
