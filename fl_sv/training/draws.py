"""Random numbers of a module in training, without torch's global generator.

Dropout and the like draw from one generator that the whole process shares: modules in several
threads would have to wait for each other. In `OwnDraws` they draw from a generator of their own.
The models of a stack share what is drawn, as if each had trained alone from the same seed.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fl_sv.training.calls import Answering

# Functions that take a generator.
_TAKE_ONE = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm),
    *(torch.normal, torch.bernoulli, torch.multinomial, torch.poisson),
    *(
        getattr(Tensor, name)
        for name in (
            *("bernoulli_", "uniform_", "normal_", "exponential_", "random_", "cauchy_"),
            *("geometric_", "log_normal_", "bernoulli", "multinomial"),
        )
    ),
}


class OwnDraws(Answering):
    """A context in which torch's functions draw from a generator with this seed, in this thread.

    The numbers are those of `torch.manual_seed`, in the order of the rows. What draws in other ways
    takes the global generators as ever (`fl_sv.training.trial` finds out).
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in _TAKE_ONE:
            if kwargs.get("generator") is not None:
                return NotImplemented
            device = next(
                (each.device for each in args if isinstance(each, Tensor)),
                torch.device(kwargs.get("device") or "cpu"),
            )
            return func(*args, **{**kwargs, "generator": self.generator(device)})
        draw = _DRAWS.get(func)
        return NotImplemented if draw is None else draw(self, *args, **kwargs)

    def generator(self, device: torch.device) -> torch.Generator:
        """From which everything on this device is drawn."""
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]

    def _like(self, x: Tensor, draw: Callable[..., Tensor], **options: Any) -> Tensor:
        """Numbers of the shape of `x`, of which a stack draws those of one model."""
        options.pop("memory_format", None)
        options = {"dtype": x.dtype, "device": x.device, **options}
        empty = torch.empty(x.shape, **options)
        return draw(empty, generator=self.generator(empty.device))

    def _kept(self, x: Tensor, rate: float, features: bool) -> Tensor:
        """What x is multiplied with: 0 in `rate` of the places, else 1 / (1 - rate)."""
        shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if features else x.shape
        kept = torch.empty(shape, dtype=x.dtype, device=x.device)
        return kept.bernoulli_(1 - rate, generator=self.generator(x.device)).div_(1 - rate)


def _dropout(*, features: bool = False, in_place: bool = False) -> Callable[..., Any]:
    def drop(own: OwnDraws, x: Tensor, p: float, train: bool) -> Any:
        if not train or p == 0 or p == 1 or x.numel() == 0:
            return NotImplemented  # nothing is drawn
        kept = own._kept(x, p, features)
        return x.mul_(kept) if in_place else x * kept

    return drop


def _attention(
    own: OwnDraws,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Attention that leaves out some of its weights, as torch's documentation writes it out."""
    if dropout_p == 0 or enable_gqa:
        return NotImplemented
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        places = scores.shape[-2:]
        attn_mask = torch.ones(places, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    return weights * own._kept(weights, dropout_p, features=False) @ value


_DRAWS: dict[Any, Callable[..., Any]] = {
    functional.scaled_dot_product_attention: _attention,
    torch.dropout: _dropout(),
    torch.dropout_: _dropout(in_place=True),
    torch.feature_dropout: _dropout(features=True),
    torch.feature_dropout_: _dropout(features=True, in_place=True),
    torch.rand_like: lambda own, x, **options: own._like(x, Tensor.uniform_, **options),
    torch.randn_like: lambda own, x, **options: own._like(x, Tensor.normal_, **options),
}


def global_states() -> tuple[Any, ...]:
    """What the global generators of torch, numpy and Python will give next, comparable."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one is meant
    numpys = (kind, np.asarray(keys).tobytes(), *rest)
    return torch.get_rng_state().numpy().tobytes(), numpys, random.getstate()
