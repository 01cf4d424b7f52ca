"""The same federated run through FederatedHPLearning's simulation and through our sweep.

Breast cancer in five shares of size 1 to 5, the second largest with 40 % wrong labels; both take
the same scaled rows. Both train a logistic regression without intercept by FedAvg, 15 rounds of 5
full-batch steps, weighted by examples. Two logits learn twice as fast as one, so our learning rate
is half of theirs; then the models are the same but for their start (ours 0, theirs a hundredth of a
normal). The utility differs: theirs is the AUC with v(empty) = 0.5, ours minus the loss. So values
are not compared with values, but each with the exact values of its own game."""

import math
from typing import Any

import numpy as np
from torch import nn

import fl_sv
from benchmarks.common.distance import relative_l2
from benchmarks.peers.environments import NotCompared, Peer, ask
from benchmarks.sweep.sweeps import in_one_process
from fl_sv.config import Config
from fl_sv.data import all_company_data, operator_data

COMPANIES = [f"Company {i}" for i in range(1, 6)]
CARELESS = 3
TRAINING = {"rounds": 15, "epochs": 5, "lr": 0.1}  # by FederatedHPLearning's names


def logistic(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    layer = nn.Linear(math.prod(input_shape), n_outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(nn.Flatten(), layer)


def federation() -> Config:
    return Config.model_validate(
        {
            "companies": COMPANIES,
            "data": {
                "source": "breast_cancer",
                "partition": {
                    "kind": "sizes",
                    "sizes": {name: i for i, name in enumerate(COMPANIES, start=1)},
                },
                "corruptions": [
                    {"kind": "wrong_labels", "company": COMPANIES[CARELESS], "fraction": 0.4}
                ],
            },
            "models": {
                "small": [{"kind": "module", "factory": f"{__name__}:logistic"}],
                "large": {"kind": "mlp", "hidden": [64]},
            },
            "training": {
                "rounds": TRAINING["rounds"],
                "local_epochs": TRAINING["epochs"],
                "learning_rate": TRAINING["lr"] / 2,
                "batch_size": 1_000_000,
                "seeds": 1,
            },
            "payouts": {"pot": {"kind": "fixed", "cents": 1}},
        }
    )


def same_run(peer: Peer, patience: float) -> list[dict[str, Any]]:
    """Two rows for them, by twenty orders of the companies and by all, and one for us.

    Raises NotCompared when the peer gave no answer.
    """
    config = federation()
    return [*theirs(peer, config, patience), ours(config)]


def theirs(peer: Peer, config: Config, patience: float) -> list[dict[str, Any]]:
    operator = operator_data(config)
    shares = [*all_company_data(config, operator.scaling).values()]
    data = {
        "companies": [(share.x.tolist(), share.y.tolist()) for share in shares],
        "validation": (operator.validation.x.tolist(), operator.validation.y.tolist()),
        "training": TRAINING,
    }
    methods = ("federated_by_default", "federated_all_orders", "grand_loss")
    answer = ask(peer, [{"method": method, "data": data} for method in methods], patience)
    sampled, exact, grand = answer["jobs"]
    for job in answer["jobs"]:
        if "error" in job:
            raise NotCompared(f"its federated run: {job['error']}")
    exact_N = np.array(exact["calls"][0])
    return [
        {
            "peer": name,
            "version": answer["version"],
            "utility": "AUC",
            "values": job["calls"][0],
            "second_call": job["calls"][1],
            "error": relative_l2(np.array(job["calls"][0]), exact_N),
            "seconds": job["seconds"],
            "grand_loss": grand["calls"][0][0],
        }
        for name, job in ((peer.name, sampled), (f"{peer.name}, all orders", exact))
    ]


def ours(config: Config) -> dict[str, Any]:
    """Values from every coalition's loss."""
    first, again = in_one_process(config), in_one_process(config)
    return {
        "peer": "fl-sv",
        "version": fl_sv.__version__,
        "utility": "minus the loss",
        "values": fl_sv.shapley(-first.losses).tolist(),
        "second_call": fl_sv.shapley(-again.losses).tolist(),
        "error": 0.0,
        "seconds": min(first.seconds, again.seconds),
        "grand_loss": float(first.losses[-1]),
    }
