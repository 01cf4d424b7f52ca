"""FederatedHPLearning: values of its own federated trainings, which are replaced here by a look
into the table.

Its utility is an AUC and v(empty) a fixed 0.5. Our tables begin at 0, so 0.5 is added to every
utility."""

import math
from importlib.metadata import version

import numpy as np
from federated_hplearning import contribution, federated
from federated_hplearning import shapley as orders

VERSION = version("FederatedHPLearning")
NOBODY = 0.5


def by_default(table):
    return by_orders(table, n_permutations=20)


def all_orders(table):
    return by_orders(table, n_permutations=math.factorial(table.n))


def leave_one_out(table):
    contribution.fedavg_train = looked_up(table)
    return contribution.measure_hospital_contribution(numbered(table.n), None, None)["contribution"]


def by_orders(table, n_permutations):
    orders.fedavg_train = looked_up(table)
    found = orders.compute_federated_shapley_values(
        numbered(table.n), None, None, n_permutations=n_permutations
    )
    return found["shapley_value"]


def numbered(n):
    """Hospitals whose only label is their number."""
    return [(np.zeros((1, 1)), np.array([i])) for i in range(n)]


def looked_up(table):
    return lambda hospitals, *_, **__: {"round_aucs": [table(y[0] for _, y in hospitals) + NOBODY]}


# --- the same federated run -----------------------------------------------------------------------


def federated_by_default(data):
    return trained(data, n_permutations=20)


def federated_all_orders(data):
    return trained(data, n_permutations=math.factorial(len(data["companies"])))


def trained(data, n_permutations):
    orders.fedavg_train = federated.fedavg_train
    companies, validation, training = arrays(data)
    found = orders.compute_federated_shapley_values(
        companies, *validation, **training, n_permutations=n_permutations
    )
    return found["shapley_value"]


def grand_loss(data):
    """Validation loss of the model of all companies."""
    companies, validation, training = arrays(data)
    return federated.fedavg_train(companies, *validation, **training)["round_losses"][-1:]


def arrays(data):
    companies = [(np.array(x), np.array(y)) for x, y in data["companies"]]
    return companies, [np.array(part) for part in data["validation"]], data["training"]
