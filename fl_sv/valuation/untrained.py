"""The remark where the untrained models differ: then luck of the initialisation is paid out."""

from collections.abc import Mapping, Sequence

from fl_sv.config import Config
from fl_sv.config.models import Module, Pretrained, model_name
from fl_sv.errors import listed

# The losses of equal outputs differ by no more, as a share: rounding in float64.
EQUAL = 1e-9


def untrained_remarks(config: Config, losses: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """A remark where untrained models differ by size or seed; nothing where they start at zero.

    losses: of each untrained model on the validation set, by seed. They are the utility of nobody.
    """
    models = (*config.models.small, config.models.large)
    if all(isinstance(model, Pretrained) for model in models):
        return ()  # the untrained model of a size is its base, at every seed
    modules = [model_name(model) for model in models if isinstance(model, Module | Pretrained)]
    found = [loss for of_seeds in losses.values() for loss in of_seeds]
    low, high = min(found), max(found)
    if not modules or high - low <= EQUAL * max(abs(low), abs(high)):
        return ()
    return (
        f"The outputs of untrained modules (models.factory, {listed(modules)}) are not zero: by"
        f" size and seed the untrained models have losses between {low:.4f} and {high:.4f}. The"
        " utility of nobody is the mean over seeds, so this luck of the initialisation is paid to"
        " all companies in equal parts. Let the last layer start at zero, or state"
        " law.untrained_loss.",
    )
