"""fl-sv values each company's data and pays for it, in federated learning of one large model.

The library imports neither Flower nor Ray, so a notebook or an auditor can use it without them. The
names below are imported on first use: a federation starts a company's process anew for every
message, and that process needs neither law nor values.
"""

import typing as _typing
from importlib import import_module as _import_module

from fl_sv.version import __version__

if _typing.TYPE_CHECKING:
    from fl_sv import distillation as distillation
    from fl_sv.api import Run, plan, read_run, run, verify
    from fl_sv.deployment.load import load_model
    from fl_sv.law import Alarm, Law, fit_law
    from fl_sv.payment.payouts import allocate
    from fl_sv.values import (
        Estimate,
        banzhaf,
        estimate_shapley,
        interactions,
        least_core,
        owen,
        prenucleolus,
        semivalue,
        shapley,
    )


__all__ = [
    "Alarm",
    "Estimate",
    "Law",
    "Run",
    "__version__",
    "allocate",
    "banzhaf",
    "estimate_shapley",
    "fit_law",
    "interactions",
    "least_core",
    "load_model",
    "owen",
    "plan",
    "prenucleolus",
    "read_run",
    "run",
    "semivalue",
    "shapley",
    "verify",
]

_ROOM_OF = {
    "Alarm": "fl_sv.law",
    "Estimate": "fl_sv.values",
    "Law": "fl_sv.law",
    "Run": "fl_sv.api",
    "allocate": "fl_sv.payment.payouts",
    "banzhaf": "fl_sv.values",
    "estimate_shapley": "fl_sv.values",
    "fit_law": "fl_sv.law",
    "interactions": "fl_sv.values",
    "least_core": "fl_sv.values",
    "load_model": "fl_sv.deployment.load",
    "owen": "fl_sv.values",
    "plan": "fl_sv.api",
    "prenucleolus": "fl_sv.values",
    "read_run": "fl_sv.api",
    "run": "fl_sv.api",
    "semivalue": "fl_sv.values",
    "shapley": "fl_sv.values",
    "verify": "fl_sv.api",
}


def __getattr__(name: str) -> _typing.Any:
    if name == "distillation":
        return _import_module("fl_sv.distillation")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'fl_sv' has no attribute {name!r}")
    return getattr(_import_module(_ROOM_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "distillation"])
