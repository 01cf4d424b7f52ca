"""The section `data`: sources of rows, their owners, and the operator's validation set."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fl_sv.config.base import DATA_FILES, TEXT_FILES, Frozen, Scalar, many
from fl_sv.config.columns import ANSWER, Csv, Described, Label, unanswered
from fl_sv.config.keys import Key
from fl_sv.config.names import CompanyName
from fl_sv.config.text import Text

BUILT_IN_SOURCES: dict[str, Literal["classification", "regression"]] = {
    "digits": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "iris": "classification",
    "diabetes": "regression",
}
FILES = ", ".join(DATA_FILES)
TEXTS = ", ".join(TEXT_FILES)


# Of each company, or a law of them by the rank of the companies' handles: 1, 2, ... N.
SIZE_LAWS = ("linear", "square", "exponential")
Sizes = (
    Literal["linear", "square", "exponential"]
    | dict[CompanyName, Annotated[float, Field(gt=0, le=1e9)]]
)
SIZES = (
    "relative size of each company (any positive unit), or how sizes grow with its rank r among the"
    " handles in alphabetical order: `linear` (r), `square` (r squared), `exponential` (e to the r)"
)


class IidPartition(Frozen):
    """Every company draws from the same distribution."""

    kind: Literal["iid"]
    sizes: Sizes | None = Field(None, description=f"{SIZES}; equal sizes without it")


class SizesPartition(Frozen):
    """Companies differ only in size."""

    kind: Literal["sizes"]
    sizes: Sizes = Field(description=SIZES)


class DirichletPartition(Frozen):
    """Label skew: each company's labels follow a draw from Dirichlet(alpha, ..., alpha).

    Source: Hsu et al. 2019.
    """

    kind: Literal["dirichlet"]
    alpha: float = Field(
        gt=0, le=1e6, description="concentration (no unit): 0.1 strong skew, 100 nearly iid"
    )
    prior: Literal["labels", "even"] = Field(
        "labels",
        description=(
            "what label distributions vary about: the labels' frequencies, or all classes alike"
            " (the inner Dirichlet of Acar et al. 2021)"
        ),
    )
    sizes: Sizes | None = Field(None, description=f"{SIZES}; equal sizes without it")


class PathologicalPartition(Frozen):
    """Label skew: each company holds rows of a few classes only, and every class is held.

    Source: McMahan et al. 2017.
    """

    kind: Literal["pathological"]
    classes: int = Field(ge=1, le=100_000, description="classes of each company")


class ShardsPartition(Frozen):
    """Label skew: the rows in the order of their labels are cut into shards, dealt at random.

    Source: McMahan et al. 2017.
    """

    kind: Literal["shards"]
    shards: int = Field(2, ge=1, le=100_000, description="shards of each company, of one size")


class ColumnPartition(Frozen):
    """Natural owners: a column names the owner of each row. Rows of other owners are left out."""

    kind: Literal["column"]
    column: str = Field(
        min_length=1, description="name of the column (or array of an .npz) that holds the owner"
    )
    owners: Annotated[dict[CompanyName, str] | None, Key(may_change="on extension")] = Field(
        None, description="the column's value for each company; the company's own name without it"
    )


Partition = Annotated[
    IidPartition
    | SizesPartition
    | DirichletPartition
    | PathologicalPartition
    | ShardsPartition
    | ColumnPartition,
    Field(discriminator="kind"),
]


class WrongLabels(Frozen):
    """A share of the company's labels is replaced by other labels, evenly drawn.

    In a regression these rows exchange their targets.
    """

    kind: Literal["wrong_labels"]
    company: CompanyName = Field(description="whose data are corrupted")
    fraction: float = Field(gt=0, le=1, description="share of the company's rows, 0 to 1")


class FeatureNoise(Frozen):
    """Normal noise is added to every feature of the company."""

    kind: Literal["feature_noise"]
    company: CompanyName = Field(description="whose data are corrupted")
    std: float = Field(
        gt=0, le=1e3, description="standard deviation of the noise, in units of the scaled features"
    )


class Duplicate(Frozen):
    """The company holds copies of another company's rows instead of its own.

    With fraction 1 the two companies are twins.
    """

    kind: Literal["duplicate"]
    company: CompanyName = Field(description="whose rows are replaced")
    of: CompanyName = Field(description="whose rows are copied")
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the other company's rows that is copied, 0 to 1"
    )


class FreeRider(Frozen):
    """The company's rows carry no information: features and labels are shuffled independently."""

    kind: Literal["free_rider"]
    company: CompanyName = Field(description="whose data are replaced")


Corruption = Annotated[
    WrongLabels | FeatureNoise | Duplicate | FreeRider, Field(discriminator="kind")
]


# What a module is given for a row.
Inputs = (
    Literal["numbers", "ids"]
    | Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        Field(strict=False, min_length=1, max_length=20),
    ]
)


class ValidationSource(Frozen):
    """The operator's validation set: it scores utilities and nothing else."""

    fraction: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the source's rows held out, stratified by label, before partitioning",
    )
    file: Annotated[
        str | None,
        Key(path="always", to_companies="a placeholder", may_change="on extension"),
    ] = Field(None, description=f"a file ({FILES}) or folder of its own instead of a hold-out")
    planted: Annotated[
        str | None,
        Key(path="always", to_companies="nothing", may_change="on extension"),
    ] = Field(
        None,
        description=(
            "a file like `file` that lists those of its rows whose labels were drawn at random, to"
            " prove a leak: they score nothing. Keep it apart from `file` (docs/attacks.md)"
        ),
    )


class Data(Frozen):
    """Where the rows come from, who owns which, and what the operator keeps for validation."""

    source: Annotated[
        str,
        Key(
            path="with the suffix of a data file",
            to_companies="the suffix",
            may_change="on extension",
            imports=True,
        ),
    ] = Field(
        min_length=1,
        description=(
            f"{', '.join(BUILT_IN_SOURCES)} (scikit-learn), a file ({FILES}; texts:"
            f" {TEXTS}), a folder (its path ends in `/`), `own` (each company"
            " brings its own file or folder) or `module:function`"
        ),
    )
    options: dict[str, Scalar] = Field({}, description="keyword arguments of `module:function`")
    task: Literal["classification", "regression", "next_token"] | None = Field(
        None,
        description=(
            "kind of target; a built-in source has its own, any other is a classification by"
            " default. `next_token`: a classification at every place of a text (`data.text`)"
        ),
    )
    text: Text | None = Field(None, description="how texts become rows, with `task: next_token`")
    target: str = Field(
        "target", min_length=1, description="column of a .csv or .parquet file that is predicted"
    )
    columns: dict[str, Described] = Field(
        {},
        description=(
            "what columns of .csv and .parquet files mean, by their names: a kind alone, or a"
            " mapping with `kind`; any other column holds numbers and no empty cell"
        ),
    )
    csv: Csv = Field(Csv(), description="how the texts of .csv and .parquet files are written")
    classes: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description=(
            "number of classes; without it the labels of a shared source are counted, which must be"
            " 0, 1, ... without a gap"
        ),
    )
    inputs: Inputs = Field(
        "numbers",
        description=(
            "what a model is given for a row: `numbers` (x as real numbers), `ids` (x as whole"
            " numbers, never scaled), or the names of arrays that a module gets as a mapping, each"
            " with the kind of numbers that it has"
        ),
    )
    standardise: bool | None = Field(
        None,
        description=(
            "whether features are scaled by the validation set's mean and standard deviation; by"
            " default those of tables (files included), not those of images and functions"
        ),
    )
    files: Annotated[
        dict[CompanyName, str] | None,
        Key(path="always", to_companies="nothing", may_change="on extension"),
    ] = Field(
        None,
        description=(
            "with `source: own`: each company's file or folder; a node reads its own data path"
            " instead, where it has one"
        ),
    )
    validation: ValidationSource = Field(
        ValidationSource(), description="the operator's validation set"
    )
    partition: Partition | None = Field(
        None, description="how the rows are divided among the companies"
    )
    corruptions: Annotated[
        tuple[Corruption, ...],
        Key(may_change="on extension"),
        many(
            "defects put in on purpose, for studies, in this order; a company has at most one of"
            " each kind"
        ),
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _answered(cls, content: Any) -> Any:
        if places := unanswered(content):
            raise ValueError(
                f"a question of `fl-sv data infer` is open: {', '.join(places[:20])}; write your"
                f" answer in place of {ANSWER}; the line above each one says what is asked"
            )
        if isinstance(content, dict) and content.get("task") == "next_token":
            content = {"inputs": "ids", **content}  # so that the resolved config has it
        return content

    @property
    def is_regression(self) -> bool:
        """Whether the target is a quantity: as the built-in source has it, or as `task` states."""
        return (self.task or BUILT_IN_SOURCES.get(self.source)) == "regression"

    @property
    def class_texts(self) -> tuple[str, ...] | None:
        """The texts of the classes 0, 1, ...; None where the config states none."""
        label = self.columns.get(self.target)
        return label.classes if isinstance(label, Label) else None

    @property
    def n_classes(self) -> int | None:
        """The number of classes that the config states, by a number or by their texts."""
        return len(self.class_texts) if self.class_texts is not None else self.classes
