"""validation.npz: the value of each company for each validation example, and the examples' groups.

Shapes: N companies, V validation examples.
"""

import io
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed
from fl_sv.runs import files
from fl_sv.valuation.groups import Groups

_ARRAYS = ("values", "companies", "model")
_WITH_GROUPS = (*_ARRAYS, "group_names", "groups")
_ZIP_END = b"PK\x05\x06"  # and 18 bytes, where a zip file has no comment
_ZIP_BYTES = 1500  # of a zip file with five short names, beside what it holds


def save_validation(
    validation_NV: NDArray[np.float64],
    companies: tuple[str, ...],
    model: str,
    groups: Groups | None = None,
) -> bytes:
    """The bytes of validation.npz."""
    buffer = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {
        "values": validation_NV,
        "companies": np.array(companies),
        "model": np.array(model),
    }
    if groups is not None:
        arrays |= {"group_names": np.array(groups.names), "groups": groups.of_V}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes a name for a flag
    return buffer.getvalue()


def load_validation(data: bytes, n_companies: int) -> NDArray[np.float64]:
    """(N, V) from validation.npz. Raises InputError when it is damaged."""
    value_NV = _validation_arrays(data)["values"]
    if (
        value_NV.dtype != np.float64
        or value_NV.ndim != 2
        or len(value_NV) != n_companies
        or not value_NV.shape[1]
        or not np.isfinite(value_NV).all()
    ):
        raise InputError(
            f"{files.VALIDATION} is damaged: it holds {value_NV.dtype} numbers of shape"
            f" {value_NV.shape}; needed are finite float64 numbers, a row for each of {n_companies}"
            " companies."
        )
    return value_NV


def load_groups(data: bytes, n_examples: int) -> Groups | None:
    """The groups in validation.npz; None where a run of an older version has none.

    Raises InputError when they are damaged.
    """
    arrays = _validation_arrays(data)
    if "groups" not in arrays:
        return None
    names, of_V = arrays["group_names"], arrays["groups"]
    whole = names.ndim == 1 and names.dtype.kind == "U" and of_V.dtype == np.int64
    if not whole or of_V.shape != (n_examples,) or not np.isin(of_V, range(len(names))).all():
        raise InputError(
            f"{files.VALIDATION} is damaged: groups must be a place among group_names for each of"
            f" {n_examples} examples."
        )
    return Groups(tuple(map(str, names.tolist())), of_V)


def validation_labels(data: bytes) -> tuple[tuple[str, ...], str]:
    """Companies and small model that validation.npz is of. Raises InputError when it is damaged."""
    arrays = _validation_arrays(data)
    companies, model = arrays["companies"], arrays["model"]
    if companies.ndim != 1 or model.ndim or {companies.dtype.kind, model.dtype.kind} != {"U"}:
        raise InputError(f"{files.VALIDATION} is damaged: its names are no texts.")
    return tuple(map(str, companies.tolist())), str(model)


def _validation_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of validation.npz, which take no more memory than the file has bytes.

    Raises InputError when it is damaged, or is not written as `save_validation` writes it: it holds
    these arrays as they are, none of them compressed, and nothing beside them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            parts = file.infolist()
            problem = _zip_problem(parts, data)
            names = [] if problem else [part.filename for part in parts]
            found = {name.removesuffix(".npy"): _array(file.read(name)) for name in names}
    except Exception as error:  # zip and numpy raise a dozen kinds for a damaged file
        problem = str(error)
    if problem:
        raise InputError(f"{files.VALIDATION} is damaged: {problem}.")
    return found


def _zip_problem(parts: Sequence[zipfile.ZipInfo], data: bytes) -> str:
    names, stored = [part.filename for part in parts], sum(part.file_size for part in parts)
    if names not in [[f"{name}.npy" for name in arrays] for arrays in (_ARRAYS, _WITH_GROUPS)]:
        return f"it holds {listed(names)}"
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return "it is compressed"
    is_whole = parts[0].header_offset == 0 and data[-len(_ZIP_END) - 18 :].startswith(_ZIP_END)
    return "" if is_whole and 0 <= len(data) - stored <= _ZIP_BYTES else "it holds more than arrays"


def _array(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("its arrays are not of version 1.0 of NumPy's format")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    found, needed = len(data) - stream.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject or found != needed:
        raise ValueError(f"an array of shape {shape} has {found} bytes, not {needed}")
    numbers = np.frombuffer(data, dtype, offset=stream.tell()) if needed else np.empty(0, dtype)
    return numbers.reshape(shape, order="F" if by_column else "C")
