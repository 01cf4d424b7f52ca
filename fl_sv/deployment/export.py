"""`fl-sv export`: the model of a run as files for other programs."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import torch

from fl_sv.config.models import PRETRAINED
from fl_sv.deployment.commands import FORMATS
from fl_sv.deployment.load import StoredModel, built
from fl_sv.deployment.raw_rows import OnRawRows
from fl_sv.errors import InputError, RunError, listed, suggestion
from fl_sv.files import replace_whole
from fl_sv.plugins import ANY_ERROR
from fl_sv.training.factories import quoted

EXTRA = ("onnx", "onnxscript", "onnxruntime")  # the packages of fl-sv[export]
ROWS, OUTPUTS = "rows", "outputs"  # input and output of an ONNX model
# Of the largest output: onnxruntime sums in another order than torch.
TOLERANCE = 1e-3


def export(stored: StoredModel, form: str, out: Path) -> tuple[Path, ...]:
    """Writes a model to new files and returns their paths.

    form: `safetensors`, the numbers as they are, with the JSON file that says how the module is
    made; `onnx`, the whole model on raw rows, of any number; `peft`, adapters, in a folder.

    Raises InputError when the model cannot be written like this, or not there.
    """
    match form:
        case "safetensors":
            return _export_safetensors(stored, out)
        case "onnx":
            return (_export_onnx(stored, out),)
        case "peft":
            return _export_peft(stored, out)
    raise InputError(f"There is no format {form!r}. {suggestion(form, FORMATS)}")


def new_file(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file that is not there yet, whole or not at all.

    Raises InputError when something is there, or it cannot be written.
    """
    require_new(path)
    try:
        replace_whole(path, write)
    except OSError as error:
        raise InputError(f"--out {path} cannot be written: {error.strerror or error}.") from None


def require_new(path: Path) -> None:
    """Raises InputError when something is there, or the folder is missing."""
    try:
        is_there, has_folder = path.exists() or path.is_symlink(), path.parent.is_dir()
    except OSError as error:
        raise InputError(f"--out {path} cannot be written: {error.strerror}.") from None
    if is_there:
        raise InputError(f"--out {path} is there already. Give the name of a new file.")
    if not has_folder:
        raise InputError(f"--out {path}: there is no folder {path.parent}. Make it first.")


def _export_safetensors(stored: StoredModel, out: Path) -> tuple[Path, ...]:
    beside = out.with_suffix(".json")
    if out == beside:
        raise InputError(
            f"--out {out}: a JSON file of this name will lie beside the one with the numbers. Give"
            " for example model.safetensors."
        )
    require_new(beside)
    text = stored.record.to_json()
    new_file(out, lambda path: _copy(stored.tensors, path))
    new_file(beside, lambda path: _write(path, text))
    return out, beside


def _copy(source: Path, path: Path) -> None:
    copyfile(source, path)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _export_peft(stored: StoredModel, out: Path) -> tuple[Path, ...]:
    """Writes a new folder as peft's `PeftModel.from_pretrained(base, folder)` reads it."""
    from fl_sv.training.pretrained import Pretrained, quiet

    if stored.record.factory != PRETRAINED or not stored.record.options.get("rank"):
        raise InputError(
            f"--format peft writes adapters, and {stored.record.name} has none: all of its"
            " parameters are its own. Take safetensors or onnx."
        )
    require_new(out)
    module = built(stored).module
    assert isinstance(module, Pretrained)
    if module.head is not None:
        raise InputError(
            f"--format peft: {stored.record.name} has a head of its own beside its adapters. Take"
            " safetensors."
        )
    with TemporaryDirectory(dir=out.parent) as folder, quiet():
        made = Path(folder) / out.name
        module.base.save_pretrained(str(made))
        (made / "README.md").unlink(missing_ok=True)  # peft's own, with nothing in it
        made.rename(out)
    return tuple(sorted(out.iterdir()))


def _export_onnx(stored: StoredModel, out: Path) -> Path:
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise InputError(
            f"--format onnx needs {listed(missing)}; install them with"
            " `pip install 'fl-sv[export]'`."
        )
    require_new(out)
    if any(each.name for each in stored.scaling.task.inputs):
        raise InputError(
            f"--format onnx: {stored.record.name} takes several arrays. Take safetensors."
        )
    model = built(stored)
    with TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        rows = _example(model)
        try:
            with _silence():
                torch.onnx.export(
                    model,
                    (rows,),
                    made,
                    input_names=[ROWS],
                    output_names=[OUTPUTS],
                    dynamic_shapes={ROWS: {0: torch.export.Dim("batch")}},
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except ANY_ERROR as error:
            raise InputError(
                f"{stored.record.name} cannot be written as onnx: {quoted(error)}. Take"
                " safetensors."
            ) from error
        _require_equal(model, made)
        new_file(out, lambda path: _copy(made, path))
    return out


@contextmanager
def _silence() -> Iterator[None]:
    """A context without what torch's exporter tells of its own inside."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _example(model: OnRawRows, rows: int = 3) -> torch.Tensor:
    """Rows around the mean of the run's, as a program would give them."""
    shape = (rows, *model.task.input_shape)
    if model.task.is_whole:
        return (torch.arange(rows) % 2).reshape(rows, *[1] * (len(shape) - 1)).expand(shape)
    spread = torch.linspace(-1, 1, rows).reshape(rows, *[1] * (len(shape) - 1)).expand(shape)
    return (model.mean + model.scale * spread.to(torch.float64)).contiguous()


def _require_equal(model: OnRawRows, path: Path) -> None:
    """Raises RunError unless onnxruntime answers as torch does, on another number of rows."""
    import onnxruntime

    rows = _example(model, 5)
    with torch.no_grad():
        due = model(rows)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUTS], {ROWS: rows.numpy()})
    off = float((torch.from_numpy(found) - due).abs().max())
    if not off <= TOLERANCE * max(float(due.abs().max()), 1.0):
        raise RunError(
            f"The onnx model answers otherwise than the model itself, by {off:.3g}. It was not"
            " written; take safetensors."
        )
