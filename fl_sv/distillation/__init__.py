"""Knowledge distillation: losses by name, methods beyond logits, transfer sets, and training with
them.

`fl_sv.distillation.loss(name, **options)` is what a config needs; docs/distillation.md lists
everything with formulas."""

from fl_sv.distillation.boundary import base_rows, base_scores, bss, bss_weights, draw_targets
from fl_sv.distillation.density import implied
from fl_sv.distillation.derivatives import jacobian_matching, second_order, sobolev, unit_directions
from fl_sv.distillation.generalist import active_specialists, dustbin_correction, specialists
from fl_sv.distillation.generator import dafl, generated
from fl_sv.distillation.hints import cosine, hint, regressor
from fl_sv.distillation.inversion import agreement, inverted, moment_distance
from fl_sv.distillation.losses import LOSSES, Loss, loss, objective
from fl_sv.distillation.noise import perturb
from fl_sv.distillation.peers import mutual
from fl_sv.distillation.recipes import (
    attention,
    attention_layers,
    distilbert,
    hidden_layers,
    tinybert,
)
from fl_sv.distillation.teachers import entropy_reduction, multi_teacher
from fl_sv.distillation.training import Schedule, chain, distil, learn_together, minimise
from fl_sv.distillation.transfer import (
    TransferSet,
    gaussian,
    held_out,
    own,
    public,
    shifted,
    uniform,
)
from fl_sv.distillation.transformer import Encoder, States, initialise_from

__all__ = [
    "LOSSES",
    "Encoder",
    "Loss",
    "Schedule",
    "States",
    "TransferSet",
    "active_specialists",
    "agreement",
    "attention",
    "attention_layers",
    "base_rows",
    "base_scores",
    "bss",
    "bss_weights",
    "chain",
    "cosine",
    "dafl",
    "distil",
    "distilbert",
    "draw_targets",
    "dustbin_correction",
    "entropy_reduction",
    "gaussian",
    "generated",
    "held_out",
    "hidden_layers",
    "hint",
    "implied",
    "initialise_from",
    "inverted",
    "jacobian_matching",
    "learn_together",
    "loss",
    "minimise",
    "moment_distance",
    "multi_teacher",
    "mutual",
    "objective",
    "own",
    "perturb",
    "public",
    "regressor",
    "second_order",
    "shifted",
    "sobolev",
    "specialists",
    "tinybert",
    "uniform",
    "unit_directions",
]
