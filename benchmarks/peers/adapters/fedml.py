"""FedML: its contribution assessors of one round, by callbacks, without the rest of the package.

Clients are numbered from 1, as `get_final_contribution_assignment` wants them. Values are those of
the round, before they are scaled to sum to 1. The empty coalition has the utility of the round
before, the grand one that of this round."""

import sys
from importlib.metadata import distribution
from types import SimpleNamespace

FEDML = distribution("fedml")
VERSION = FEDML.version
# `import fedml` needs the packages of the whole framework. The folder of the assessors stands
# alone.
sys.path.append(str(FEDML.locate_file("fedml/core")))

from contribution.gtg_shapley_value import GTGShapleyValue  # noqa: E402
from contribution.leave_one_out import LeaveOneOut  # noqa: E402
from contribution.mr_shapley_value import MRShapleyValue  # noqa: E402


def mr(table):
    return assessed(MRShapleyValue, table)


def gtg(table):
    return assessed(GTGShapleyValue, table)


def gtg_patched(table):
    return assessed(GTGShapleyValue, table, patched=True)


def leave_one_out(table):
    return assessed(LeaveOneOut, table)


def leave_one_out_patched(table):
    return assessed(LeaveOneOut, table, patched=True)


def assessed(kind, table, patched=False):
    """`patched`: with the dictionary of the round, which GTG and LOO expect and nobody makes."""
    clients = list(range(1, table.n + 1))
    assessor = kind(SimpleNamespace(round_idx=0, client_num_in_total=table.n))
    if patched:
        assessor.shapley_values_by_round[0] = {}
    assessor.run(
        num_client_for_this_round=table.n,
        client_index_for_this_round=clients,
        aggregation_func=lambda args, chosen: tuple(chosen),
        local_weights_from_clients=dict.fromkeys(clients),
        acc_on_last_round=table([]),
        acc_on_aggregated_model=table(range(table.n)),
        val_dataloader=None,
        validation_func=lambda chosen, *_: table(client - 1 for client in chosen),
        device=None,
    )
    return [assessor.shapley_values_by_round[0][client] for client in clients]
