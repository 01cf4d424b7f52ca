"""The base of a model: what its module holds and no company trains.

These are the parameters with `requires_grad=False` and the buffers. The base never travels: every
process makes it by the factory, and the companies' hashes are compared before anything trains. The
frozen parameters are one set of tensors a process, which all copies of a module share.
"""

import copy
import hashlib
from functools import lru_cache

import torch
from torch import Tensor, nn

NO_BASE = hashlib.sha256(b"").hexdigest()


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a company may change, by name: a model's flat vector holds them."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def flat(module: nn.Module) -> Tensor:
    """The trainable parameters as one vector, a copy of them."""
    return nn.utils.parameters_to_vector(trainable(module).values()).detach()


def copied(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the module on the device; frozen parameters are shared by all copies there."""
    return copy.deepcopy(module, dict(_shared_on(module, device))).to(device)


def hollow(module: nn.Module, device: torch.device) -> nn.Module:
    """A copy on the device whose trainable parameters have shapes and no memory: fill them.

    Built-in models are copied from one on the device meta, so that the numbers that come in are the
    only ones in memory.
    """
    holes = {
        id(p): nn.Parameter(torch.zeros((), dtype=p.dtype, device=device).expand(p.shape))
        for p in trainable(module).values()
    }
    return copy.deepcopy(module, {**_shared_on(module, device), **holes}).to(device)


@lru_cache(maxsize=8)
def _shared_on(module: nn.Module, device: torch.device) -> dict[int, nn.Parameter]:
    """The frozen parameters on the device, by the identity of the module's own."""
    frozen = [p for p in module.parameters() if not p.requires_grad]
    return {id(p): nn.Parameter(p.detach().to(device), requires_grad=False) for p in frozen}


def base_digests(module: nn.Module) -> dict[str, str]:
    """The sha256 of each part of the base, over name, type, shape and bytes.

    Buffers that are no part of a module's state (`persistent=False`) are left out: code computes
    them, and their last bit may depend on the processor.
    """
    ours = {name for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}
    state = module.state_dict()
    return {
        name: _digest(name, part)
        for name, part in sorted(state.items())
        if name not in ours and isinstance(part, Tensor)
    }


@lru_cache(maxsize=32)
def base_sha256(module: nn.Module) -> str:
    """One hash of the whole base; that of a module without a base is NO_BASE.

    A module is hashed once: what changes its base later is refused (`fl_sv.training.trial`).
    """
    return hashlib.sha256("".join(base_digests(module).values()).encode()).hexdigest()


def _digest(name: str, part: Tensor) -> str:
    digest = hashlib.sha256(f"{name} {part.dtype} {tuple(part.shape)} ".encode())
    digest.update(part.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
