"""Finished runs for the tests of the report, made without training, and a page's text."""

import math
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fl_sv.audit.lines import untested
from fl_sv.config import Config, dump_config, parse_config
from fl_sv.design.large_runs import MoreSeeds, NextLargeRun
from fl_sv.game.scores import Score, Scores
from fl_sv.game.utilities import UtilityTable, planned_rows
from fl_sv.law.alarms import Alarm
from fl_sv.payment.settlement import Evidence, Settlement, TeacherLoss, divide_pot
from fl_sv.runs import files
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.publish import publish
from fl_sv.valuation.records import CompanyValue, Order, Valuation
from fl_sv.values import shapley
from fl_sv.values.weighting import Enumerated

COMPANIES = ("Ash", "Beech", "Chestnut", "Damson")
QUALITY = (0.8, 0.5, 0.5, -0.03)  # Damson does harm
SIZES = {"mlp-4": 310, "mlp-8": 610, "mlp-64": 4810}
UNTRAINED = math.log(10)
ALARMS = (
    Alarm(
        "D1", "the large model's loss of coalition {coalition} lies 0.2 above the law", 0b1001
    ).named(COMPANIES),
    Alarm("D5", "the small model spans 4 sigma, below 10", figures={"range_over_seed_std": 4.0}),
)
CONFIG = """
title: Who <b>taught</b> the model & how much
companies: [Ash, Beech, Chestnut, Damson]
data:
  source: digits
  partition: {kind: dirichlet, alpha: 1.0}
  corruptions: [{kind: wrong_labels, company: Damson, fraction: 0.4}]
models:
  small: [{kind: mlp, hidden: [4]}, {kind: mlp, hidden: [8]}]
  large: {kind: mlp, hidden: [64]}
training: {rounds: 3, seeds: 2}
payouts: {pot: {kind: fixed, cents: 1000001}}
"""


def loss(model: str, seed: int, coalition: int) -> float:
    """Falls with the members' quality, faster for larger models, with a little seed noise for the
    small ones.
    """
    quality = sum(q for i, q in enumerate(QUALITY) if coalition >> i & 1)
    if coalition == 0:
        return UNTRAINED
    speed = {"mlp-4": 0.5, "mlp-8": 0.7, "mlp-64": 1.2}[model]
    noise = 0.0 if model == "mlp-64" else 0.004 * math.sin(7 * seed + 3 * coalition)
    return 0.2 + (UNTRAINED - 0.2) * math.exp(-speed * quality) + noise


def make_evidence(config: Config) -> Evidence:
    everything, anchors = range(16), [0, 1, 2, 4, 8, 15]
    coalitions = {"mlp-4": everything, "mlp-8": everything, "mlp-64": anchors}
    planned = planned_rows(list(SIZES), {"mlp-4": 2, "mlp-8": 2, "mlp-64": 1}, coalitions)
    scores = Scores.of(
        Score(c, model, seed, loss(model, seed, c), math.exp(-loss(model, seed, c)))
        for (model, seed), of_model in planned.items()
        for c in of_model
    )
    end = loss("mlp-64", 0, 15)
    return Evidence(
        config=config,
        table=UtilityTable(COMPANIES, tuple(SIZES), planned, scores),
        sizes=SIZES,
        examples=dict(zip(COMPANIES, (400, 300, 300, 37), strict=True)),
        fingerprints=dict(zip(COMPANIES, ("a" * 64, "b" * 64, "b" * 64, "d" * 64), strict=True)),
        weighting=Enumerated(4, "shapley"),
        validation_NV=np.outer(QUALITY, np.linspace(0.5, 1.5, 40)),
        curve=tuple(
            TeacherLoss(r, UNTRAINED + (end - UNTRAINED) * r / 3, 0.1 + 0.25 * r) for r in range(4)
        ),
        averaged=None,
        audit=untested(config),
    )


def make_valuation(config: Config) -> Valuation:
    values = shapley([-loss("mlp-64", 0, c) for c in range(16)])
    halves = (0.35, 0.06, 0.06, 0.01)
    total = float(values.sum())
    companies = tuple(
        CompanyValue(
            name, float(v), float(v - half), float(v + half), float(v / total), float(v / 2)
        )
        for name, v, half in zip(COMPANIES, values, halves, strict=True)
    )
    order = tuple(Order(first, second, 0.9) for first, second in pairwise(COMPANIES))
    return Valuation(
        0.9,
        config.values.semivalue,
        -UNTRAINED,
        total - UNTRAINED,
        True,
        "mlp-8",
        0.0,
        companies,
        order,
    )


def make_run(
    path: Path,
    alarms: tuple[Alarm, ...] = (),
    config_text: str = CONFIG,
    accepted: tuple[str, ...] = (),
) -> RunDirectory:
    """A finished run made by the product's own writers; the law's verdict is given, not fitted."""
    path.mkdir()
    run = RunDirectory(path)
    config = parse_config(config_text, "test")
    config = config.model_copy(update={"law": config.law.model_copy(update={"accept": accepted})})
    evidence = make_evidence(config)
    law = SimpleNamespace(
        name="test-law",
        increasing=False,
        holds=not alarms,
        alarms=alarms,
        tested=("D1", "D2", "D5"),
        untested=("D3", "D4", "D9"),
        parameters={"kappa": 0.9123456789},
        anchors={c: loss("mlp-64", 0, c) for c in (0, 1, 2, 4, 8, 15)},
        diagnostics={"D2 spearman": 0.61},
        findings=None,  # of interest for students only
    )
    valuation = make_valuation(config)
    payment = divide_pot(evidence, valuation, alarms, config.payouts, accepted)
    valuation = replace(valuation, payable=not payment.objections)
    run.write_text(files.CONFIG, dump_config(config))
    stages = {
        stage: {"seconds": 2.0, "company_seconds": 1.5, "bytes": 3_000_000, "flops": 4e9}
        for stage in ("teacher", "sweep")
    }
    stages["rest"] = {"seconds": 1.0, "company_seconds": 0.0, "bytes": 0, "flops": 0.0}
    run.write_text(files.COST, CostRecord.of(stages).to_json())
    next_run = NextLargeRun(14, narrower=0.1234, price=0.7, anchors=5)
    more_seeds = MoreSeeds(large_seeds=3, narrower=0.2345, price=4.0)
    settlement = Settlement(
        law,  # type: ignore[arg-type]
        valuation,
        alarms,
        payment,
        next_run,
        more_seeds,
    )
    publish(run, evidence, settlement, {"torch": "9.9"})
    return run


class PageText(HTMLParser):
    """The cells of every table of a page, and its visible text without styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._cell = self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        self._cell = self._cell or tag in ("th", "td")
        self._hidden = self._hidden or tag in ("style", "title", "script")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("th", "td")
        self._hidden = self._hidden and tag not in ("style", "title", "script")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[-1][-1][-1] += data
        if not self._hidden:
            self.text += data


def cents(text: str) -> int:
    return int(text.replace(",", "").replace(".", ""))
