"""The sections `models` and `teacher`: what is trained, and how it is aggregated."""

import json
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from fl_sv.config.base import Frozen, Reference, Scalar, many
from fl_sv.config.keys import Key
from fl_sv.config.strategies import STRATEGIES
from fl_sv.config.training import USUAL_RATES, Optimizer, OptimizerOptions, Rate, Training

RATE_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the rates that are tried: times the common one
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

_Rates = TypeAdapter(
    dict[str, Annotated[float, Field(gt=0, le=100 * max(RATE_FACTORS))]],
    config=ConfigDict(strict=True, allow_inf_nan=False),
)


def parse_rates(text: str) -> dict[str, float]:
    """Learning rates by name, from the text in a message. Raises ValueError for anything else."""
    return _Rates.validate_python(json.loads(text))


class ModelBase(Frozen):
    """What every model may have of its own: a name, a learning rate, an optimiser's options."""

    name: Annotated[str, StringConstraints(pattern=MODEL_NAME, max_length=40)] | None = Field(
        None, description="name in the tables; without it, made from kind and widths"
    )
    learning_rate: Rate | Literal["auto"] | None = Field(
        None,
        description=(
            "this model's learning rate, per step; without it `training.learning_rate`. `auto`: the"
            " run chooses it among that rate times 1/4, 1/2, 1, 2 and 4"
        ),
    )
    optimizer_options: OptimizerOptions | None = Field(
        None, description="options of `training.optimizer` for this model alone"
    )


class Mlp(ModelBase):
    """Fully connected layers with ReLU; the output layer starts at zero."""

    kind: Literal["mlp"]
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=16_384)], ...],
        many("widths of the hidden layers, in units", max_length=8),
    ]


class Cnn(ModelBase):
    """3x3 convolutions, GroupNorm, ReLU and 2x2 mean pooling; the output layer starts at zero."""

    kind: Literal["cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...],
        many("output channels of each convolution", min_length=1, max_length=5),
    ]


class Module(ModelBase):
    """Any torch module whose state is its parameters, so no BatchNorm (docs/plugins.md).

    It is made by `factory(input_shape, n_outputs, **options) -> torch.nn.Module`.
    """

    kind: Literal["module"]
    factory: Annotated[Reference, Key(imports=True)] = Field(
        description="`package.module:function`"
    )
    options: dict[str, Scalar | list[Scalar]] = Field(
        {}, description="keyword arguments of the factory"
    )


Model = Annotated[Mlp | Cnn | Module, Field(discriminator="kind")]


class Models(Frozen):
    """The ladder of small models that every coalition trains, and the large one."""

    small: Annotated[
        tuple[Model, ...], many("small models, ascending in parameters", min_length=1, max_length=8)
    ]
    large: Model = Field(description="the large model: the teacher, trained by the grand coalition")


class Teacher(Frozen):
    """How the teacher is aggregated.

    All other models are averaged by FedAvg, or by FedProx where the strategy is `fedprox`.
    """

    strategy: Annotated[str, Key(imports=True)] = Field(
        "fedavg",
        min_length=1,
        description=f"{', '.join(STRATEGIES)}, or `module:Class` of a Flower Strategy",
    )
    options: dict[str, Scalar] = Field(
        {}, description="arguments of the strategy's constructor, by Flower's names"
    )
    keep: Annotated[Literal["last", "best", "rounds"], Key(may_change="on extension")] = Field(
        "last",
        description=(
            "models in the run directory: `last`, the one that is deployed and pays; `best`, beside"
            " it the round with the lowest validation loss, which is never deployed and pays"
            " nothing, since the validation set must not choose; `rounds`, every round, so its size"
            " times `training.rounds` on the disk"
        ),
    )


def model_name(model: Model) -> str:
    """The model's name in the tables: given, or made from kind and widths."""
    if model.name is not None:
        return model.name
    match model:
        case Mlp():
            return "-".join(["mlp", *map(str, model.hidden)])
        case Cnn():
            return "-".join(["cnn", *map(str, model.channels)])
        case Module():
            return model.factory.partition(":")[2]


def stated_rate(model: Model, training: Training) -> float | None:
    """The learning rate of a model as the config states it; None where the run chooses it."""
    rate = training.learning_rate if model.learning_rate is None else model.learning_rate
    return rate if isinstance(rate, float) else None


def usual_rate(model: Model, training: Training) -> float:
    """The learning rate of a model before any is tried: the stated one, or the common one."""
    for rate in (model.learning_rate, training.learning_rate):
        if isinstance(rate, float):
            return rate
    return USUAL_RATES[training.optimizer]


def optimizer_of(model: Model, training: Training) -> Optimizer:
    """The optimiser that trains this model."""
    return Optimizer.of(training, model.optimizer_options)


def rates_of(model: Model, training: Training) -> tuple[float, ...]:
    """The learning rates that a model may train at, ascending: the stated one, or those tried."""
    usual = usual_rate(model, training)
    is_chosen = stated_rate(model, training) is None
    return tuple(factor * usual for factor in RATE_FACTORS) if is_chosen else (usual,)
