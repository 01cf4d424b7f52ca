"""The section `distillation`: models that learn from the finished teacher."""

from typing import Annotated, Literal

from pydantic import Field

from fl_sv.config.base import Frozen, Scalar
from fl_sv.config.keys import Key
from fl_sv.config.models import Model

NoiseMode = Literal["multiplicative", "additive"]
NoiseGranularity = Literal["per_logit", "per_sample"]


class HintonOptions(Frozen):
    """None of its own: `weight` says how much it counts."""


class DkdOptions(Frozen):
    """Weights of target against rest, and among the rest."""

    alpha: float = Field(1.0, ge=0, le=1e6)
    beta: float = Field(8.0, ge=0, le=1e6)


class LogitL2Options(Frozen):
    """None."""


class SmoothL1Options(Frozen):
    """Where the squared error turns into the absolute one."""

    beta: float = Field(1.0, ge=0, le=1e6)


class NoisyTeacherOptions(Frozen):
    """How the teacher is disturbed, and how often."""

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
    """Rows that everybody may see: a file with the columns of the other data. Its targets are not
    looked at.
    """

    kind: Literal["public"]
    file: Annotated[str, Key(path="always")] = Field(
        min_length=1, description="a data file (.npz, .csv, .parquet); zeros will do as targets"
    )


class InventedRows(Frozen):
    """Rows that nobody owns. All inputs lie in one box, in scaled units."""

    rows: int = Field(2000, ge=2, le=1_000_000, description="how many")
    low: float = Field(
        ge=-1e6, le=1e6, description="the box's lower end in every input, in scaled units"
    )
    high: float = Field(
        ge=-1e6, le=1e6, description="the box's upper end in every input, in scaled units"
    )


class GaussianRows(InventedRows):
    """Normal noise about the box's centre; the ends are two standard deviations away."""

    kind: Literal["gaussian"]


class UniformRows(InventedRows):
    """All possible rows alike."""

    kind: Literal["uniform"]


class InversionRows(InventedRows):
    """What the teacher takes for each class, by gradient descent from uniform rows."""

    kind: Literal["inversion"]
    steps: int = Field(200, ge=1, le=100_000, description="steps of Adam on the rows")


class GeneratorRows(InventedRows):
    """A small generator's, trained against the teacher alone."""

    kind: Literal["generator"]
    steps: int = Field(200, ge=1, le=100_000, description="steps of Adam on the generator")


class DensityRows(InventedRows):
    """Samples of the density that the teacher implies."""

    kind: Literal["density"]
    steps: int = Field(200, ge=1, le=100_000, description="Langevin steps of each row")


TransferRows = Annotated[
    PublicRows | GaussianRows | UniformRows | InversionRows | GeneratorRows | DensityRows,
    Field(discriminator="kind"),
]


class Deployed(Frozen):
    """A student that the operator distils from the finished teacher by the loss alone, and deploys
    in its place.
    """

    model: Model = Field(
        description="the student; batch size, momentum and learning rate are those of `training`"
    )
    transfer_set: TransferRows = Field(description="rows on which it listens")
    epochs: int = Field(20, ge=1, le=10_000, description="passes over these rows")


class Distillation(Frozen):
    """Students: small models that listen to the finished teacher. Without this section all models
    are plain.
    """

    loss: Literal["hinton", "dkd", "logit_l2", "smooth_l1", "noisy_teacher"] = Field(
        "hinton",
        description=(
            "how far a student is from the teacher, by the logits of a row (docs/distillation.md)"
        ),
    )
    weight: float = Field(
        ge=0,
        le=1,
        description=(
            "of the loss in every small model of the coalitions: they minimise (1 - weight) CE +"
            " weight loss (regression: squared error); 0 leaves them plain"
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
        {}, description="the loss's own: dkd, smooth_l1 and noisy_teacher have some"
    )
    transfer_set: Literal["own"] = Field(
        "own",
        description=(
            "rows on which the small models listen: the company's own, since any other rows would"
            " make the models of all coalitions alike"
        ),
    )
    # the operator's own affair
    deployed: Annotated[Deployed | None, Key(to_companies="nothing")] = Field(
        None,
        description=(
            "a student that is deployed instead of the teacher; a performance pot then pays by it"
        ),
    )
