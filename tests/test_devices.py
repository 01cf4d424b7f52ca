"""What a GPU would see: no number leaves the device while models train, and its memory suffices.

No test here needs a GPU. Tensors on torch's device `meta` have shapes and no numbers: whoever looks
at a number of theirs, or copies it to the CPU, gets an exception. On a GPU nothing was measured.
"""

from typing import Any

import pytest
import torch

from fl_sv import distillation
from fl_sv.config import Config
from fl_sv.data import company_data, operator_data
from fl_sv.machine import free_device_memory, models_at_once
from fl_sv.streams import stream_seed
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.sgd import Recipe, make_recipe, train
from fl_sv.training.stack import score_stack, train_stack
from fl_sv.training.students import make_soft_targets
from tests.config_of import config_of

MLP = {"kind": "mlp", "hidden": [8]}
CNN = {"kind": "cnn", "channels": [2]}
OPTIMISERS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9},
    {"optimizer": "adamw", "weight_decay": 0.01},
]


def digits(model: dict[str, Any], **sections: Any) -> Config:
    kind = model["kind"]
    large = {"kind": "cnn", "channels": [64]} if kind == "cnn" else {"kind": "mlp", "hidden": [999]}
    training = {"rounds": 1, **sections.pop("training", {})}
    models = {"small": [model], "large": large}
    return config_of({"source": "digits"}, models=models, training=training, **sections)


def on_meta(
    config: Config,
) -> tuple[ModelSpec, torch.Tensor, torch.Tensor, torch.Tensor, Recipe]:
    """A model, a stack of three, a company's rows and targets, and the recipe of a round."""
    company = config.companies[0]
    operator = operator_data(config)
    (small,), _ = model_specs(config, operator.task)
    data = company_data(config, company, operator.scaling)
    x, y = (part.to("meta") for part in tensors(data, config))
    stack = small.initial_params(config.seed, 0).repeat(3, 1).to("meta")
    return small, stack, x, y, make_recipe(config, small, company, len(data), 0, 1)


@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("options", OPTIMISERS, ids=["sgd", "momentum", "adamw"])
def test_no_number_leaves_the_device_while_a_stack_trains(
    model: dict[str, Any], options: dict[str, Any]
) -> None:
    small, stack, x, y, recipe = on_meta(digits(model, training=options))
    trained = train_stack(small, stack, x, y, recipe, chunk=2)
    assert trained.device.type == "meta" and trained.shape == stack.shape
    assert train(small, stack[0], x, y, recipe).device.type == "meta"


@pytest.mark.parametrize("loss", ["hinton", "logit_l2", "dkd"])
def test_no_number_leaves_the_device_while_students_train(loss: str) -> None:
    config = digits(MLP, distillation={"weight": 0.5, "loss": loss})
    small, stack, x, y, recipe = on_meta(config)
    logits = torch.empty(len(y), 10, device="meta")
    soft = make_soft_targets(config, small.task, logits, recipe, 0, config.companies[0], 1)
    assert train_stack(small, stack, x, y, recipe, 2, soft).device.type == "meta"


@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
def test_no_number_leaves_the_device_while_a_stack_is_scored(model: dict[str, Any]) -> None:
    small, stack, x, y, _ = on_meta(digits(model))
    losses_CV, hits_CV, kept = score_stack(small, stack, x, y, chunk=2, keep=[1])
    assert hits_CV is not None
    assert {losses_CV.device.type, hits_CV.device.type, kept[1].device.type} == {"meta"}


def test_looking_at_a_number_on_the_device_meta_is_an_error() -> None:
    """The tests above would see it."""
    number = torch.ones((), device="meta")
    for look in (float, bool, torch.Tensor.cpu):
        with pytest.raises((RuntimeError, NotImplementedError)):
            look(number)


def test_noise_of_a_noisy_teacher_is_drawn_on_the_cpu_batch_by_batch() -> None:
    options = {"sigma": 0.5}
    students = {"weight": 0.5, "loss": "noisy_teacher", "options": options}
    config = digits(MLP, distillation=students)
    small, *_, recipe = on_meta(config)
    rows = sum(map(len, recipe.batches))
    logits = torch.randn(rows, 10, generator=torch.Generator().manual_seed(3))
    soft = make_soft_targets(config, small.task, logits, recipe, 0, "Ash", 1)
    generator = torch.Generator().manual_seed(
        stream_seed(config.seed, 0, "Ash", 1, "noisy teacher")
    )
    for batch, found in zip(recipe.batches, soft.logits, strict=True):
        noisy = distillation.perturb(logits[batch], generator=generator, **options)
        assert torch.equal(found, noisy)


def test_as_many_models_train_at_once_as_fit_into_half_of_the_free_memory() -> None:
    megabyte = 1_000_000
    found = {free: models_at_once(128, megabyte, free * megabyte) for free in (256, 255, 100, 7, 1)}
    assert found == {256: 128, 255: 64, 100: 32, 7: 2, 1: 1}
    assert models_at_once(100, megabyte, 10_000 * megabyte) == 100


def test_on_a_cpu_the_chunk_is_the_configs() -> None:
    assert free_device_memory("cpu") is None
    assert models_at_once(128, 10**12, None) == 128
