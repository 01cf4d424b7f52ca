"""Knowledge distillation: losses by name, transfer sets, training with them, and further methods.

`fl_sv.distillation.loss(name, **options)` is what a config needs; docs/distillation.md lists all
with formulas. The modules here serve runs; `methods` is a library that no run uses. A name is
loaded when it is asked for, so that a company's process starts with no more than it needs.

>>> from fl_sv import distillation
>>> import torch
>>> far = distillation.loss("logit_l2")
>>> far(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
tensor([0.5000])
"""

import typing as _typing
from importlib import import_module as _import_module

if _typing.TYPE_CHECKING:
    from fl_sv.distillation.density import implied
    from fl_sv.distillation.generator import dafl, generated
    from fl_sv.distillation.inversion import agreement, inverted, moment_distance
    from fl_sv.distillation.losses import LOSSES, Loss, loss, objective
    from fl_sv.distillation.methods.assistants import chain
    from fl_sv.distillation.methods.boundary import (
        base_rows,
        base_scores,
        bss,
        bss_weights,
        draw_targets,
    )
    from fl_sv.distillation.methods.derivatives import (
        jacobian_matching,
        second_order,
        sobolev,
        unit_directions,
    )
    from fl_sv.distillation.methods.hints import cosine, hint, regressor
    from fl_sv.distillation.methods.mutual import learn_together, mutual
    from fl_sv.distillation.methods.recipes import (
        attention,
        attention_layers,
        distilbert,
        hidden_layers,
        tinybert,
    )
    from fl_sv.distillation.methods.specialists import (
        active_specialists,
        dustbin_correction,
        specialists,
    )
    from fl_sv.distillation.methods.teachers import entropy_reduction, multi_teacher
    from fl_sv.distillation.methods.transformer import Encoder, States, initialise_from
    from fl_sv.distillation.noise import perturb
    from fl_sv.distillation.training import Schedule, distil, minimise
    from fl_sv.distillation.transfer import (
        TransferSet,
        gaussian,
        held_out,
        own,
        public,
        shifted,
        uniform,
    )

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

_MODULES = {
    "losses": (
        "LOSSES",
        "Loss",
        "loss",
        "objective",
    ),
    "noise": ("perturb",),
    "training": (
        "Schedule",
        "distil",
        "minimise",
    ),
    "transfer": (
        "TransferSet",
        "gaussian",
        "held_out",
        "own",
        "public",
        "shifted",
        "uniform",
    ),
    "inversion": (
        "agreement",
        "inverted",
        "moment_distance",
    ),
    "generator": (
        "dafl",
        "generated",
    ),
    "density": ("implied",),
    "methods.assistants": ("chain",),
    "methods.boundary": (
        "base_rows",
        "base_scores",
        "bss",
        "bss_weights",
        "draw_targets",
    ),
    "methods.derivatives": (
        "jacobian_matching",
        "second_order",
        "sobolev",
        "unit_directions",
    ),
    "methods.hints": (
        "cosine",
        "hint",
        "regressor",
    ),
    "methods.mutual": (
        "learn_together",
        "mutual",
    ),
    "methods.recipes": (
        "attention",
        "attention_layers",
        "distilbert",
        "hidden_layers",
        "tinybert",
    ),
    "methods.specialists": (
        "active_specialists",
        "dustbin_correction",
        "specialists",
    ),
    "methods.teachers": (
        "entropy_reduction",
        "multi_teacher",
    ),
    "methods.transformer": (
        "Encoder",
        "States",
        "initialise_from",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> _typing.Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fl_sv.distillation' has no attribute {name!r}")
    return getattr(_import_module(f"fl_sv.distillation.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
