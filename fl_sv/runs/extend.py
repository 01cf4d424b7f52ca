"""A run that extends a finished one: a company joins or leaves, and nothing is trained twice.

What a coalition's models learn depends on its members' rows, the validation set and the process
alone. Where a company's rows do not depend on who else takes part, every coalition of the companies
that stay is worth what it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.config.keys import unchangeable
from fl_sv.errors import InputError, VerificationError
from fl_sv.game.coalitions import EMPTY, grand, members_of
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, existing, first_difference
from fl_sv.runs.journal import OPERATOR, REUSED, Journal, Wave
from fl_sv.runs.verify import verified


@dataclass(frozen=True)
class Origin:
    """A finished run whose trainings are taken over."""

    run: RunDirectory
    evidence: Evidence

    def new_coalition(self, coalition: int, companies: tuple[str, ...]) -> int | None:
        """The coalition of the same companies in the new order; None when one of them has left."""
        names = [self.evidence.config.companies[i] for i in members_of(coalition)]
        if not set(names) <= set(companies):
            return None
        return sum(1 << companies.index(name) for name in names)


def read_origin(path: Path, config: Config) -> Origin:
    """The run in `path`, verified as a whole.

    Raises InputError when it is not finished, or `config` differs from its own in more than who
    takes part and what follows the training; VerificationError when it was changed.
    """
    run = existing(path)
    if not run.finished or not run.file(files.JOURNAL).exists():
        raise InputError(
            f"--from {path} holds no finished run with its {files.JOURNAL}; finish it with"
            " --resume."
        )
    before = run.config
    partition = config.data.partition
    if partition is not None and partition.kind != "column":
        raise InputError(
            f"--from: with the partition {partition.kind!r} a company's rows depend on who else"
            " takes part, so nothing can be reused. It takes `data.source: own`, or a partition by"
            " an owner column."
        )
    if config.students or before.students:
        raise InputError(
            "--from: the small models are students (distillation.weight > 0) of a teacher that"
            " changes with the companies, so nothing can be reused."
        )
    # Where the rows come from may change. That a company's rows and the validation set are the same
    # is checked by their fingerprints, once everybody has joined.
    was, now = (unchangeable(each, "extension") for each in (before, config))
    if was != now:
        where, old, new = first_difference(was, now)
        raise InputError(
            f"--from {path}: that run was made with another process: {where} was {old!r} and is"
            f" {new!r}. A run that extends it trains the same way; only companies, coalitions, law,"
            " values and payouts may differ."
        )
    if not set(before.companies) & set(config.companies):
        raise InputError(
            f"--from {path}: no company of that run takes part in this one; there is nothing to"
            " reuse."
        )
    return Origin(run, verified(run).evidence)


def take_over(origin: Origin, run: RunDirectory) -> int:
    """Enters into the run's journal what the origin trained; returns the number of coalitions,
    once.

    Raises VerificationError when the origin's journal is not what its ledger signed.
    """
    companies, before = run.config.companies, origin.evidence.config.companies
    everybody, everybody_before = grand(len(companies)), grand(len(before))
    stayed = set(companies) & set(before)
    old, new = Journal(origin.run.file(files.JOURNAL)), Journal(run.file(files.JOURNAL))
    try:
        if REUSED in new.finished_waves():
            return len(new.wave_coalitions(REUSED))
        *small, _large = origin.evidence.table.models
        # the journal may hold more, of the origin's origin
        signed = set(origin.evidence.table.coalitions(small[-1]))
        losses_of = {
            c: losses_V for c, losses_V in _losses_by_coalition(old).items() if c in signed
        }
        _require_as_signed(origin, old, losses_of)
        scores = [
            replace(score, coalition=coalition)
            for score in origin.evidence.table.scores.values()
            if (coalition := origin.new_coalition(score.coalition, companies)) is not None
            and coalition != EMPTY
            # The large model's grand coalition is the teacher's own run, before and now.
            if score.model in small
            or (score.coalition != everybody_before and coalition != everybody)
        ]
        new.register(
            {
                name: entry
                for name, entry in old.holders().items()
                if name in stayed or name == OPERATOR
            }
        )
        moved = {
            coalition: losses_V
            for old_coalition, losses_V in losses_of.items()
            if (coalition := origin.new_coalition(old_coalition, companies)) is not None
        }
        coalitions = sorted(moved)
        new.add_wave(
            REUSED,
            scores,
            Wave(coalitions, np.array([moved[coalition] for coalition in coalitions])),
        )
        return len(coalitions)
    finally:
        old.close()
        new.close()


def _losses_by_coalition(journal: Journal) -> dict[int, NDArray[np.float64]]:
    """(V,) losses by example of every coalition that was trained."""
    waves = (journal.wave(number) for number in journal.finished_waves())
    return {
        c: losses_V
        for wave in waves
        for c, losses_V in zip(wave.coalitions, wave.losses_CV, strict=True)
    }


def _require_as_signed(
    origin: Origin, journal: Journal, losses_of: Mapping[int, NDArray[np.float64]]
) -> None:
    """The journal is not in the ledger, but the utilities that came out of it are."""
    table, path = origin.evidence.table, origin.run.file(files.JOURNAL)
    scores = journal.scores()
    if any(scores.get(key) != score for key, score in table.scores.items()):
        raise VerificationError(
            f"{path} does not hold the utilities that were signed; nothing is reused from it."
        )
    for coalition, mean in table.mean_losses(table.models[-2]).items():
        if coalition != EMPTY and abs(losses_of[coalition].mean() - mean) > 1e-9 * max(
            1.0, abs(mean)
        ):
            raise VerificationError(
                f"{path}: the losses of coalition {coalition} are not those that were signed."
            )
