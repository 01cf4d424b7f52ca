"""The law's idea on mixtures instead of coalitions: laws blended, then a Gaussian process on what
they leave, given a few large runs.

A coalition's process (fl_sv/law/process.py) counts common members. Mixtures have weights instead,
so here what two mixtures have in common falls with the distance of their weights. There is neither
an empty nor a grand coalition; a domain's level is unknown until a large run shows it.

Shapes: C mixtures, M small sizes. "runs" are the mixtures whose large losses are known. Games in
rows are (mixture, domain), the domain changing faster.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from benchmarks.law.mixtures import Mixtures
from fl_sv.law.prior import factored

Floats = NDArray[np.float64]

# Standard deviations, in units of a domain's spread over the mixtures. They were chosen on the
# tables of benchmarks/data/public themselves.
LEVEL = 30.0  # of a domain's level, and of all domains' together: practically unknown
SLOPE, OWN_SLOPE = 0.2, 0.1  # around one, in logarithms: of all domains together, of each
COMMON = 0.1  # what a mixture adds in all domains alike
OWN = 0.1  # what it adds in one domain, and the noise of one run; with two small sizes, what
# separates these is taken instead
Known = Sequence[int]


def predict(table: Mixtures, runs: Known) -> Floats:
    """(C, domains) losses of the large size, of which `runs` are known.

    Every small size is a law: its log losses, standardised by domain. Their mean is the blend, and
    in the direction in which they differ it is uncertain.
    """
    log_small = np.log(table.small)
    spread = log_small[:, -1].std(axis=0)
    laws = (log_small - log_small.mean(axis=0)) / log_small.std(axis=0)  # (C, M, domains)
    blend = laws.mean(axis=1)
    between = (laws - blend[:, None]) / np.sqrt(laws.shape[1])
    apart = np.sqrt(np.mean((laws[:, -1] - laws[:, 0]) ** 2, axis=0))
    own = apart if laws.shape[1] > 1 else np.full(blend.shape[1], OWN)
    alike = _alike(table.weights)

    def covariance(first: Known, second: Known) -> Floats:
        """Of the log losses of mixtures, in units of the domains' spreads."""
        each, all_domains = np.eye(len(own)), np.ones((len(own), len(own)))
        total = LEVEL**2 * (each + all_domains)[None, :, None, :]
        slopes = SLOPE**2 * all_domains + OWN_SLOPE**2 * each
        total = total + _products(blend[first], blend[second]) * slopes[None, :, None, :]
        for law in np.moveaxis(between, 1, 0):
            total = total + _products(law[first], law[second]) * (
                (each + all_domains)[None, :, None, :] / 2
            )
        deviations = COMMON**2 * all_domains + np.diag(own**2)
        total = total + (
            alike[np.ix_(first, second)][:, None, :, None] * deviations[None, :, None, :]
        )
        return total.reshape(len(first) * len(own), len(second) * len(own))

    everything = range(len(blend))
    known = (np.log(table.large[runs]) - log_small[runs, -1]) / spread
    expected = blend - laws[:, -1]  # of the large log loss minus the largest small one's
    noise = np.diag(np.tile(own**2, len(runs)))
    weights = cho_solve(factored(covariance(runs, runs) + noise), (known - expected[runs]).ravel())
    shift = expected + (covariance(everything, runs) @ weights).reshape(blend.shape)
    predicted: Floats = np.exp(log_small[:, -1] + spread * shift)
    return predicted


def chosen_runs(table: Mixtures, count: int, first: int) -> list[int]:
    """Mixtures far from each other by their small losses (maximin), `first` among them.

    The rule sees no large loss.
    """
    small = table.small[:, -1]
    places = np.log(small) / np.log(small).std(axis=0)
    chosen = [first]
    nearest = np.linalg.norm(places - places[first], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return chosen


def _alike(weights: Floats) -> Floats:
    """(C, C) similarity of mixtures, from 0 to 1: a Gaussian of the distance of their weights.

    Its width is the typical distance of two mixtures.
    """
    square = np.sum((weights[:, None] - weights[None, :]) ** 2, axis=2)
    similarity: Floats = np.exp(-0.5 * square / square.mean())
    return similarity


def _products(first: Floats, second: Floats) -> Floats:
    """(mixtures, domains, mixtures, domains) products of two lists of mixtures."""
    return np.multiply.outer(first, second)
