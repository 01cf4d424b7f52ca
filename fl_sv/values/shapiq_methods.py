"""The estimators of the package shapiq by name, for comparison.

The package is optional: `pip install 'fl-sv[shapiq]'`. Its methods request a few coalitions at a
time, and often one of them twice. The requests do not depend on the utilities. So a dry run with
zeros lists the coalitions, these are evaluated in one call, and the real run gets their utilities.
The sequential ShaplEIG is missing for that reason: it fits a new model for each coalition and
cannot work in one batch.

Shapes: N companies, C distinct coalitions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.values.pairs import Evaluate

Floats = NDArray[np.float64]
# Pairing is on wherever it is an option: without it the regressions have twice the error (n = 12,
# 2026-11).
SHAPIQ_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "shapiq:KernelSHAP": ("KernelSHAP", {"pairing_trick": True}),
    "shapiq:UnbiasedKernelSHAP": ("UnbiasedKernelSHAP", {"pairing_trick": True}),
    "shapiq:LeverageSHAP": ("LeverageSHAP", {}),
    "shapiq:PolySHAP": ("PolySHAP", {"max_order": 3, "pairing_trick": True}),
    "shapiq:kADDSHAP": ("kADDSHAP", {"max_order": 3, "pairing_trick": True}),
    "shapiq:OddSHAP": ("OddSHAP", {}),
    "shapiq:SVARM": ("SVARM", {"pairing_trick": True}),
    "shapiq:PermutationSamplingSV": ("PermutationSamplingSV", {}),
    "shapiq:StratifiedSamplingSV": ("StratifiedSamplingSV", {}),
    "shapiq:OwenSamplingSV": ("OwenSamplingSV", {}),
    "shapiq:RegressionMSR": ("RegressionMSR", {"index": "SV"}),
    "shapiq:RegressionMSR-lightgbm": ("RegressionMSR", {"index": "SV", "proxy_model": "lightgbm"}),
    "shapiq:RegressionMSR-linear": ("RegressionMSR", {"index": "SV", "proxy_model": "linear"}),
    "shapiq:ProxySPEX": ("ProxySPEX", {"index": "SV", "max_order": 1}),
    "shapiq:ProxySHAP": ("ProxySHAP", {"index": "SV", "max_order": 1, "adjustment": True}),
}


def shapiq_method(
    method: str, evaluate: Evaluate, n_companies: int, budget: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """The method's values and their standard errors, (N,) each; shapiq's errors are infinite.

    shapiq states no error of its own. Where its values do not sum to v(grand) - v(empty), the
    difference is divided equally.

    Raises InputError when the package is missing, or the method in its installed version.
    """
    kind, options = SHAPIQ_METHODS[method]
    approximator = _approximator(method, kind)
    options = options | {"n": n_companies, "random_state": int(generator.integers(1 << 31))}
    dry_run = _DryRun(n_companies)
    approximator(**options).approximate(budget, dry_run)
    # Owen sampling never requests the grand coalition: one evaluation is reserved for it.
    if len(dry_run.position) > budget:
        budget, dry_run = budget - 1, _DryRun(n_companies)
        approximator(**options).approximate(budget, dry_run)
    position = dry_run.position
    utility_C = evaluate(np.array([np.frombuffer(row, dtype=np.bool_) for row in position]))
    found = approximator(**options).approximate(
        budget, lambda members_CN: utility_C[[position[row] for row in _rows(members_CN)]]
    )
    value_N: Floats = np.asarray(found.get_n_order_values(1), dtype=np.float64)
    value_N += (utility_C[1] - utility_C[0] - value_N.sum()) / n_companies
    return value_N, np.full(n_companies, np.inf)


def _rows(members_CN: NDArray[np.bool_]) -> list[bytes]:
    """A coalition's members as a key; shapiq gives a single coalition without the first axis."""
    return [row.tobytes() for row in np.atleast_2d(members_CN)]


class _DryRun:
    """A game of zeros that records the coalitions in the order of the first request."""

    def __init__(self, n_companies: int) -> None:
        self.position = {bytes(n_companies): 0, b"\1" * n_companies: 1}

    def __call__(self, members_CN: NDArray[np.bool_]) -> Floats:
        rows = _rows(members_CN)
        for row in rows:
            self.position.setdefault(row, len(self.position))
        return np.zeros(len(rows))


def _approximator(method: str, kind: str) -> Any:
    """shapiq's class of this name."""
    try:
        from shapiq import approximator
    except ImportError as error:
        raise InputError(
            f"method {method!r} needs the package shapiq, which is not installed: pip install"
            " 'fl-sv[shapiq]'"
        ) from error
    if not hasattr(approximator, kind):
        raise InputError(
            f"method {method!r} is not in the installed version of shapiq; 1.8, which needs Python"
            " 3.12, has it"
        )
    return getattr(approximator, kind)
