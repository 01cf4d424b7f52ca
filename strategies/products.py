"""The mean of adapters as what they do: of their products B A, brought back to their rank.

The mean of A times the mean of B is not the mean of B A. The mean of products of rank r has more
rank, up to r for each model. Its best approximation of rank r (Eckart and Young 1936) is what the
models are given: with the singular value decomposition U S V' the new B is U sqrt(S) and the new A
is sqrt(S) V', both equally long. That is exact where the products have no more than rank r
together, as where all have one A, and for a coalition of one company, whose model stays as it is.
In all other cases what lies beyond rank r is cut off.

A decomposition leaves signs open: in each column of U the entry farthest from zero is positive. So
equal models have an equal mean, to every bit.

Shapes: A is (rank, inputs), B is (outputs, rank); `all_a` and `all_b` have one of every model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fl_sv.training.pairs import Pair


def put_products(
    mean: Tensor, first: int, pairs: Sequence[Pair], weights: Sequence[float], models: Tensor
) -> None:
    """Replaces the adapters in a mean of models by those of their mean products.

    mean: a part of the mean in float64, from the parameter `first` on; it is changed.
    pairs: the adapters that lie in this part.
    weights: of the models, in an order that is always the same.
    models: the same part of each, one a row.

    Numbers that are not finite stay as they are, so that whoever asks finds them.
    """
    if len(models) < 2 or not models.isfinite().all():
        return
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    for pair in pairs:
        start, middle, end = (each - first for each in (pair.start, pair.middle, pair.end))
        all_a = models[:, start:middle].reshape(-1, pair.rank, pair.inputs)
        all_b = models[:, middle:end].reshape(-1, pair.outputs, pair.rank)
        if all_b.any():  # else the product of the means is the mean product: zero
            a, b = mean_product(shares, all_a, all_b)
            mean[start:middle], mean[middle:end] = a.flatten(), b.flatten()


class Members:
    """The models of the members of each coalition of a block, by the coalition's row in it."""

    def __init__(self) -> None:
        self._of: dict[int, list[tuple[int, Tensor]]] = {}

    def add(self, rows: Tensor, models: Tensor, examples: int) -> None:
        """A company's models of the coalitions in these rows; the order is that of the calls."""
        for row, model in zip(rows.tolist(), models, strict=True):
            self._of.setdefault(row, []).append((examples, model))

    def put_products(self, mean: Tensor, first: int, pairs: Sequence[Pair]) -> None:
        """As the function, for every row of the block's means."""
        for row, members in self._of.items():
            weights, models = zip(*members, strict=True)
            put_products(mean[row], first, pairs, weights, torch.stack(models))


def mean_product(shares: Tensor, all_a: Tensor, all_b: Tensor) -> tuple[Tensor, Tensor]:
    """A and B whose product is the mean of the products, as nearly as their rank can.

    shares: weights that sum to 1. All are of one precision.
    """
    rank = all_a.shape[1]
    # The mean is `left @ below`. Only the small core between the two bases is decomposed.
    left = (shares[:, None, None] * all_b).transpose(0, 1).flatten(1)
    below = all_a.flatten(0, 1)
    left_base, left_core = torch.linalg.qr(left)
    below_base, below_core = torch.linalg.qr(below.T)
    u, s, vh = torch.linalg.svd(left_core @ below_core.T, full_matrices=False)
    kept = min(rank, len(s))
    u, vh = left_base @ u[:, :kept], vh[:kept] @ below_base.T
    farthest = u.gather(0, u.abs().argmax(0, keepdim=True))
    sign = torch.where(farthest < 0, -1.0, 1.0).to(u.dtype)
    root = s[:kept].sqrt()
    a, b = all_a.new_zeros(all_a.shape[1:]), all_b.new_zeros(all_b.shape[1:])
    a[:kept], b[:, :kept] = (root * sign[0])[:, None] * vh, u * root * sign
    return a, b
