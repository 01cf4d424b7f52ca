"""Whatever a run would refuse later, `plan` refuses first: it is one check, and `plan`, `run` and
the Flower app make it.
"""

import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

import fl_sv
from fl_sv import app
from fl_sv.config import Config
from fl_sv.config.base import Frozen
from fl_sv.config.checks import check_strategy
from fl_sv.config.models import Teacher
from fl_sv.config.strategies import STRATEGIES, Numbers
from fl_sv.data import operator_data
from fl_sv.design.large_runs import further_seeds
from fl_sv.errors import InputError
from fl_sv.law import Family, Game
from fl_sv.numbers import MAX_CENTS
from fl_sv.planning.checks import check
from server.app import run_valuation
from server.inline import InlineGrid
from server.trial import app as trial_app
from server.trial import try_strategy
from tests.config_of import COMPANIES, config_of

IRIS = {"source": "iris"}


# --- objects of a user's own, as a config names them ------------------------------------------


class KeepsALambda(FedAvg):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.schedule = lambda server_round: 1 / server_round


class FailsInRound2(FedAvg):
    def aggregate_train(self, server_round, replies):
        if server_round == 2:
            raise KeyError("moments")
        return super().aggregate_train(server_round, replies)


class LeavesTheProcess(FedAvg):
    def __init__(self, **options: Any) -> None:
        sys.exit(3)


class MakesAnotherModel(FedAvg):
    def aggregate_train(self, server_round, replies):
        from flwr.app import Array, ArrayRecord

        return ArrayRecord({"other": Array(np.zeros(3))}), None


class ForgetsTheMetrics(FedAvg):
    def aggregate_train(self, server_round, replies):
        return super().aggregate_train(server_round, replies)[0]


class AsksForSomethingElse(FedAvg):
    def configure_train(self, server_round, arrays, config, grid):
        from flwr.app import Message

        for message in super().configure_train(server_round, arrays, config, grid):
            yield Message(message.content, message.metadata.dst_node_id, "train.otherwise")


seen: list[int] = []  # how many coalitions a law was given


def remembering(game: Game) -> Family:
    seen.append(len(game.normalized_CM))
    return Family(
        "same", (), np.zeros(0), np.zeros(0), True, lambda _: game.normalized_CM[:, -1].copy()
    )


def leaving(game: Game) -> Family:
    sys.exit(3)


a_number = 7
HERE = __name__


def with_strategy(strategy: str, **options: float | str) -> dict[str, Any]:
    return {"teacher": {"strategy": strategy, "options": options}}


def with_pot(**pot: Any) -> dict[str, Any]:
    return {"payouts": {"pot": {"kind": "performance", **pot}}}


def with_law(name: str) -> dict[str, Any]:
    return {"law": {"family": f"{HERE}:{name}"}}


def with_student(model: dict[str, Any], **transfer_set: Any) -> dict[str, Any]:
    box = {"low": -1.0, "high": 1.0, "rows": 50}
    deployed = {"model": model, "transfer_set": {**box, **transfer_set}, "epochs": 1}
    return {"distillation": {"weight": 0.0, "deployed": deployed}}


MLP = {"kind": "mlp", "hidden": [2]}
MODULE = {"kind": "module", "factory": "os:system"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "none of the companies selected": (
        with_strategy("multikrum", num_nodes_to_select=0),
        "num_nodes_to_select: 0 given; multikrum takes a whole number of at least 1",
    ),
    "more companies selected than there are": (
        with_strategy("multikrum", num_nodes_to_select=9),
        "num_nodes_to_select: 9 given; of 4 companies, 0 of them malicious, at most 4",
    ),
    "half a company": (
        with_strategy("multikrum", num_nodes_to_select=1.5),
        "num_nodes_to_select: 1.5 given; multikrum takes a whole number",
    ),
    "all trimmed": (with_strategy("fedtrimmedavg", beta=0.5), "of at least 0 and below 0.5"),
    "no step": (
        with_strategy("fedadam", eta=0.0),
        "eta: 0.0 given; fedadam takes a number above 0",
    ),
    "divided by zero": (with_strategy("fedyogi", tau=0), "tau: 0 given"),
    "a mean of nothing": (with_strategy("fedadam", beta_1=1), "beta_1: 1 given"),
    "a variance below zero": (with_strategy("fedadam", beta_2=2.0), "beta_2: 2.0 given"),
    "momentum that grows": (with_strategy("fedavgm", server_momentum=1.5), "server_momentum: 1.5"),
    "a huge integer": (with_strategy("fedadagrad", eta=10**400), "eta: 1000"),
    "a text": (with_strategy("qfedavg", q="0.1"), "q: '0.1' given"),
    "a truth value": (with_strategy("krum", num_malicious_nodes=True), "True given"),
    "a pull that overshoots": (
        with_strategy("fedprox", proximal_mu=1e3),
        "the learning rate 0.1 times the pull of weight_decay and proximal_mu (1000) is beyond 2",
    ),
    "an infinite step": (
        with_strategy("qfedavg", client_learning_rate=1e-320),
        "qfedavg was tried with 4 companies",
    ),
    "a function as strategy": (with_strategy("os:system"), "os:system is not a subclass"),
    "a number as strategy": (with_strategy(f"{HERE}:a_number"), "is not a subclass"),
    "an abstract strategy": (with_strategy("flwr.serverapp.strategy:Strategy"), "refuses"),
    "no such module": (with_strategy("nowhere:Strategy"), "nowhere:Strategy cannot be imported"),
    "no such strategy": (with_strategy("fedmagic"), "there is no strategy 'fedmagic'"),
    "half a reference": (with_strategy("os:"), "there is no strategy 'os:'"),
    "nobody trains": (
        with_strategy("flwr.serverapp.strategy:FedAvg", fraction_train=0.0),
        "FedAvg made no model of 0 replies in round 1",
    ),
    "another weight": (
        with_strategy("flwr.serverapp.strategy:FedAvg", weighted_by_key="size"),
        "Missing required key `size`",
    ),
    "a strategy for trees": (
        with_strategy("flwr.serverapp.strategy:FedXgbBagging"),
        "FedXgbBagging raised KeyError in round 1",
    ),
    "a state that cannot be kept": (with_strategy(f"{HERE}:KeepsALambda"), "cannot be stored"),
    "a fault in the second round": (
        with_strategy(f"{HERE}:FailsInRound2"),
        "FailsInRound2 raised KeyError in round 2: 'moments'",
    ),
    "a strategy that leaves": (with_strategy(f"{HERE}:LeavesTheProcess"), "refuses {}: SystemExit"),
    "another model": (with_strategy(f"{HERE}:MakesAnotherModel"), "made arrays of the shapes"),
    "half an answer": (with_strategy(f"{HERE}:ForgetsTheMetrics"), "ForgetsTheMetrics raised"),
    "unknown messages": (with_strategy(f"{HERE}:AsksForSomethingElse"), "failed in round 1"),
    "a law that leaves": (with_law("leaving"), "the law leaving raised SystemExit"),
    "a number as law": (with_law("a_number"), "a_number is a int; it must be a function"),
    "no such law": (with_law("nobody"), "has no 'nobody'"),
    "a pot beyond cents": (
        with_pot(cents_per_utility=1e15, floor=-1e3),
        "this pot grows to 1e+18 cents; at most 10**15 are allowed",
    ),
    "a floor that no utility exceeds": (
        with_pot(cents_per_utility=1e5, floor=0.0),
        "payouts.pot.floor: 0 given, but the utility is minus the validation loss",
    ),
    "less than a cent": (
        with_pot(cents_per_utility=1e-9, floor=-1.0),
        "this pot grows to 1e-09 cents, so nothing could be earned",
    ),
    "decay that overshoots": (
        {"training": {"weight_decay": 10.0, "learning_rate": 1.0}},
        "the training diverges",
    ),
    "another task": (
        {"data": {"source": "iris", "task": "regression", "partition": {"kind": "iid"}}},
        "iris is a classification data set, not regression",
    ),
    "a student that is no model": (with_student(MODULE, kind="uniform"), "os:system"),
    "rows that cannot move": (
        {
            **with_student(MLP, kind="density", rows=2, steps=1),
            "data": {"source": "digits", "partition": {"kind": "iid"}},
        },
        "no row of 64 inputs could move within its box in 2 steps",
    ),
}


def made(change: dict[str, Any]) -> Config:
    return config_of(change.get("data", IRIS), **{k: v for k, v in change.items() if k != "data"})


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_could_not_do_is_refused_before_anything_trains(name: str) -> None:
    change, sentence = REFUSED[name]
    with pytest.raises(ValueError) as refusal:
        fl_sv.plan(made(change))
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("name", ["a strategy for trees", "a number as law"])
def test_plan_run_and_the_flower_app_refuse_in_the_same_words(name: str, tmp_path: Path) -> None:
    from fl_sv.config import dump_config

    config = made(REFUSED[name][0])
    path, out = tmp_path / "config.yaml", tmp_path / "out"
    path.write_text(dump_config(config))
    settings = {"config": str(path), "out": str(out), "resume": False}
    refusals = set()
    for way in (
        lambda: fl_sv.plan(path),
        lambda: fl_sv.run(config, out),
        lambda: fl_sv.run(path, out, backend="ray"),
        lambda: run_valuation(InlineGrid(trial_app, range(4)), settings),
    ):
        with pytest.raises(InputError) as refusal:
            way()
        refusals.add(str(refusal.value))
    assert len(refusals) == 1
    assert not out.exists()


def limits(numbers: Numbers) -> list[float]:
    """The smallest and the largest number that are taken; of companies the smallest few."""
    low, high = (int(numbers.low), 1) if numbers.whole else (numbers.low, numbers.high)
    first = 1e-6 if numbers.above else low
    last = math.nextafter(high, 0) if numbers.below else high
    return [first, last]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_passes_its_trial_with_all_options_at_their_limits(name: str) -> None:
    companies = tuple("ABCDEFG")  # enough for Bulyan and one malicious company
    training = {"learning_rate": 1e-6}  # FedProx with the largest mu
    for place in (0, 1):
        options = {key: limits(given)[place] for key, given in STRATEGIES[name].options.items()}
        config = config_of(
            IRIS,
            companies,
            training=training,
            teacher={"strategy": name, "options": options},
        )
        try_strategy(config, operator_data(config).scaling)


def test_an_option_outside_its_limits_is_refused_for_every_strategy() -> None:
    for name, facts in STRATEGIES.items():
        for option, numbers in facts.options.items():
            ends = [numbers.low] * numbers.above + [numbers.high] * numbers.below
            beyond = [numbers.low - 1, numbers.high + 1, 10**400]
            for value in [*beyond, *ends, True, str(numbers.low)]:
                teacher = Teacher(strategy=name, options={option: value})
                with pytest.raises(ValueError, match=rf"teacher.options.{option}: .* given"):
                    check_strategy(teacher, n_companies=7)


def test_a_trial_leaves_flowers_log_and_the_identity_of_the_process_as_they_were() -> None:
    config = config_of(IRIS)
    InlineGrid(trial_app, range(1))  # from here on the process has an identity
    log, before = logging.getLogger("flwr"), (TaskIdentity.run_id, TaskIdentity.node_id)
    level = log.level
    try:
        TaskIdentity.run_id = 77  # as Flower's runtime sets it before it calls the server app
        try_strategy(config, operator_data(config).scaling)
        assert TaskIdentity.run_id == 77
    finally:
        TaskIdentity.run_id, TaskIdentity.node_id = before
    assert log.level == level


def test_the_largest_pot_is_what_amounts_are_computed_for() -> None:
    largest = with_pot(cents_per_utility=MAX_CENTS / 2.0, floor=-2.0)
    assert made(largest).payouts.pot.floor == -2.0
    with pytest.raises(ValueError, match="at most 10\\*\\*15"):
        made(with_pot(cents_per_utility=MAX_CENTS / 2.0, floor=-2.001))


@pytest.mark.parametrize("n_companies", [2, 3, 5])
def test_a_users_law_is_tried_on_as_many_coalitions_as_the_run_has(n_companies: int) -> None:
    seen.clear()
    check(config_of(IRIS, tuple("ABCDE"[:n_companies]), **with_law("remembering")))
    assert set(seen) == {2**n_companies}


def test_a_users_law_is_tried_on_the_first_step_of_a_sample() -> None:
    seen.clear()
    sample = {"design": "sampled", "stop": {"max_evaluations": 30}}
    check(config_of(IRIS, tuple("ABCDE"), coalitions=sample, **with_law("remembering")))
    assert set(seen) == {20}  # four for each company


@pytest.mark.parametrize("device", ["mps", "gpu", "cuda:", "cuda:-1", "cuda:1.5"])
def test_only_cpu_and_cuda_are_devices(device: str) -> None:
    from fl_sv.config import config_of as validated

    content = config_of(IRIS).model_dump() | {"compute": {"device": device}}
    with pytest.raises(InputError, match="should be cpu, cuda or cuda:INDEX"):
        validated(content, "config")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:9"])
def test_a_gpu_that_is_not_here_is_refused(device: str) -> None:
    with pytest.raises(InputError, match=f"there is no {device} on this machine.*here: cpu"):
        check(config_of(IRIS, compute={"device": device}))


def test_ray_that_is_not_installed_is_refused_before_the_data_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    missing = config_of({"source": str(tmp_path / "nowhere.csv")})
    with pytest.raises(InputError, match="ray is not installed"):
        fl_sv.run(missing, tmp_path / "out", backend="ray")


def test_the_sample_that_too_many_companies_are_told_to_take_is_a_sample_of_this_config() -> None:
    names = tuple(f"C{number}" for number in range(1000))
    with pytest.raises(ValueError, match=r"stop: \{max_evaluations: 20000\}"):
        config_of(IRIS, names)
    sample = {"design": "sampled", "stop": {"max_evaluations": 20_000}}
    assert isinstance(config_of(IRIS, names, coalitions=sample), Frozen)


def test_every_company_of_the_config_takes_part_in_the_trial() -> None:
    krum = with_strategy("krum", num_malicious_nodes=1)
    with pytest.raises(ValueError, match="needs at least 5 companies"):
        config_of(IRIS, COMPANIES, **krum)
    check(config_of(IRIS, (*COMPANIES, "Elm"), **krum))


def test_no_more_seeds_are_proposed_than_a_config_may_have() -> None:
    for given, proposed in ((1, 3), (98, 100), (99, 100), (100, 100)):
        config = config_of({"source": "iris"}, training={"large_seeds": given})
        assert given + further_seeds(config) == proposed
        assert config_of({"source": "iris"}, training={"large_seeds": proposed})


def test_the_forecast_counts_the_steps_that_are_written_down_of_models_with_layers() -> None:
    """Of two companies a batch and the last one of an epoch, 2 MB each, in two workers."""
    both, digits = ("Ash", "Beech"), {"source": "digits", "partition": {"kind": "iid"}}
    forecasts = {}
    for name, model in {
        "cnn": {"kind": "cnn", "channels": [4]},
        "mlp": {"kind": "mlp", "hidden": [4]},
    }.items():
        models = {"small": [model], "large": {"kind": "mlp", "hidden": [16]}}
        plan = fl_sv.plan(config_of(digits, both, models=models))
        forecasts[name] = plan.peak_memory_bytes
    assert 2 * 2 * 2 * 2_000_000 <= forecasts["cnn"] - forecasts["mlp"] < 20_000_000
