"""The sections `models` and `teacher`: what is trained, and how it is aggregated."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, model_validator

from fl_sv.config.base import Frozen, Reference, Scalar, many
from fl_sv.config.keys import Key
from fl_sv.config.strategies import STRATEGIES
from fl_sv.config.training import USUAL_RATES, Optimizer, OptimizerOptions, Rate, Training

RATE_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the rates that are tried: times the common one
PRETRAINED = "fl_sv.training.pretrained:pretrained"  # the factory of pretrained models
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


class Lora(Frozen):
    """Low-rank adapters beside frozen layers: W x becomes W x + alpha/rank B A x (Hu et al. 2021).

    B starts at zero, so an untrained model answers as its base.
    """

    kind: Literal["lora"]
    rank: int = Field(4, ge=1, le=1024, description="rows of A, columns of B")
    alpha: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="scale of B A, divided by the rank; twice the rank without it"
    )
    target_modules: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None,
        many("the layers beside which adapters stand, by the end of their names", max_length=100),
    ] = None
    layers: Annotated[
        tuple[Annotated[int, Field(ge=0, le=10_000)], ...] | None,
        many("the blocks that have adapters, from 0; all without it", min_length=1, max_length=999),
    ] = None
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's inputs left out")


class Pretrained(ModelBase):
    """A pretrained transformer in a local folder, frozen, with what is fine-tuned beside it.

    The folder is in the Hugging Face format, and nothing is downloaded. Needs `fl-sv[lm]`.
    """

    kind: Literal["pretrained"]
    name: Annotated[str, StringConstraints(pattern=MODEL_NAME, max_length=40)] = Field(
        description="name in the tables, and of the folder at a company's node"
    )
    path: Annotated[str, Key(path="always", to_companies="a placeholder")] = Field(
        min_length=1, description="folder with config.json and model.safetensors"
    )
    task: Literal["causal_lm", "head"] = Field(
        "causal_lm",
        description=(
            "`causal_lm`: the next token at every place, by the base's own output layer; `head`:"
            " one class a row, by a new output layer on the mean of the last states"
        ),
    )
    adapter: Lora | None = Field(None, description="without it a head is trained alone")
    average: Literal["factors", "product", "frozen_a"] = Field(
        "factors",
        description=(
            "`factors`: A and B are averaged, each apart, which is not the average of B A;"
            " `product`: the products B A are averaged and brought back to the rank (truncated"
            " singular value decomposition); `frozen_a`: A stays as drawn and B alone is trained,"
            " so that both averages are one"
        ),
    )

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if self.adapter is None and self.task == "causal_lm":
            raise ValueError(
                "adapter: the key is missing; without adapters nothing of a causal_lm is trained;"
                " give for example {kind: lora, rank: 4}"
            )
        return self

    def as_module(self) -> Module:
        """The same as a module with a factory, as which it trains, is saved and is loaded."""
        options: dict[str, Any] = {"path": self.path, "task": self.task}
        if self.adapter is not None:
            options |= self.adapter.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
            options["average"] = self.average
        return Module(kind="module", factory=PRETRAINED, options=options, **self._common())

    def _common(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ModelBase.model_fields}


Model = Annotated[Mlp | Cnn | Module | Pretrained, Field(discriminator="kind")]


def as_module(model: Model) -> Model:
    """The model, a pretrained one as the module that it is; all others as they are."""
    return model.as_module() if isinstance(model, Pretrained) else model


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
