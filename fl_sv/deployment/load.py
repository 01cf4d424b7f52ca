"""Loads a model that came out of a run. Its files are hostile input.

A model's file holds numbers and no code. Its JSON file names the factory of a user's module, which
is imported and called, as a config's is. In a run directory both files must be those that the
ledger signed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fl_sv.config import load_config
from fl_sv.config.models import PRETRAINED, Pretrained, optimizer_of, usual_rate
from fl_sv.config.training import Training
from fl_sv.data import Scaling
from fl_sv.deployment.raw_rows import OnRawRows
from fl_sv.deployment.save import blank_outputs, probe
from fl_sv.errors import InputError, VerificationError, listed
from fl_sv.files import read_text, require_regular, sha256
from fl_sv.plugins import find_modules_in
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory, existing, path_of
from fl_sv.runs.ledger import file_hash, newest, read_ledger
from fl_sv.runs.models import (
    BEST,
    ROUND,
    STUDENT,
    TEACHER,
    ModelRecord,
    best_round,
    files_of,
)
from fl_sv.runs.records import CloseRecord
from fl_sv.runs.tables import read_evidence
from fl_sv.training.factories import quoted
from fl_sv.training.models import ModelSpec
from fl_sv.training.state import TYPES, own_state

SUFFIX = ".safetensors"
MAX_RECORD = 100_000_000  # bytes of a model's JSON file
# Of the largest output of a probe: processors and libraries round otherwise, by far less.
TOLERANCE = 1e-3
Form = Mapping[str, tuple[torch.dtype | None, torch.Size]]


@dataclass(frozen=True)
class StoredModel:
    """A model's two files, read and checked as far as it goes without its module.

    tensors: the path of the file with the numbers.
    """

    record: ModelRecord
    tensors: Path
    scaling: Scaling


def load_model(
    path: str | Path, which: str = TEACHER, config: str | Path | None = None
) -> OnRawRows:
    """The model that came out of a run, as a `torch.nn.Module` in evaluation mode on raw rows.

    It takes rows (B, *input_shape) as the data files hold them, because the scaling is inside, and
    returns (B, K): logits of the K classes; in a regression (K is 1) the target in its own units.
    With `data.inputs` by name it takes a mapping of such arrays; a model that answers at every
    place of a row returns (B, *places, K). Where `data.columns` describes words or dates, rows are
    the features that `fl_sv.data.encoding` makes of them; `fl-sv predict` takes the table itself.

    path: a run directory, or a file that `fl-sv export --format safetensors` wrote.
    which: `teacher`, `student` where one is deployed, and where `teacher.keep` kept them `best` or
        `round-N`. Of an exported file there is only the one in it.
    config: the run's config file. A factory of the user's own must be importable: installed, on
        PYTHONPATH, in the current folder or, where this is given, beside the config. A fine-tuned
        model is made from the folder of its frozen base: where the run had it, or where this says.

    Raises InputError when there is no such model, or it cannot be loaded; VerificationError when a
    file is not what the run's ledger signed.

    >>> load_model("runs/first")(torch.zeros(2, 1, 8, 8)).shape  # doctest: +SKIP
    torch.Size([2, 10])
    """
    find_code(config)
    return built(with_base(stored_model(path, which), config))


def find_code(config: str | Path | None) -> None:
    """Lets a factory lie in the current folder, and beside the config where one is named."""
    if config is not None:
        find_modules_in(Path(config).resolve().parent)
    find_modules_in(Path.cwd())


def with_base(stored: StoredModel, config: str | Path | None) -> StoredModel:
    """The model with its frozen base where the config has it; without one, where the run had it."""
    if config is None or stored.record.factory != PRETRAINED:
        return stored
    models = load_config(config).models
    paths = {
        model.name: model.path
        for model in (*models.small, models.large)
        if isinstance(model, Pretrained)
    }
    options = stored.record.options
    path = paths.get(stored.record.name, options.get("path"))
    record = stored.record.model_copy(update={"options": {**options, "path": path}})
    return replace(stored, record=record)


def stored_model(path: str | Path, which: str = TEACHER) -> StoredModel:
    """The files of a model. Raises as `load_model` does."""
    path = path_of(path, "path")
    if path.is_file():
        return _exported(path, which)
    return _of_run(existing(path), which)


def _of_run(run: RunDirectory, which: str) -> StoredModel:
    """A model of a run directory whose files are those that the ledger signed."""
    names = files_of(which)
    if not run.finished:
        raise InputError(
            f"{run.path} is not a finished run, so it holds no model yet; finish it with `fl-sv run"
            " CONFIG --out DIR --resume`."
        )
    signed = newest(read_ledger(run), CloseRecord).files
    if names.tensors not in signed or names.record not in signed:
        raise InputError(_no_such_model(run, which, [*signed]))
    for name in (names.tensors, names.record):
        if file_hash(run, name) != signed[name]:
            raise VerificationError(
                f"{run.file(name)} was changed after it was signed, so it is not loaded. `fl-sv"
                " verify` names every difference."
            )
    record = ModelRecord.from_json(run.read_text(names.record))
    if which not in (TEACHER, STUDENT):
        curve = read_evidence(run).curve
        found = best_round(curve) if which == BEST else curve[int(which.removeprefix("round-"))]
        record = record.model_copy(
            update={
                "which": which,
                "round": found.number,
                "loss": found.loss,
                "accuracy": found.accuracy,
                "sha256": signed[names.tensors],
                "probe": None,
            }
        )
    elif record.which != which:
        raise InputError(f"{run.file(names.record)} is damaged: it is of a {record.which}.")
    return _checked(record, run.file(names.tensors), run.file(names.record))


def _no_such_model(run: RunDirectory, which: str, signed: list[str]) -> str:
    if files.MODEL not in signed:
        return (
            f"{run.path} holds no model: its run was made by a version of fl-sv that kept none. Run"
            " it again to have one."
        )
    rounds = [Path(name).stem for name in signed if ROUND.fullmatch(Path(name).stem)]
    others = [each for each in (TEACHER, STUDENT, BEST) if files_of(each).tensors in signed]
    others += rounds
    return f"{run.path} holds no model {which!r}; it holds {listed(others)}."


def _exported(path: Path, which: str) -> StoredModel:
    """A model that was exported: its JSON file lies beside it."""
    beside = path.with_suffix(".json")
    if path == beside:
        raise InputError(f"{path} holds no numbers; give the {SUFFIX} file beside it.")
    try:
        text = read_text(beside, MAX_RECORD)
    except FileNotFoundError:
        raise InputError(
            f"{path} has no {beside.name} beside it, which says how the model is made. Give a run"
            " directory, or a file of `fl-sv export --format safetensors` with its JSON file."
        ) from None
    except OSError as error:
        raise InputError(f"{beside} cannot be read: {error.strerror}.") from None
    record = ModelRecord.from_json(text)
    if which not in (TEACHER, record.which):
        raise InputError(f"{path} holds no model {which!r}; it holds {record.which}.")
    return _checked(record, path, beside)


def _checked(record: ModelRecord, tensors: Path, beside: Path) -> StoredModel:
    """Raises InputError unless the two files belong together."""
    try:
        require_regular(tensors)
        found = sha256(tensors)
    except OSError as error:
        raise InputError(f"{tensors} cannot be read: {error.strerror}.") from None
    if found != record.sha256:
        raise InputError(
            f"{tensors} is not the file that {beside.name} describes: its sha256 is {found[:16]}"
            f" and not {record.sha256[:16]}. Export the model again."
        )
    return StoredModel(record, tensors, record.scaling_of())


def built(stored: StoredModel) -> OnRawRows:
    """The module of a stored model with its numbers, in evaluation mode.

    Raises InputError when the module cannot be made, or is not the one that the file is of.
    """
    record, task = stored.record, stored.scaling.task
    dtype: torch.dtype = getattr(torch, record.dtype)
    model, training = record.model, Training()  # it does not train
    spec = ModelSpec(
        record.name,
        model,
        task,
        usual_rate(model, training),
        optimizer_of(model, training),
        dtype,
        record.seed,
    )
    try:
        with safe_open(stored.tensors, framework="pt") as file:
            held = {name: _form(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
            if spec.starts_at_zero:  # built in: nothing is allocated for shapes that do not fit
                _require_same(stored, held, {n: (dtype, s) for n, s in spec.shapes.items()})
            module = copy.deepcopy(_made(stored, spec)).eval()  # whose numbers are nobody else's
            state = own_state(module)
            _require_same(stored, held, {n: (part.dtype, part.shape) for n, part in state.items()})
            with torch.no_grad():
                for name, part in state.items():
                    part.copy_(_finite(file.get_tensor(name), f"{stored.tensors}: {name}"))
    except (SafetensorError, RuntimeError, OverflowError, MemoryError) as error:
        raise InputError(f"{stored.tensors} cannot be loaded: {quoted(error)}.") from None
    _require_same_outputs(stored, probe(blank_outputs(spec, module)))
    return OnRawRows(module, stored.scaling, dtype).eval()


def _made(stored: StoredModel, spec: ModelSpec) -> nn.Module:
    try:
        return spec.module
    except InputError as error:
        if stored.record.factory != PRETRAINED:
            raise
        raise InputError(
            f"{stored.tensors} is of a model that was fine-tuned on a frozen base, and is made from"
            f" the folder of that base. {error} Copy the base's folder to that place, or name a"
            f" config in which `path` of the model {spec.name} says where it is (--config; config="
            " in Python)."
        ) from None


def _form(part: Any) -> tuple[torch.dtype | None, torch.Size]:
    """Type and shape of a tensor of the file, as its header says; no type where torch has none."""
    return TYPES.get(part.get_dtype()), torch.Size(part.get_shape())


def _finite(part: Tensor, where: str) -> Tensor:
    if part.is_floating_point() and not part.isfinite().all():
        raise InputError(f"{where} holds NaN or infinite numbers; no trained model does.")
    return part


def _require_same(stored: StoredModel, held: Form, wanted: Form) -> None:
    """Raises InputError unless the file holds exactly the tensors that the module has."""
    lacking = [name for name in wanted if name not in held]
    foreign = [name for name in held if name not in wanted]
    other = [
        f"{name} is {_shown(held[name])}, and {_shown(wanted[name])} in the module"
        for name in wanted
        if name in held and held[name] != wanted[name]
    ]
    faults = [
        *([f"it lacks {listed(lacking)}"] if lacking else []),
        *([f"the module has no {listed(foreign)}"] if foreign else []),
        *other[:3],
    ]
    if faults:
        record = stored.record
        made = f"the factory {record.factory}" if record.factory else f"the built-in {record.kind}"
        raise InputError(
            f"{stored.tensors} is not of the module that {made} makes here: {'; '.join(faults)}."
            " Load it with the code of the run."
        )


def _shown(form: tuple[torch.dtype | None, torch.Size]) -> str:
    return f"{str(form[0]).removeprefix('torch.')} of shape {tuple(form[1])}"


def _require_same_outputs(stored: StoredModel, found: tuple[tuple[float, ...], ...] | None) -> None:
    """Raises InputError when the module does not answer a probe as it did when it was trained."""
    due = stored.record.probe
    if due is None:
        return
    largest = max((abs(number) for row in due for number in row), default=0.0)
    same = found is not None and [*map(len, found)] == [*map(len, due)]
    if not same or any(
        abs(one - other) > TOLERANCE * max(largest, 1e-6)
        for row, again in zip(due, found or (), strict=True)
        for one, other in zip(row, again, strict=True)
    ):
        raise InputError(
            f"{stored.tensors}: the module of {stored.record.factory or stored.record.kind} gives"
            " other outputs than it gave in the run, with the same numbers in it. Load the model"
            " with the code of the run."
        )
