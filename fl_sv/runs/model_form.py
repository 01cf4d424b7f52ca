"""`fl-sv verify` of the models: their form, and that they are the models of this run.

It cannot train, so it does not show that a model was trained as the config says, nor does it run
one: that would import a user's module. What is checked: each file holds finite numbers, as many as
the run counted, under the hash that its JSON file names; and the JSON file says of module, task,
round, losses and software what config, tables and ledger say. That the numbers give these losses
can be checked by whoever has the validation rows (`fl_sv.load_model`).

The numbers are those of the rules in `fl_sv.runs.verify`.
"""

from collections.abc import Iterator, Mapping

from fl_sv.errors import InputError, listed
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.form import Difference
from fl_sv.runs.held import HeldRun
from fl_sv.runs.models import (
    STUDENT,
    TEACHER,
    ModelRecord,
    counted_parameters,
    deployed_facts,
    files_of,
)

REAL = {"float32": "F32", "float64": "F64"}


def teacher_record(run: HeldRun) -> ModelRecord:
    """What stands beside the deployed model. Raises InputError when it is damaged."""
    return ModelRecord.from_json(run.read_text(files_of(TEACHER).record))


def model_problems(
    run: HeldRun, evidence: Evidence, software: Mapping[str, str]
) -> Iterator[Difference]:
    """Rules 21 and 22: what is wrong with the models of a run and what is said about them.

    software: the versions with which the run was signed.
    """
    deployed = [TEACHER, *([STUDENT] if evidence.config.deployed else [])]
    records = {}
    for which in deployed:
        name = files_of(which).record
        records[which] = record = ModelRecord.from_json(run.read_text(name))
        yield from _record_problems(run, record, evidence, which, software)
        if record.to_json() != run.read_text(name):
            yield name, f"{name} is not written as fl-sv writes it"
    for name in files.due(evidence.config):
        if name in run.tensors:
            of_student = name == files.STUDENT_MODEL
            yield from _tensor_problems(run, name, records[STUDENT if of_student else TEACHER])


def _record_problems(
    run: HeldRun,
    record: ModelRecord,
    evidence: Evidence,
    which: str,
    software: Mapping[str, str],
) -> Iterator[Difference]:
    names = files_of(which)
    must = deployed_facts(evidence, which) | {
        "software": dict(software),
        "sha256": run.digest(names.tensors),
    }
    if evidence.config.data.n_classes is not None and record.task == "classification":
        must["classes"] = evidence.config.data.n_classes
    for field, due in must.items():
        if (found := getattr(record, field)) != due:
            yield names.record, f"{names.record}: {field} is {_cut(found)}; the run has {_cut(due)}"
    counted = counted_parameters(evidence, which)
    if counted not in (record.trainable, record.parameters):
        yield (
            names.record,
            f"{names.record}: trainable is {record.trainable:,} and parameters"
            f" {record.parameters:,}; the run counted {counted:,}",
        )
    if record.kind != "module" and record.base_sha256 is not None:
        yield names.record, f"{names.record}: base_sha256 is given; a {record.kind} has no base"
    rest = record.parameters - record.trainable  # what is frozen, and so part of the base
    if rest < 0 or (rest > 0 and record.base_sha256 is None):
        yield (
            names.record,
            f"{names.record}: trainable is {record.trainable:,} and parameters"
            f" {record.parameters:,}; what is not trained is part of a base",
        )
    try:
        _ = record.model, record.scaling_of()
    except InputError as error:
        yield names.record, str(error)


def _tensor_problems(run: HeldRun, name: str, record: ModelRecord) -> Iterator[Difference]:
    """Where a file with numbers is not the one that its JSON file describes, or holds none."""
    found = run.tensors[name]
    if found.fault:
        yield name, f"{name} is no file of the format safetensors: {found.fault}"
        return
    if found.not_finite:
        yield name, f"{name}: {listed(found.not_finite)} holds NaN or infinite numbers"
    count = sum(found.counts.values())
    whole = count == record.parameters
    if not whole and (record.base_sha256 is None or count < record.parameters):
        yield (
            name,
            f"{name} holds {count:,} numbers; the model has {record.parameters:,} parameters",
        )
    other = {kind for kind in found.types.values() if kind != REAL[record.dtype]}
    if other and record.base_sha256 is None:
        yield name, f"{name} holds {listed(sorted(other))}; the model is {record.dtype}"


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
