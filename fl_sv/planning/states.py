"""What the kept states of rows take on this machine (`fl_sv.training.kept`)."""

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fl_sv.config import Config
from fl_sv.errors import InputError
from fl_sv.planning.checks import CheckedData
from fl_sv.training.models import ModelSpec


@dataclass(frozen=True)
class PlannedStates:
    """Kept states of all processes of this machine, in bytes, and whose they are.

    passed: by the name of the model, how many of its blocks run once for each row, and of how many.
    """

    memory: int
    disk: int
    passed: dict[str, tuple[int, int]]

    @property
    def text(self) -> str:
        """A line of the forecast."""
        disk = f", and {self.disk / 1e9:.1f} GB on disk" if self.disk else ""
        blocks = ", ".join(f"{some} of {of} of {name}" for name, (some, of) in self.passed.items())
        return f"{self.memory / 1e6:,.1f} MB{disk}; blocks that run once a row: {blocks}"


def planned_states(
    config: Config,
    models: Sequence[ModelSpec],
    checked: CheckedData,
    n_workers: int,
    *,
    on_ray: bool,
) -> PlannedStates:
    """The kept states of these models, tried. Companies on machines of their own count nothing."""
    forms = [model.from_states for model in models if model.from_states is not None]
    entrances = {form.name: form.entrance for form in forms if form.entrance is not None}
    numbers = sum(math.prod(entrance.shape) for entrance in entrances.values())
    of_a_row = numbers * np.dtype(config.compute.dtype).itemsize
    companies, n_validation = sum(checked.examples.values()), len(checked.validation)
    # On Ray a worker plays any company; in one process all holders share what is computed.
    rows = [n_validation, *[companies] * n_workers] if on_ray else [n_validation + companies]
    needed = [count * of_a_row for count in rows]
    most = int(config.compute.states_megabytes * 1e6)
    return PlannedStates(
        memory=sum(min(each, most) for each in needed),
        disk=sum(max(0, each - most) for each in needed),
        passed={name: (len(each.passed), each.of) for name, each in entrances.items()},
    )


def require_disk(states: PlannedStates) -> None:
    """Raises InputError where the states that memory does not hold have no room on the disk."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if states.disk > free:
        raise InputError(
            f"The rows' kept states take {states.disk / 1e9:.1f} GB of the disk and"
            f" {free / 1e9:.1f} GB are free in {folder}. Set TMPDIR to a folder with more, raise"
            " compute.states_megabytes, or set it to 0, so that none are kept."
        )
