"""Stacks of modules made of the usual layers: equal to one model after the other, by two ways."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fl_sv.config import Config, parse_config
from fl_sv.config.training import Optimizer
from fl_sv.data import Task
from fl_sv.training import stack as stack_module
from fl_sv.training.attention import attention
from fl_sv.training.models import ModelSpec, model_specs
from fl_sv.training.sgd import Recipe, train
from fl_sv.training.stack import (
    Bounds,
    models_together,
    score_stack,
    stack_outputs,
    train_stack,
    trains_alone,
)
from fl_sv.training.stacked import Stack
from fl_sv.training.trial import tried
from tests.own_layers import MODULES, Meeting

GAME = """
seed: 5
companies: [Ash, Beech]
data: {source: iris, partition: {kind: iid}}
models:
  small: [{kind: module, name: s, factory: "tests.own_layers:make", options: {which: WHICH}}]
  large: {kind: mlp, hidden: [4096]}
training: {rounds: 1, learning_rate: 0.1}
compute: {dtype: DTYPE}
law: {anchors: none}
payouts: {pot: {kind: fixed, cents: 100}}
"""
CLASSES = 3


def config_of(which: str, dtype: str = "float64") -> Config:
    return parse_config(GAME.replace("WHICH", f"'{which}'").replace("DTYPE", dtype), which)


def drawn(
    which: str, dtype: str = "float64", rows: int = 10
) -> tuple[Config, ModelSpec, torch.Tensor, torch.Tensor]:
    """The config, the model, and some rows with their targets."""
    config = config_of(which, dtype)
    task = Task(kind="classification", input_shape=(2, 8, 8), n_outputs=CLASSES)
    (model,), _ = model_specs(config, task)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 2, 8, 8, generator=generator, dtype=torch.float64).to(model.dtype)
    return config, model, x, torch.randint(CLASSES, (rows,), generator=generator)


def stack_of(model: ModelSpec, n_models: int = 3) -> torch.Tensor:
    return torch.stack([model.initial_params(1, replicate) for replicate in range(n_models)])


def recipe_of(rows: int, **options: Any) -> Recipe:
    chosen = {"optimizer": Optimizer(momentum=0.5), "proximal_mu": 0.1, **options}
    batches = tuple(np.array_split(np.arange(rows), 3))
    return Recipe(rates=(0.1, 0.2, 0.1), batches=batches, torch_seed=5, **chosen)


@pytest.mark.parametrize("which", MODULES)
def test_module_of_usual_layers_trains_as_a_stack_by_its_own_code(which: str) -> None:
    """Nothing of it is left to torch's rules, and no generator is shared."""
    config, model, x, y = drawn(which)
    model = tried(model, config, x, y)
    assert (model.unstackable, model.unreplaced, model.untraced) == (None, None, None)
    assert not model.draws_globally and model.is_traced


@pytest.mark.parametrize("which", MODULES)
def test_stack_equals_one_model_after_the_other_and_torchs_own_rules(which: str) -> None:
    _, model, x, y = drawn(which)
    model = replace(model, draws_globally=False)
    stack, recipe = stack_of(model), recipe_of(len(x))
    alone = torch.stack([train(model, params, x, y, recipe) for params in stack])
    assert (alone - stack).abs().max() > 1e-3
    for way in (model, replace(model, unreplaced="this is the general twin")):
        together = train_stack(way, stack, x, y, recipe, chunk=2)
        assert (together - alone).abs().max() <= 1e-9, way.unreplaced


@pytest.mark.parametrize("which", MODULES)
def test_stack_in_single_precision_is_as_near_as_single_precision_is(which: str) -> None:
    _, model, x, y = drawn(which, "float32")
    model = replace(model, draws_globally=False)
    stack, recipe = stack_of(model), recipe_of(len(x))
    together = train_stack(model, stack, x, y, recipe, chunk=3)
    for row, params in zip(together, stack, strict=True):
        assert (row - train(model, params, x, y, recipe)).abs().max() <= 1e-5


@pytest.mark.parametrize("which", MODULES)
def test_scores_of_a_stack_are_those_of_the_modules(which: str) -> None:
    _, model, x, y = drawn(which)
    stack = stack_of(model)
    outputs = stack_outputs(model, stack, x)
    losses, hits, _ = score_stack(model, stack, x, y, chunk=2)
    assert hits is not None
    for row, params in enumerate(stack):
        with torch.no_grad():
            own = model.loaded(params)(x)
        assert (outputs[row] - own).abs().max() <= 1e-12
        assert torch.equal(hits[row], own.argmax(1) == y)
        expected = torch.nn.functional.cross_entropy(own, y, reduction="none")
        assert (losses[row] - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("which", ["dropout", "encoder with dropout"])
def test_models_of_a_stack_draw_what_each_draws_alone_by_its_seed(which: str) -> None:
    _, model, x, y = drawn(which)
    model = replace(model, draws_globally=False)
    same, other = recipe_of(len(x)), replace(recipe_of(len(x)), torch_seed=6)
    twice = stack_of(model, 1).repeat(2, 1)
    one, two = train_stack(model, twice, x, y, same, chunk=2)
    assert torch.equal(one, two)
    assert not torch.equal(one, train_stack(model, twice, x, y, other, chunk=2)[0])
    before = torch.get_rng_state()
    train(model, twice[0], x, y, same)
    assert torch.equal(before, torch.get_rng_state())


def test_two_companies_train_modules_with_dropout_at_the_same_time() -> None:
    """Each waits for the other in its forward passes, and gets what it gets alone."""
    _, model, x, y = drawn("meeting")
    model = replace(model, draws_globally=False)
    stack = stack_of(model)
    recipes = [replace(recipe_of(len(x)), torch_seed=seed) for seed in (1, 2)]
    alone = [train_stack(model, stack, x, y, recipe, chunk=3) for recipe in recipes]
    Meeting.barrier = threading.Barrier(2)
    try:
        with ThreadPoolExecutor(2) as threads:
            both = [
                threads.submit(train_stack, model, stack, x, y, recipe, chunk=3)
                for recipe in recipes
            ]
            at_once = [each.result() for each in both]
    finally:
        Meeting.barrier = None
    assert all(torch.equal(one, other) for one, other in zip(alone, at_once, strict=True))
    assert not torch.equal(*alone)


def test_module_that_draws_from_numpy_has_the_global_generators_for_itself() -> None:
    config, model, x, y = drawn("numpy draws")
    assert tried(model, config, x, y).draws_globally


def test_widest_result_is_that_of_the_layer_with_most_numbers() -> None:
    _, cnn, *_ = drawn("cnn")
    assert cnn.widest == 4 * 8 * 8  # after the first convolution, of the input's 2 * 8 * 8
    _, attention, *_ = drawn("transformer by hand")
    assert attention.widest == 12 * 4 * 8  # inside a block: 12 places, four times as wide


def test_how_many_models_train_together_follows_from_shapes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, model, *_ = drawn("cnn")
    model = replace(model, draws_globally=False)
    row = 4 * 8 * 8 * 8  # bytes of the widest result of a row in float64
    cpu, step = torch.device("cpu"), 32 * row
    assert models_together(model, 32, 128, cpu) == 32  # 3.5 MB would hold 56
    assert models_together(model, 32, 4, cpu) == 4
    assert models_together(replace(model, untraced="reads"), 32, 256, cpu) == 128  # 8 MB
    for limit, together in ((step + 1, 8), (step, 8), (step - 1, 1), (row, 1)):
        # eleven: a power of two
        monkeypatch.setattr(stack_module, "TRACED", Bounds(together=11 * step, alone=limit))
        assert models_together(model, 32, 128, cpu) == together
        assert trains_alone(model, 32, cpu) == (together == 1)
    assert models_together(model, 32, 128, torch.device("cuda")) == 128
    assert models_together(replace(model, unstackable="LSTM"), 1, 128, cpu) == 1


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("rows", "heads", "places", "others"),
    [(3, 1, 8, 8), (2, 3, 5, 5), (4, 2, 1, 9), (1, 1, 3, 3), (2, 2, 20, 7), (2, 1, 40, 40)],
)
def test_attention_of_a_stack_is_torchs_of_each_model(
    rows: int, heads: int, places: int, others: int, causal: bool
) -> None:
    """Several heads of few places are one product, with what they may not see masked."""
    generator = torch.Generator().manual_seed(0)

    def part(length: int) -> torch.Tensor:
        shape = (3, rows, heads, length, 4)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    parts = [part(places), part(others), part(others)]
    found = attention(*map(Stack, parts), is_causal=causal, scale=0.7)
    expected = functional.scaled_dot_product_attention(*parts, is_causal=causal, scale=0.7)
    assert (found - expected).abs().max() <= 1e-12
    pairs = zip(
        *(torch.autograd.grad(each.sin().sum(), parts) for each in (found, expected)), strict=True
    )
    assert all((one - other).abs().max() <= 1e-12 for one, other in pairs)
