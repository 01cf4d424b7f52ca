"""fl-sv itself, called in the same way as its peers."""

import numpy as np

import fl_sv
from fl_sv import estimate_shapley, semivalue

VERSION = fl_sv.__version__


def exact(table):
    return semivalue([table(members) for members in table.known()], "shapley")


def leave_one_out(table):
    return semivalue([table(members) for members in table.known()], "loo")


def estimate(table):
    def game(members_CN):
        return np.array([table(np.flatnonzero(members_N)) for members_N in members_CN])

    return estimate_shapley(game, table.n, 2**table.n // 2).values
