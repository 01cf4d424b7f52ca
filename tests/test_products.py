"""`average: product`: adapters are averaged as what they do, and brought back to their rank."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from torch import Tensor

import fl_sv
from fl_sv.config.load import config_of
from fl_sv.data import all_company_data, operator_data
from fl_sv.errors import InputError
from fl_sv.game.coalitions import members_of
from fl_sv.training.losses import row_loss
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.pairs import Pair, pairs_of
from fl_sv.training.sgd import make_recipe, train
from strategies import coalitions, mean
from strategies.coalitions import CoalitionStrategy
from strategies.mean import fedavg
from strategies.products import mean_product
from strategies.roster import to_array, to_numpy
from strategies.spool import reader
from tests.pretrained import lm_config


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def dense(shares: Tensor, all_a: Tensor, all_b: Tensor) -> Tensor:
    """The mean of the products, as it is defined."""
    return sum(share * (b @ a) for share, a, b in zip(shares, all_a, all_b, strict=True))


def best(matrix: Tensor, rank: int) -> Tensor:
    u, s, vh = torch.linalg.svd(matrix)
    s = torch.nn.functional.pad(s, (0, rank))[:rank]
    kept = min(rank, *matrix.shape)
    return u[:, :kept] * s[:kept] @ vh[:kept]


# Also a rank beyond a layer's sizes, and more models than the layer has rows.
@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (6, 4, 16, 48), (9, 2, 4, 3), (3, 8, 5, 4)])
def test_the_mean_is_the_best_of_its_rank_and_both_factors_are_equally_long(
    shape: tuple[int, int, int, int],
) -> None:
    n_models, rank, inputs, outputs = shape
    all_a, all_b = numbers(n_models, rank, inputs), numbers(n_models, outputs, rank, seed=1)
    shares = torch.rand(n_models, dtype=torch.float64)
    shares /= shares.sum()
    a, b = mean_product(shares, all_a, all_b)
    assert a.shape == (rank, inputs) and b.shape == (outputs, rank)
    torch.testing.assert_close(b @ a, best(dense(shares, all_a, all_b), rank))
    torch.testing.assert_close(a.norm(dim=1), b.norm(dim=0))
    farthest = b.gather(0, b.abs().argmax(0, keepdim=True))
    assert (farthest >= 0).all()


def test_it_is_exact_where_the_products_have_no_more_rank_together() -> None:
    shares, all_b = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), numbers(3, 6, 2)
    one_a = numbers(2, 5, seed=1).expand(3, -1, -1)
    a, b = mean_product(shares, one_a, all_b)
    torch.testing.assert_close(b @ a, dense(shares, one_a, all_b))


# --- the strategies -------------------------------------------------------------------------------

PAIRS = (Pair(start=3, rank=2, inputs=5, outputs=4), Pair(21, rank=2, inputs=3, outputs=6))
LENGTH = 40  # parameters: three before the first adapter, one after the second
COMPANIES = ("Ash", "Beech", "Cedar")
EXAMPLES = {"Ash": 10, "Beech": 30, "Cedar": 7}


def average(models: dict[str, Tensor], wave: list[int]) -> Tensor:
    """The strategy's means for a wave, of stacks (members' coalitions, LENGTH)."""
    roster: Any = SimpleNamespace(
        config=SimpleNamespace(companies=COMPANIES), examples=EXAMPLES, weights=EXAMPLES
    )
    strategy = CoalitionStrategy(roster, wave, "float64", {"m/0": PAIRS})
    arrays = {name: to_array([x.numpy()], tuple(x.shape), "float64") for name, x in models.items()}
    parts = strategy._mean(arrays, LENGTH, PAIRS)
    record = ArrayRecord({"m/0": to_array(parts, (len(wave), LENGTH), "float64")})
    return torch.from_numpy(to_numpy(record)["m/0"].copy())


def stacks(wave: list[int]) -> dict[str, Tensor]:
    """Any models: of each company one for each of its coalitions."""
    counts = {name: sum(c >> i & 1 for c in wave) for i, name in enumerate(COMPANIES)}
    return {name: numbers(n, LENGTH, seed=i) for i, (name, n) in enumerate(counts.items()) if n}


def products(vector: Tensor) -> list[Tensor]:
    return [
        vector[p.middle : p.end].view(p.outputs, p.rank)
        @ vector[p.start : p.middle].view(p.rank, p.inputs)
        for p in PAIRS
    ]


def test_every_coalition_gets_the_mean_of_its_members_products_and_of_everything_else() -> None:
    wave = [1, 2, 3, 4, 5, 6, 7]
    models = stacks(wave)
    found = average(models, wave)
    for row, coalition in enumerate(wave):
        members = [COMPANIES[i] for i in members_of(coalition)]
        place = {m: sum(c >> COMPANIES.index(m) & 1 for c in wave[:row]) for m in members}
        own = [models[m][place[m]] for m in members]
        share = torch.tensor([EXAMPLES[m] for m in members], dtype=torch.float64)
        share /= share.sum()
        plain = share @ torch.stack(own)
        others = [0, 1, 2, 39]
        torch.testing.assert_close(found[row][others], plain[others])
        for place_of, made in enumerate(products(found[row])):
            exact = sum(s * products(x)[place_of] for s, x in zip(share, own, strict=True))
            torch.testing.assert_close(made, best(exact, PAIRS[place_of].rank))
        if len(members) == 1:  # to the factor: what a company trains alone is nobody's average
            torch.testing.assert_close(found[row], own[0])


# a part of a model, two models at a time, and all in one block
@pytest.mark.parametrize("block", [7, 85, 1 << 30])
def test_neither_blocks_nor_waves_change_a_bit(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = [1, 2, 3, 4, 5, 6, 7]
    models = stacks(wave)
    whole = average(models, wave)
    monkeypatch.setattr(coalitions, "CACHE_NUMBERS", block)
    monkeypatch.setattr(mean, "CACHE_NUMBERS", block)
    assert torch.equal(average(models, wave), whole)
    last = {name: stack[-1:] for name, stack in models.items()}
    assert torch.equal(average(last, [7])[0], whole[-1])
    readers = [reader(to_array([x[-1].numpy()], (LENGTH,), "float64")) for x in models.values()]
    parts = fedavg(readers, [*EXAMPLES.values()], LENGTH, PAIRS)
    torch.testing.assert_close(torch.from_numpy(np.concatenate([*parts])), whole[-1])


def test_numbers_that_are_not_finite_and_adapters_that_are_zero_stay_what_their_mean_is() -> None:
    models = stacks([3])
    models["Ash"][0, PAIRS[0].start] = torch.inf
    assert average(models, [3]).isinf().sum() == 1
    models = stacks([3])
    for stack in models.values():
        for pair in PAIRS:
            stack[:, pair.middle : pair.end] = 0.0
    share = torch.tensor([[10.0, 30.0]], dtype=torch.float64) / 40
    plain = share @ torch.cat([*models.values()])
    torch.testing.assert_close(average(models, [3]), plain)


# --- the whole run --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lm")


def content(folder: Path, **changes: Any) -> dict[str, Any]:
    made = lm_config(folder, **changes)
    for model in (*made["models"]["small"], made["models"]["large"]):
        model["average"] = "product"
    return made


def by_definition(config: Any, model: ModelSpec, coalition: int) -> Tensor:
    """The training of one coalition, with a singular value decomposition of each mean product.

    One company's model is its own, factor by factor.
    """
    rows = all_company_data(config, operator_data(config).scaling)
    members = sorted(config.companies[i] for i in members_of(coalition))
    params = model.initial_params(config.seed, 0)
    for server_round in range(1, config.training.rounds + 1):
        trained, examples = [], []
        for company in members:
            x, y = tensors(rows[company], config)
            recipe = make_recipe(config, model, company, len(y), 0, server_round)
            trained.append(train(model, params, x, y, recipe).double())
            examples.append(len(y))
        share = torch.tensor(examples, dtype=torch.float64) / sum(examples)
        new = share @ torch.stack(trained)
        for pair in pairs_of(model) if len(members) > 1 else ():
            product = sum(
                s
                * (each[pair.middle : pair.end].view(pair.outputs, pair.rank))
                @ each[pair.start : pair.middle].view(pair.rank, pair.inputs)
                for s, each in zip(share, trained, strict=True)
            )
            u, s, vh = np.linalg.svd(product.numpy())
            u, root, vh = u[:, : pair.rank], np.sqrt(s[: pair.rank]), vh[: pair.rank]
            sign = np.sign(u[np.abs(u).argmax(0), np.arange(pair.rank)])
            new[pair.start : pair.middle] = torch.from_numpy((vh.T * root * sign).T.ravel())
            new[pair.middle : pair.end] = torch.from_numpy((u * root * sign).ravel())
        params = new.to(params.dtype)
    return params


def test_a_run_trains_large_and_small_models_by_the_definition(
    folder: Path, tmp_path: Path
) -> None:
    text = content(folder, compute={"dtype": "float64"}, law={"anchors": 4})
    run = fl_sv.run(text, tmp_path / "run", backend="inline")
    fl_sv.verify(run.path)
    config = config_of(text, "test")
    operator = operator_data(config)
    small, large = model_specs(config, operator.task)
    x, y = tensors(operator.validation, config)
    lines = (run.path / "utilities.csv").read_text().splitlines()[1:]
    measured = {tuple(line.split(",")[i] for i in (2, 0)): line.split(",")[4] for line in lines}
    for model, coalitions_of in ((small[0], (1, 3, 7)), (large, (2, 7))):
        assert len(pairs_of(model)) == 14  # seven layers in each of two blocks
        for coalition in coalitions_of:
            params = by_definition(config, model, coalition)
            with torch.no_grad():
                outputs = model.loaded(params)(x)
                loss = row_loss(operator.task)(outputs, y).mean()
            assert float(measured[model.name, str(coalition)]) == pytest.approx(
                float(loss), rel=1e-6
            ), (model.name, coalition)


def test_other_strategies_of_the_teacher_are_refused_before_anything_trains(folder: Path) -> None:
    with pytest.raises(InputError, match="product given, and teacher"):
        config_of(content(folder, teacher={"strategy": "fedadam"}), "test")
    config_of(content(folder, teacher={"strategy": "fedprox"}), "test")
