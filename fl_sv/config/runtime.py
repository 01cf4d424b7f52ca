"""The sections `compute`, `faults` and `ray`: the machine, and what may change when a run is
resumed.
"""

import os
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from fl_sv.config.base import Frozen
from fl_sv.config.keys import Key


class Compute(Frozen):
    """How the work is spread. `dtype` and `device` change results; `threads` and `chunk` at most
    their last digits.
    """

    workers: Annotated[int | None, Key(may_change="on resume")] = Field(
        None,
        ge=1,
        le=4096,
        description=(
            "Ray actors, or threads of one process, that train companies side by side; the"
            " machine's cores without it"
        ),
    )
    threads: int = Field(1, ge=1, le=256, description="threads of torch and BLAS in every process")
    chunk: int = Field(
        128, ge=1, le=65_536, description="models that are trained together as one stack"
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="precision of training and messages"
    )
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")] = Field(
        "cpu", description="where companies train: cpu, cuda or cuda:INDEX"
    )
    max_hours: Annotated[float, Key(may_change="on resume")] = Field(
        24.0, gt=0, le=10_000, description="`run` refuses what `plan` expects to take longer, hours"
    )

    @property
    def at_once(self) -> int:
        """Companies that train side by side where no cluster says how many."""
        return self.workers or os.cpu_count() or 1

    @property
    def threads_at_once(self) -> int:
        """The same in one process: on a GPU one after the other, for its memory is one."""
        return 1 if self.device.startswith("cuda") else self.at_once


class Faults(Frozen):
    """What is tried before a run stops. A missing reply is never averaged over."""

    retries: int = Field(
        2, ge=0, le=100, description="times a message is sent again to a company that failed it"
    )
    timeout_seconds: float = Field(
        3600.0,
        gt=0,
        le=1e6,
        description=(
            "seconds a company has for one message, with the time that it waits for a worker in a"
            " simulation"
        ),
    )
    restarts: int = Field(
        2, ge=0, le=100, description="times the simulation is started again after a worker died"
    )


class RayCluster(Frozen):
    """An existing Ray cluster instead of a new one on this machine."""

    address: str | None = Field(
        None,
        pattern=r"^(auto|[^:\s]+:\d{1,5})$",
        description="address of the cluster's head node, host:port, or auto",
    )
