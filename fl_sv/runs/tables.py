"""The tables of a run, written and read: CSV, and validation.npz.

On one machine, equal config and seed give `utilities.csv`, `valuation.json` and `payouts.csv` the
same bytes.

Shapes: N companies, V validation examples.
"""

import csv
import io
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from fl_sv.config.base import CompanyName
from fl_sv.config.models import model_name
from fl_sv.design.rates import TriedRate, TriedRates, rates_to_try
from fl_sv.errors import InputError, listed
from fl_sv.game.averaged import read_averaged
from fl_sv.game.csv import read_table
from fl_sv.game.utilities import read_utilities
from fl_sv.numbers import decimal_number, whole_number
from fl_sv.payment.settlement import Evidence, StudentLoss, TeacherLoss
from fl_sv.runs import files
from fl_sv.runs.cost import CostRecord
from fl_sv.runs.directory import RunFiles
from fl_sv.runs.records import LawRecord
from fl_sv.valuation.appraise import shapley_weighting
from fl_sv.valuation.records import Valuation

COMPANY_COLUMNS = ("company", "examples", "fingerprint")
NOBODY = ""  # in companies.csv the owner of rows that belong to no company
TEACHER_COLUMNS = ("round", "loss", "accuracy")
RATE_COLUMNS = (
    "model",
    "learning_rate",
    "status",
    "rounds",
    "company",
    "rows",
    "untrained_loss",
    "loss",
    "chosen",
)
STUDENT_COLUMNS = tuple(field.name for field in fields(StudentLoss))
_ARRAYS = ("values", "companies", "model")  # of validation.npz
_ZIP_BYTES = 1000  # of a zip file with three short names, beside what it holds
_COMPANY = TypeAdapter(CompanyName)
Number = TypeVar("Number", int, float)


def read_evidence(run: RunFiles) -> Evidence:
    """The evidence of a finished run, from its tables alone.

    Raises InputError when a table is missing or damaged.
    """
    config = run.config
    examples, fingerprints, rows_left_out = read_companies(run)
    if tuple(examples) != config.companies:
        raise InputError(
            f"{run.file(files.COMPANIES)}: the companies are not those of {files.CONFIG}."
        )
    table = read_utilities(run.file(files.UTILITIES), config.companies)
    models = tuple(map(model_name, (*config.models.small, config.models.large)))
    if table.models != models:
        raise InputError(
            f"{run.file(files.UTILITIES)}: the models are {listed(table.models)}; by"
            f" {files.CONFIG} they are {listed(models)}."
        )
    return Evidence(
        config=config,
        table=table,
        sizes=read_law(run).sizes,
        examples=examples,
        fingerprints=fingerprints,
        weighting=shapley_weighting(config, table),
        validation_NV=load_validation(run.read_bytes(files.VALIDATION), config.n_companies),
        curve=_read_teacher(run),
        averaged=read_averaged(run.file(files.AVERAGED), table)
        if run.has(files.AVERAGED)
        else None,
        student=None if config.deployed is None else _read_student(run),
        rows_left_out=rows_left_out,
        rates=read_rates(run) if config.tries_rates else None,
    )


def read_law(run: RunFiles) -> LawRecord:
    """The content of law.json. Raises InputError when it is missing or damaged."""
    return LawRecord.from_json(run.read_text(files.LAW))


def read_cost(run: RunFiles) -> CostRecord:
    """The content of cost.json. Raises InputError when it is missing or damaged."""
    return CostRecord.from_json(run.read_text(files.COST))


def read_valuation(run: RunFiles) -> Valuation:
    """The content of valuation.json. Raises InputError when it is missing or damaged."""
    return Valuation.from_json(run.read_text(files.VALUATION))


def companies_csv(evidence: Evidence) -> str:
    """The text of companies.csv. Rows that were left out stand last, under no company's name."""
    rows = [
        [name, evidence.examples[name], evidence.fingerprints[name]]
        for name in evidence.config.companies
    ]
    if evidence.rows_left_out:
        rows.append([NOBODY, evidence.rows_left_out, ""])
    return _csv(COMPANY_COLUMNS, rows)


def teacher_csv(evidence: Evidence) -> str:
    """The text of teacher.csv."""
    rows = [
        [p.number, repr(p.loss), "" if p.accuracy is None else repr(p.accuracy)]
        for p in evidence.curve
    ]
    return _csv(TEACHER_COLUMNS, rows)


def rates_csv(rates: TriedRates) -> str:
    """The text of rates.csv: a line for each model and each learning rate that was tried."""
    rows = [
        [
            each.model,
            repr(each.rate),
            each.status,
            each.rounds,
            each.company,
            rates.rows,
            repr(each.untrained_loss),
            "" if each.loss is None else repr(each.loss),
            "yes" if rates.takes(each) else "no",
        ]
        for each in rates.tried
    ]
    return _csv(RATE_COLUMNS, rows)


def student_csv(student: StudentLoss) -> str:
    """The text of student.csv."""
    return _csv(
        STUDENT_COLUMNS, [["" if value is None else value for value in asdict(student).values()]]
    )


def _csv(header: Sequence[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def read_companies(run: RunFiles) -> tuple[dict[str, int], dict[str, str], int]:
    """Examples and fingerprint of each company, as registered, and how many rows were left out."""
    examples: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for row, where in read_table(run.file(files.COMPANIES), COMPANY_COLUMNS):
        company = row["company"]
        examples[company], fingerprints[company] = (
            _number(whole_number, row["examples"], where),
            row["fingerprint"],
        )
    fingerprints.pop(NOBODY, None)
    return examples, fingerprints, examples.pop(NOBODY, 0)


def _read_teacher(run: RunFiles) -> tuple[TeacherLoss, ...]:
    path = run.file(files.TEACHER)
    curve = tuple(
        TeacherLoss(
            _number(whole_number, row["round"], where),
            _number(decimal_number, row["loss"], where),
            _number(decimal_number, row["accuracy"], where) if row["accuracy"] else None,
        )
        for row, where in read_table(path, TEACHER_COLUMNS)
    )
    if not curve:
        raise InputError(f"{path} holds no round of the teacher.")
    return curve


def read_rates(run: RunFiles) -> TriedRates:
    """The learning rates that a run tried, and those that it takes.

    Raises InputError when rates.csv is missing or damaged, when its rates are not those that the
    config asks for, or when a choice does not follow from the losses.
    """
    path = run.file(files.RATES)
    lines = [*read_table(path, RATE_COLUMNS)]
    tried = tuple(_read_rate(row, where, run.config.training.rounds) for row, where in lines)
    found = [(each.model, each.rate) for each in tried]
    due = [(model, rate) for model, some in rates_to_try(run.config).items() for rate in some]
    if found != due:
        raise InputError(f"{path}: the rates must be {listed(due, 40)}; found {listed(found, 40)}.")
    counts = {_number(whole_number, row["rows"], where) for row, where in lines}
    (n_rows, *others) = sorted(counts)
    if others or n_rows < 1:
        raise InputError(
            f"{path}: rows must be the same number in every line, at least 1; found"
            f" {listed(sorted(counts))}."
        )
    rates = TriedRates(run.config, n_rows, tried)
    for each, (row, where) in zip(tried, lines, strict=True):
        follows = "yes" if rates.takes(each) else "no"
        if row["chosen"] != follows:
            raise InputError(
                f"{where}: chosen is {row['chosen']!r} for the rate {each.rate!r} of {each.model};"
                f" by the losses it must be {follows!r}."
            )
    return rates


def _read_rate(row: dict[str, str], where: str, rounds: int) -> TriedRate:
    each = TriedRate(
        row["model"],
        _number(decimal_number, row["learning_rate"], where),
        _number(whole_number, row["rounds"], where),
        row["company"],
        _number(decimal_number, row["untrained_loss"], where),
        _number(decimal_number, row["loss"], where) if row["loss"] else None,
    )
    whole = each.loss is not None
    if row["status"] != each.status or not 1 <= each.rounds <= rounds:
        raise InputError(f"{where}: status or rounds do not fit the loss and training.rounds.")
    if whole and (each.rounds < rounds or each.company):
        raise InputError(f"{where}: a training that is done has all {rounds} rounds.")
    if each.company:  # of this run, or of the one that it extends
        _require_name(each.company, where)
    return each


def _require_name(company: str, where: str) -> None:
    try:
        _COMPANY.validate_python(company)
    except ValidationError:
        raise InputError(f"{where}: {company!r:.80} is no company's name.") from None


def _read_student(run: RunFiles) -> StudentLoss:
    path = run.file(files.STUDENT)
    found = [
        StudentLoss(
            row["model"],
            _number(whole_number, row["parameters"], where),
            row["transfer_set"],
            _number(whole_number, row["rows"], where),
            _number(decimal_number, row["loss"], where),
            _number(decimal_number, row["accuracy"], where) if row["accuracy"] else None,
        )
        for row, where in read_table(path, STUDENT_COLUMNS)
    ]
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} students; one is deployed.")
    return found[0]


def save_validation(
    validation_NV: NDArray[np.float64], companies: tuple[str, ...], model: str
) -> bytes:
    """The bytes of validation.npz."""
    buffer = io.BytesIO()
    np.savez(buffer, values=validation_NV, companies=np.array(companies), model=np.array(model))
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
    these three arrays as they are, none of them compressed, and nothing beside them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            parts = file.infolist()
            problem = _zip_problem(parts, len(data))
            found = {} if problem else {name: _array(file.read(f"{name}.npy")) for name in _ARRAYS}
    except Exception as error:  # zip and numpy raise a dozen kinds for a damaged file
        problem = str(error)
    if problem:
        raise InputError(f"{files.VALIDATION} is damaged: {problem}.")
    return found


def _zip_problem(parts: Sequence[zipfile.ZipInfo], n_bytes: int) -> str:
    names, stored = [part.filename for part in parts], sum(part.file_size for part in parts)
    if names != [f"{name}.npy" for name in _ARRAYS]:
        return f"it holds {listed(names)}"
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return "it is compressed"
    return "" if 0 <= n_bytes - stored <= _ZIP_BYTES else "it holds more than its arrays"


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


def _number(read: Callable[[str], Number], text: str, where: str) -> Number:
    try:
        number = read(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from None
    if not math.isfinite(number):
        raise InputError(f"{where}: {text!r} is no finite number.")
    return number
