"""Remarks: what a reader must know about a run and what does not block payment."""

import math
from collections.abc import Mapping, Sequence

from fl_sv.audit.lines import AuditLine, finding_sentences, steps_remarks
from fl_sv.config import Config
from fl_sv.config.data import (
    ColumnPartition,
    Corruption,
    Duplicate,
    FeatureNoise,
    FreeRider,
    WrongLabels,
)
from fl_sv.data.federation import few_rows_sentence
from fl_sv.data.owners import left_out_sentence
from fl_sv.errors import listed
from fl_sv.game.coalitions import grand
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.rates import rates_remarks
from fl_sv.report.underfit import learning_remarks
from fl_sv.report.wording import percent
from fl_sv.valuation.axioms import twins
from fl_sv.valuation.records import Valuation


def remarks(run: FinishedRun) -> tuple[str, ...]:
    """What must be known about the small models, rows that were left out, equal rows, and defects
    put in on purpose.
    """
    evidence = run.evidence
    same_rows = twins(evidence.fingerprints)
    return (
        *run.law.remarks,
        *learning_remarks(run.valuation, evidence.table.large, run.law.anchors, evidence.rates),
        *(rates_remarks(evidence.rates) if evidence.rates else ()),
        *perplexity_remarks(evidence.config, run.valuation),
        *data_remarks(evidence.config, evidence.rows_left_out, evidence.validation_NV.shape[1]),
        *steps_remarks(evidence.config),
        *audit_remarks(evidence.audit, evidence.config),
        *(same_rows or ["No two companies registered exactly the same rows."]),
        *(
            f"A defect was put in on purpose for this study: {_defect(corruption)} (config.yaml)."
            for corruption in evidence.config.data.corruptions
        ),
    )


def audit_remarks(lines: Sequence[AuditLine], config: Config) -> list[str]:
    """The findings of the audit, or that there is none."""
    if found := finding_sentences(lines, config):
        return found
    made = sum(line.figure is not None for line in lines)
    untested = f"; {len(lines) - made} could not be made" if made < len(lines) else ""
    return [f"Audit: no finding in {made} checks of the companies' work and rows{untested}."]


def data_remarks(config: Config, rows_left_out: int, n_validation: int) -> list[str]:
    """Sentences on rows that belong to no company, and on a small validation set."""
    partition, few = config.data.partition, few_rows_sentence(n_validation)
    found = [few] if few else []
    if rows_left_out and isinstance(partition, ColumnPartition):
        found.append(left_out_sentence(partition, rows_left_out))
    return found


def perplexity_remarks(config: Config, valuation: Valuation) -> list[str]:
    """Of texts: what the losses mean, as the number of tokens among which a model still chooses."""
    if config.data.text is None:
        return []
    before, after = (
        math.exp(-utility) for utility in (valuation.utility_empty, valuation.utility_grand)
    )
    return [
        f"Perplexity of the large model on the validation texts, exp(loss): {before:.3g} untrained,"
        f" {after:.3g} with all companies."
    ]


def _defect(corruption: Corruption) -> str:
    match corruption:
        case WrongLabels():
            return (
                f"{percent(corruption.fraction, 0)} of the labels of {corruption.company} are wrong"
            )
        case FeatureNoise():
            return (
                f"noise of standard deviation {corruption.std:g} is added to the features of"
                f" {corruption.company}"
            )
        case Duplicate():
            return (
                f"{corruption.company} holds copies of {percent(corruption.fraction, 0)} of the"
                f" rows of {corruption.of}"
            )
        case FreeRider():
            return f"the rows of {corruption.company} carry no information"


def alone_remarks(companies: Sequence[str], losses: Mapping[int, float]) -> tuple[str, ...]:
    """Where a company alone does as well as all together, and what that means; else nothing.

    companies: their names, in the order of the config.
    losses: the large model's that were measured, by coalition.
    """
    everybody = losses[grand(len(companies))]
    alone = sorted((losses.get(1 << i, math.inf), name) for i, name in enumerate(companies))
    strong = [f"{name} alone ({loss:.4f})" for loss, name in alone if loss <= everybody]
    if not strong:
        return ()
    return (
        f"By the large model's loss, {listed(strong)} {'does' if len(strong) == 1 else 'do'} as"
        f" well as or better than all companies together ({everybody:.4f}). That can be: wrong"
        " labels, and averages of companies with unlike rows, cost a model some of its certainty,"
        " which more rounds (training.rounds) may give back. A value counts what a company adds to"
        " every group of others; the report says more.",
    )
