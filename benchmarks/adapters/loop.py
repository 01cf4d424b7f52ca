"""The loop that a user of torch and peft writes: one coalition's adapters after the other's."""

import torch
from torch import Tensor, nn

from benchmarks.adapters.cases import RANK, Game
from fl_sv.training.pretrained import quiet

# Every linear layer of a Llama's block.
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class PeftLoop:
    """One model of peft, whose adapters are set, trained and read for each coalition.

    Attention is what transformers chooses; the optimiser is torch's own, its foreach form.
    """

    def __init__(self, game: Game) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        self.game = game
        options = LoraConfig(
            r=RANK,
            lora_alpha=2 * RANK,
            target_modules=[*LAYERS],
            layers_to_transform=None if game.case.layers is None else [*game.case.layers],
        )
        with quiet():
            base = AutoModelForCausalLM.from_pretrained(game.folder, dtype=torch.float32)
            self.model = get_peft_model(base, options)
        self.adapters = [p for p in self.model.parameters() if p.requires_grad]

    def train(self, params: Tensor) -> Tensor:
        """The adapters of one coalition after the company's steps, as a flat vector."""
        recipe = self.game.recipe
        nn.utils.vector_to_parameters(params.clone(), self.adapters)
        self.model.train()
        optimizer = torch.optim.AdamW(
            self.adapters,
            lr=recipe.rates[0],
            betas=recipe.optimizer.betas,
            eps=recipe.optimizer.eps,
            weight_decay=recipe.optimizer.weight_decay,
            foreach=True,
        )
        for rows in recipe.batches:
            optimizer.zero_grad(set_to_none=True)
            self._loss(self.game.x[rows], self.game.y[rows]).backward()
            optimizer.step()
        return nn.utils.parameters_to_vector(self.adapters).detach().clone()

    def loss(self, params: Tensor, x: Tensor, y: Tensor) -> float:
        """The mean loss of one coalition's adapters on these rows."""
        nn.utils.vector_to_parameters(params.clone(), self.adapters)
        self.model.eval()
        with torch.no_grad():
            return float(self._loss(x, y))

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.model(input_ids=x, use_cache=False).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
