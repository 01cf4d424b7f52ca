"""Kept states: what a pretrained model's frozen blocks make of the rows of one holder, once.

A model that goes on from states (`fl_sv.training.entrance`) is given them in place of the rows, by
all coalitions, rounds and seeds, in training and in scoring. They are in memory up to a bound of
the process (`compute.states_megabytes`), and beyond it in a file without a name in the system's
folder for such files (TMPDIR), which is gone with the process, however that ends.
"""

import math
import tempfile
import weakref
from collections.abc import Iterator
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from fl_sv.errors import RunError
from fl_sv.training.entrance import states_of
from fl_sv.training.models import ModelSpec, as_tensor

ROWS_AT_ONCE = 32  # as many as a usual batch: the blocks' activations of these are in memory


class KeptStates:
    """The rows of one holder as each model is given them.

    x: the rows, (n, *input_shape).
    megabytes: of memory for states in this process, of all holders in it.
    """

    def __init__(self, x: Tensor, megabytes: float) -> None:
        self._x, self._most = x, int(megabytes * 1e6)
        self._states: dict[str, Tensor] = {}
        self._lock = Lock()

    def given_to(self, model: ModelSpec) -> tuple[ModelSpec, Tensor]:
        """The model that trains and scores, and what it is given: the rows, or their states.

        Raises RunError when the states have no room on the disk.
        """
        if model.from_states is None:
            return model, self._x
        with self._lock:
            if model.name not in self._states:
                self._states[model.name] = self._computed(model, model.from_states)
            return model.from_states, self._states[model.name]

    def _computed(self, model: ModelSpec, goes_on: ModelSpec) -> Tensor:
        assert goes_on.entrance is not None
        shape = (len(self._x), *goes_on.entrance.shape)
        blocks = row_states(model, self._x)
        if not _MEMORY.takes(n_bytes := math.prod(shape) * model.dtype.itemsize, self._most):
            return _on_disk(blocks, shape)
        states = torch.cat([*blocks])
        weakref.finalize(states, _MEMORY.gives_back, n_bytes)
        return states


def row_states(model: ModelSpec, x: Tensor) -> Iterator[Tensor]:
    """The states (B, ...) of the rows, block by block. model: it has a form `from_states`."""
    assert model.from_states is not None and model.from_states.entrance is not None
    part = model.from_states.entrance.part
    module = model.fresh(x.device)
    for rows in torch.split(x, ROWS_AT_ONCE):
        yield states_of(module, part, model.inputs(rows))


def _on_disk(blocks: Iterator[Tensor], shape: tuple[int, ...]) -> Tensor:
    """The states in a file; the system keeps in memory what was read of it and fits."""
    try:
        with tempfile.TemporaryFile() as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block.cpu().numpy()).data)
            file.flush()
            kind = block.cpu().numpy().dtype
            return as_tensor(np.memmap(file, kind, "r", shape=shape))
    except OSError as error:
        raise RunError(
            f"The rows' states cannot be written to {tempfile.gettempdir()}: {error.strerror}. They"
            " take what `fl-sv plan` says: set TMPDIR to a folder with room for them, or"
            " compute.states_megabytes to 0, so that none are kept."
        ) from error


class _Memory:
    """The memory of this process that states take, of all holders in it."""

    def __init__(self) -> None:
        self._taken, self._lock = 0, Lock()

    def takes(self, n_bytes: int, most: int) -> bool:
        """Whether so many more bytes stay within the bound; then they are taken."""
        with self._lock:
            fits = self._taken + n_bytes <= most
            self._taken += n_bytes * fits
            return fits

    def gives_back(self, n_bytes: int) -> None:
        with self._lock:
            self._taken -= n_bytes


_MEMORY = _Memory()
