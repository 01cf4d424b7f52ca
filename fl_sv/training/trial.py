"""A trial of a user's module before anything trains: does it train, alone and in a stack?

A model is a vector of parameters: it travels, is averaged and is kept. So its losses may depend on
its parameters, on the rows and on the draws of the global generators, and on nothing else. The
trial trains a module on a few rows, twice, and compares. What fails is refused by name. What works
alone and not in a stack trains one by one. What draws from torch's generator alone is given one of
its own, so that several modules of a process train at once.

Built-in models need no trial.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from fl_sv.config import Config
from fl_sv.config.models import Module
from fl_sv.config.training import Optimizer
from fl_sv.data import Task
from fl_sv.errors import InputError, listed
from fl_sv.flower.schema import MOST_PARAMETER
from fl_sv.streams import global_draws
from fl_sv.training.base import base_digests, trainable
from fl_sv.training.draws import global_states
from fl_sv.training.entrance import Entrance, find_entrance
from fl_sv.training.factories import quoted, quoting, refusal
from fl_sv.training.gradients import Gradients
from fl_sv.training.kept import row_states
from fl_sv.training.losses import row_loss, try_loss
from fl_sv.training.models import ModelSpec, model_specs
from fl_sv.training.pretrained import Pretrained
from fl_sv.training.sgd import Recipe, proximal_mu, train, train_module
from fl_sv.training.stack import rows_at_once, stack_outputs, train_stack

# Rows of each step of the trial. A company's last batch may hold a single row.
STEPS = (4, 3, 1, 4)
# Parameters get their gradients under so many different draws.
DRAWS = 4
# A step of a stack equals one of a single model up to this share of the largest change.
TOLERANCE = 1e-4
# From the same rows' states on a model answers as from the rows, up to this share.
STATES_TOLERANCE = 1e-6
# What any module has; no state of the user's.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))


def tried_models(
    config: Config, task: Task, x: Tensor, y: Tensor
) -> tuple[tuple[ModelSpec, ...], ModelSpec]:
    """The small models and the large one (`model_specs`), tried on these rows.

    Raises InputError as `model_specs` and `tried` do.
    """
    small, large = model_specs(config, task)
    return tuple(tried(model, config, x, y) for model in small), tried(large, config, x, y)


def tried(model: ModelSpec, config: Config, x: Tensor, y: Tensor) -> ModelSpec:
    """The model with what the trial found: parameters without gradient, and whether it stacks.

    x, y: rows of whoever tries: the operator's validation rows, or a company's own.

    Raises InputError that names factory and size when the module cannot be trained.
    """
    if not isinstance(model.config, Module):
        _try_loss(model, x, y)
        return model
    return _Trial.of(model, model.config, config, x, y).outcome()


def _try_loss(model: ModelSpec, x: Tensor, y: Tensor) -> None:
    """Raises InputError when a loss of the user's own fails its trial on the model's outputs."""
    if model.task.loss is None:
        return
    rows = torch.arange(STEPS[0]) % len(x)
    untrained = model.initial_params(model.seed, 0)[None].to(x.device)
    with torch.no_grad():
        outputs = stack_outputs(model, untrained, x[rows])[0]
    noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    try_loss(model.task, outputs + noise.to(outputs), y[rows])


@dataclass(frozen=True)
class _Trial:
    """A model on trial, with its untrained parameters, all rows, and the steps that it trains."""

    model: ModelSpec
    module: Module
    initial: Tensor
    x: Tensor
    y: Tensor
    recipe: Recipe
    keeps_states: bool  # whether the config asks for kept states

    @classmethod
    def of(cls, model: ModelSpec, module: Module, config: Config, x: Tensor, y: Tensor) -> "_Trial":
        recipe = Recipe(
            optimizer=model.optimizer,
            rates=(model.learning_rate,) * len(STEPS),
            proximal_mu=proximal_mu(config),
            batches=tuple(np.split(np.arange(sum(STEPS)) % len(x), np.cumsum(STEPS)[:-1])),
            torch_seed=0,
        )
        initial = model.initial_params(model.seed, 0).to(x.device)
        keeps_states = config.compute.states_megabytes > 0
        return cls(model, module, initial, x, y, recipe, keeps_states)

    def outcome(self) -> ModelSpec:
        """The model, once it has passed everything."""
        base = base_digests(self.model.module)
        for training in (False, True):
            for rows in (self.x[: STEPS[0]], self.x[:1]):
                self._check_outputs(rows, training=training)
        most = rows_at_once(self.model.task, len(self.x))
        self._check_outputs(self.x[:most], training=False)  # as every scoring does
        _try_loss(replace(self.model, unstackable="not yet known"), self.x, self.y)
        used = self._used_parameters()
        trained = self._check_training(base)
        self._check_state(trained)
        never = frozenset(self.model.trained).difference(*used)
        model = replace(self.model, unused=never, draws_globally=self._draws_globally())
        if any(names != used[0] for names in used):
            why = "which parameters get a gradient differs from step to step"
            return self._with_states(replace(model, unstackable=why), trained)
        return self._with_states(self._in_stack(model, trained), trained)

    def _in_stack(self, model: ModelSpec, trained: Tensor) -> ModelSpec:
        """The model with what hinders its stacks, if anything does."""
        unreplaced = self._why_unstackable(model, trained)
        if unreplaced is None:
            return replace(model, untraced=self._why_untraced(model, trained))
        model = replace(model, unreplaced=unreplaced)
        unstackable = self._why_unstackable(model, trained)
        untraced = unstackable or self._why_untraced(model, trained)
        return replace(model, unstackable=unstackable, untraced=untraced)

    def _with_states(self, model: ModelSpec, trained: Tensor) -> ModelSpec:
        """The model with its form for kept states, where that gives the same.

        trained: the parameters after the trial's steps.
        """
        module = model.fresh(self.x.device)
        if not (self.keeps_states and isinstance(module, Pretrained)):
            return model
        rows = self.x[: sum(STEPS)]
        found = find_entrance(module, model.inputs(rows))
        if not isinstance(found, Entrance):
            return replace(model, unkept=found)
        form = replace(model, entrance=found)
        states = torch.cat([*row_states(replace(model, from_states=form), rows)])
        from_states = replace(self, model=form, x=states)
        if not self._gives_the_same(from_states, trained):
            return replace(model, unkept="it gives something else from its states on")
        if model.unstackable is None:
            form = from_states._in_stack(replace(form, unreplaced=None), trained)
        return replace(model, from_states=form)

    def _gives_the_same(self, from_states: "_Trial", trained: Tensor) -> bool:
        """Whether the model answers and trains from the rows' states as from the rows."""
        # An untrained adapter adds nothing, and would hide what is left out.
        noise = torch.randn(trained.shape, generator=torch.Generator().manual_seed(0))
        params = trained + trained.abs().mean() * noise.to(trained)
        all_rows = range(len(from_states.x))
        for rows, tolerance in ((all_rows, STATES_TOLERANCE), (all_rows[2::-2], TOLERANCE)):
            one, other = (
                each._outputs(each.model.loaded(params), each.x[[*rows]])
                for each in (self, from_states)
            )
            if (one - other).abs().max() > tolerance * one.abs().max():
                return False
        recipe = replace(self.recipe, optimizer=Optimizer())
        one, other = (
            train(each.model, params, each.x, self.y, recipe) for each in (self, from_states)
        )
        return _same(one, other, exactly=False, change=one - params)

    def _check_outputs(self, rows: Tensor, *, training: bool) -> None:
        """Raises InputError unless the untrained module turns rows into finite outputs (B, K)."""
        given = rows.clone()
        outputs: Any = self._outputs(self.model.loaded(self.initial), given, training=training)
        task = self.model.task
        wanted: tuple[int, ...] = (len(rows), *task.places, task.n_outputs)
        on_rows = f"for rows of shape {tuple(rows.shape)}"
        if not isinstance(outputs, Tensor):
            raise self._refusal(
                f"returns a {type(outputs).__name__} {on_rows}; it must return a tensor of shape"
                f" {wanted}."
            )
        if outputs.shape[:1] != wanted[:1] or (task.loss is None and outputs.shape != wanted):
            raise self._refusal(
                f"returns a tensor of shape {tuple(outputs.shape)} {on_rows}; it must return"
                f" {wanted}."
            )
        if outputs.dtype != self.model.dtype:
            kinds = [str(kind).removeprefix("torch.") for kind in (outputs.dtype, self.model.dtype)]
            raise self._refusal(
                f"returns {kinds[0]} numbers; compute.dtype is {kinds[1]}. Convert its outputs."
            )
        if not outputs.isfinite().all():
            raise self._refusal(f"returns NaN or infinite outputs before it is trained, {on_rows}.")
        if not torch.equal(given, rows):
            raise self._refusal("changes its rows in place. Let it work on a copy of them.")

    def _used_parameters(self) -> list[frozenset[str]]:
        """The names of the parameters that get a gradient, under several draws."""
        used = []
        for draw in range(DRAWS):
            module = self.model.loaded(self.initial).train()
            with quoting(self.module, "in a training step"), self.model.drawing(draw):
                losses = row_loss(self.model.task)(
                    module(self.model.inputs(self.x[:3])), self.y[:3]
                )
                if losses.requires_grad:
                    losses.mean().backward()  # type: ignore[no-untyped-call]
            gradients = {
                name: parameter.grad
                for name, parameter in module.named_parameters()
                if parameter.grad is not None
            }
            if any(parameter.grad is not None for parameter in self.model.module.parameters()):
                raise self._refusal(
                    "cannot be copied (copy.deepcopy): a copy computes with the parameters of the"
                    " first module, as a function does that was defined inside it. Make it a method"
                    " of the module."
                )
            used.append(frozenset(gradients))
        if not any(used):
            raise self._refusal("cannot be trained: none of its parameters gets a gradient.")
        return used

    def _check_training(self, base: dict[str, str]) -> Tensor:
        """The parameters after the trial's steps. Raises InputError when they are not usable.

        base: the digests of what is frozen, before the module ran.
        """
        with quoting(self.module, "in training"):
            trained, again = (
                train(self.model, self.initial, self.x, self.y, self.recipe) for _ in range(2)
            )
        now = base_digests(self.model.module)
        if moved := [name for name, digest in base.items() if now[name] != digest]:
            raise self._refusal(
                f"changes the parameters {listed(moved)}, which are not to be trained"
                " (requires_grad is False)."
            )
        if not trained.isfinite().all():
            raise self._refusal(
                f"has NaN or infinite parameters after {len(STEPS)} steps of training (learning"
                f" rate {self.model.learning_rate:g})."
            )
        largest = float(torch.stack([self.initial, trained]).abs().max())
        if largest > MOST_PARAMETER:
            raise self._refusal(
                f"has a parameter of {largest:.3g}, untrained or after {len(STEPS)} steps of"
                f" training; a message takes parameters from -{MOST_PARAMETER:g} to"
                f" {MOST_PARAMETER:g}. Scale it inside the module."
            )
        if not _same(trained, again):
            raise self._refusal(
                "gives two results in two equal trainings. It may use only its parameters and the"
                " global generators of torch, numpy and Python; not generators of its own, global"
                " variables or the time."
            )
        return trained

    def _check_state(self, trained: Tensor) -> None:
        """Raises InputError when a used module computes otherwise than a new one.

        trained: the parameters after the trial's steps.
        """
        module = self.model.loaded(self.initial)
        before = dict(_state(module))
        first = train_module(self.model, module, self.x, self.y, self.recipe)
        vector_to_parameters(self.initial.clone(), trainable(module).values())
        second = train_module(self.model, module, self.x, self.y, self.recipe)
        vector_to_parameters(trained.clone(), trainable(module).values())
        rows = self.x[: STEPS[0]]
        fresh = self._outputs(self.model.loaded(trained), rows)
        used, again = (self._outputs(module, rows, draw=draw) for draw in range(2))
        after = dict(_state(module))
        if _same(first, second) and _same(used, fresh) and _same(again, fresh):
            return
        changed = [name for name in after if _differs(before.get(name), after[name])]
        names = listed(changed) or "something that the module does not hold itself"
        if not changed and not _same(used, again):
            raise self._refusal(
                "draws random numbers in evaluation mode: its losses would be drawn, too. Let it"
                " draw in training alone (`self.training`)."
            )
        raise self._refusal(
            f"keeps state outside its parameters that changes its results: {names}. A model is its"
            " parameters: they travel and are averaged, and other state would mix the companies."
            " Make it a parameter, or leave it out (GroupNorm or LayerNorm need no running"
            " statistics)."
        )

    def _draws_globally(self) -> bool:
        """Whether the module draws from a global generator although torch has one of its own."""
        model = replace(self.model, draws_globally=False)
        with global_draws(0):
            before = global_states()
            one, two = (train(model, self.initial, self.x, self.y, self.recipe) for _ in range(2))
            return global_states() != before or not _same(one, two)

    def _why_unstackable(self, model: ModelSpec, trained: Tensor) -> str | None:
        """Why two models cannot train together as each alone; None where they can.

        Both take the steps of plain SGD. Adam divides by the size of a gradient: one that is zero
        but for rounding, as of a bias in a balanced batch, would tell the two apart.
        """
        recipe = self.recipe
        if recipe.optimizer.kind != "sgd":
            recipe = replace(recipe, optimizer=Optimizer())
        stack = torch.stack([self.initial, trained])
        rows = self.x[: STEPS[0]]
        alone = [train(model, params, self.x, self.y, recipe) for params in stack]
        outputs = [self._outputs(model.loaded(params), rows) for params in stack]
        try:
            together = train_stack(model, stack, self.x, self.y, recipe, chunk=2)
            with torch.no_grad():
                outputs_CBK = stack_outputs(model, stack, rows)
        except Exception as error:  # vmap refuses what it cannot follow by errors of many kinds
            return quoted(error)
        for params, one, stacked in zip(stack, alone, together, strict=True):
            if not _same(one, stacked, exactly=False, change=one - params):
                return "in a stack its training gives other parameters"
        if not _same(torch.stack(outputs), outputs_CBK, exactly=False):
            return "in a stack it gives other outputs"
        return None

    def _why_untraced(self, model: ModelSpec, trained: Tensor) -> str | None:
        """Why a step of two models goes through Python; None where it can be traced."""
        views = model.views(torch.stack([self.initial, trained]))
        try:
            with model.drawing(0) as draws, torch.no_grad():
                Gradients.of(model, views, None, draws).trace(
                    self.x[: STEPS[0]], self.y[: STEPS[0]]
                )
        except Exception as error:  # the module's code and torch's can fail in many ways
            return quoted(error)
        return None

    def _outputs(
        self, module: nn.Module, rows: Tensor, *, training: bool = False, draw: int = 0
    ) -> Tensor:
        with (
            quoting(self.module, f"on rows of shape {tuple(rows.shape)}"),
            self.model.drawing(draw),
            torch.no_grad(),
        ):
            outputs: Tensor = module.train(training)(self.model.inputs(rows))
        return outputs

    def _refusal(self, what: str) -> InputError:
        return refusal(self.module, what)


def _same(
    one: Tensor, other: Tensor, *, exactly: bool | None = None, change: Tensor | None = None
) -> bool:
    """Whether two results are equal: every bit on a CPU, else up to rounding."""
    if one.device.type == "cpu" if exactly is None else exactly:
        return torch.equal(one, other)
    of_change = TOLERANCE * float((one if change is None else change).abs().max())
    rounding = 8 * torch.finfo(one.dtype).eps * float(one.abs().max())
    return bool((one - other).abs().max() <= of_change + rounding)


def _state(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Everything that a module keeps besides its parameters, by name, as it is now."""
    for place, part in module.named_modules():
        own = {name: value for name, value in vars(part).items() if name not in _OF_ANY_MODULE}
        for name, value in {**own, **part._buffers}.items():
            path = f"{place}.{name}" if place else name
            yield path, value.detach().clone() if isinstance(value, Tensor) else _written(value)


def _written(value: Any) -> object:
    try:
        return pickle.dumps(value)
    except Exception:  # a function, say
        return repr(value)


def _differs(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return not torch.equal(before, after)
    return isinstance(before, Tensor) or isinstance(after, Tensor) or before != after
