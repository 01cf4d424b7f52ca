"""What runs of other sizes need: companies, models, machines. Computed, nothing trains.

    python -m benchmarks.scale [--json]

Trainings, bytes, memory and disk are those of `fl-sv plan`, by its own functions, so that a table
cannot differ from a plan. Seconds are the arithmetic and the bytes of each stage divided by how
fast a machine is. The speeds of two cores were measured; those of a GPU and of a Ray cluster are
assumed, and rows that rest on them are computed, not measured.

Shapes: N companies.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from benchmarks.common.markdown import table
from fl_sv.config import Config
from fl_sv.data import operator_data
from fl_sv.design.workloads import SWEEP, planned_run
from fl_sv.planning import memory as needs
from fl_sv.planning.stages import GIGABYTE, flops_of, planned_stages
from fl_sv.training.models import ModelSpec, model_specs

ROWS, ROUNDS, SEEDS = 1000, 15, 3  # rows of each company
LADDER = (16, 32, 64)
# Hidden layers of MLPs on digits, by about how many parameters they have.
HIDDEN = {
    "1e6": (1024, 1024),
    "1e7": (3072, 3072),
    "1e8": (8192, 8192, 4096),
    "1e9": (16384, 16384, 16384, 16384, 16384),
}


@dataclass(frozen=True)
class Machine:
    """How fast a machine trains, and carries messages.

    stack, large: FLOP/s of a worker that trains a stack of small models, or the large one.
    workers: companies that train at the same time.
    """

    name: str
    stack: float
    large: float
    workers: int
    on_ray: bool = False
    measured: bool = False


MACHINES = (
    # 48 % of 78.5 GFLOP/s (docs/sweep.md); 586 GFLOP in 5.1 s of each of two cores (docs/large.md).
    Machine("two cores", 38e9, 57e9, 2, measured=True),
    # Assumed: half of 20 TFLOP/s in float32 where products are large, a tenth where they are small.
    # Server and messages stay on the CPU.
    Machine("one GPU", 2e12, 10e12, 1),
    # Assumed: twenty cores like these; one server, behind 10 Gbit/s.
    Machine("Ray, 10 machines", 38e9, 57e9, 20, on_ray=True),
)


@dataclass(frozen=True)
class Adapter:
    """A large model of which few parameters train, on rows of many places; an estimate."""

    name: str = "adapters"
    n_params: int = 4_000_000
    n_params_in_all: int = 1_000_000_000
    places: int = 128

    def training_flops(self, rows: float) -> float:
        """Forwards and backwards through all parameters, and gradients of few."""
        return 4.0 * self.n_params_in_all * self.places * rows


def config_of(n_companies: int, size: str, samples: int | None, rounds: int = ROUNDS) -> Config:
    """A game on digits with so many companies, and a large model of about that size."""
    coalitions: dict[str, Any] = {"design": "all"}
    if samples is not None:
        coalitions = {"design": "sampled", "stop": {"max_evaluations": samples}}
    return Config.model_validate(
        {
            "companies": [f"Company {i:04}" for i in range(n_companies)],
            "data": {"source": "digits", "partition": {"kind": "iid"}},
            "models": {
                "small": [{"kind": "mlp", "hidden": [width]} for width in LADDER],
                "large": {"kind": "mlp", "hidden": list(HIDDEN[size])},
            },
            "training": {"rounds": rounds, "seeds": SEEDS},
            "coalitions": coalitions,
            "compute": {"workers": 2},
            "payouts": {"pot": {"kind": "fixed", "cents": 1}},
        }
    )


def computed(config: Config, adapter: Adapter | None = None, rows: int = ROWS) -> dict[str, Any]:
    """Needs of a run in one process on this machine, and seconds of its stages on each machine."""
    operator = operator_data(config)
    small, large = model_specs(config, operator.task)
    if adapter is not None:
        large = cast(ModelSpec, adapter)
    run = planned_run(config, small, large)
    rows_N = np.full(config.n_companies, float(rows))
    n_validation = len(operator.validation)
    about = (config, run, large, operator.scaling, n_validation)
    seconds = {}
    for machine in MACHINES:
        stages = planned_stages(config, run, rows_N, on_ray=machine.on_ray)
        together = min(machine.workers, config.n_companies)
        seconds[machine.name] = {
            name: (
                flops_of(stage) / (machine.stack if name == SWEEP else machine.large) / together,
                stage.message_seconds or 0.0,
            )
            for name, stage in stages.items()
        }
    stages = planned_stages(config, run, rows_N, on_ray=False)
    return {
        "trainings": sum(stage.trainings for stage in stages.values()),
        "bytes": sum(stage.bytes for stage in stages.values()),
        "memory": needs.peak_memory(*about, config.compute.at_once, on_ray=False),
        "disk": needs.disk_space(*about),
        "stages": {name: asdict(stage) for name, stage in stages.items()},
        "seconds": seconds,
    }


def cases() -> dict[str, dict[str, Any]]:
    """Every row of the tables, by what it is."""
    found = {
        "8 companies, all 256, large 1e6": computed(config_of(8, "1e6", None)),
        "16, all 65,536": computed(config_of(16, "1e6", None)),
        "20, all 1,048,576": computed(config_of(20, "1e6", None)),
        "100, a sample of 1,000": computed(config_of(100, "1e6", 1000)),
        "1,000, a sample of 10,000": computed(config_of(1000, "1e6", 10_000)),
    }
    for size in ("1e7", "1e8", "1e9"):
        found[f"8 companies, large {size}"] = computed(config_of(8, size, None))
    found["8 companies, adapters: 4e6 of 1e9"] = computed(config_of(8, "1e6", None), Adapter())
    return found


def as_text(found: dict[str, dict[str, Any]]) -> str:
    """Two tables: what a run needs, and how long its stages take."""
    needed = [
        [
            name,
            f"{case['trainings']:,}",
            _bytes(case["bytes"]),
            _bytes(case["memory"]),
            _bytes(case["disk"]),
        ]
        for name, case in found.items()
    ]
    head = ["run", "trainings", "messages", "memory", "disk"]
    parts = [table(head, needed)]
    for machine in MACHINES:
        of = f"{machine.name}, {'measured speeds' if machine.measured else 'computed'}"
        rows = [
            [name, *(_pair(stages.get(stage)) for stage in ("teacher", "sweep", "anchors"))]
            for name, stages in ((n, case["seconds"][machine.name]) for n, case in found.items())
        ]
        parts.append(table([of, "teacher", "sweep", "large runs"], rows))
    return "\n\n".join(parts)


def _pair(seconds: tuple[float, float] | None) -> str:
    return "" if seconds is None else " + ".join(_duration(each) for each in seconds)


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", GIGABYTE)):
        if number >= size:
            return f"{number / size:,.3g} {unit}"
    return f"{number / 1e6:,.3g} MB"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:,.2g} s"


def main() -> None:
    parser = argparse.ArgumentParser(description="What runs of other sizes need, computed.")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    found = cases()
    print(json.dumps(found) if options.json else as_text(found))


if __name__ == "__main__":
    main()
