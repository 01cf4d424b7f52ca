"""One distribution from a generalist and specialists for a few classes each (Hinton, Vinyals and
Dean 2015).

A specialist distinguishes its own classes and puts all others into one dustbin. The best common
distribution is

    q = argmin KL(g, q) + sum over specialists m of KL(p_m, q_m)

where q_m is q with all classes outside m's collapsed into one. The objective is convex in q. Its
solution is the fixed point of an averaging (an EM step): divide every specialist's dustbin in
proportion to q, then take the mean of all distributions. There is no step size, and each row of a
batch is solved by itself.

Shapes: K classes; "own" counts a specialist's classes; "..." stands for the rows of a batch, or for
nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fl_sv.distillation.checks import count, holds_any, number, reals
from fl_sv.errors import InputError, RunError

Specialist = tuple[Sequence[int], Sequence[float] | Tensor, float | Tensor]

# Error of the fixed point is about change * M: each step takes at least 1/(1 + M) of the distance.
SMALLEST_CHANGE = 1e-15
MOST_STEPS = 100_000


def specialists(generalist: Tensor, opinions: Sequence[Specialist]) -> Tensor:
    """q (..., K), the distribution that generalist and specialists have in common.

    generalist: probabilities (..., K).
    opinions: for each specialist (classes, p, p_dustbin): its classes, their probabilities p
        (..., own), and the probability (...) of all other classes together.

    Computed in float64. Without specialists q is the generalist's distribution; if every
    specialist knows all classes, q is the arithmetic mean. Raises InputError for input that is no
    distribution or no class, RunError when 100,000 steps do not suffice.
    """
    given = reals(generalist, "generalist", "*")
    g = given.double()
    if g.ndim == 0:
        raise InputError(
            "generalist is one number; it must be the probabilities of the classes, (K,)."
        )
    _distribution(g, g.sum(-1), "generalist")
    checked = [_opinion(opinion, g, f"specialist {i}") for i, opinion in enumerate(opinions)]
    q = torch.full_like(g, 1 / g.shape[-1])
    for _ in range(MOST_STEPS):
        before, q = (
            q,
            (g + sum(opinion.over_all_classes(q) for opinion in checked)) / (1 + len(checked)),
        )
        if bool(((q - before).abs() <= SMALLEST_CHANGE).all()):
            return q.to(given.dtype)
    raise RunError(
        f"the specialists' common distribution has not settled after {MOST_STEPS} steps."
    )


def active_specialists(
    generalist: Tensor, classes: Sequence[Sequence[int]], n: int = 1
) -> list[int]:
    """Indices of the specialists that know one of the generalist's n most probable classes.

    >>> active_specialists(torch.tensor([0.1, 0.7, 0.2]), [[0, 1], [0, 2]])
    [0]
    """
    g_K = reals(generalist, "generalist", "K")
    top = set(g_K.argsort(descending=True, stable=True)[: count(n, "n")].tolist())
    return [i for i, own in enumerate(classes) if top & set(_classes(own, f"specialist {i}"))]


def dustbin_correction(true_share: float, sampled_share: float) -> float:
    """What to add to a specialist's dustbin logit if its sample was enriched with its classes.

    It is the logarithm of the ratio of the dustbin's odds. true_share, sampled_share: the share of
    its classes in the population and in its sample. Raises InputError for shares outside 0..1.
    """
    true_share = number(true_share, "true_share", 0, 1, above=True)
    sampled_share = number(sampled_share, "sampled_share", 0, 1, above=True)
    if 1 in (true_share, sampled_share):
        raise InputError("a share of 1 leaves nothing for the dustbin; shares must be below 1.")
    return math.log((1 - true_share) / true_share) - math.log((1 - sampled_share) / sampled_share)


@dataclass(frozen=True, eq=False)
class _Opinion:
    """A specialist's distribution, checked.

    own: (own,) its classes; p: (..., own); dustbin: (..., 1); outside: (K,), 1 for other classes.
    """

    own: Tensor
    p: Tensor
    dustbin: Tensor
    outside: Tensor

    def over_all_classes(self, q: Tensor) -> Tensor:
        """(..., K): its probabilities, and its dustbin divided among the others as q does it."""
        rest = q * self.outside
        share = rest / rest.sum(-1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)
        return (self.dustbin * share).index_add(-1, self.own, self.p)


def _opinion(opinion: Specialist, g: Tensor, who: str) -> _Opinion:
    try:
        classes, p, dustbin = opinion
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{who} is {opinion!r:.60}; it must be (classes, p, p_dustbin)."
        ) from error
    own = _classes(classes, who)
    n_classes = g.shape[-1]
    if not own or len(set(own)) < len(own) or max(own) >= n_classes:
        raise InputError(
            f"{who} has the classes {own}; they must be different ones of 0 to {n_classes - 1}."
        )
    p, dustbin = (
        reals(p, f"p of {who}", "*").to(g),
        reals(dustbin, f"p_dustbin of {who}", "*").to(g),
    )
    if p.shape != (*g.shape[:-1], len(own)):
        raise InputError(
            f"p of {who} has shape {tuple(p.shape)}; it must be {(*g.shape[:-1], len(own))}."
        )
    if dustbin.shape not in ((), g.shape[:-1]):
        raise InputError(
            f"p_dustbin of {who} has shape {tuple(dustbin.shape)}; it must be one number for each"
            " row."
        )
    dustbin = dustbin.expand(g.shape[:-1])[..., None]
    _distribution(torch.cat([p, dustbin], -1), p.sum(-1) + dustbin[..., 0], who)
    if len(own) == n_classes and holds_any(dustbin > 1e-6):
        raise InputError(
            f"{who} has all classes, so that nothing is left for its dustbin; p_dustbin must be 0."
        )
    outside = torch.ones(n_classes, dtype=g.dtype, device=g.device)
    outside[own] = 0
    return _Opinion(torch.tensor(own, device=g.device), p, dustbin, outside)


def _classes(classes: Sequence[int], who: str) -> list[int]:
    return [count(k, f"a class of {who}", 0) for k in np.asarray(classes).reshape(-1).tolist()]


def _distribution(p: Tensor, total: Tensor, who: str) -> None:
    if holds_any(p < 0) or holds_any((total - 1).abs() > 1e-5):
        raise InputError(f"{who} is no distribution: probabilities are at least 0 and sum to 1.")
