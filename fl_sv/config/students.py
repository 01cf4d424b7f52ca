"""The section `distillation`: models that learn from the finished teacher."""

from typing import Annotated, Literal

from pydantic import Field

from fl_sv.config.base import Frozen, Scalar
from fl_sv.config.keys import Key
from fl_sv.config.models import Model

NoiseMode = Literal["multiplicative", "additive"]
NoiseGranularity = Literal["per_logit", "per_sample"]


class HintonOptions(Frozen):
    """No options: `distillation.weight` is the only parameter besides the temperature."""


class DkdOptions(Frozen):
    """Weights of the two parts: target against all other classes, and among the other classes."""

    alpha: float = Field(1.0, ge=0, le=1e6)
    beta: float = Field(8.0, ge=0, le=1e6)


class LogitL2Options(Frozen):
    """No options."""


class SmoothL1Options(Frozen):
    """The difference of two logits from which the loss is linear instead of quadratic."""

    beta: float = Field(1.0, ge=0, le=1e6)


class NoisyTeacherOptions(Frozen):
    """The noise that is added to the teacher's logits, and how often."""

    sigma: float = Field(0.3, ge=0, le=1e3)
    mode: NoiseMode = "multiplicative"
    granularity: NoiseGranularity = "per_logit"
    probability: float = Field(0.5, ge=0, le=1)


LOSS_OPTIONS: dict[str, type[Frozen]] = {
    "hinton": HintonOptions,
    "dkd": DkdOptions,
    "logit_l2": LogitL2Options,
    "smooth_l1": SmoothL1Options,
    "noisy_teacher": NoisyTeacherOptions,
}
SOFT_LOSSES = ("hinton", "dkd")  # of probabilities, at a temperature
TEMPERATURE = 4.0  # of the soft losses


class PublicRows(Frozen):
    """Public rows: a file with the columns of the other data. Its targets are not used."""

    kind: Literal["public"]
    file: Annotated[str, Key(path="always")] = Field(
        min_length=1,
        description="a data file (.npz, .csv, .parquet, .arrow); zeros will do as targets",
    )


class InventedRows(Frozen):
    """Rows that are generated without any data. All inputs lie in a box, in scaled units."""

    rows: int = Field(2000, ge=2, le=1_000_000, description="number of rows")
    low: float = Field(
        ge=-1e6, le=1e6, description="the box's lower end in every input, in scaled units"
    )
    high: float = Field(
        ge=-1e6, le=1e6, description="the box's upper end in every input, in scaled units"
    )


class GaussianRows(InventedRows):
    """Normal noise around the box's centre; the ends are two standard deviations away."""

    kind: Literal["gaussian"]


class UniformRows(InventedRows):
    """Rows drawn evenly from the box."""

    kind: Literal["uniform"]


class InversionRows(InventedRows):
    """Rows that the teacher assigns to each class, found by gradient descent from uniform rows."""

    kind: Literal["inversion"]
    steps: int = Field(200, ge=1, le=100_000, description="steps of Adam on the rows")


class GeneratorRows(InventedRows):
    """Rows of a small generator network, which is trained only against the teacher."""

    kind: Literal["generator"]
    steps: int = Field(200, ge=1, le=100_000, description="steps of Adam on the generator")


class DensityRows(InventedRows):
    """Samples of the density that the teacher implies (Langevin)."""

    kind: Literal["density"]
    steps: int = Field(200, ge=1, le=100_000, description="Langevin steps of each row")


TransferRows = Annotated[
    PublicRows | GaussianRows | UniformRows | InversionRows | GeneratorRows | DensityRows,
    Field(discriminator="kind"),
]


class Deployed(Frozen):
    """A student that the operator deploys in the teacher's place.

    It learns from the finished teacher, without targets.
    """

    model: Model = Field(
        description=(
            "the student; batch size, optimiser and learning rate are those of `training`, without"
            " its schedule and clipping"
        )
    )
    transfer_set: TransferRows = Field(description="rows on which it learns from the teacher")
    epochs: int = Field(20, ge=1, le=10_000, description="passes over these rows")


class Distillation(Frozen):
    """Students: small models that learn from the finished teacher.

    Without this section no model learns from the teacher.
    """

    loss: Literal["hinton", "dkd", "logit_l2", "smooth_l1", "noisy_teacher"] = Field(
        "hinton",
        description=(
            "how the distance of a student from the teacher is measured, by the logits of a row"
            " (docs/distillation.md)"
        ),
    )
    weight: float = Field(
        ge=0,
        le=1,
        description=(
            "weight of this loss in the small models of all coalitions: they minimise (1 - weight)"
            " CE + weight loss (in a regression the squared error instead of CE); with 0 they do"
            " not learn from the teacher"
        ),
    )
    temperature: float | None = Field(
        None,
        ge=1e-6,
        le=1e6,
        description=(
            f"of the softmax (no unit), for {' and '.join(SOFT_LOSSES)}; {TEMPERATURE:g} without it"
        ),
    )
    options: dict[str, Scalar] = Field(
        {}, description="options of the loss: dkd, smooth_l1 and noisy_teacher have some"
    )
    transfer_set: Literal["own"] = Field(
        "own",
        description=(
            "rows on which the small models learn from the teacher: the company's own, since any"
            " other rows would make the models of all coalitions alike"
        ),
    )
    # Only the operator trains it, so companies are not sent this section.
    deployed: Annotated[Deployed | None, Key(to_companies="nothing")] = Field(
        None,
        description=(
            "a student that is deployed instead of the teacher; a performance pot then depends on"
            " its utility"
        ),
    )
