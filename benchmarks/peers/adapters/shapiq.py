"""shapiq: Shapley values of a batched game, exact or by KernelSHAP from half of the coalitions."""

from importlib.metadata import version

import numpy as np
from shapiq import ExactComputer, KernelSHAP

VERSION = version("shapiq")


def exact(table):
    return ExactComputer(batched(table), table.n)("SV").get_n_order_values(1)


def kernelshap(table):
    approximator = KernelSHAP(table.n, pairing_trick=True, random_state=0)
    return approximator.approximate(2**table.n // 2, batched(table)).get_n_order_values(1)


def batched(table):
    def game(members_CN):
        return np.array(
            [table(np.flatnonzero(members_N)) for members_N in np.atleast_2d(members_CN)],
            dtype=float,
        )

    return game
