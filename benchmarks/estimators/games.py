"""Games whose Shapley values are known exactly, as the estimators' benchmark draws them.

FEDERATED families are what a federation looks like: diminishing returns, overlapping data, small
models really trained. OTHER families are not, and show where our estimator has no advantage.

Shapes: N companies, C coalitions, B training rows, V validation rows, F features with the constant
one, K classes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits

from fl_sv.game.coalitions import members_matrix
from fl_sv.values import shapley

Floats = NDArray[np.float64]
Members = NDArray[np.bool_]
Rule = Callable[[Members], Floats]

N_COMPANIES = 12
STEPS, LEARNING_RATE, CHUNK = 20, 0.5, 256


@dataclass(frozen=True, eq=False)
class KnownGame:
    """A batched game, bool (C, N) -> float (C,), and its Shapley values (N,)."""

    rule: Rule
    exact: Floats

    @property
    def n_companies(self) -> int:
        return len(self.exact)


def tabulated(utility_C: Floats) -> KnownGame:
    """The game of a complete table, valued exactly."""
    power_N = 1 << np.arange(len(utility_C).bit_length() - 1)
    return KnownGame(lambda member_CN: utility_C[member_CN @ power_N], shapley(utility_C))


def every_coalition() -> Members:
    return members_matrix(range(1 << N_COMPANIES), N_COMPANIES)


# --- like a federation ----------------------------------------------------------------------------


def diminishing_rule(weight_N: Floats) -> Rule:
    """1 - (1 + sum of weights)**-1/2: the loss that a scaling law leaves, against the data."""
    return lambda member_CN: 1 - (1 + member_CN @ weight_N) ** -0.5


def company_weights(n_companies: int, seed: int) -> Floats:
    return np.random.default_rng(seed).lognormal(0, 0.8, n_companies)


def diminishing(seed: int) -> KnownGame:
    return tabulated(diminishing_rule(company_weights(N_COMPANIES, seed))(every_coalition()))


def noisy(seed: int) -> KnownGame:
    """Diminishing returns, and each coalition's training is off by a standard deviation of 0.02."""
    noise_C = np.random.default_rng([seed, 1]).normal(0, 0.02, 1 << N_COMPANIES)
    return tabulated(
        diminishing_rule(company_weights(N_COMPANIES, seed))(every_coalition()) + noise_C
    )


def coverage(seed: int, n_companies: int = N_COMPANIES) -> KnownGame:
    """Weighted coverage: each of 60 items counts once, and its owners share it equally."""
    generator = np.random.default_rng(seed)
    brings, worths = generator.random((n_companies, 60)) < 0.25, generator.exponential(size=60)
    exact_N = (brings / np.maximum(brings.sum(axis=0), 1)) @ worths
    return KnownGame(lambda member_CN: ((member_CN.astype(float) @ brings) > 0) @ worths, exact_N)


def cancer(seed: int) -> KnownGame:
    """Logistic regression on breast cancer; companies of very different size, two with 40 % wrong
    labels.
    """
    x, y = load_breast_cancer(return_X_y=True)
    return trained(x, y, seed)


def digits(seed: int) -> KnownGame:
    """Logistic regression on digits, shrunk to 4 x 4 pixels; else as `cancer`."""
    x, y = load_digits(return_X_y=True)
    order_B = np.random.default_rng([seed, 2]).permutation(len(y))[:600]
    return trained(
        x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)[order_B], y[order_B], seed
    )


def skewed_digits(seed: int) -> KnownGame:
    """As `digits`, but companies hold different digits (Dirichlet 0.3 by label) and all labels are
    right.
    """
    x, y = load_digits(return_X_y=True)
    order_B = np.random.default_rng([seed, 2]).permutation(len(y))[:600]
    x = x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    return trained(x[order_B], y[order_B], seed, label_skew=0.3)


def trained(
    x: Floats, y: NDArray[np.int64], seed: int, label_skew: float | None = None
) -> KnownGame:
    """Minus the validation log-loss of all 4096 coalitions' models, each FedSGD on its members'
    rows.
    """
    return tabulated(-validation_losses(*divided(x, y, seed, label_skew)))


Divided = tuple[Floats, NDArray[np.int64], NDArray[np.int64], Floats, NDArray[np.int64], int]
"""Training rows x, their y and owners; validation rows x and y; number of classes."""


def divided(x: Floats, y: NDArray[np.int64], seed: int, label_skew: float | None = None) -> Divided:
    """The rows of companies of different size, two with 40 % wrong labels; or, by label, skewed."""
    generator = np.random.default_rng(seed)
    order_B = generator.permutation(len(y))
    train_B, validation_V = np.array_split(order_B, 2)
    x = (x - x[train_B].mean(axis=0)) / (x[train_B].std(axis=0) + 1e-9)
    x = np.column_stack([x, np.ones(len(x))])
    y, n_classes = y.copy(), int(y.max()) + 1
    if label_skew is None:
        size_N = generator.lognormal(0, 0.8, N_COMPANIES)
        owner_B = generator.choice(N_COMPANIES, len(train_B), p=size_N / size_N.sum())
        wrong_B = (owner_B < 2) & (generator.random(len(train_B)) < 0.4)
        y[train_B[wrong_B]] = generator.integers(n_classes, size=int(wrong_B.sum()))
    else:
        share_KN = generator.dirichlet(np.full(N_COMPANIES, label_skew), n_classes)
        owner_B = np.array([generator.choice(N_COMPANIES, p=share_KN[k]) for k in y[train_B]])
    return x[train_B], y[train_B], owner_B, x[validation_V], y[validation_V], n_classes


def validation_losses(
    x: Floats,
    y_B: NDArray[np.int64],
    owner_B: NDArray[np.int64],
    validation_x: Floats,
    y_V: NDArray[np.int64],
    k: int,
) -> Floats:
    """loss_C: full-batch gradient steps from zero weights, many coalitions in one product."""
    blocks = losses_by_example(x, y_B, owner_B, validation_x, y_V, k, STEPS)
    return np.concatenate([loss_VC.mean(axis=0, dtype=np.float64) for loss_VC in blocks])


def losses_by_example(
    x: Floats,
    y_B: NDArray[np.int64],
    owner_B: NDArray[np.int64],
    validation_x: Floats,
    y_V: NDArray[np.int64],
    k: int,
    steps: int,
) -> Iterator[NDArray[np.float32]]:
    """loss_VC of CHUNK coalitions after the other, ascending."""
    x, validation_x = x.astype(np.float32), validation_x.astype(np.float32)
    targets = np.eye(k, dtype=np.float32)[y_B][:, :, None]
    for first in range(0, 1 << N_COMPANIES, CHUNK):
        member_CN = members_matrix(range(first, first + CHUNK), N_COMPANIES)
        holds = member_CN.T[owner_B].astype(np.float32)[:, None, :]
        step = LEARNING_RATE * holds / np.maximum(holds.sum(axis=0), 1)
        weights = np.zeros((x.shape[1], k * CHUNK), dtype=np.float32)
        for _ in range(steps):
            errors = (chances(x @ weights, k) - targets) * step
            weights -= x.T @ errors.reshape(len(x), -1)
        chance_VC = chances(validation_x @ weights, k)[np.arange(len(y_V)), y_V]
        yield -np.log(chance_VC + 1e-12)


def chances(logits: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """chances_of: softmax over the classes. So few steps leave the logits small; they need no
    shift.
    """
    chances_of = np.exp(logits).reshape(len(logits), k, -1)
    chances_of /= chances_of.sum(axis=1, keepdims=True)
    return chances_of


# --- unlike a federation --------------------------------------------------------------------------


def pairwise(seed: int) -> KnownGame:
    """2-additive: a worth for each company and each two, of both signs."""
    worth_NN = np.triu(np.random.default_rng(seed).normal(size=(N_COMPANIES, N_COMPANIES)))
    return tabulated(np.einsum("ci,ij,cj->c", every_coalition(), worth_NN, every_coalition()))


def supermodular(seed: int) -> KnownGame:
    """60 groups of 1 to 5 companies, each worth something once complete."""
    return grouped(seed, 60, 5, np.random.default_rng([seed, 3]).random(60))


def mixed(seed: int) -> KnownGame:
    """80 groups of 1 to 6 companies, worth something of either sign once complete."""
    return grouped(seed, 80, 6, np.random.default_rng([seed, 3]).normal(size=80))


def grouped(seed: int, count: int, largest: int, worths: Floats) -> KnownGame:
    generator, member_CN = np.random.default_rng(seed), every_coalition()
    groups = [
        generator.choice(N_COMPANIES, generator.integers(1, largest + 1), replace=False)
        for _ in range(count)
    ]
    complete = zip(worths, groups, strict=True)
    return tabulated(
        np.sum([worth * member_CN[:, group].all(axis=1) for worth, group in complete], axis=0)
    )


def vote(seed: int) -> KnownGame:
    """Weighted majority."""
    weight_N = company_weights(N_COMPANIES, seed)
    return tabulated((every_coalition() @ weight_N > weight_N.sum() / 2).astype(float))


# --- many companies -------------------------------------------------------------------------------


def large_diminishing(n_companies: int, seed: int) -> KnownGame:
    """`diminishing` for any N. (1 + x)**-1/2 is a mixture of exponentials, whose games are
    products: two integrals.
    """
    weight_N = company_weights(n_companies, seed)
    node, weight = np.polynomial.legendre.leggauss(120)
    nodes, node_weights = (node + 1) / 2, weight / 2
    node, weight = np.polynomial.legendre.leggauss(400)
    exact_N = np.zeros(n_companies)
    for root, root_weight in zip((node + 1) * 3.5, weight * 3.5, strict=True):
        gone_N = 1 - np.exp(-(root**2) * weight_N)
        rest = 1 - nodes[:, None] * gone_N
        others = np.exp(np.log(rest).sum(axis=1))[:, None] / rest
        exact_N += (
            root_weight
            * 2
            * np.exp(-(root**2))
            / math.sqrt(math.pi)
            * gone_N
            * (node_weights @ others)
        )
    return KnownGame(diminishing_rule(weight_N), exact_N)


Family = Callable[[int], KnownGame]
FEDERATED: dict[str, Family] = {
    "diminishing": diminishing,
    "noisy": noisy,
    "coverage": coverage,
    "cancer": cancer,
    "digits": digits,
    "skewed_digits": skewed_digits,
}
"""Like a federation; N_COMPANIES each."""
OTHER: dict[str, Family] = {
    "pairwise": pairwise,
    "supermodular": supermodular,
    "mixed": mixed,
    "vote": vote,
}
"""Unlike one; N_COMPANIES each."""
LARGE: dict[str, tuple[int, Family]] = {
    "diminishing50": (50, lambda seed: large_diminishing(50, seed)),
    "diminishing100": (100, lambda seed: large_diminishing(100, seed)),
    "coverage50": (50, lambda seed: coverage(seed, 50)),
}
"""(N, family): like a federation, with more companies than can be enumerated."""
