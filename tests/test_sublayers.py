"""Layers of transformers, each one step of a stack: equal to their own code for one model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from fl_sv.training import one_step
from fl_sv.training.base import trainable
from fl_sv.training.draws import OwnDraws
from fl_sv.training.layers import stack_forward
from fl_sv.training.pretrained import Pretrained, pretrained
from fl_sv.training.shapes import AttentionWrittenOut
from tests.pretrained import LETTERS, make

MODELS, ROWS, PLACES = 3, 4, 6
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
# What is one step: attention, gated layers.
FAMILIES: dict[str, tuple[dict[str, Any], int, int]] = {
    "Llama": ({}, 2, 2),
    "Mistral": (HEADS | {"sliding_window": 16}, 2, 2),
    "Qwen2": (HEADS, 2, 2),
    "Gemma": (HEADS | {"head_dim": 6}, 2, 2),
    # Its queries and keys have norms of their own.
    "Qwen3": (HEADS | {"head_dim": 4}, 0, 2),
    "GPTNeoX": ({}, 0, 0),
    "GPT2": ({}, 0, 0),
}


def base(folder: Path, family: str, **options: Any) -> Pretrained:
    """A base with adapters that draw no zeros, in double precision."""
    path = make(folder, family, **options.pop("config", {}))
    module = pretrained(
        (PLACES,), len(LETTERS), path=str(path), task="causal_lm", **{"rank": 2, **options}
    )
    return module.double()


def views_of(module: torch.nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return {
        name: (0.3 * torch.randn(MODELS, *p.shape, generator=draws)).to(dtype).requires_grad_()
        for name, p in trainable(module).items()
    }


def rows() -> Tensor:
    return torch.randint(len(LETTERS), (ROWS, PLACES), generator=torch.Generator().manual_seed(2))


def differences(module: torch.nn.Module, dtype: torch.dtype) -> Iterator[float]:
    """Of a stack's outputs and gradients from those of each model, as shares of the largest."""
    module, views = module.to(dtype), views_of(module, dtype)
    outputs = stack_forward(module, views, rows())
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    gradients = torch.autograd.grad((outputs * weights).sum(), [*views.values()])
    for model in range(MODELS):
        own = {name: view[model].detach().requires_grad_() for name, view in views.items()}
        alone = functional_call(module, own, (rows(),))
        due = torch.autograd.grad((alone * weights[model]).sum(), [*own.values()])
        for together, one in [(outputs, alone), *zip(gradients, due, strict=True)]:
            yield float(((together[model] - one).abs().max() / one.abs().max()).detach())


def steps(module: torch.nn.Module) -> tuple[int, int]:
    """How many layers of attention and gated layers are one step."""
    forwards = [type(part).forward for part in module.modules()]
    return (
        forwards.count(one_step._forward_attention),
        forwards.count(one_step._forward_gated),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stack_gives_outputs_and_gradients_of_one_model_each(tmp_path: Path, family: str) -> None:
    config, attention, gated = FAMILIES[family]
    module = base(tmp_path, family, config=config)
    assert steps(module) == (attention, gated)
    assert max(differences(module, torch.float64)) < 1e-9
    assert max(differences(module, torch.float32)) < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["o_proj", "up_proj"]},
        {"layers": [1]},
        {"average": "frozen_a"},
        {"alpha": 1.0, "rank": 3},
    ],
)
def test_adapters_may_stand_beside_some_layers_alone(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    module = base(tmp_path, "Llama", config=HEADS, **options)
    assert steps(module) == (2, 2)
    assert max(differences(module, torch.float64)) < 1e-9


def test_a_window_of_fewer_places_than_a_row_is_kept(tmp_path: Path) -> None:
    wide, narrow = (
        base(tmp_path / str(window), "Mistral", config=HEADS | {"sliding_window": window})
        for window in (PLACES, 2)
    )
    assert wide.base.config._attn_implementation == one_step.MASKLESS
    assert narrow.base.config._attn_implementation == one_step.BY_TORCH
    assert max(differences(narrow, torch.float64)) < 1e-9
    with torch.no_grad():
        one, other = wide(rows()), narrow(rows())
    assert torch.allclose(one[:, :2], other[:, :2])
    assert (one[:, -1] - other[:, -1]).abs().max() > 1e-6


def test_dropout_of_an_adapter_goes_the_way_of_peft(tmp_path: Path) -> None:
    module = base(tmp_path, "Llama", dropout=0.1)
    assert steps(module) == (0, 0)
    assert max(differences(module.eval(), torch.float64)) < 1e-9


def test_what_a_model_costs_is_counted_without_a_change_to_other_threads() -> None:
    draws = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, PLACES, 4, generator=draws)
    attention = torch.nn.functional.scaled_dot_product_attention
    backend = torch.backends.cuda.flash_sdp_enabled()
    with AttentionWrittenOut(), FlopCounterMode(display=False) as counter:
        apart = attention(query, key, value, is_causal=True)
        assert torch.backends.cuda.flash_sdp_enabled() == backend
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * PLACES * PLACES * 4)
    assert torch.allclose(apart, attention(query, key, value, is_causal=True), atol=1e-6)


def test_attention_in_one_step_is_counted_as_transformers_writes_it(tmp_path: Path) -> None:
    module, counts = base(tmp_path, "Llama"), []
    for way in (one_step.MASKLESS, "eager"):
        module.base.set_attn_implementation(way)
        with OwnDraws(0), AttentionWrittenOut(), FlopCounterMode(display=False) as counter:
            module(rows())
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]
