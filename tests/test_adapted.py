"""A frozen layer with its adapter, and a norm, as one step of a stack: equal to one model each."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from fl_sv.training.adapted import adapted_linear, scaled_norm
from fl_sv.training.layers import stack_forward

MODELS, ROWS, PLACES, INPUTS, OUTPUTS, RANK = 3, 4, 5, 7, 6, 2


class Adapted(torch.nn.Module):
    """A frozen layer with an adapter, behind one that makes its input each model's own."""

    def __init__(self, *, own_rows: bool, bias: bool, frozen_a: bool) -> None:
        super().__init__()
        self.before = torch.nn.Linear(INPUTS, INPUTS) if own_rows else None
        draws = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draws, dtype=torch.float64)

        self.register_buffer("weight", drawn(OUTPUTS, INPUTS))
        self.register_buffer("bias", drawn(OUTPUTS) if bias else None)
        self.register_buffer("norm", drawn(OUTPUTS))
        self.a = torch.nn.Parameter(drawn(RANK, INPUTS), requires_grad=not frozen_a)
        self.b = torch.nn.Parameter(drawn(OUTPUTS, RANK))

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.before is None else self.before(x)
        y = adapted_linear(x, self.weight, self.bias, self.a, self.b, 0.7)
        return scaled_norm(y, self.norm, 1e-3)


@pytest.mark.parametrize("own_rows", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen_a", [True, False])
def test_outputs_and_gradients_of_a_stack_are_those_of_one_model_each(
    own_rows: bool, bias: bool, frozen_a: bool
) -> None:
    module = Adapted(own_rows=own_rows, bias=bias, frozen_a=frozen_a).double()
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, PLACES, INPUTS, generator=draws, dtype=torch.float64)
    views = {
        name: torch.randn(MODELS, *p.shape, generator=draws, dtype=p.dtype).requires_grad_()
        for name, p in module.named_parameters()
        if p.requires_grad
    }
    outputs = stack_forward(module, views, x)
    weights = torch.randn(outputs.shape, generator=draws, dtype=torch.float64)
    gradients = torch.autograd.grad((outputs * weights).sum(), [*views.values()])
    for model in range(MODELS):
        own = {name: view[model].detach().requires_grad_() for name, view in views.items()}
        alone = functional_call(module, own, (x,))
        torch.testing.assert_close(outputs[model], alone)
        due = torch.autograd.grad((alone * weights[model]).sum(), [*own.values()])
        for found, expected in zip(gradients, due, strict=True):
            torch.testing.assert_close(found[model], expected)
