"""The modules that models are: the built-in architectures, and those of a user's factory."""

import math
from itertools import pairwise

import torch
from torch import nn

from fl_sv.config.models import Cnn, Mlp, Model, Module, Pretrained
from fl_sv.data import Task
from fl_sv.errors import InputError
from fl_sv.streams import global_draws
from fl_sv.training.factories import users_module


def build_module(model: Model, task: Task, seed: int, dtype: torch.dtype) -> nn.Module:
    """A freshly initialised module; a user's is shared (`fl_sv.training.factories`).

    Raises InputError when the architecture does not fit the task.
    """
    if isinstance(model, Pretrained):
        model = model.as_module()
    if isinstance(model, Module):
        return users_module(model, task, seed, dtype)
    if task.places:
        raise InputError(
            f"models: a model of the kind {model.kind} gives one answer a row, and these rows have"
            f" targets of shape {task.places}. Give a module of yours (kind: module)."
        )
    with global_draws(seed):
        module = _mlp(model, task) if isinstance(model, Mlp) else _cnn(model, task)
        return _zero_output(module).to(dtype)


def _mlp(model: Mlp, task: Task) -> nn.Sequential:
    widths = [math.prod(task.input_shape), *model.hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], task.n_outputs))


def _cnn(model: Cnn, task: Task) -> nn.Sequential:
    if len(task.input_shape) != 3:
        raise InputError(
            "models: a cnn needs rows of shape (channels, height, width); these have shape"
            f" {task.input_shape}. Use an mlp, or give the data source three-dimensional rows."
        )
    channels, height, width = task.input_shape
    layers: list[nn.Module] = []
    for outputs in model.channels:
        if min(height, width) < 2:
            raise InputError(
                f"models: a cnn with {len(model.channels)} layers halves {task.input_shape[1:]}"
                " pixels too often; use fewer channels."
            )
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1),
            nn.GroupNorm(math.gcd(4, outputs), outputs),
            nn.ReLU(),
            nn.AvgPool2d(2),
        ]
        channels, height, width = outputs, height // 2, width // 2
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * height * width, task.n_outputs)
    )


def _zero_output(module: nn.Sequential) -> nn.Sequential:
    for parameter in module[-1].parameters():
        nn.init.zeros_(parameter)
    return module
