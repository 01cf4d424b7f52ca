"""Writes the models of a run: their numbers by torch's names, and what makes a module of them."""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from fl_sv.config import Config
from fl_sv.config.models import Module
from fl_sv.data import Scaling
from fl_sv.files import sha256
from fl_sv.machine import software
from fl_sv.plugins import ANY_ERROR
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.models import ModelRecord, files_of, model_facts
from fl_sv.training.factories import blank_rows
from fl_sv.training.models import ModelSpec
from fl_sv.training.state import own_state

PROBED = 32  # outputs of each probe, at most
NOTHING = hashlib.sha256().hexdigest()  # the hash of a base without parts


def save_tensors(run: RunDirectory, which: str, spec: ModelSpec, params: Tensor) -> None:
    """Writes the file with the numbers of a model: parameters and buffers by torch's names.

    which: the model's name in the run. params: its flat vector, on the CPU.

    Tensors are written from where they lie in the vector, so that no second copy is made.
    """
    tensors = named_tensors(spec, params)
    folder = run.file(files.WRITING)  # safetensors writes by files of its own beside the new one

    def write(path: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        new = folder / "new"
        path.touch()
        try:
            save_file(tensors, new, {"format": "pt"})
        except SafetensorError as error:  # of its Rust part, also where the disk is full
            raise OSError(str(error)) from error
        new.chmod(path.stat().st_mode)  # as every other file; safetensors' is the owner's alone
        new.replace(path)
        folder.rmdir()

    run.write_by(files_of(which).tensors, write)


def save_record(
    run: RunDirectory,
    which: str,
    spec: ModelSpec,
    params: Tensor,
    *,
    config: Config,
    scaling: Scaling,
    number: int | None,
    loss: float,
    accuracy: float | None,
) -> None:
    """Writes the JSON file of a model whose numbers are written.

    number: the teacher's round; None for a student. loss, accuracy: on the validation set.
    """
    names, task = files_of(which), scaling.task
    module = spec.loaded(params)
    outputs = blank_outputs(spec, module)
    record = ModelRecord(
        which=which,
        input_shape=task.input_shape,
        output_shape=task.output_shape if outputs is None else tuple(outputs.shape[1:]),
        classes=task.n_outputs if task.kind == "classification" else None,
        scaling=json.loads(scaling.to_json()),
        round=number,
        loss=loss,
        accuracy=accuracy,
        trainable=spec.n_params,
        parameters=spec.n_params_in_all,
        base_sha256=None if spec.base_sha256 == NOTHING else spec.base_sha256,
        sha256=sha256(run.file(names.tensors)),
        software=software(),
        probe=probe(outputs),
        **model_facts(config, spec.config),
    )
    run.write_text(names.record, record.to_json())


def named_tensors(spec: ModelSpec, params: Tensor) -> dict[str, Tensor]:
    """The tensors of a model by torch's names.

    They are the parameters in the vector, as views of it, and the base of a user's module. A tensor
    that a module holds under two names stands under the first.
    """
    tensors = {name: view[0] for name, view in spec.views(params.to(spec.dtype)[None]).items()}
    if isinstance(spec.config, Module):
        for name, part in own_state(spec.module).items():
            if name not in tensors:
                # A view of a larger tensor is copied, since a file holds whole ones.
                is_view = part.untyped_storage().nbytes() != part.nbytes
                tensors[name] = (part.detach().clone() if is_view else part.detach()).contiguous()
    return tensors


def blank_outputs(spec: ModelSpec, module: nn.Module) -> Tensor | None:
    """The outputs (2, ...) for a row of zeros and a row of ones, as the module takes rows.

    None where the module does not take them.
    """
    rows = blank_rows(spec.task, 2, spec.dtype)
    rows[1] = 1
    try:
        with torch.no_grad():
            outputs: Tensor = module.eval()(spec.inputs(rows))
    except ANY_ERROR:
        return None
    return outputs


def probe(outputs: Tensor | None) -> tuple[tuple[float, ...], ...] | None:
    """The first of these outputs of each row; None where there are none, or one is not finite."""
    if outputs is None or not outputs.isfinite().all():
        return None
    return tuple(map(tuple, outputs.reshape(len(outputs), -1)[:, :PROBED].tolist()))
