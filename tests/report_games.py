"""Finished runs of games that no training made, by the code that settles every run: few and many
companies, long names, harm, students, a sample of coalitions.
"""

import math
import random
from pathlib import Path

import numpy as np

from fl_sv.audit.lines import untested
from fl_sv.config import Config, dump_config, parse_config
from fl_sv.design.sample import design_steps
from fl_sv.game.coalitions import members_of
from fl_sv.game.scores import Score, Scores
from fl_sv.game.utilities import UtilityTable, planned_rows
from fl_sv.payment.settlement import Evidence, StudentLoss, TeacherLoss, settle
from fl_sv.report import write_report
from fl_sv.runs import files
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.publish import publish
from fl_sv.valuation.appraise import shapley_weighting
from fl_sv.valuation.groups import groups_of

SIZES = {"mlp-4": 310, "mlp-8": 610, "mlp-64": 4810}
LONGEST = "Consolidated Northern Forestry and Timber Transport Cooperative"
TREES = ("Ash", "Beech", "Chestnut", "Damson", "Elder", "Fir", "Ginkgo", "Hazel")
STUDENT = """
distillation:
  weight: 0.5
  deployed:
    model: {kind: mlp, hidden: [4]}
    transfer_set: {kind: uniform, rows: 50, low: -2, high: 2}
"""


def names_of(n_companies: int) -> tuple[str, ...]:
    """Of trees; from the ninth on as long as a name may be."""
    long = (f"{LONGEST[:60]} {i:02d}" for i in range(n_companies))
    return tuple(name for name, _ in zip((*TREES, *long), range(n_companies), strict=False))


def game_config(
    n_companies: int, extra: str = "", negative: str = "clip", cents: int = 123_456_789
) -> Config:
    """The config of a game. More than ten companies: a sample of the coalitions."""
    design = ""
    if n_companies > 10:
        design = f"coalitions: {{design: sampled, stop: {{max_evaluations: {5 * n_companies}}}}}"
    return parse_config(
        f"""
title: A model that {n_companies} companies taught
companies: [{", ".join(names_of(n_companies))}]
data: {{source: digits, partition: {{kind: iid}}}}
models:
  small: [{{kind: mlp, hidden: [4]}}, {{kind: mlp, hidden: [8]}}]
  large: {{kind: mlp, hidden: [64]}}
training: {{rounds: 3, seeds: 2}}
{design}
payouts: {{pot: {{kind: fixed, cents: {cents}}}, negative: {negative}}}
{extra}
""",
        "test",
    )


def game_evidence(config: Config, *, harm: float = 0.0, accuracy: bool = True) -> Evidence:
    """Losses that fall with the members' quality. harm: of the last company's data."""
    companies, n = config.companies, config.n_companies
    quality = [0.15 + 0.9 * ((7 * i) % n) / n for i in range(n)]
    quality[-1] -= harm
    coalitions = design_steps(config)[-1].coalitions
    last = (1 << n) - 1
    runs = sorted({0, last, *(1 << i for i in range(n))})
    planned = planned_rows(
        [*SIZES], {"mlp-4": 2, "mlp-8": 2, "mlp-64": 1},
        {"mlp-4": coalitions, "mlp-8": coalitions, "mlp-64": runs},
    )  # fmt: skip

    def loss(model: str, seed: int, coalition: int) -> float:
        if coalition == 0:
            return math.log(10)
        speed = {"mlp-4": 0.5, "mlp-8": 0.7, "mlp-64": 0.9}[model]
        total = sum(quality[i] for i in members_of(coalition)) * 8 / (n + 4)
        noise = 0.004 * random.Random(f"{model} {seed} {coalition}").gauss(0, 1)
        return 0.2 + (math.log(10) - 0.2) * math.exp(-speed * total) + noise

    scores = Scores.of(
        Score(
            c,
            model,
            seed,
            loss(model, seed, c),
            math.exp(-loss(model, seed, c)) if accuracy else None,
        )
        for (model, seed), of_model in planned.items()
        for c in of_model
    )
    table = UtilityTable(companies, tuple(SIZES), planned, scores)
    weighting = shapley_weighting(config, table)
    small_N = weighting.values(-table.mean_loss("mlp-8"))
    generator = np.random.default_rng(1)
    spread_NV = 1 + 0.5 * generator.standard_normal((n, 60))
    value_NV = small_N[:, None] * spread_NV / spread_NV.mean(axis=1, keepdims=True)
    end = loss("mlp-64", 0, last)
    curve = [math.log(10) + (end - math.log(10)) * r / 3 for r in range(4)]
    student = StudentLoss("mlp-4", 310, "uniform", 50, end + 0.1, 0.7) if config.deployed else None
    return Evidence(
        config=config,
        table=table,
        sizes=SIZES,
        examples={name: 100 + 10 * i for i, name in enumerate(companies)},
        fingerprints={name: f"{i:064x}" for i, name in enumerate(companies)},
        weighting=weighting,
        validation_NV=value_NV,
        curve=tuple(
            TeacherLoss(r, x, math.exp(-x) if accuracy else None) for r, x in enumerate(curve)
        ),
        averaged=None,
        student=student,
        audit=untested(config),
        groups=groups_of(np.arange(60) % 10, classes=accuracy),
    )


def game_run(path: Path, config: Config, evidence: Evidence) -> RunDirectory:
    """A finished run with its page."""
    path.mkdir()
    run = RunDirectory(path)
    run.write_text(files.CONFIG, dump_config(config))
    rest = {"seconds": 1.0, "company_seconds": 0.0, "bytes": 0, "flops": 1e9}
    run.write_text(
        files.COST, CostRecord.of(dict.fromkeys(("teacher", "sweep", "rest"), rest)).to_json()
    )
    settlement = settle(evidence)
    publish(run, evidence, settlement, {"torch": "9.9"})
    write_report(run, settlement.law)
    return run


KINDS = ("two", "eight", "twenty", "harm", "charge", "students", "worthless", "regression")


def game_of_kind(kind: str, path: Path) -> RunDirectory:
    """A finished run by its kind."""
    n = {"two": 2, "twenty": 20}.get(kind, 8 if kind == "eight" else 5)
    extra = STUDENT if kind == "students" else ""
    negative = "charge" if kind in ("charge", "worthless") else "clip"
    cents = 10**15 if kind == "charge" else 123_456_789
    config = game_config(n, extra, negative, cents)
    harm = {"harm": 1.5, "charge": 0.9, "worthless": 4.0}.get(kind, 0.0)
    return game_run(path, config, game_evidence(config, harm=harm, accuracy=kind != "regression"))
