"""What is remarkable about a user's modules, before anything trains."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fl_sv.config import Config
from fl_sv.config.models import Mlp, Module
from fl_sv.errors import listed
from fl_sv.training.losses import row_loss
from fl_sv.training.models import ModelSpec
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.stack import trains_alone
from fl_sv.valuation.untrained import untrained_remarks

# Operations of a step from which a stack of adapters gains less (docs/adapters.md): 1.6 times with
# a million parameters, three times with a small base.
BOUND_BY_ARITHMETIC = 1e9


def module_remarks(
    config: Config, models: Sequence[ModelSpec], x: Tensor, y: Tensor
) -> tuple[str, ...]:
    """Sentences on users' modules, and on small models that gain nothing as a stack.

    models: of all sizes, the large one last, tried. x, y: the validation rows.
    """
    *small, large = models
    slow = _of_wide_models(small, config)
    if not any(isinstance(model.config, Module) for model in models):
        return (*slow,)
    seeds = {model.name: config.training.seeds for model in small}
    seeds[large.name] = config.training.large_seeds
    validation = ValidationSet(config, x, y)
    losses = {
        model.name: [_untrained_loss(validation, model, r) for r in range(seeds[model.name])]
        for model in models
    }
    return (
        *_by_model(models, seeds),
        *slow,
        *_of_small_bases(small, config.training.batch_size),
        *untrained_remarks(config, losses),
    )


def _of_wide_models(small: Sequence[ModelSpec], config: Config) -> Iterator[str]:
    """That models with wide layers train one after the other."""
    device = torch.device(config.compute.device)
    wide = [
        model.name
        for model in small
        if not isinstance(model.config, Mlp)
        and model.unstackable is None
        and trains_alone(model, config.training.batch_size, device)
    ]
    if wide:
        yield (
            f"models.small: the layers of {listed(wide)} give more numbers in a step than fit the"
            " processor's cache several times, so its models train one by one: a stack would gain"
            " nothing. Narrower small models make the sweep cheaper."
        )


def _of_small_bases(small: Sequence[ModelSpec], batch_size: int) -> Iterator[str]:
    """That a stack gains less, where adapters stand everywhere and arithmetic costs the step."""
    slow = [
        model.name
        for model in small
        if model.has_frozen_base
        and model.from_states is None
        and model.training_flops(batch_size) > BOUND_BY_ARITHMETIC
    ]
    if slow:
        yield (
            f"models.small: a step of {listed(slow)} runs the whole base and is bound by"
            " arithmetic, so that training the coalitions together gains less over one after the"
            " other. Smaller bases make the sweep cheaper, or adapters in the last blocks alone"
            " (adapter.layers), before which each row's states are computed once."
        )


def _by_model(models: Sequence[ModelSpec], seeds: dict[str, int]) -> Iterator[str]:
    for model in models:
        if not isinstance(model.config, Module):
            continue
        name = f"{model.config.factory} (models.factory, size {model.name})"
        if model.has_frozen_base:
            name = f"models, {model.name}: the model"
        if model.unkept is not None:
            yield (
                f"{name} runs its frozen blocks again in every step, and no states of rows are"
                f" kept: {model.unkept}."
            )
        if model.unstackable is not None:
            yield (
                f"{name} cannot train as a stack, so its models train one by one, which takes"
                f" longer and gives the same: {model.unstackable}"
            )
        if seeds[model.name] > 1 and torch.equal(*_first_two_starts(model)):
            yield (
                f"{name} starts from the same parameters at every seed. The seeds differ by their"
                " batches alone, so the intervals hold no luck of the initialisation."
            )


def _first_two_starts(model: ModelSpec) -> tuple[Tensor, Tensor]:
    return model.initial_params(model.seed, 0), model.initial_params(model.seed, 1)


def _untrained_loss(validation: ValidationSet, model: ModelSpec, seed: int) -> float:
    if isinstance(model.config, Module):
        return validation.untrained(model, seed)[1].loss
    # A built-in model starts at zero; it may be too large to be made for this.
    zeros = torch.zeros(len(validation.x), model.task.n_outputs, dtype=torch.float64)
    y = validation.y.cpu()
    return float(row_loss(model.task)(zeros, y.double() if y.is_floating_point() else y).mean())
