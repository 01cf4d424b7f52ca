"""Traced steps: the same bits as through Python, and Python where numbers decide what is done."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fl_sv.config.training import Optimizer
from fl_sv.training import traced as traced_module
from fl_sv.training.sgd import Recipe, train
from fl_sv.training.stack import train_stack
from fl_sv.training.traced import Traces, run, traced
from fl_sv.training.trial import tried
from tests.own_layers import MODULES, READING
from tests.test_layers import drawn, recipe_of, stack_of


@pytest.fixture
def traced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced_module, "TRACED_AFTER", 1)
    monkeypatch.setattr(traced_module, "CHECKED", 0)


def two_epochs(rows: int) -> Recipe:
    """Every batch of a shape but the first is another one than that of its trace."""
    batches = tuple(np.array_split(np.arange(rows), 3)) * 2
    return Recipe(Optimizer(), (0.1, 0.2, 0.1) * 2, 0.1, batches, torch_seed=5)


# By layers every module; a few in double precision, and by torch's rules alone.
CASES = [
    *((which, "float32", None) for which in sorted(MODULES.keys() - {"meeting"})),
    *((which, "float64", None) for which in ("cnn", "dropout")),
    *((which, "float32", "the general twin") for which in ("tied", "dropout")),
]


@pytest.mark.parametrize(("which", "dtype", "unreplaced"), CASES)
def test_traced_steps_give_the_same_bits(
    which: str, dtype: str, unreplaced: str | None, traced_at_once: None
) -> None:
    _, model, x, y = drawn(which, dtype)
    model = replace(model, draws_globally=False, unreplaced=unreplaced)
    through_python = replace(model, untraced="this is the twin")
    stack, recipe = stack_of(model), two_epochs(len(x))
    together = train_stack(model, stack, x, y, recipe, chunk=2)
    assert torch.equal(together, train_stack(through_python, stack, x, y, recipe, chunk=2))
    graphs = [*model.traces._graphs.values()]
    assert len(graphs) == 4 and None not in graphs, "two models or one, four rows or three"
    assert not through_python.traces._graphs


@pytest.mark.parametrize("which", ["encoder with dropout", "residual"])
def test_two_companies_train_by_one_graph_at_the_same_time(
    which: str, traced_at_once: None
) -> None:
    _, model, x, y = drawn(which)
    model = replace(model, draws_globally=False)
    stack = stack_of(model)
    recipes = [replace(two_epochs(len(x)), torch_seed=seed) for seed in (1, 2)]
    alone = [train_stack(model, stack, x, y, recipe, chunk=2) for recipe in recipes]
    with ThreadPoolExecutor(2) as threads:
        both = [
            threads.submit(train_stack, model, stack, x, y, recipe, chunk=2) for recipe in recipes
        ]
        for one, other in zip(alone, both, strict=True):
            assert torch.equal(one, other.result())


@pytest.mark.parametrize("which", READING)
def test_module_that_reads_numbers_goes_through_python(which: str, traced_at_once: None) -> None:
    """It trains as a stack, equal to one model after the other, and a trace is not tried again."""
    config, model, x, y = drawn(which)
    model = tried(model, config, x, y)
    assert (model.unstackable, model.unreplaced) == (None, None)
    assert model.untraced is not None
    stack, recipe = stack_of(model), recipe_of(len(x))
    alone = torch.stack([train(model, params, x, y, recipe) for params in stack])
    for way in (model, replace(model, untraced=None)):
        together = train_stack(way, stack, x, y, recipe, chunk=2)
        assert (together - alone).abs().max() <= 1e-9
        assert all(graph is None for graph in way.traces._graphs.values())


def test_a_step_is_traced_once_its_shapes_have_come_often() -> None:
    traces, calls = Traces(), 0

    def step(x: Tensor) -> Sequence[Tensor]:
        nonlocal calls
        calls += 1
        return [x.square().sum(0), x + 1]

    for count in range(1, 40):
        x = torch.full((3, 2), float(count))
        square, more = traces.run(lambda: step, "", [x])
        assert torch.equal(square, torch.full((2,), 3.0 * count**2)) and torch.equal(more, x + 1)
    once, compared = 1, traced_module.CHECKED + 1
    assert calls == traced_module.TRACED_AFTER - 1 + once + compared
    traces.run(lambda: step, "", [torch.ones(4, 2)])
    traces.run(lambda: step, "another step", [torch.ones(3, 2)])
    assert calls == traced_module.TRACED_AFTER + once + compared + 1


def test_a_process_holds_so_many_graphs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is traced makes no difference for the numbers, so the rest goes through Python."""
    monkeypatch.setattr(traced_module, "_all_traces", WeakSet())
    monkeypatch.setattr(traced_module, "MOST_GRAPHS", 3)
    models = [Traces(), Traces()]
    for rows in range(1, 4):
        for model in models:
            for _ in range(20):
                (found,) = model.run(lambda: lambda x: [x + 1], "", [torch.ones(rows)])
                assert torch.equal(found, torch.full((rows,), 2.0))
    held = [graph for model in models for graph in model._graphs.values() if graph is not None]
    assert len(held) == 3


def test_a_graph_that_holds_foreign_numbers_is_forgotten() -> None:
    """Something that no tensor shows decides what the step computes, against all rules."""
    traces, hidden = Traces(), {}
    for count in range(30):
        hidden["factor"] = 1.0 if count < traced_module.TRACED_AFTER else 2.0
        (found,) = traces.run(lambda: lambda x: [x * hidden["factor"]], "", [torch.ones(3)])
        assert torch.equal(found, torch.full((3,), hidden["factor"]))
    assert [*traces._graphs.values()] == [None]


def test_a_step_may_draw_from_the_generator_that_is_given_alone() -> None:
    own = torch.Generator()

    def draws(generator: torch.Generator) -> Sequence[Tensor]:
        return [torch.empty(5).bernoulli_(0.5, generator=generator)]

    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    graph = traced(lambda x: [x * draws(generator)[0]], [torch.ones(5)], generator)
    assert torch.equal(generator.get_state(), before), "a trace draws nothing"
    other = torch.Generator().manual_seed(4)
    (found,) = run(graph, [torch.ones(5)], other)
    assert torch.equal(found, draws(torch.Generator().manual_seed(4))[0])
    with pytest.raises(traced_module.Untraceable, match="a generator of its own"):
        traced(lambda x: [x * draws(own)[0]], [torch.ones(5)], generator)


def test_results_go_where_nobody_needs_an_argument_and_nowhere_else() -> None:
    """Constants and what is given stay as they are, however often a graph runs."""
    constant = torch.linspace(1, 2, 12).view(3, 4)

    def step(x: Tensor, y: Tensor) -> Sequence[Tensor]:
        product = x @ y
        kept = (product + constant).relu()
        part = kept[:, :2]  # needed after the last use of the whole
        more = torch.tanh(kept * 2) - product.mean()
        return [functional.gelu(more) + constant, kept.t() * kept.sum(1), y + y, part * 3]

    given = [torch.randn(3, 3), torch.randn(3, 4)]
    before = [each.clone() for each in (*given, constant)]
    graph, expected = traced(step, given), step(*given)
    assert all(name in str(graph.graph) for name in ("relu_", "tanh_", "sub_"))
    for _ in range(3):
        assert all(map(torch.equal, run(graph, given), expected))
    assert all(map(torch.equal, (*given, constant), before))


def test_a_step_that_changes_what_it_is_given_has_no_graph() -> None:
    constant = torch.ones(3)
    for step in (lambda x: [x.mul_(2)], lambda x: [x[1:].add_(1)], lambda x: [constant.add_(x)]):
        with pytest.raises(traced_module.Untraceable):
            traced(step, [torch.ones(3)])


def test_a_conjugate_is_not_taken_for_what_it_was_made_of() -> None:
    """Both show the same memory, by the same shape and strides."""

    def step(x: Tensor) -> Sequence[Tensor]:
        turned = torch.view_as_complex(x).conj()
        return [torch.view_as_real(turned * (1 + 2j)), turned.imag * 3]

    given = [torch.randn(4, 2, generator=torch.Generator().manual_seed(0))]
    graph = traced(step, given)
    for one, other in zip(step(*given), run(graph, given), strict=True):
        assert torch.equal(one, other)
