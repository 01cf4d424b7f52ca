"""The models of a run directory: what stands beside their numbers, and which of them there are.

The numbers of a model lie in a file of the format safetensors, which is no pickle and holds no
code, by the names that torch gives parameters and buffers. A JSON file beside it says how the
module is made again, and how its rows are scaled.

The deployed teacher is always there, a student where one is deployed. `teacher.keep` asks for
further rounds of the teacher. They have no JSON file: what the deployed teacher's says of its
module holds for them, too.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fl_sv.config import Config, config_hash
from fl_sv.config.base import Reference, first_problem
from fl_sv.config.columns import Csv, Described
from fl_sv.config.models import Model, ModelBase, Module, as_module, model_name
from fl_sv.data import Scaling
from fl_sv.data.sources import kind_of, owner_column
from fl_sv.errors import InputError
from fl_sv.payment.settlement import Evidence, TeacherLoss
from fl_sv.runs import files
from fl_sv.runs.records import FileRecord

TEACHER, STUDENT, BEST = "teacher", "student", "best"
ROUND = re.compile(r"round-(0|[1-9][0-9]{0,5})")
_MODEL: TypeAdapter[Model] = TypeAdapter(Model)
Length = Annotated[int, Field(ge=1, lt=2**31)]


class ModelRecord(FileRecord):
    """The content of model.json and student.json."""

    FILE: ClassVar[str] = files.MODEL_RECORD

    format: Literal[1] = 1
    which: str = Field(pattern=rf"^(?:{TEACHER}|{STUDENT}|{BEST}|{ROUND.pattern})$")
    name: str = Field(max_length=200)
    kind: Literal["mlp", "cnn", "module"]
    factory: Reference | None  # of a user's module
    options: dict[str, Any]  # of the factory, or of the built-in kind
    seed: int = Field(ge=0)  # of the config: the module is made with the generators that it gives
    task: Literal["classification", "regression"]
    input_shape: tuple[Length, ...] = Field(min_length=1, max_length=8)
    output_shape: tuple[Length, ...] = Field(max_length=8)  # of a row, as the module gives it
    classes: int | None  # None in a regression
    target: str  # columns of a table that are no features
    owner: str | None
    csv: Csv  # how the texts of its tables are written
    columns: dict[str, Described]  # what columns of its tables mean, where that was described
    # Of features and target, and the encoding of described columns (`fl_sv.data.Scaling`). A number
    # of a row becomes (x - mean) / scale; an output becomes the target as output * target_scale +
    # target_mean.
    scaling: dict[str, Any]
    dtype: Literal["float32", "float64"]
    round: int | None = Field(ge=0)  # None for a student
    loss: float  # on the validation set, as teacher.csv or student.csv has it
    accuracy: float | None
    trainable: int = Field(ge=1)  # numbers in the parameters that were trained
    parameters: int = Field(ge=1)  # in all parameters
    base_sha256: str | None  # of what is frozen, and of the buffers; None where there is neither
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of the file with the numbers
    config_sha256: str
    software: dict[str, str]
    # Outputs for a row of zeros and a row of ones, both as the module takes them. Whoever loads the
    # model compares: a factory whose code has changed would make another model of the same numbers.
    probe: tuple[tuple[float, ...], ...] | None

    @property
    def model(self) -> Model:
        """The section of a config that describes this model. Raises InputError for none."""
        own: dict[str, Any] = {"factory": self.factory, "options": self.options}
        content = own if self.kind == "module" else dict(self.options)
        content |= {"kind": self.kind, "name": self.name}
        try:
            return _MODEL.validate_json(json.dumps(content))
        except ValidationError as error:
            raise InputError(
                f"{self.FILE} is damaged: it describes no model: {first_problem(error)}."
            ) from None

    def scaling_of(self) -> Scaling:
        """The scaling with the task. Raises InputError where the two do not fit each other."""
        try:
            scaling = Scaling.from_json(json.dumps(self.scaling))
            scaling.require_sound()
            fits = json.loads(scaling.to_json()) == self.scaling
        except (ValueError, KeyError, TypeError, AttributeError):
            fits = False
        if fits:
            task = scaling.task
            n_classes = task.n_outputs if task.kind == "classification" else None
            said = (self.task, self.input_shape, self.classes)
            fits = said == (task.kind, task.input_shape, n_classes)
            fits &= task.loss is not None or self.output_shape == task.output_shape
        if not fits:
            raise InputError(
                f"{self.FILE} is damaged: task, shapes and scaling do not fit each other."
            )
        return scaling


@dataclass(frozen=True)
class ModelFiles:
    """The names of a model's two files."""

    tensors: str
    record: str


def files_of(which: str) -> ModelFiles:
    """The files of a model of a run. which: `teacher`, `student`, `best` or `round-N`.

    Raises InputError for another name.
    """
    match which:
        case "teacher":
            return ModelFiles(files.MODEL, files.MODEL_RECORD)
        case "student":
            return ModelFiles(files.STUDENT_MODEL, files.STUDENT_RECORD)
        case "best":
            return ModelFiles(files.BEST, files.MODEL_RECORD)
        case str() if found := ROUND.fullmatch(which):
            return ModelFiles(files.round_file(int(found[1])), files.MODEL_RECORD)
    raise InputError(
        f"There is no model {which!r}. Allowed are {TEACHER}, {STUDENT} where one is deployed, and"
        f" {BEST} or round-N where `teacher.keep` kept them."
    )


def best_round(curve: Sequence[TeacherLoss]) -> TeacherLoss:
    """The round with the lowest validation loss, the first of them."""
    return min(curve, key=lambda each: each.loss)


def model_facts(config: Config, model: Model) -> dict[str, Any]:
    """What a model's JSON file says as the config alone determines it, by field."""
    model = as_module(model)
    # Without what it shares with all models: their names, and how they are trained.
    own = {
        name for name in type(model).model_fields if name not in (*ModelBase.model_fields, "kind")
    }
    content = model.model_dump(mode="json", include=own)
    if isinstance(model, Module):
        content = content["options"]
    return {
        "name": model_name(model),
        "kind": model.kind,
        "factory": model.factory if isinstance(model, Module) else None,
        "options": content,
        "seed": config.seed,
        "task": kind_of(config.data),
        "target": config.data.target,
        "owner": owner_column(config.data),
        "csv": config.data.csv,
        "columns": config.data.columns,
        "dtype": config.compute.dtype,
        "config_sha256": config_hash(config),
    }


def deployed_facts(evidence: Evidence, which: str) -> dict[str, Any]:
    """What the JSON file of a deployed model says as config and tables determine it, by field.

    which: `teacher` or `student`.
    """
    config = evidence.config
    if which == STUDENT:
        assert config.deployed is not None and evidence.student is not None
        model, student = config.deployed.model, evidence.student
        number, loss, accuracy = None, student.loss, student.accuracy
    else:
        model, last = config.models.large, evidence.curve[-1]
        number, loss, accuracy = last.number, last.loss, last.accuracy
    scores = {"round": number, "loss": loss, "accuracy": accuracy}
    return {"which": which, **model_facts(config, model), **scores}


def counted_parameters(evidence: Evidence, which: str) -> int:
    """The parameters of a deployed model as the tables count them: those trained, or all."""
    if which == STUDENT:
        assert evidence.student is not None
        return evidence.student.parameters
    return [*evidence.sizes.values()][-1]
