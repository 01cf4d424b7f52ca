"""Seconds of a stack beside those of a loop over the same models, in one process, in turns."""

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fl_sv.config import Config, parse_config
from fl_sv.data import Task
from fl_sv.data.inputs import Input
from fl_sv.training.gradients import Gradients
from fl_sv.training.models import ModelSpec, model_specs
from fl_sv.training.sgd import Recipe, make_recipe
from fl_sv.training.stack import models_together, train_stack, trains_alone
from fl_sv.training.trial import tried

MODELS, ROWS, BATCH, CLASSES, RATE = 64, 128, 32, 10, 0.02
TURNS = 3
WARM_UP = 5
PEAK_SIZES = (512, 1024, 2048)

GAME = """
seed: 0
companies: [Ash, Beech]
data: {source: iris, partition: {kind: iid}}
models: {small: [MODEL], large: {kind: mlp, hidden: [16384]}}
training: {rounds: 1, batch_size: 32, learning_rate: 0.02}
law: {anchors: none}
payouts: {pot: {kind: fixed, cents: 100}}
"""


@dataclass(frozen=True)
class Case:
    """A model and its rows.

    kind: of the model in a config; the factory of `benchmarks.architectures.models`, if a module.
    row: what names it in the table. ids: whether rows are tokens.
    """

    row: dict[str, Any]
    kind: str
    shape: tuple[int, ...]
    options: dict[str, Any]
    ids: bool = False

    @property
    def config(self) -> Config:
        factory = f"benchmarks.architectures.models:{self.kind}"
        module = {"kind": "module", "name": "m", "factory": factory, "options": self.options}
        model = {"kind": "cnn", **self.options} if self.kind == "cnn" else module
        return parse_config(GAME.replace("MODEL", json.dumps(model)), self.kind)


@dataclass(frozen=True)
class Trainee:
    """A case made: its model, tried, the company's rows and the models of a stack."""

    model: ModelSpec
    x: Tensor
    y: Tensor
    stack: Tensor
    recipe: Recipe

    @classmethod
    def of(cls, case: Case) -> "Trainee":
        config, generator = case.config, torch.Generator().manual_seed(0)
        task = Task(
            kind="classification",
            input_shape=case.shape,
            n_outputs=CLASSES,
            inputs=(Input("", case.shape, whole=True),) if case.ids else (),
        )
        x = torch.randn(ROWS, *case.shape, generator=generator)
        if case.ids:
            x = torch.randint(32, (ROWS, *case.shape), generator=generator)
        y = torch.randint(CLASSES, (ROWS,), generator=generator)
        model = tried(model_specs(config, task)[0][0], config, x[:8], y[:8])
        start = model.initial_params(0, 0)
        noise = torch.randn(MODELS, model.n_params, generator=generator)
        recipe = make_recipe(config, model, "Ash", ROWS, 0, 1)
        return cls(model, x, y, start + 0.02 * noise, recipe)

    def together(self) -> Tensor:
        return train_stack(self.model, self.stack, self.x, self.y, self.recipe, chunk=128)

    def trace_ms(self) -> float | None:
        """Milliseconds of one trace: of a step of as many models and rows as in a run."""
        model, rows = self.model, self.recipe.batches[0]
        if trains_alone(model, BATCH, self.x.device):
            return None
        views = model.views(self.stack[: models_together(model, BATCH, MODELS, self.x.device)])
        with model.drawing(0) as draws, torch.no_grad():
            gradients = Gradients.of(model, views, None, draws)
            return 1e3 * _seconds(lambda: gradients.trace(self.x[rows], self.y[rows]))

    def modules(self) -> list[nn.Module]:
        return [self.model.loaded(params).train() for params in self.stack]

    def in_a_loop(self, modules: list[nn.Module]) -> None:
        """One module after the other, as one writes it in torch."""
        batches = [(self.x[rows], self.y[rows]) for rows in self.recipe.batches]
        for module in modules:
            optimizer = torch.optim.SGD(module.parameters(), lr=RATE, foreach=True)
            for rows, targets in batches:
                optimizer.zero_grad()
                functional.cross_entropy(module(rows), targets).backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def flops(self) -> int:
        """Products and convolutions of a round of all models, forwards and backwards."""
        module = self.model.loaded(self.stack[0]).train()
        rows = self.recipe.batches[0]
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            functional.cross_entropy(module(self.x[rows]), self.y[rows]).backward()  # type: ignore[no-untyped-call]
        return int(counter.get_total_flops()) * len(self.recipe.batches) * MODELS


def measure(cases: list[Case], turns: int = TURNS) -> Iterator[dict[str, Any]]:
    """A row for each case. All seconds are the thread's own on a processor, but for two workers."""
    for case in cases:
        trainee = Trainee.of(case)
        yield {**case.row, **_compared(trainee, turns)}


def _compared(trainee: Trainee, turns: int) -> dict[str, Any]:
    flops = trainee.flops()
    together, modules, trace_ms = trainee.together(), trainee.modules(), trainee.trace_ms()
    for _ in range(WARM_UP if trace_ms else 0):  # as a run's first rounds: then steps are traced
        trainee.together()
    trainee.in_a_loop(modules)
    alone = torch.stack([nn.utils.parameters_to_vector(m.parameters()) for m in modules]).detach()
    draws = any(isinstance(part, nn.Dropout) and part.p > 0 for part in modules[0].modules())
    stacks, loops, peaks, both, products = [], [], [], [], []
    for _ in range(turns):
        peaks.append(matrix_peak())
        stacks.append(_seconds(trainee.together))
        loops.append(_seconds(lambda: trainee.in_a_loop(modules)))
        peaks.append(matrix_peak())
        both.append(_speedup_of_two(trainee.together))
        products.append(_speedup_of_two(_products(stacks[-1])))
    ratios = [loop / stack for loop, stack in zip(loops, stacks, strict=True)]
    peak = max(peaks)
    return {
        "speedup_vs_torch_loop": statistics.median(ratios),
        "gemm_fraction": flops / statistics.median(stacks) / peak,
        "loop_gemm_fraction": flops / statistics.median(loops) / peak,
        "speedup_two_workers": statistics.median(both),
        "speedup_two_products": statistics.median(products),
        "max_abs_difference": None if draws else float((together - alone).abs().max()),
        "models_together": models_together(trainee.model, BATCH, MODELS, trainee.x.device),
        "trace_ms": trace_ms,
        "parameters": trainee.model.n_params,
        "step_ms": 1e3 * statistics.median(stacks) / len(trainee.recipe.batches) / MODELS,
        "matrix_peak_gflops": peak / 1e9,
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _speedup_of_two(work: Callable[[], object]) -> float:
    """Two companies one after the other, by two companies in two threads."""
    started = time.perf_counter()
    work()
    work()
    after = time.perf_counter()
    threads = [threading.Thread(target=_alone, args=(work,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (after - started) / (time.perf_counter() - after)


def _products(seconds: float) -> Callable[[], object]:
    """Matrix products for about so long, which take no turns with Python."""
    square = torch.randn(PEAK_SIZES[0], PEAK_SIZES[0])
    times = max(1, round(seconds / _seconds(lambda: square @ square)))
    return lambda: [square @ square for _ in range(times)]


def _alone(work: Callable[[], object]) -> None:
    torch.set_num_threads(1)
    work()


def matrix_peak() -> float:
    """FLOP/s of the best square matrix product in float32 on this thread."""
    best = 0.0
    for size in PEAK_SIZES:
        left, right = torch.randn(size, size), torch.randn(size, size)
        for _ in range(3):
            seconds = _seconds(lambda left=left, right=right: left @ right)  # type: ignore[misc]
            best = max(best, 2 * size**3 / seconds)
    return best
