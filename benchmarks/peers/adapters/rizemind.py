"""rizemind: the calculator that its Flower strategies use, on a store of one round's coalitions,
without the chain.
"""

from importlib.metadata import version

from flwr.common import Code, EvaluateRes, Status
from rizemind.strategies.contribution.calculators.shapley_value import ShapleyValueCalculator
from rizemind.strategies.contribution.shapley.shapley_value_strategy import ShapleyValueStrategy
from rizemind.strategies.contribution.shapley.trainer_mapping import ParticipantMapping
from rizemind.strategies.contribution.shapley.trainer_set import (
    TrainerSetAggregate,
    TrainerSetAggregateStore,
)

VERSION = version("rizemind")


def utility_as_score(table):
    return [player.score for player in scored(table, lambda coalition: -coalition.get_loss())]


def paid_by_default(table):
    """What its strategy pays by when no score function is given."""
    return [
        player.score
        for player in ShapleyValueStrategy.normalize_contribution_scores(None, scored(table, None))
    ]


def scored(table, coalition_to_score_fn):
    """Scores of all companies; the loss of a coalition is minus its utility."""
    mapping, store = ParticipantMapping(), TrainerSetAggregateStore()
    addresses = [f"0x{i:040x}" for i in range(table.n)]
    for address in addresses:
        mapping.add_participant(address)
    for members in table.known():
        chosen = [addresses[i] for i in members]
        coalition = TrainerSetAggregate(mapping.get_participant_set_id(chosen), chosen, None, {})
        coalition.insert_res(
            EvaluateRes(Status(Code.OK, ""), loss=-table(members), num_examples=0, metrics={})
        )
        store.insert(coalition)
    found = ShapleyValueCalculator().get_scores(
        participant_mapping=mapping, store=store, coalition_to_score_fn=coalition_to_score_fn
    )
    return [found[address] for address in addresses]
