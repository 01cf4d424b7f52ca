"""Pretrained transformers of a local folder, frozen, with adapters or a head that are trained.

The folder is in the Hugging Face format: config.json, and the weights in safetensors. Nothing is
downloaded, no code of a folder runs, and no pickle is read. Adapters are peft's. What comes out is
a module like a user's own: the adapters (and a head) have a gradient, the base has none, so the
base stays with every process, is hashed, and never travels (`fl_sv.training.base`).

Shapes: B rows of a batch, K outputs; ids are (B, places).
"""

import copy
import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from fl_sv.errors import InputError, listed
from fl_sv.training.base_folder import CONFIG, description
from fl_sv.training.entrance import HEAD, blocks_of, entering, home
from fl_sv.training.extra import require_extra
from fl_sv.training.one_step import in_one_step

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
DRAWING = "lora_dropout"  # the parts of an adapter that leave numbers out, by peft's name for them


class Pretrained(nn.Module):
    """A frozen base with what is trained beside it.

    From ids (B, places) to logits (B, places, K), or (B, K) with a head.

    The base is always in evaluation mode: it leaves nothing out at random, so that a row's states
    are the same each time. Only an adapter's own dropout draws, in training.

    base: a transformer of the package transformers, or peft's with one inside.
    n_outputs: K.
    head: the new output layer on the mean of the last states; None for the base's own, everywhere.
    text: of its config.json.
    """

    architecture: Tensor  # the hash of config.json: a part of the base as the weights are
    entrance: str | None = None  # the part that kept states enter (`fl_sv.training.entrance`)

    def __init__(self, base: Any, n_outputs: int, head: nn.Linear | None, text: str) -> None:
        super().__init__()
        self.base, self.n_outputs, self.head = base, n_outputs, head
        digest = hashlib.sha256(text.encode()).digest()
        self.register_buffer("architecture", torch.tensor([*digest], dtype=torch.uint8))

    def train(self, mode: bool = True) -> Self:
        """In training mode an adapter's dropout draws; the base stays as it is."""
        super().train(mode)
        self.base.eval()
        for name, part in self.base.named_modules():
            if DRAWING in name:
                part.train(mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with parameters and buffers of its own, or those that `memo` names.

        Every model of a sweep begins with a copy. All else is shared, such as configs: no part of a
        transformer changes it. Python's own copy of it takes 25 ms, which is many steps.
        """
        parts = [*self.modules()]
        memo.update({id(part): type(part).__new__(type(part)) for part in parts})
        for part in parts:
            own = {name: _own(value) for name, value in vars(part).items()}
            for kind in ("_parameters", "_buffers", "_modules"):
                own[kind] = {name: copy.deepcopy(each, memo) for name, each in own[kind].items()}
            vars(memo[id(part)]).update(own)
        copied: Self = memo[id(self)]
        return copied

    def forward(self, rows: Tensor) -> Tensor:
        """rows: ids (B, places), or the states that enter in their place."""
        if self.entrance is None:
            return self._outputs(rows)
        if self.entrance == HEAD:
            assert self.head is not None
            outputs_BK: Tensor = self.head(rows)
            return outputs_BK
        ids = rows.new_zeros(rows.shape[:2], dtype=torch.int64)  # of no consequence
        with entering(self.get_submodule(self.entrance), rows):
            return self._outputs(ids)

    def _outputs(self, ids: Tensor) -> Tensor:
        answer = self.base(input_ids=ids, use_cache=False)
        if self.head is None:
            logits: Tensor = answer.logits
            return logits[..., : self.n_outputs]
        outputs_BK: Tensor = self.head(answer.last_hidden_state.mean(1))
        return outputs_BK


def _own(value: Any) -> Any:
    """The value for a copy of a module: hooks of one must not be hooks of the other."""
    return value.copy() if isinstance(value, dict | list | set) else value


def pretrained(
    input_shape: tuple[int, ...],
    n_outputs: int,
    *,
    path: str,
    task: str,
    rank: int = 0,
    alpha: float | None = None,
    target_modules: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    dropout: float = 0.0,
    average: str = "factors",
) -> Pretrained:
    """The factory of `kind: pretrained`; the options are those of `fl_sv.config.models.Pretrained`.

    rank: of the adapters; 0 for none.

    Raises InputError when the folder holds no such model, or adapters do not fit it.
    """
    folder = Path(path)
    text = description(folder)
    require_extra()
    with quiet():
        base, config = _loaded(folder, task)
        _check_places(config, folder, input_shape, n_outputs, task)
        base.requires_grad_(False)
        if rank:
            base = _adapted(base, rank, alpha, target_modules, layers, dropout, folder)
            if average == "frozen_a":
                _freeze_a(base)
            in_one_step(base, input_shape[0])
    head = _zero_head(config.hidden_size, n_outputs) if task == "head" else None
    return Pretrained(base, n_outputs, head, text)


@contextmanager
def quiet() -> Iterator[None]:
    """A context in which transformers and peft neither use the network nor print."""
    for name in OFFLINE:
        os.environ[name] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield


def _loaded(folder: Path, task: str) -> tuple[nn.Module, Any]:
    """The base with its weights, and its config."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    local = {"local_files_only": True, "trust_remote_code": False}
    kind = AutoModel if task == "head" else AutoModelForCausalLM
    try:
        config = AutoConfig.from_pretrained(str(folder), **local)
        base, found = kind.from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",  # torch's fused one cannot be stacked
            use_safetensors=True,
            output_loading_info=True,
            **local,
        )
    except Exception as error:  # transformers raises a dozen kinds for a damaged folder
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"path: {folder} cannot be loaded as a {task}: {reason}") from None
    if lacking := sorted(found["missing_keys"]):
        raise InputError(
            f"path: the weights in {folder} lack {listed(lacking)}, which {CONFIG} describes. Give"
            " a complete model."
        )
    return base, config


def _check_places(
    config: Any, folder: Path, input_shape: tuple[int, ...], n_outputs: int, task: str
) -> None:
    """Raises InputError unless the base takes such rows and gives such answers."""
    most = getattr(config, "max_position_embeddings", None)
    if len(input_shape) != 1 or (most is not None and input_shape[0] > most):
        raise InputError(
            f"path: the model in {folder} takes rows of at most {most} tokens; these have shape"
            f" {input_shape}. Lower `data.text.places`, or give another model."
        )
    if task == "causal_lm" and n_outputs > config.vocab_size:
        raise InputError(
            f"path: the model in {folder} knows {config.vocab_size:,} tokens, and the tokenizer has"
            f" {n_outputs:,}. Give the tokenizer that the model was trained with"
            " (`data.text.tokenizer`)."
        )


def _adapted(
    base: Any,
    rank: int,
    alpha: float | None,
    target_modules: Sequence[str] | None,
    layers: Sequence[int] | None,
    dropout: float,
    folder: Path,
) -> nn.Module:
    """The base inside peft's model, with adapters beside the layers that are meant."""
    from peft import LoraConfig, get_peft_model

    targets = _targets(base, target_modules, layers, folder)
    options = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets,
        lora_dropout=dropout,
        bias="none",
    )
    try:
        adapted: nn.Module = get_peft_model(base, options)
    except ValueError as error:
        raise InputError(f"adapter: {' '.join(str(error).split())[:300]}") from None
    return adapted


def _targets(
    base: Any, wanted: Sequence[str] | None, layers: Sequence[int] | None, folder: Path
) -> list[str]:
    """The layers that get adapters, as peft takes them: ends of names, or whole names.

    wanted: the ends of their names; None for every linear layer of the blocks.
    layers: the numbers of the blocks; None for all.
    """
    from transformers.pytorch_utils import Conv1D

    output, blocks = base.get_output_embeddings(), blocks_of(base)
    linear = [
        name
        for name, part in base.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and part is not output
    ]
    in_blocks = {name: block for name in linear if (block := home(name, blocks)) is not None}
    if wanted is None:
        meant = [*in_blocks]
    else:
        _require_there(base, wanted, linear, folder)
        meant = [name for name in linear if any(_ends(name, each) for each in wanted)]
    if layers is not None:
        numbers = {block: int(block.rpartition(".")[2]) for block in blocks}
        most = max(numbers.values(), default=-1)
        if beyond := [each for each in layers if each > most]:
            raise InputError(
                f"adapter.layers: {beyond[0]} given, and the model in {folder} has the blocks 0 to"
                f" {most}."
            )
        meant = [name for name in meant if name in in_blocks and numbers[in_blocks[name]] in layers]
    ends = sorted({name.rpartition(".")[2] for name in meant}) if wanted is None else [*wanted]
    are_all = all(name in meant for name in linear if any(_ends(name, each) for each in ends))
    return ends if are_all else meant


def _require_there(base: Any, wanted: Sequence[str], linear: Sequence[str], folder: Path) -> None:
    """Raises InputError when a layer that is wanted is not there, or is the output layer."""
    output = base.get_output_embeddings()
    heads = [name for name, part in base.named_modules() if part is output and name]
    there = sorted({name.rpartition(".")[2] for name in linear})
    for each in wanted:
        if any(_ends(name, each) for name in heads):
            raise InputError(
                f"adapter.target_modules: {each!r} is the output layer of the model in {folder},"
                f" which stays frozen and has no adapter. Allowed are {listed(there)}."
            )
        if not any(_ends(name, each) for name in linear):
            raise InputError(
                f"adapter.target_modules: {each!r} is no layer of the model in {folder}. There are"
                f" {listed(there)}."
            )


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _freeze_a(adapted: nn.Module) -> None:
    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name:
            parameter.requires_grad_(False)


def _zero_head(width: int, n_outputs: int) -> nn.Linear:
    head = nn.Linear(width, n_outputs)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head
