"""Modules as users write them, right and wrong, for tests/test_modules.py.

Those down to `count` are of the public reports that issue 15 names (cases 03 to 05).
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Factory = Callable[..., nn.Module]


def head(width: int, n_outputs: int) -> nn.Linear:
    """A last layer that starts at zero."""
    layer = nn.Linear(width, n_outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Net(nn.Module):
    """Two layers; `forward` is a function of the test's."""

    def __init__(
        self, inputs: int, n_outputs: int, width: int, forward: Callable[..., Any] | None
    ) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(inputs, width), head(width, n_outputs)
        self._forward = forward

    def plain(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())

    def forward(self, x: Tensor) -> Any:
        return self.plain(x) if self._forward is None else self._forward(self, x)


def net(
    forward: Callable[..., Any] | None = None, add: Callable[[Net], object] = lambda module: None
) -> Factory:
    def factory(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
        module = Net(input_shape[0], n_outputs, width, forward)
        add(module)
        return module

    return factory


def sequence(*layers: Callable[[int, int], nn.Module]) -> Factory:
    """A factory of these layers, each made from inputs and width, and a head."""

    def factory(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
        made = [layer(input_shape[0], width) for layer in layers]
        return nn.Sequential(*made, nn.ReLU(), head(width, n_outputs))

    return factory


# --- what trains, in a stack or one by one --------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], width: int, n_outputs: int) -> None:
        super().__init__()
        self.a, self.b = kind(1, width, batch_first=True), head(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x[:, :, None])[0][:, -1])


def lstm(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    return Recurrent(nn.LSTM, width, n_outputs)


def gru(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    return Recurrent(nn.GRU, width, n_outputs)


def by_its_mean(module: Net, x: Tensor) -> Tensor:
    hidden = module.a(x)
    return module.b(hidden.relu() if hidden.mean() > 0 else hidden)


def with_an_unused_layer(module: Net) -> None:
    module.u = nn.Linear(3, 3)


def tied(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    module = nn.Sequential(
        nn.Linear(input_shape[0], width),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        head(width, n_outputs),
    )
    module[3].weight = module[1].weight
    return module


def frozen(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    module = Net(input_shape[0], n_outputs, width, None)
    module.a.requires_grad_(False)
    return module


class Tokens(nn.Module):
    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.e, self.b = nn.Embedding(10, width), head(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.e(x.long()).mean(1))  # an index below 0 is an error


def tokens(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    return Tokens(width, n_outputs)


def by_place(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    """An answer at every place of a row of ids."""
    return nn.Sequential(nn.Embedding(n_outputs, width), nn.Linear(width, n_outputs))


def skips_by_chance(module: Net, x: Tensor) -> Tensor:
    skips = module.training and torch.rand(1).item() < 0.5
    return module.b(functional.pad(x, (0, 4 - x.shape[1])) if skips else module.a(x).relu())


flow = net(by_its_mean)
unused = net(add=with_an_unused_layer)
lazy = sequence(lambda inputs, width: nn.LazyLinear(width))
weight_norm = sequence(
    lambda inputs, width: nn.utils.parametrizations.weight_norm(nn.Linear(inputs, width))
)
python_draws = net(lambda m, x: m.plain(x) + m.training * random.random() * m.a.weight[0, 0])
dropout = net(lambda m, x: m.b(functional.dropout(m.a(x), 0.5, m.training)))
stochastic_depth = net(skips_by_chance)


def late(module: Net, x: Tensor) -> Tensor:
    """A counter that the trial cannot see: it matters from the twentieth pass on."""
    module.passes = getattr(module, "passes", 0) + 1
    return module.plain(x) * (0.5 if module.passes > 20 else 1.0)


counts_late = net(late)


def noisy_start(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.Linear(width, n_outputs))


def same_start(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return Net(input_shape[0], n_outputs, width, None)


def noted(input_shape: tuple[int, ...], n_outputs: int, width: int, notes: str) -> nn.Module:
    """Prints, and writes down that it was called."""
    print("hello from the factory")
    with Path(notes).open("a") as file:
        file.write(f"{width}\n")
    return Net(input_shape[0], n_outputs, width, None)


# --- what is refused ------------------------------------------------------------------------------


def running_mean(module: Net, x: Tensor) -> Tensor:
    if module.training:
        module.m = 0.9 * module.m + 0.1 * x.mean(0).detach()
    return module.plain(x - module.m)


def instance_norm(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    norm = nn.InstanceNorm1d(1, track_running_stats=True)
    flat = Net(input_shape[0], n_outputs, width, None)
    return nn.Sequential(nn.Unflatten(1, (1, -1)), norm, nn.Flatten(), flat)


def warming_up(module: Net, x: Tensor) -> Tensor:
    module.k += 1
    return module.plain(x) * min(1.0, module.k / 50)


run = net(running_mean, lambda m: m.register_buffer("m", torch.zeros(4)))
count = net(warming_up, lambda m: setattr(m, "k", 0))
spectral = sequence(
    lambda inputs, width: nn.utils.parametrizations.spectral_norm(nn.Linear(inputs, width))
)
wrong_in = sequence(lambda inputs, width: nn.Linear(10, width))
wrong_out = net(lambda m, x: m.a(x))
squeezing = net(lambda m, x: m.plain(x).squeeze())
tup = net(lambda m, x: (m.plain(x), None))
dct = net(lambda m, x: {"logits": m.plain(x)})
nan = net(lambda m, x: m.plain(x).log())
half = net(lambda m, x: m.plain(x).half())
detached = net(lambda m, x: m.plain(x).detach())
in_place = net(lambda m, x: m.plain(x.mul_(2)))
draws_always = net(lambda m, x: m.b(functional.dropout(m.a(x), 0.5)) + 1e-3 * torch.rand(1))
calls: list[int] = []
global_state = net(lambda m, x: m.plain(x + len(calls)) + (calls.append(1) or 0))
closure = net(lambda m, x: m.b(m.first(x)), lambda m: setattr(m, "first", lambda x: m.a(x)))
fixed_rows = net(lambda m, x: m.plain(x.view(32, -1)))


def moves_frozen(module: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        module.m.add_(x.mean())
    return module.plain(x) * (1 + module.m)


own_average = net(
    moves_frozen, lambda m: setattr(m, "m", nn.Parameter(torch.zeros(1), requires_grad=False))
)


def with_parameter(values: Tensor) -> Factory:
    return net(add=lambda m: setattr(m, "c", nn.Parameter(values, requires_grad=False)))


complex_numbers = with_parameter(torch.zeros(2, dtype=torch.complex64))
whole_numbers = with_parameter(torch.zeros(2, dtype=torch.int64))
all_frozen = net(add=lambda m: m.requires_grad_(False))


def no_parameters(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten())


def raises(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    raise KeyError("no such\nlayer")


def leaves(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    raise SystemExit(0)


def other_arguments(size: int) -> nn.Module:
    return nn.Linear(size, size)


def no_module(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> object:
    return nn.Linear


def unused_lazy(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    module = Net(input_shape[0], n_outputs, width, None)
    module.u = nn.LazyLinear(2)
    return module


def without_numbers(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    module = Net(input_shape[0], n_outputs, width, None)
    module.u = nn.Linear(2, 2, device="meta")
    return module


def changes_torch(input_shape: tuple[int, ...], n_outputs: int, width: int = 4) -> nn.Module:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return Net(input_shape[0], n_outputs, width, None)


def read(input_shape: tuple[int, ...], n_outputs: int, weights: str, width: int = 4) -> nn.Module:
    """Its frozen part comes from a file."""
    module = Net(input_shape[0], n_outputs, width, None)
    module.a.load_state_dict(torch.load(weights, weights_only=True))
    module.a.requires_grad_(False)
    module.register_buffer("scale", torch.ones(2))
    return module
