"""`fl-sv predict`: the model of a run answers the raw rows of a file.

Shapes: B rows of a block, K outputs.
"""

from collections.abc import Iterator, Sequence
from csv import writer
from io import StringIO
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from fl_sv.config.columns import Label
from fl_sv.data.raw import RawRows
from fl_sv.data.unlabelled import read_unlabelled
from fl_sv.deployment.export import new_file
from fl_sv.deployment.load import StoredModel
from fl_sv.deployment.raw_rows import OnRawRows
from fl_sv.errors import InputError, RunError
from fl_sv.plugins import ANY_ERROR
from fl_sv.training.factories import quoted

BLOCK = 1 << 22  # numbers in the rows that are answered at once


def read_raw_rows(path: str, stored: StoredModel) -> RawRows:
    """The rows of a .npz, .csv or .parquet file, in the order and shape that the model takes.

    Raises InputError when the file is not of the model's rows, or a number in it is out of range.
    """
    record = stored.record
    one_answer = (stored.scaling.task.n_outputs,)
    if record.output_shape != one_answer:
        raise InputError(
            f"{record.name} answers a row with numbers of shape {record.output_shape}, and a line"
            f" of the table holds one answer, of shape {one_answer}. Take `fl_sv.load_model`."
        )
    ignored = tuple(name for name in (record.target, record.owner) if name is not None)
    return read_unlabelled(path, stored.scaling, ignored, record.csv, record.columns)


def prediction_lines(
    model: OnRawRows, raw: RawRows, labels: Sequence[str] = (), block: int = BLOCK
) -> Iterator[str]:
    """The lines of a CSV table, in blocks: `prediction`, and for classes the share `p_0 ...` each.

    The prediction is the number of the likeliest class, or the target in its own units.

    labels: the texts of the classes, where the run's config has them: they stand for their numbers.
    block: numbers in the rows that are answered at once.

    Raises RunError when the model does not answer with finite numbers.
    """
    is_class = model.task.kind == "classification"
    shares = [f"p_{k}" for k in range(model.task.n_outputs)] if is_class else []
    yield ",".join(["prediction", *shares]) + "\n"
    rows = max(1, block // prod(model.task.input_shape))
    for start in range(0, len(raw), rows):
        outputs_BK = _outputs(model, torch.tensor(raw.x[start : start + rows]), raw, start)
        lines = StringIO()
        table = writer(lines, lineterminator="\n")
        if is_class:
            likeliest = outputs_BK.argmax(1).tolist()
            shares_BK = outputs_BK.softmax(1).tolist()
            table.writerows(
                [labels[k] if labels else k, *row]
                for k, row in zip(likeliest, shares_BK, strict=True)
            )
        else:
            table.writerows(outputs_BK[:, :1].tolist())
        yield lines.getvalue()


def labels_of(stored: StoredModel) -> tuple[str, ...]:
    """The texts of the classes, in their order; empty where the run's config has none."""
    target = stored.record.columns.get(stored.record.target)
    return target.classes if isinstance(target, Label) else ()


def _outputs(model: OnRawRows, rows: Tensor, raw: RawRows, start: int) -> Tensor:
    """The outputs (B, K) in float64; minus infinity is a class that the model rules out."""
    try:
        with torch.no_grad():
            outputs_BK: Tensor = model(rows).to(torch.float64)
    except ANY_ERROR as error:
        raise RunError(f"{raw.origin}: the model cannot answer: {quoted(error)}.") from error
    bad = (outputs_BK.isnan() | (outputs_BK == torch.inf)).any(1).nonzero()
    if len(bad):
        row = start + int(bad[0])
        raise RunError(f"{raw.place(row)}: the model's answer is no finite number.")
    return outputs_BK


def write_predictions(lines: Iterator[str], out: Path) -> None:
    """Writes the table to a new file, whole or not at all. Raises InputError when it cannot."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(lines)

    new_file(out, write)
