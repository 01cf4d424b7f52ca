"""Modules that a user's factory makes: called once in a process for each size and seed, checked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fl_sv.config.models import PRETRAINED, Module, model_name
from fl_sv.data import Task
from fl_sv.errors import InputError
from fl_sv.plugins import ANY_ERROR, resolve
from fl_sv.streams import global_draws
from fl_sv.training.base import copied, flat
from fl_sv.training.state import unsaved

KEPT = 256  # starts in memory: those of all sizes and seeds of a usual run
MODULES_KEPT = 32  # those of all sizes; a base may be large
LONGEST_QUOTE = 200  # characters of another library's error message


def users_module(model: Module, task: Task, seed: int, dtype: torch.dtype) -> nn.Module:
    """The module that the factory makes for this seed. It is shared: copy it, and never run it.

    seed: of the global generators.

    Raises InputError when the factory raises, or makes no module whose parameters can be trained.
    """
    return _made(*_key(model), task, seed, dtype)


def users_start(model: Module, task: Task, seed: int, dtype: torch.dtype, *, keep: bool) -> Tensor:
    """The trainable parameters of the module that the factory makes for this seed, as a vector.

    keep: whether the module itself is needed too. Else nothing of it stays in memory but these.
    """
    if keep:
        return flat(users_module(model, task, seed, dtype))
    return _start(*_key(model), task, seed, dtype).clone()


@lru_cache(maxsize=KEPT)
def _start(*key: Any) -> Tensor:
    return flat(_made.__wrapped__(*key))


def _key(model: Module) -> tuple[Any, str, str, str]:
    factory = resolve(model.factory, "models.factory")
    return factory, json.dumps(model.options), model_name(model), model.factory


def module_inputs(task: Task, x: Tensor) -> Any:
    """What a module is given for the rows x (B, *input_shape): them, or what they hold."""
    if not task.inputs:
        return x
    parts = torch.split(x.flatten(1), [each.size for each in task.inputs], dim=1)
    made = {
        each.name: (part.long() if each.whole else part).reshape(len(x), *each.shape)
        for each, part in zip(task.inputs, parts, strict=True)
    }
    return made.get("", made)


def blank_rows(task: Task, n_rows: int, dtype: torch.dtype) -> Tensor:
    """Rows of zeros (n_rows, *input_shape)."""
    return torch.zeros(n_rows, *task.input_shape, dtype=torch.int64 if task.is_whole else dtype)


def refusal(model: Module, what: str) -> InputError:
    """The error that names the factory and the size. what: continues the sentence."""
    if model.factory == PRETRAINED:
        return InputError(f"models: the pretrained model {model_name(model)} {what}")
    return InputError(f"models.factory: {model.factory} (size {model_name(model)}) {what}")


@contextmanager
def quoting(model: Module, doing: str) -> Iterator[None]:
    """A context whose errors are the user's code's: they become refusals. doing: what was tried."""
    try:
        yield
    except InputError:
        raise
    except ANY_ERROR as error:
        raise refusal(model, f"raised an error {doing}: {quoted(error)}") from error


def quoted(error: BaseException) -> str:
    """The error of another library, in one line."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


@lru_cache(maxsize=MODULES_KEPT)
def _made(
    factory: Any,
    options: str,
    name: str,
    reference: str,
    task: Task,
    seed: int,
    dtype: torch.dtype,
) -> nn.Module:
    """What the factory made; the arguments are what it depends on, and what its messages name."""
    model = Module(kind="module", name=name, factory=reference, options=json.loads(options))
    with global_draws(seed):
        module = _called(factory, model, task).to(dtype)
    with quoting(model, "when it was copied (copy.deepcopy)"):
        copied(module, torch.device("cpu"))
    return module


def _called(factory: Any, model: Module, task: Task) -> nn.Module:
    """What the factory returns, checked."""
    arguments = f"(input_shape={task.shape_for_factory}, n_outputs={task.n_outputs}"
    try:
        with _torchs_settings_kept():
            module = factory(task.shape_for_factory, task.n_outputs, **model.options)
    except InputError as error:  # of our own factory: a sentence already
        if model.factory == PRETRAINED:
            raise InputError(f"models, {model_name(model)}: {error}") from None
        raise
    except ANY_ERROR as error:
        raise refusal(
            model,
            f"raised an error when called as {arguments}, **options): {quoted(error)}. A factory"
            " takes these two arguments and its options.",
        ) from error
    if not isinstance(module, nn.Module):
        raise refusal(
            model, f"returned a {type(module).__name__}; it must return a torch.nn.Module."
        )
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):  # they get their shapes here
        with quoting(model, f"on rows of shape {(2, *task.input_shape)}"), torch.no_grad():
            module.eval()(module_inputs(task, blank_rows(task, 2, torch.get_default_dtype())))
    _check_parts(model, module)
    _drop_graphs(module)
    return module


@contextmanager
def _torchs_settings_kept() -> Iterator[None]:
    """A context after which torch computes as before: a factory must not change other models."""
    dtype, with_gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(with_gradients)


def _check_parts(model: Module, module: nn.Module) -> None:
    """Raises InputError when a part, or a parameter, cannot be trained."""
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        raise refusal(
            model,
            "uses BatchNorm, whose running statistics mix the coalitions. Use GroupNorm.",
        )
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            raise refusal(
                model,
                f"has the parameter {name} on the device meta, where it has no numbers. Make it on"
                " the cpu.",
            )
        if is_lazy(parameter):
            raise refusal(model, f"never uses the parameter {name}, so that it has no shape.")
        if not parameter.is_floating_point():
            kind = str(parameter.dtype).removeprefix("torch.")
            raise refusal(
                model,
                f"has the parameter {name} of {kind} numbers; parameters are real numbers. What is"
                " never trained may be a buffer.",
            )
    if (what := unsaved(module)) is not None:
        raise refusal(
            model, f"has {what}; the file of a trained model (safetensors) holds no such thing."
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise refusal(
            model,
            "has no parameter to train."
            if any(True for _ in module.parameters())
            else "has no parameters: there is nothing to train.",
        )


def _drop_graphs(module: nn.Module) -> None:
    """Detaches what the module computed when it was made, which could not be copied.

    `torch.nn.utils.weight_norm` leaves such a tensor; every forward pass computes it again.
    """
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                vars(part)[name] = value.detach()
