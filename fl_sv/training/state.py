"""The tensors of a module by torch's names, as a file of the format safetensors holds them."""

import torch
from torch import Tensor, nn

# The types that such a file has, by its names for them.
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers, themselves and no copies.

    A parameter that a module holds under two names stands under the first. Buffers that are no part
    of a module's state (`persistent=False`) are left out: the module computes them when it is made.
    """
    state = module.state_dict()
    lasting = {name: part for name, part in module.named_buffers() if name in state}
    return {**dict(module.named_parameters()), **lasting}


def unsaved(module: nn.Module) -> str | None:
    """What a file cannot hold of the module, as a part of a sentence; None where it holds all."""
    for name, part in own_state(module).items():
        if part.dtype not in TYPES.values():
            return f"{name} of {str(part.dtype).removeprefix('torch.')} numbers"
        if part.layout != torch.strided or part.is_quantized:
            return f"{name}, which is sparse or quantised"
    return None
