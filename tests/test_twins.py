"""Fast paths against their slow, obvious twins: the sweep, the stack, the singletons."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg
from torch.utils.flop_counter import FlopCounterMode

from clients.app import app as client_app
from fl_sv.config import Config, parse_config
from fl_sv.config.training import Optimizer
from fl_sv.data import Task, company_data, operator_data
from fl_sv.design.sample import design_steps
from fl_sv.flower import wire
from fl_sv.game.coalitions import members_of
from fl_sv.progress import Progress
from fl_sv.runs.journal import Journal
from fl_sv.training import averages
from fl_sv.training.losses import row_loss
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import Recipe, make_recipe, train
from fl_sv.training.stack import score_stack, train_stack
from fl_sv.valuation.appraise import shapley_weighting
from server import sweep
from server.averages import average_singletons
from server.inline import InlineGrid
from server.interleave import run_to_end
from server.job import Job, open_job
from server.large_runs import measure_large_runs
from server.sweep import sweep_coalitions
from server.teacher import train_teacher
from strategies import coalitions
from strategies.coalitions import CoalitionStrategy
from strategies.roster import Roster, to_numpy, to_record

GAME = """
seed: 3
companies: [Ash, Beech, Chestnut, Damson]
data:
  source: iris
  partition: {kind: dirichlet, alpha: 2, sizes: {Ash: 4, Beech: 3, Chestnut: 2, Damson: 1}}
models:
  small: [{kind: mlp, hidden: [3]}, {kind: mlp, hidden: [5, 4], learning_rate: 0.05}]
  large: {kind: mlp, hidden: [16]}
training:
  {rounds: 3, local_epochs: 2, batch_size: 7, learning_rate: 0.2, momentum: 0.5,
   weight_decay: 0.01, seeds: 2, schedule: cosine}
coalitions: {waves: 3}
law: {anchors: 10}
compute: {dtype: float64, chunk: 3}
payouts: {pot: {kind: fixed, cents: 100}}
"""
COALITIONS = range(1, 16)


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(GAME, "game")


@pytest.fixture(scope="module")
def job(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Job:
    journal = Journal(tmp_path_factory.mktemp("twins") / "journal.sqlite")
    return open_job(
        config, journal, InlineGrid(client_app, range(4)), Progress("quiet"), threading.Event()
    )


@pytest.fixture(scope="module")
def swept(job: Job) -> dict[str, np.ndarray]:
    """The trained stack (15, P) of every model and replicate, from one wave of the product's own
    strategy.
    """
    strategy = CoalitionStrategy(job.federation.roster, list(COALITIONS), "float64")
    initial = {
        wire.stack_key(model.name, r): model.initial_params(job.config.seed, r)[None].numpy()
        for model in job.small
        for r in range(2)
    }
    return to_numpy(
        run_to_end(
            job.run_rounds(strategy, to_record(initial), 1, "the test's wave", lambda *_: None)
        )
    )


def one_coalition_in_plain_torch(
    config: Config, model: ModelSpec, replicate: int, coalition: int
) -> torch.Tensor:
    """FedAvg of one coalition as a textbook writes it."""
    scaling = operator_data(config).scaling
    members = sorted(config.companies[i] for i in members_of(coalition))
    data = {name: tensors(company_data(config, name, scaling), config) for name in members}
    total = sum(len(y) for _, y in data.values())
    params = model.initial_params(config.seed, replicate)
    for server_round in range(1, config.training.rounds + 1):
        mean = torch.zeros_like(params)
        for name, (x, y) in data.items():
            recipe = make_recipe(config, model, name, len(y), replicate, server_round)
            mean += train(model, params, x, y, recipe) * (len(y) / total)
        params = mean
    return params


def one_coalition_by_flower(config: Config, roster: Roster, key: str, coalition: int) -> np.ndarray:
    """Flower's own FedAvg and its own loop, on a grid of only the coalition's members."""
    members = members_of(coalition)
    task = ConfigRecord(
        dict(roster.briefing("", 0))
    )  # no node has a name: each plays its partition
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=len(members),
        min_available_nodes=len(members),
        min_evaluate_nodes=0,
    )
    name, replicate = wire.parse_stack_key(key)
    model = next(
        model for model in model_specs(config, operator_data(config).task)[0] if model.name == name
    )
    result = strategy.start(
        InlineGrid(client_app, members),
        ArrayRecord(
            {key: to_record({key: model.initial_params(config.seed, replicate).numpy()})[key]}
        ),
        num_rounds=config.training.rounds,
        train_config=task,
    )
    return to_numpy(result.arrays)[key]


def test_sweep_equals_plain_torch_for_every_coalition(
    job: Job, swept: dict[str, np.ndarray]
) -> None:
    for model in job.small:
        for replicate in range(2):
            for row, coalition in enumerate(COALITIONS):
                single = one_coalition_in_plain_torch(job.config, model, replicate, coalition)
                together = swept[wire.stack_key(model.name, replicate)][row]
                assert np.abs(together - single.numpy()).max() <= 1e-9, (
                    model.name,
                    replicate,
                    coalition,
                )


def test_sweep_equals_flowers_fedavg_of_the_members_for_every_coalition(
    job: Job, swept: dict[str, np.ndarray]
) -> None:
    key = wire.stack_key(job.small[0].name, 1)
    for row, coalition in enumerate(COALITIONS):
        by_flower = one_coalition_by_flower(job.config, job.federation.roster, key, coalition)
        assert np.abs(swept[key][row] - by_flower).max() <= 1e-9, coalition


def test_waves_change_no_bit(config: Config, job: Job, swept: dict[str, np.ndarray]) -> None:
    strategy = CoalitionStrategy(job.federation.roster, [5, 6, 7], "float64")
    key = wire.stack_key(job.small[1].name, 0)
    initial = {key: job.small[1].initial_params(config.seed, 0)[None].numpy()}
    stacks = to_numpy(
        run_to_end(
            job.run_rounds(strategy, to_record(initial), 1, "a smaller wave", lambda *_: None)
        )
    )
    assert np.array_equal(stacks[key], swept[key][4:7])


# parts of a model of 64 parameters, two models at a time, and all in one block
@pytest.mark.parametrize("numbers", [7, 130, 1 << 30])
def test_blocks_of_the_average_change_no_bit(
    numbers: int,
    config: Config,
    job: Job,
    swept: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalitions, "CACHE_NUMBERS", numbers)
    strategy = CoalitionStrategy(job.federation.roster, list(COALITIONS), "float64")
    key = wire.stack_key(job.small[1].name, 1)
    initial = {key: job.small[1].initial_params(config.seed, 1)[None].numpy()}
    stacks = to_numpy(
        run_to_end(job.run_rounds(strategy, to_record(initial), 1, "other blocks", lambda *_: None))
    )
    assert np.array_equal(stacks[key], swept[key])


def test_large_model_equals_plain_torch_at_every_large_run(job: Job) -> None:
    train_teacher(job)
    sweep_coalitions(job, design_steps(job.config)[0])
    measured = measure_large_runs(job)
    assert sorted(map(int.bit_count, measured)) == [0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4]
    for coalition in set(measured) - {0, 15}:
        params = one_coalition_in_plain_torch(job.config, job.large, 0, coalition)
        ((loss, _),) = job.validation.means(job.large, params[None], "twin")
        assert job.journal.scores()[job.large.name, 0, coalition].loss == pytest.approx(
            loss, abs=1e-9
        )


def test_averages_are_those_of_the_models_that_every_company_trains_alone(job: Job) -> None:
    """Plain torch trains the companies one after the other; sums are written out."""
    train_teacher(job)
    sweep_coalitions(job, design_steps(job.config)[0])
    found = average_singletons(job, job.table(range(16), measure_large_runs(job)))
    assert found is not None
    x, y = job.validation.x, job.validation.y
    for column, model in enumerate([*job.small, job.large]):
        seeds = 1 if model is job.large else 2
        outputs = {}
        for seed in range(seeds):
            for i in range(4):
                params = one_coalition_in_plain_torch(job.config, model, seed, 1 << i)
                outputs[seed, i] = model.loaded(params)(x).detach()
        for coalition in COALITIONS:
            members = members_of(coalition)
            rows = sum(job.examples[job.config.companies[i]] for i in members)
            loss = 0.0
            for seed in range(seeds):
                average = torch.zeros_like(outputs[0, 0])
                for i in members:
                    average += outputs[seed, i] * job.examples[job.config.companies[i]] / rows
                loss += float(row_loss(model.task)(average, y).mean()) / seeds
            assert found.loss_CM[coalition, column] == pytest.approx(loss, abs=1e-9)
        assert found.loss_CM[0, column] == pytest.approx(np.log(3), abs=1e-12)


@pytest.mark.parametrize("numbers", [1, 1 << 30])
def test_blocks_of_averages_change_no_bit(
    numbers: int, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_teacher(job)
    sweep_coalitions(job, design_steps(job.config)[0])
    table = job.table(range(16), measure_large_runs(job))
    whole = average_singletons(job, table)
    assert whole is not None
    monkeypatch.setattr(averages, "BLOCK", numbers)  # one coalition a block, and all in one
    found = average_singletons(job, table)
    assert found is not None and np.array_equal(found.loss_CM, whole.loss_CM)


def test_sweep_leaves_every_planned_score_in_the_journal(job: Job) -> None:
    sweep_coalitions(job, design_steps(job.config)[0])
    small = [score for score in job.journal.scores().values() if score.model != job.large.name]
    assert len(small) == 16 * 2 * 2


@pytest.mark.parametrize("block", [1, 4, 7])
def test_values_by_validation_example_do_not_depend_on_blocks_of_coalitions(
    block: int, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_coalitions(job, design_steps(job.config)[0])
    table = job.table(range(16), [])
    weighting = shapley_weighting(job.config, table)
    whole_NV = sweep.validation_values(job, range(16), weighting)
    monkeypatch.setattr(sweep, "BLOCK", block)
    assert sweep.validation_values(job, range(16), weighting) == pytest.approx(whole_NV, abs=1e-12)
    losses = table.mean_losses(job.small[-1].name)
    assert whole_NV.mean(axis=1).sum() == pytest.approx(losses[0] - losses[15], abs=1e-12)


def game_with(model: str) -> Config:
    """The game with one small model, and a large one that is larger than any of them."""
    small = "{kind: mlp, hidden: [3]}, {kind: mlp, hidden: [5, 4], learning_rate: 0.05}"
    return parse_config(GAME.replace(small, model).replace("hidden: [16]", "hidden: [4096]"), model)


MODELS = {
    "mlp": "{kind: mlp, hidden: [6]}",
    "deep mlp": "{kind: mlp, hidden: [6, 5, 4]}",
    "no hidden layer": "{kind: mlp, hidden: []}",
    "cnn": "{kind: cnn, channels: [4, 8]}",
    "module": "{kind: module, factory: 'tests.plugins:tiny_transformer', options: {width: 8}}",
    "module with dropout": (
        "{kind: module, factory: 'tests.plugins:dropout_mlp', options: {width: 8}}"
    ),
}


# Each with the strength of FedProx's term. A bias before a GroupNorm has no gradient but rounding.
# Adam divides that by eps, and FedProx feeds it back: with torch's eps of 1e-8 both twins are
# right, and differ by more than 1e-9.
OPTIMIZERS = {
    "plain": (Optimizer(), 0.0),
    "momentum": (Optimizer(momentum=0.9, weight_decay=0.01), 0.0),
    "momentum, clipped, FedProx": (Optimizer(momentum=0.9, clip_norm=0.5), 0.3),
    "adam, FedProx": (Optimizer("adam", weight_decay=0.01, betas=(0.8, 0.95), eps=1e-3), 0.3),
    "adamw, clipped": (Optimizer("adamw", weight_decay=0.1, eps=1e-5, clip_norm=0.5), 0.0),
}


def drawn(
    config: Config, task_kind: Any
) -> tuple[ModelSpec, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The small model, 20 rows with targets, a stack of five models, and what a teacher says to the
    rows.
    """
    outputs = 3 if task_kind == "classification" else 1
    (model,), _ = model_specs(
        config, Task(kind=task_kind, input_shape=(1, 8, 8), n_outputs=outputs)
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 1, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (20,), generator=generator)
    y = y if task_kind == "classification" else y.double()
    stack = model.initial_params(1, 0) + 0.1 * torch.randn(
        5, model.n_params, generator=generator, dtype=torch.float64
    )
    return model, x, y, stack, torch.randn(20, outputs, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("task_kind", ["classification", "regression"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stack_equals_one_model_after_the_other(kind: str, task_kind: str, optimizer: str) -> None:
    chosen, proximal_mu = OPTIMIZERS[optimizer]
    model, x, y, stack, _ = drawn(game_with(MODELS[kind]), task_kind)
    batches = tuple(np.array_split(np.arange(20), 3))
    recipe = Recipe(chosen, (0.02, 0.1, 0.05), proximal_mu, batches, torch_seed=5)
    together = train_stack(model, stack, x, y, recipe, chunk=2)
    for row, params in zip(together, stack, strict=True):
        assert (row - train(model, params, x, y, recipe)).abs().max() <= 1e-9


@pytest.mark.parametrize("kind", ["mlp", "deep mlp", "no hidden layer"])
def test_operations_of_an_mlp_are_those_that_torch_counts(kind: str) -> None:
    (model,), _ = model_specs(
        game_with(MODELS[kind]), Task(kind="classification", input_shape=(1, 8, 8), n_outputs=3)
    )
    with FlopCounterMode(display=False) as counter:
        model.module(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
    assert model.forward_flops == counter.get_total_flops()


@pytest.mark.parametrize("kind", ["mlp", "deep mlp", "no hidden layer", "cnn"])
def test_scores_are_those_of_the_module_itself(kind: str) -> None:
    config = game_with(MODELS[kind])
    (model,), _ = model_specs(
        config, Task(kind="classification", input_shape=(1, 8, 8), n_outputs=3)
    )
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(9, 1, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (9,), generator=generator)
    stack = torch.randn(4, model.n_params, generator=generator, dtype=torch.float64)
    losses, hits, kept = score_stack(model, stack, x, y, chunk=3, keep=[0, 3])
    assert [*kept] == [0, 3]
    for row, params in enumerate(stack):
        torch.nn.utils.vector_to_parameters(params, model.module.parameters())
        outputs = model.module.eval()(x).detach()
        assert torch.allclose(losses[row], row_loss(model.task)(outputs, y), atol=1e-12)
        assert torch.equal(hits[row], outputs.argmax(1) == y)
        assert row not in kept or torch.allclose(kept[row], outputs, atol=1e-12)
