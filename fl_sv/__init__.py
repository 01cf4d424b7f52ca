"""fl-sv: what was each company's data worth? Shapley payouts for a large model trained by federated learning.

The library knows no Flower and no Ray: a notebook or an auditor can use it alone, and this module loads no torch, until
somebody asks for `fl_sv.distillation`.
"""

import typing as _typing
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from fl_sv.law import fit_law
from fl_sv.payouts import allocate
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

__version__ = "0.1.0"

__all__ = [
    "Estimate",
    "__version__",
    "allocate",
    "banzhaf",
    "estimate_shapley",
    "fit_law",
    "interactions",
    "least_core",
    "owen",
    "prenucleolus",
    "semivalue",
    "shapley",
]


if _typing.TYPE_CHECKING:
    from fl_sv import distillation as distillation
else:

    def __getattr__(name: str) -> _ModuleType:
        if name == "distillation":
            return _import_module("fl_sv.distillation")
        raise AttributeError(f"module 'fl_sv' has no attribute {name!r}")
