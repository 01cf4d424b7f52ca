"""Values of companies from utilities of coalitions: exact, estimated, cores and unions."""

from fl_sv.values.core import least_core, prenucleolus
from fl_sv.values.estimate import Estimate, estimate_shapley
from fl_sv.values.exact import banzhaf, interactions, moebius, semivalue, semivalue_weights, shapley
from fl_sv.values.unions import owen

__all__ = [
    "Estimate",
    "banzhaf",
    "estimate_shapley",
    "interactions",
    "least_core",
    "moebius",
    "owen",
    "prenucleolus",
    "semivalue",
    "semivalue_weights",
    "shapley",
]
