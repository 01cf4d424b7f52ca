"""Bases with random weights, rows of random tokens, and the models that are timed on them.

Shapes: B rows of a batch; ids are (rows, places).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.command_line import SMOKE
from fl_sv.config import load_config
from fl_sv.config.models import Lora, Pretrained
from fl_sv.config.training import Optimizer
from fl_sv.data import Task
from fl_sv.data.inputs import Input
from fl_sv.training.models import ModelSpec, model_spec
from fl_sv.training.pretrained import quiet
from fl_sv.training.sgd import Recipe
from fl_sv.training.trial import tried

RANK, BATCH, RATE = 4, 32, 0.01
TOKENS = 64  # of the vocabulary


@dataclass(frozen=True)
class Case:
    """A Llama, and where its adapters stand.

    layers: the blocks that have adapters; None for all.
    models: how many coalitions a company trains; of them the loop trains `sample`.
    """

    name: str
    width: int
    blocks: int
    places: int
    layers: tuple[int, ...] | None
    models: int
    sample: int
    steps: int


CASES: Sequence[Case] = (
    Case("small", 32, 3, 32, None, models=32, sample=8, steps=4),
    Case("million", 128, 6, 64, None, models=8, sample=4, steps=2),
    Case("last_block", 128, 6, 64, (5,), models=16, sample=4, steps=2),
)


@dataclass(frozen=True)
class Game:
    """A case, ready to train.

    model: tried, with its form for kept states where it has one.
    folder: of the base. stack: the parameters of all models (C, parameters).
    x, y: the company's rows and targets; the last BATCH of them score.
    """

    case: Case
    model: ModelSpec
    folder: Path
    stack: Tensor
    x: Tensor
    y: Tensor
    recipe: Recipe


def make(case: Case, folder: Path) -> Game:
    """The game of a case; its base is written to the folder."""
    folder = _base(case, folder / case.name)
    n_rows = BATCH * (case.steps + 1)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(TOKENS, (n_rows, case.places + 1), generator=generator)
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    adapter = Lora(kind="lora", rank=RANK, layers=case.layers)
    config = load_config(SMOKE)
    task = Task(
        kind="classification",
        input_shape=(case.places,),
        n_outputs=TOKENS,
        places=(case.places,),
        inputs=(Input(name="", shape=(case.places,), whole=True),),
    )
    pretrained = Pretrained(kind="pretrained", name=case.name, path=str(folder), adapter=adapter)
    model = tried(model_spec(config, pretrained, task), config, x, y)
    # Each coalition comes to the company with adapters of its own.
    noise = torch.randn(case.models, model.n_params, generator=generator)
    stack = model.initial_params(config.seed, 0) + 0.02 * noise
    batches = tuple(np.split(np.arange(BATCH * case.steps), case.steps))
    recipe = Recipe(Optimizer("adamw"), (RATE,) * case.steps, 0.0, batches, torch_seed=0)
    return Game(case, model, folder, stack, x, y, recipe)


def _base(case: Case, folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=case.width,
        intermediate_size=2 * case.width,
        num_hidden_layers=case.blocks,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=case.places,
        tie_word_embeddings=False,
    )
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder
