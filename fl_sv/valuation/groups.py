"""Groups of the validation examples, so that a value can be divided by what it is good for.

Shapes: V validation examples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of every validation example.

    names: of the groups, in their order. of_V: (V,) the place of each example's group in `names`.
    """

    names: tuple[str, ...]
    of_V: NDArray[np.int64]


def groups_of(target_V: NDArray[Any], *, classes: bool) -> Groups:
    """The examples by class, or by quarter of the target.

    target_V: (V,) labels of a classification, or targets of a regression. Equal targets are in one
        quarter.
    classes: whether the targets are labels.

    >>> groups_of(np.array([3, 1, 3]), classes=True)
    Groups(names=('1', '3'), of_V=array([1, 0, 1]))
    """
    if classes:
        labels, of_V = np.unique(target_V, return_inverse=True)
        return Groups(tuple(str(int(label)) for label in labels), of_V.astype(np.int64))
    ends = np.quantile(target_V, [0.25, 0.5, 0.75])
    return Groups(QUARTERS, np.searchsorted(ends, target_V, side="left").astype(np.int64))
