"""The sections `compute`, `faults` and `ray`: machines, precision, retries."""

import os
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from fl_sv.config.base import Frozen
from fl_sv.config.keys import Key

DEVICE = r"^(cpu|cuda(:[0-9]{1,3})?)$"


class Compute(Frozen):
    """Where and how the models train.

    `dtype` and `device` change results; `threads`, `chunk` and a `states_megabytes` of 0 at most
    their last digits.
    """

    workers: Annotated[int | None, Key(may_change="on resume")] = Field(
        None,
        ge=1,
        le=4096,
        description=(
            "Ray actors, or threads of one process, that train companies side by side; without it"
            " one for each of the machine's cores"
        ),
    )
    threads: int = Field(1, ge=1, le=256, description="threads of torch and BLAS in every process")
    chunk: int = Field(
        128,
        ge=1,
        le=65_536,
        description=(
            "models that are trained together as one stack; on a GPU fewer where its free memory"
            " holds no more"
        ),
    )
    states_megabytes: float = Field(
        1024.0,
        ge=0,
        le=1e7,
        description=(
            "memory of a process for kept states: what frozen blocks of a pretrained model make of"
            " each row, computed once; more lie on disk; 0: none are kept"
        ),
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="precision of training and messages"
    )
    device: Annotated[str, StringConstraints(pattern=DEVICE)] = Field(
        "cpu", description="where companies train: cpu, cuda or cuda:INDEX"
    )
    max_hours: Annotated[float, Key(may_change="on resume")] = Field(
        24.0,
        gt=0,
        le=10_000,
        description="`run` refuses a run that `plan` expects to take longer, in hours",
    )

    @property
    def at_once(self) -> int:
        """How many companies train at the same time, where no cluster decides it."""
        return self.workers or os.cpu_count() or 1

    @property
    def threads_at_once(self) -> int:
        """How many train at the same time in one process: one on a GPU, whose memory they share."""
        return 1 if self.device.startswith("cuda") else self.at_once


class Faults(Frozen):
    """What is tried before a run stops. A run never continues while a reply is missing."""

    retries: int = Field(
        2,
        ge=0,
        le=100,
        description="times a message is sent again after a company failed to answer it",
    )
    timeout_seconds: float = Field(
        3600.0,
        gt=0,
        le=1e6,
        description=(
            "seconds in which a company must answer a message; in a simulation they include the"
            " wait for a worker"
        ),
    )
    restarts: int = Field(
        2, ge=0, le=100, description="times the simulation is started again after a worker died"
    )


class RayCluster(Frozen):
    """An existing Ray cluster instead of a new one on this machine."""

    address: str | None = Field(
        None,
        pattern=r"^(auto|[^:\s]+:[1-9][0-9]{0,4})$",
        description="address of the cluster's head node, host:port, or auto",
    )
