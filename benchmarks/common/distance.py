"""How far values are from the truth. Shapes: N companies."""

import numpy as np
from numpy.typing import NDArray


def relative_l2(value_N: NDArray[np.float64], truth_N: NDArray[np.float64]) -> float:
    """||value - truth|| / ||truth||."""
    return float(np.linalg.norm(value_N - truth_N) / np.linalg.norm(truth_N))
