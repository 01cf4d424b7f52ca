"""Hints: a student's hidden features match the teacher's (FitNets, Romero et al. 2015).

The features differ in width, so a regressor stands between them. It is trained with the student, so
the optimiser needs its parameters, too. In a federation it is averaged like the student's other
parameters, or stays with its company.

Shapes: B rows of a batch; features are (B, width), or images (B, channels, height, width).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from fl_sv.distillation.checks import reals, same_shape
from fl_sv.errors import InputError


def hint(features: Tensor, teacher_features: Tensor) -> Tensor:
    """(B,) mean squared difference of the student's features from the teacher's.

    The student's have gone through the regressor. Any axes may follow the first. The published
    weight is 100. Raises InputError for bad input or different shapes.
    """
    s, t = (
        reals(features, "features", "*"),
        reals(teacher_features, "teacher_features", "*").detach(),
    )
    same_shape(s, t, "features and teacher_features")
    return ((s - t.to(s.dtype)) ** 2).reshape(len(s), -1).mean(1)


def cosine(features: Tensor, teacher_features: Tensor) -> Tensor:
    """(B,) 1 - cos of the angle between features (B, width), the third term of DistilBERT.

    Raises InputError for bad input.
    """
    s, t = (
        reals(features, "features", "BF"),
        reals(teacher_features, "teacher_features", "BF").detach(),
    )
    same_shape(s, t, "features and teacher_features")
    return 1 - functional.cosine_similarity(s, t.to(s.dtype), dim=1)


def regressor(features_shape: Sequence[int], teacher_shape: Sequence[int]) -> nn.Module:
    """A layer from the student's features to the teacher's: linear, or a convolution.

    features_shape, teacher_shape: without the rows. The student's image may be of the teacher's
    size, larger, or half of it. Raises InputError when no such layer exists.
    """
    match tuple(features_shape), tuple(teacher_shape):
        case (width,), (teacher_width,):
            return nn.Linear(width, teacher_width)
        case (channels, height, width), (out, out_height, out_width):
            if (2 * height, 2 * width) == (out_height, out_width):
                return nn.ConvTranspose2d(channels, out, kernel_size=4, stride=2, padding=1)
            if height >= out_height and width >= out_width:
                return nn.Conv2d(
                    channels, out, kernel_size=(1 + height - out_height, 1 + width - out_width)
                )
    raise InputError(
        f"no regressor leads from features of shape {tuple(features_shape)} to"
        f" {tuple(teacher_shape)}; both must be vectors, or images of which the student's is as"
        " large, larger, or half as large."
    )
