"""The sections `models`, `training` and `teacher`: what is trained, and how."""

import json
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from fl_sv.config.base import Frozen, Reference, Scalar, many
from fl_sv.config.strategies import STRATEGIES

USUAL_RATE = 0.1  # where the config states none
RATE_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the rates that are tried: times the common one
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Rate = Annotated[float, Field(gt=0, le=100)]


_Rates = TypeAdapter(
    dict[str, Annotated[float, Field(gt=0, le=100 * max(RATE_FACTORS))]],
    config=ConfigDict(strict=True, allow_inf_nan=False),
)


def parse_rates(text: str) -> dict[str, float]:
    """Learning rates by name, from the text in a message. Raises ValueError for anything else."""
    return _Rates.validate_python(json.loads(text))


class ModelBase(Frozen):
    """What every model may have: a name in the tables, and a learning rate of its own."""

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
    factory: Reference = Field(description="`package.module:function`")
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


class Training(Frozen):
    """How models are trained: the same for every coalition, seed and size."""

    rounds: int = Field(20, ge=1, le=100_000, description="communication rounds")
    local_epochs: int = Field(
        1, ge=1, le=1000, description="passes over a company's own data in one round"
    )
    batch_size: int = Field(
        32, ge=1, le=1_000_000, description="rows in a batch; the short last batch is kept"
    )
    learning_rate: Rate | Literal["auto"] = Field(
        USUAL_RATE,
        description=(
            "client learning rate of SGD, per step. `auto`: `auto` for every model without a rate"
            f" of its own, around {USUAL_RATE}"
        ),
    )
    momentum: float = Field(
        0.0, ge=0, lt=1, description="momentum of SGD (no unit), fresh in every round"
    )
    weight_decay: float = Field(0.0, ge=0, le=10, description="L2 penalty of SGD, per step")
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="learning rate by round; `cosine` reaches zero after the last round",
    )
    seeds: int = Field(
        3, ge=1, le=100, description="trainings of each small model and coalition, seeds 0, 1, ..."
    )
    large_seeds: int = Field(
        1,
        ge=1,
        le=100,
        description=(
            "trainings in each large run, seeds 0, 1, ...; the teacher of seed 0 is deployed"
        ),
    )


class Teacher(Frozen):
    """How the teacher is aggregated.

    All other models are averaged by FedAvg, or by FedProx where the strategy is `fedprox`.
    """

    strategy: str = Field(
        "fedavg",
        min_length=1,
        description=f"{', '.join(STRATEGIES)}, or `module:Class` of a Flower Strategy",
    )
    options: dict[str, Scalar] = Field(
        {}, description="arguments of the strategy's constructor, by Flower's names"
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
    return USUAL_RATE


def rates_of(model: Model, training: Training) -> tuple[float, ...]:
    """The learning rates that a model may train at, ascending: the stated one, or those tried."""
    usual = usual_rate(model, training)
    is_chosen = stated_rate(model, training) is None
    return tuple(factor * usual for factor in RATE_FACTORS) if is_chosen else (usual,)
