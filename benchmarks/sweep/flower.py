"""The same game on Flower as it is today: its own FedAvg and loop, plain torch, one coalition at a
time.

Both ways return seconds by coalition and the trained models as flat vectors (P,), in the order of
the coalitions."""

import time
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fl_sv.config import Config
from fl_sv.data import company_data, operator_data
from fl_sv.game.coalitions import members_of
from fl_sv.machine import use_threads
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import make_recipe, train

client_app = ClientApp()


@client_app.train()
def train_round(message: Message, context: Context) -> Message:
    """One round of local training, on the rows of the company that this node plays."""
    task = message.content["config"]
    game, company = str(task["game"]), task["companies"][list(task["nodes"]).index(context.node_id)]
    model, x, y = _load(game, company)
    module = model.module
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    received = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
    recipe = make_recipe(
        Config.model_validate_json(game), model, company, len(y), 0, int(task["server-round"])
    )
    trained = train(model, received, x, y, recipe)
    torch.nn.utils.vector_to_parameters(trained, module.parameters())
    reply = {
        "arrays": ArrayRecord(module.state_dict()),
        "metrics": MetricRecord({"num-examples": len(y)}),
    }
    return Message(RecordDict(reply), reply_to=message)


@lru_cache(maxsize=32)
def _load(game: str, company: str) -> tuple[ModelSpec, torch.Tensor, torch.Tensor]:
    config = Config.model_validate_json(game)
    use_threads(config.compute.threads)
    operator = operator_data(config)
    (model,), _ = model_specs(config, operator.task)
    return model, *tensors(company_data(config, company, operator.scaling), config)


class FedAvgOfMembers(FedAvg):
    """Flower's FedAvg, sent to some of the nodes."""

    def __init__(self, nodes: Sequence[int]) -> None:
        count = len(nodes)
        super().__init__(
            fraction_evaluate=0.0,
            min_train_nodes=count,
            min_available_nodes=count,
            min_evaluate_nodes=0,
        )
        self.nodes = list(nodes)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As FedAvg does it, without its draw of nodes."""
        config["server-round"] = server_round
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return [Message(content, node, "train") for node in self.nodes]


def one_simulation_each(
    config: Config, coalitions: Sequence[int]
) -> tuple[list[float], list[torch.Tensor]]:
    """A Flower simulation of its own for every coalition; its seconds include the start of Ray."""
    seconds, models = [], []
    for coalition in coalitions:
        members = members_of(coalition)
        started = time.perf_counter()
        models += _simulate(config, [config.companies[i] for i in members], [range(len(members))])[
            1
        ]
        seconds.append(time.perf_counter() - started)
    return seconds, models


def one_simulation_for_all(
    config: Config, coalitions: Sequence[int]
) -> tuple[float, list[float], list[torch.Tensor]]:
    """One Flower simulation that trains coalition after coalition; returns also the seconds of its
    start and end.

    The first coalition is trained twice: its first training waits for Ray's actors and counts as
    start."""
    started = time.perf_counter()
    seconds, models = _simulate(
        config, config.companies, [members_of(each) for each in (coalitions[0], *coalitions)]
    )
    return time.perf_counter() - started - sum(seconds[1:]) - seconds[1], seconds[1:], models[1:]


def _simulate(
    config: Config, companies: Sequence[str], coalitions: Sequence[Sequence[int]]
) -> tuple[list[float], list[torch.Tensor]]:
    """Trains each coalition, given by the places of its members in `companies`, on a node for every
    company.
    """
    from flwr.simulation import run_simulation

    game = config.model_dump_json()
    model, _, _ = _load(game, companies[0])
    server_app, seconds, models = ServerApp(), [], []

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        while len(nodes := sorted(grid.get_node_ids())) < len(companies):
            time.sleep(0.01)
        briefing = ConfigRecord({"game": game, "nodes": nodes, "companies": list(companies)})
        for members in coalitions:
            started = time.perf_counter()
            torch.nn.utils.vector_to_parameters(
                model.initial_params(config.seed, 0), model.module.parameters()
            )
            strategy = FedAvgOfMembers([nodes[i] for i in members])
            arrays = ArrayRecord(model.module.state_dict())
            result = strategy.start(
                grid, arrays, num_rounds=config.training.rounds, train_config=briefing
            )
            models.append(
                torch.cat([part.flatten() for part in result.arrays.to_torch_state_dict().values()])
            )
            seconds.append(time.perf_counter() - started)

    backend: dict[str, Any] = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {
            "address": "local",
            "num_cpus": config.compute.workers,
            "include_dashboard": False,
        },
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_simulation(server_app, client_app, len(companies), backend_config=backend)
    return seconds, models
