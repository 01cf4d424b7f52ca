"""Honest games of many kinds: what the audit says of companies that did nothing wrong.

None of them is a game of the attacks: other partitions, other data, other models and optimisers.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from clients.app import app as client_app
from fl_sv.audit.lines import AuditLine
from fl_sv.config import Config
from fl_sv.design.sample import design_steps
from fl_sv.progress import Progress
from fl_sv.runs.files import JOURNAL
from fl_sv.runs.journal import Journal
from server.audit import audit
from server.inline import InlineGrid
from server.job import open_job
from server.large_runs import measure_large_runs
from server.sweep import sweep_coalitions

NAMES = ("Ash", "Beech", "Cedar", "Dogwood", "Elm", "Fir")
STEPS = {"local_steps": 15, "weights": "equal"}


def _by(kind: str, **options: Any) -> dict[str, Any]:
    return {"kind": kind, **options}


def _sizes(n: int) -> dict[str, int]:
    return {name: i for i, name in enumerate(NAMES[:n], start=1)}


# Each kind: number of companies, `data`, `training`, and widths of the models.
KINDS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "digits, Dirichlet 0.1": (
        5,
        {"source": "digits", "partition": _by("dirichlet", alpha=0.1)},
        STEPS,
    ),
    "digits, Dirichlet 0.5": (
        4,
        {"source": "digits", "partition": _by("dirichlet", alpha=0.5)},
        STEPS,
    ),
    "digits, evenly, Adam": (
        4,
        {"source": "digits", "partition": _by("iid")},
        {**STEPS, "optimizer": "adam", "learning_rate": 0.01},
    ),
    "digits, by size, epochs": (
        5,
        {"source": "digits", "partition": _by("sizes", sizes=_sizes(5))},
        {"local_epochs": 1},
    ),
    "digits, wrong labels": (
        4,
        {
            "source": "digits",
            "partition": _by("iid"),
            "corruptions": [{"kind": "wrong_labels", "company": "Beech", "fraction": 0.4}],
        },
        STEPS,
    ),
    "digits, noise": (
        4,
        {
            "source": "digits",
            "partition": _by("dirichlet", alpha=2.0),
            "corruptions": [{"kind": "feature_noise", "company": "Cedar", "std": 0.5}],
        },
        {**STEPS, "momentum": 0.9, "learning_rate": 0.03},
    ),
    "breast cancer, evenly": (4, {"source": "breast_cancer", "partition": _by("iid")}, STEPS),
    "breast cancer, Dirichlet 0.5": (
        4,
        {"source": "breast_cancer", "partition": _by("dirichlet", alpha=0.5)},
        {**STEPS, "weights": "examples"},
    ),
    "wine": (3, {"source": "wine", "partition": _by("iid")}, STEPS),
    "diabetes": (
        4,
        {"source": "diabetes", "partition": _by("iid")},
        {**STEPS, "learning_rate": 0.05},
    ),
    "airlines": (
        5,
        {
            "source": "benchmarks.law.sources:airlines",
            "partition": _by("column", column="owner"),
            "standardise": True,
        },
        {**STEPS, "rounds": 4},
    ),
    "presidents": (
        5,
        {"source": "benchmarks.law.sources:presidents", "partition": _by("column", column="owner")},
        STEPS,
    ),
}
OWNERS = {
    "airlines": ("AA", "B6", "DL", "EV", "UA"),
    "presidents": ("carter", "jackson", "mckinley", "polk", "taft"),
}


def config_of(kind: str, seed: int) -> Config:
    """The config of one honest game."""
    n_companies, data, training = KINDS[kind]
    return Config.model_validate(
        {
            "seed": seed,
            "companies": list(OWNERS.get(kind, NAMES[:n_companies])),
            "data": data,
            "models": {
                "small": [{"kind": "mlp", "hidden": [8]}, {"kind": "mlp", "hidden": [16]}],
                "large": {"kind": "mlp", "hidden": [64]},
            },
            "training": {"rounds": 5, "seeds": 2, "learning_rate": 0.2, **training},
            "payouts": {"pot": {"kind": "fixed", "cents": 1}},
        }
    )


def audited(config: Config) -> tuple[AuditLine, ...]:
    """The audit of an honest run of this config; the teacher is not trained."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / JOURNAL)) as journal,
        InlineGrid(client_app, range(config.n_companies)) as grid,
    ):
        job = open_job(config, journal, grid, Progress("quiet"), threading.Event())
        sweep_coalitions(job, design_steps(config)[0])
        measure_large_runs(job)
        return audit(job)


def games(seeds: range) -> Iterator[tuple[str, int, Config]]:
    """Every kind with every seed."""
    for seed in seeds:
        for kind in KINDS:
            yield kind, seed, config_of(kind, seed)
