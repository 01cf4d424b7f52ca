"""Layers of a transformer that a stack computes in one step each: found when it is loaded.

A layer is found by the parts that it has, and tried: on a few rows, the step of a stack must give
what the layer's own code gives. Then its forward pass asks for the whole layer at once, so that a
stack (`fl_sv.training.kernels`) may compute it. One model alone still runs the code of peft or
transformers, and what is not found goes operation by operation.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from fl_sv.training.adapted import adapted_linear, scaled_norm
from fl_sv.training.stacked import Stack
from fl_sv.training.sublayers import (
    GATES,
    Heads,
    gated_layers,
    rotary_attention,
    stacked_gated_layers,
    stacked_rotary_attention,
)

ROWS, PLACES = 2, 5  # on which a layer is compared with its step
LARGE = 32.0  # so many times as large are the numbers of one of the rows
TOLERANCE = 1e-5  # of the largest number, in float32
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")
EARLIER = ("cache", "past_key_values", "past_key_value")  # where attention looks at earlier places
BY_TORCH = "sdpa"  # transformers' name for attention by torch's own function
MASKLESS = "sdpa_without_masks"  # ours for the same without a mask


def in_one_step(base: nn.Module, places: int) -> None:
    """Lets layers of this base, in peft's model, be asked for as one step each.

    places: of a row.
    """
    with torch.no_grad():
        _attend_by_torch(base, places)
        for part in [*base.modules()]:
            if _is_rotary_attention(part):
                _replace(part, _forward_attention)
            elif (gate := _gate_of(part)) is not None:
                _replace(part, _forward_gated, gate=gate)
            elif type(part).__name__.endswith("RMSNorm") and _is_scaled_norm(part):
                _replace(part, _forward_norm)
            elif _is_plain_adapter(part):
                _replace(part, _forward_adapted)


def _replace(part: nn.Module, forward: Callable[..., Any], **more: Any) -> None:
    kind = type(part)
    names = {"forward": forward, "__module__": __name__, **more}
    part.__class__ = type(kind.__name__, (kind,), names)


def _written(part: nn.Module) -> Callable[..., Any]:
    """The forward pass of a layer that was replaced, as transformers or peft wrote it."""
    parent: Any = super(type(part), part)
    forward: Callable[..., Any] = parent.forward
    return forward


def _are_same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= TOLERANCE * one.abs().max())


def _drawn(like: Tensor, *shape: int) -> Tensor:
    """Rows of usual size and, where weights are small and hide what a layer does, of large size."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(like)
    drawn[1::2] *= LARGE
    return drawn


# --- attention ------------------------------------------------------------------------------------


def _attend_by_torch(base: Any, places: int) -> None:
    """Lets attention go to torch's own function where transformers can, and gives the same.

    First without a mask: which one it needs, if any, is known of the layers, and transformers would
    look for it in every step anew. A window of fewer places than a row has needs a mask.
    """
    config = base.config
    ids = torch.randint(_tokens(config), (ROWS, places), generator=torch.Generator().manual_seed(0))
    before = config._attn_implementation
    eager = _answer(base, ids)
    for way in (_without_masks(), BY_TORCH):
        try:
            base.set_attn_implementation(way)
            if _are_same(eager, _answer(base, ids)):
                return
        except (ValueError, KeyError, NotImplementedError):  # it says that it cannot
            continue
    base.set_attn_implementation(before)


def _tokens(config: Any) -> int:
    return int(getattr(config, "vocab_size", None) or 1)


def _answer(base: Any, ids: Tensor) -> Any:
    return base(input_ids=ids, use_cache=False)[0]


@cache
def _without_masks() -> str:
    """The name under which transformers knows torch's attention, and no mask beside it."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(MASKLESS, sdpa_attention_forward)
    return MASKLESS


def _is_rotary_attention(part: Any) -> bool:
    """Whether a stack's step gives what this attention gives, rows without a mask, causally."""
    layers, width = _layers_of(part, ATTENTION), getattr(part, "head_dim", None)
    if layers is None or not isinstance(width, int) or width % 2:
        return False
    if not isinstance(getattr(part, "scaling", None), float):
        return False
    x = _drawn(layers[0], ROWS, PLACES, layers[0].shape[1])
    angles = _drawn(x, 1, PLACES, width // 2).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    try:
        own, _ = part(hidden_states=x, position_embeddings=(cos, sin), attention_mask=None)
        step = stacked_rotary_attention(None, Stack(x[None]), cos, sin, _heads(part), *layers)
    except Exception:  # whatever another layer says to such a call
        return False
    return _are_same(own, step[0])


def _forward_attention(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: Any = None,
    attention_mask: Any = None,
    **others: Any,
) -> Any:
    written = partial(
        _written(self),
        hidden_states,
        position_embeddings=position_embeddings,
        attention_mask=attention_mask,
        **others,
    )
    masked = attention_mask is not None or self.config._attn_implementation not in (
        MASKLESS,
        BY_TORCH,
    )
    earlier = any(others.get(name) is not None for name in EARLIER)
    if masked or earlier or position_embeddings is None or len(position_embeddings[0]) != 1:
        return written()
    layers = _layers_of(self, ATTENTION)
    assert layers is not None
    mixed = rotary_attention(
        lambda: written()[0], hidden_states, *position_embeddings, _heads(self), *layers
    )
    return mixed, None


def _heads(part: Any) -> Heads:
    queries, keys = (
        len(_base_of(getattr(part, name)).weight) // part.head_dim for name in ATTENTION[:2]
    )
    return Heads(queries, keys, part.scaling)


# --- gated layers ---------------------------------------------------------------------------------


def _gate_of(part: Any) -> str | None:
    """Of GATES the one with which a stack's step gives what this part gives; None without."""
    layers = _layers_of(part, GATED)
    if layers is None:
        return None
    x = _drawn(layers[0], ROWS, PLACES, layers[0].shape[1])
    try:
        own = part(x)
        steps = {gate: stacked_gated_layers(None, Stack(x[None]), gate, *layers) for gate in GATES}
    except Exception:  # whatever another layer says to such a call
        return None
    return next((gate for gate, step in steps.items() if _are_same(own, step[0])), None)


def _forward_gated(self: Any, *given: Any, **named: Any) -> Any:
    written = partial(_written(self), *given, **named)
    if len(given) != 1 or named:
        return written()
    layers = _layers_of(self, GATED)
    assert layers is not None
    return gated_layers(written, given[0], self.gate, *layers)


# --- layers with adapters, and norms --------------------------------------------------------------


def _layers_of(part: Any, names: Sequence[str]) -> list[Any] | None:
    """Weight, bias, A, B and scale of each of these linear layers; None where one is not there."""
    layers: list[Any] = []
    for name in names:
        layer = getattr(part, name, None)
        if _is_plain_adapter(layer):
            layers += _adapter_of(layer)
        elif type(layer) is nn.Linear:
            layers += [layer.weight, layer.bias, None, None, 0.0]
        else:
            return None
    return layers


def _base_of(layer: Any) -> Any:
    return getattr(layer, "base_layer", layer)


def _is_plain_adapter(part: Any) -> bool:
    """Whether a layer of peft is W x + s B A x with nothing else, in training too."""
    from peft.tuners.lora.layer import Linear

    if not isinstance(part, Linear):
        return False
    (name,) = part.active_adapters
    return (
        isinstance(part.lora_dropout[name], nn.Identity)
        and not part.lora_variant
        and part.lora_A[name].bias is None
        and part.lora_B[name].bias is None
    )


def _adapter_of(part: Any) -> list[Any]:
    (name,), base = part.active_adapters, part.base_layer
    weight = base.weight if isinstance(base, nn.Linear) else base.weight.T  # of a Conv1D
    a, b = part.lora_A[name].weight, part.lora_B[name].weight
    return [weight, base.bias, a, b, part.scaling[name]]


def _forward_adapted(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if args or kwargs:
        return _written(self)(x, *args, **kwargs)
    return adapted_linear(x, *_adapter_of(self))


def _is_scaled_norm(part: Any) -> bool:
    weight, eps = getattr(part, "weight", None), _eps(part)
    if weight is None or eps is None or weight.requires_grad:
        return False
    x = _drawn(weight, ROWS, len(weight))
    return torch.equal(part(x), scaled_norm(x, weight, eps))


def _eps(part: Any) -> float | None:
    found: float | None = getattr(part, "variance_epsilon", getattr(part, "eps", None))
    return found


def _forward_norm(self: Any, x: Tensor) -> Tensor:
    eps = _eps(self)
    assert eps is not None
    return scaled_norm(x, self.weight, eps)
