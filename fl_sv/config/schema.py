"""The one configuration of a run: frozen pydantic models, every number with its range and unit.

`docs/config.md` is generated from these models (`make docs`), so a description here is what a user reads.
Values are checked here as far as the configuration alone can tell; what needs the data or torch is checked by
`fl_sv.plan`. Every number has an upper bound, so that no calibration allocates what `plan` would refuse.
"""

import os
import re
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

CompanyName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", max_length=64, strip_whitespace=False)
]
REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
Reference = Annotated[str, StringConstraints(pattern=REFERENCE)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scalar = bool | int | float | str

BUILT_IN_SOURCES: dict[str, Literal["classification", "regression"]] = {
    "digits": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "iris": "classification",
    "diabetes": "regression",
}
DATA_FILES = (".npz", ".csv", ".parquet")


class Frozen(BaseModel):
    """Immutable, no unknown keys, no silent conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _many(description: str, **limits: Any) -> Any:
    """A tuple that YAML writes as a list (strict mode would refuse the list)."""
    return Field(description=description, strict=False, **limits)


# --- data ---------------------------------------------------------------------------------------------------------


class IidPartition(Frozen):
    """Every company draws from the same distribution."""

    kind: Literal["iid"]
    sizes: dict[CompanyName, Annotated[float, Field(gt=0, le=1e9)]] | None = Field(
        None, description="relative size of each company (any positive unit); equal sizes without it"
    )


class SizesPartition(Frozen):
    """Companies differ in size alone."""

    kind: Literal["sizes"]
    sizes: dict[CompanyName, Annotated[float, Field(gt=0, le=1e9)]] = Field(
        description="relative size of each company (any positive unit)"
    )


class DirichletPartition(Frozen):
    """Label skew: each company's label distribution is drawn from Dirichlet(alpha, ..., alpha) (Hsu et al. 2019)."""

    kind: Literal["dirichlet"]
    alpha: float = Field(gt=0, le=1e6, description="concentration (no unit): 0.1 strong skew, 100 nearly iid")
    sizes: dict[CompanyName, Annotated[float, Field(gt=0, le=1e9)]] | None = Field(
        None, description="relative size of each company (any positive unit); equal sizes without it"
    )


class ColumnPartition(Frozen):
    """Natural owners: a column of the table says whose row it is. Rows of other owners are left out."""

    kind: Literal["column"]
    column: str = Field(min_length=1, description="name of the column (or array of an .npz) that holds the owner")
    owners: dict[CompanyName, str] | None = Field(
        None, description="the column's value for each company; the company's own name without it"
    )


Partition = Annotated[IidPartition | SizesPartition | DirichletPartition | ColumnPartition, Field(discriminator="kind")]


class WrongLabels(Frozen):
    """A share of the company's labels is replaced by other labels, chosen evenly (regression: shuffled targets)."""

    kind: Literal["wrong_labels"]
    company: CompanyName = Field(description="whose data are corrupted")
    fraction: float = Field(gt=0, le=1, description="share of the company's rows, 0 to 1")


class FeatureNoise(Frozen):
    """Normal noise is added to every feature of the company."""

    kind: Literal["feature_noise"]
    company: CompanyName = Field(description="whose data are corrupted")
    std: float = Field(gt=0, le=1e3, description="standard deviation of the noise, in units of the scaled features")


class Duplicate(Frozen):
    """The company holds copies of another company's rows instead of its own (fraction 1: twins)."""

    kind: Literal["duplicate"]
    company: CompanyName = Field(description="whose rows are replaced")
    of: CompanyName = Field(description="whose rows are copied")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the other company's rows that is copied, 0 to 1")


class FreeRider(Frozen):
    """The company's rows carry no information: features and labels are shuffled independently."""

    kind: Literal["free_rider"]
    company: CompanyName = Field(description="whose data are replaced")


Corruption = Annotated[WrongLabels | FeatureNoise | Duplicate | FreeRider, Field(discriminator="kind")]


class Validation(Frozen):
    """The operator's validation set: it scores utilities and nothing else."""

    fraction: float = Field(
        0.2, gt=0, lt=1, description="share of the source's rows held out, stratified by label, before partitioning"
    )
    file: str | None = Field(None, description="a file of its own (.npz, .csv, .parquet) instead of a hold-out")


class Data(Frozen):
    """Where the rows come from, who owns which, and what the operator keeps for validation."""

    source: str = Field(
        min_length=1,
        description="digits, wine, breast_cancer, iris, diabetes (scikit-learn), a file (.npz, .csv, .parquet), "
        "`own` (each company brings its own file) or `module:function`",
    )
    options: dict[str, Scalar] = Field({}, description="keyword arguments of `module:function`")
    task: Literal["classification", "regression"] | None = Field(
        None, description="kind of target; built-in sources know theirs, files default to classification"
    )
    target: str = Field("target", min_length=1, description="column of a .csv or .parquet file that is predicted")
    classes: int | None = Field(
        None,
        ge=2,
        le=100_000,
        description="number of classes; without it the labels of a shared source are counted and must have no gap",
    )
    standardise: bool | None = Field(
        None,
        description="scale features by the validation set's mean and standard deviation; default true for tables "
        "(files included), false for images and functions",
    )
    files: dict[CompanyName, str] | None = Field(
        None, description="with `source: own`: each company's file; a node's own data path goes before it"
    )
    validation: Validation = Field(Validation(), description="the operator's validation set")
    partition: Partition | None = Field(None, description="how the rows are divided among the companies")
    corruptions: Annotated[
        tuple[Corruption, ...],
        _many("defects put in on purpose, for studies, in this order; one of a kind for each company"),
    ] = ()


# --- models and training ------------------------------------------------------------------------------------------


class ModelBase(Frozen):
    """What every model has: a name in the tables and, if it wants, a learning rate of its own."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)] | None = Field(
        None, description="name in the tables; made from kind and widths without it"
    )
    learning_rate: float | None = Field(
        None, gt=0, le=100, description="this size's learning rate (per step), `training.learning_rate` without it"
    )


class Mlp(ModelBase):
    """Fully connected layers with ReLU; the output layer starts at zero."""

    kind: Literal["mlp"]
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=16_384)], ...], _many("widths of the hidden layers, in units", max_length=8)
    ]


class Cnn(ModelBase):
    """3x3 convolutions with GroupNorm, ReLU and 2x2 mean pooling; the output layer starts at zero."""

    kind: Literal["cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1024)], ...],
        _many("output channels of each convolution", min_length=1, max_length=5),
    ]


class Module(ModelBase):
    """Any torch module: `factory(input_shape, n_outputs, **options) -> torch.nn.Module`, without BatchNorm."""

    kind: Literal["module"]
    factory: Reference = Field(description="`package.module:function`")
    options: dict[str, Scalar | list[Scalar]] = Field({}, description="keyword arguments of the factory")


Model = Annotated[Mlp | Cnn | Module, Field(discriminator="kind")]


class Models(Frozen):
    """The ladder of small models that every coalition trains, and the large one."""

    small: Annotated[tuple[Model, ...], _many("small models, ascending in parameters", min_length=1, max_length=8)]
    large: Model = Field(description="the large model: the teacher, trained by the grand coalition")


class Training(Frozen):
    """One process for all: every coalition, seed and size trains by these numbers."""

    rounds: int = Field(20, ge=1, le=100_000, description="communication rounds")
    local_epochs: int = Field(1, ge=1, le=1000, description="passes over a company's own data in one round")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="rows in a batch; the short last batch is kept")
    learning_rate: float = Field(0.1, gt=0, le=100, description="client learning rate of SGD, per step")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of SGD (no unit), fresh in every round")
    weight_decay: float = Field(0.0, ge=0, le=10, description="L2 penalty of SGD, per step")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate by round; `cosine` falls to zero after the last round"
    )
    seeds: int = Field(3, ge=1, le=100, description="trainings of each small model and coalition, seeds 0, 1, ...")
    large_seeds: int = Field(1, ge=1, le=100, description="trainings of the large model at each anchor; 0 is deployed")


class Teacher(Frozen):
    """How the large model is aggregated. The game itself is always FedAvg (FedProx with `fedprox`)."""

    strategy: str = Field(
        "fedavg",
        min_length=1,
        description="fedavg, fedprox, fedadam, fedyogi, fedadagrad, fedavgm, fedmedian, fedtrimmedavg, krum, "
        "multikrum, bulyan, qfedavg, or `module:Class` of a Flower Strategy",
    )
    options: dict[str, Scalar] = Field({}, description="arguments of the strategy's constructor, by Flower's names")


# --- students -----------------------------------------------------------------------------------------------------


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
    mode: Literal["multiplicative", "additive"] = "multiplicative"
    granularity: Literal["per_logit", "per_sample"] = "per_logit"
    probability: float = Field(0.5, ge=0, le=1)


LOSS_OPTIONS: dict[str, type[Frozen]] = {
    "hinton": HintonOptions,
    "dkd": DkdOptions,
    "logit_l2": LogitL2Options,
    "smooth_l1": SmoothL1Options,
    "noisy_teacher": NoisyTeacherOptions,
}
SOFT_LOSSES = ("hinton", "dkd")  # of probabilities, at a temperature


class PublicRows(Frozen):
    """Rows that everybody may see: a file with the columns of the other data. Its targets are not looked at."""

    kind: Literal["public"]
    file: str = Field(min_length=1, description="a data file (.npz, .csv, .parquet); zeros will do as targets")


class InventedRows(Frozen):
    """Rows that nobody owns. All inputs lie in one box, in scaled units."""

    rows: int = Field(2000, ge=2, le=1_000_000, description="how many")
    low: float = Field(ge=-1e6, le=1e6, description="the box's lower end in every input, in scaled units")
    high: float = Field(ge=-1e6, le=1e6, description="the box's upper end in every input, in scaled units")


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
    PublicRows | GaussianRows | UniformRows | InversionRows | GeneratorRows | DensityRows, Field(discriminator="kind")
]


class Deployed(Frozen):
    """A student that the operator distils from the finished teacher by the loss alone, and deploys in its place."""

    model: Model = Field(description="the student; batch size, momentum and learning rate are those of `training`")
    transfer_set: TransferRows = Field(description="rows on which it listens")
    epochs: int = Field(20, ge=1, le=10_000, description="passes over these rows")


class Distillation(Frozen):
    """Students: small models that listen to the finished teacher. Without this section all models are plain."""

    loss: Literal["hinton", "dkd", "logit_l2", "smooth_l1", "noisy_teacher"] = Field(
        "hinton", description="how far a student is from the teacher, by the logits of a row (docs/distillation.md)"
    )
    weight: float = Field(
        ge=0,
        le=1,
        description="of the loss in every small model of the coalitions: they minimise (1 - weight) CE + weight loss "
        "(regression: squared error); 0 leaves them plain",
    )
    temperature: float | None = Field(
        None, ge=1e-6, le=1e6, description="of the softmax (no unit), for hinton and dkd; 4 without it"
    )
    options: dict[str, Scalar] = Field({}, description="the loss's own: dkd, smooth_l1 and noisy_teacher have some")
    transfer_set: Literal["own"] = Field(
        "own",
        description="rows on which the small models listen: the company's own, since any other rows would make the "
        "models of all coalitions alike",
    )
    deployed: Deployed | None = Field(
        None, description="a student that is deployed instead of the teacher; a performance pot then pays by it"
    )


# --- valuation ----------------------------------------------------------------------------------------------------


class Stop(Frozen):
    """When a growing sample of coalitions is enough."""

    widest_interval_cents: int | None = Field(
        None,
        ge=1,
        le=10**15,
        description="stop when the widest payout's interval is at most so wide (minor units, from its low to its high "
        "end); without it the sample grows to `max_evaluations`",
    )
    max_evaluations: int = Field(
        ge=10, le=20_000, description="most coalitions whose utility is measured, the empty and the grand one included"
    )


class Coalitions(Frozen):
    """Which coalitions train the small models."""

    design: Literal["all", "sampled"] = Field(
        "all",
        description="`all`: every one of the 2**N coalitions, up to 20 companies; `sampled`: a sample that grows until "
        "`stop` says that it is enough, for any number of companies",
    )
    stop: Stop | None = Field(None, description="with `sampled`: when there are enough coalitions")
    wave_megabytes: float = Field(
        64.0, gt=0, le=1024, description="upper bound on one message of a wave, in MB; a crash loses two waves at most"
    )
    waves: int = Field(
        1, ge=1, le=100_000, description="smallest number of waves (of a step of a sample), so that a crash loses less"
    )


class Law(Frozen):
    """What the large model is measured on besides the empty and the grand coalition."""

    anchors: Literal["none", "singletons", "singletons+loo"] | Annotated[int, Field(ge=0, le=10_000)] = Field(
        "singletons",
        description="extra large runs: `singletons` lets every company train the large model alone, `singletons+loo` "
        "also all companies but one; a number makes that many runs: singletons first, then all but one, then what "
        "narrows the values most for its price",
    )
    family: Literal["auto", "affine", "power", "ladder", "ladder+power"] | Reference = Field(
        "auto",
        description="the law: `auto` chooses; or one of the others by name, or a function of one's own, "
        "`package.module:function`",
    )
    accept: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^D[1-9]$")], ...],
        _many("alarms that do not block payment, by code (D1 ... D9)"),
    ] = ()
    untrained_loss: float | None = Field(
        None,
        ge=0,
        le=1e9,
        description="loss of the empty coalition for a `module` model (nats or squared units); measured without it",
    )


class Values(Frozen):
    """From utilities to values."""

    semivalue: Annotated[str, StringConstraints(pattern=r"^(shapley|banzhaf|loo|beta:\d+(\.\d+)?,\d+(\.\d+)?)$")] = (
        Field("shapley", description="shapley, banzhaf, loo or beta:A,B")
    )
    level: float = Field(0.9, ge=0.5, le=0.999, description="coverage of every interval (probability)")
    unions: dict[CompanyName, Annotated[tuple[str, ...], _many("companies of the union", min_length=2)]] = Field(
        {}, description="companies that belong together, by the union's name; the report shows what acting as one pays"
    )


class FixedPot(Frozen):
    """A fixed sum is divided."""

    kind: Literal["fixed"]
    cents: int = Field(ge=0, le=10**15, description="the pot in minor units (cents)")


class PerformancePot(Frozen):
    """The pot grows with the deployed model: round(max(0, u - floor) * rate), u its measured utility."""

    kind: Literal["performance"]
    cents_per_utility: float = Field(gt=0, le=1e15, description="cents for each unit of utility above the floor")
    floor: float = Field(ge=-1e9, le=1e9, description="utility at which nothing is earned (minus the loss)")


Pot = Annotated[FixedPot | PerformancePot, Field(discriminator="kind")]


class Payouts(Frozen):
    """From values to cents."""

    pot: Pot = Field(description="what is divided")
    negative: Literal["clip", "charge"] = Field(
        "clip", description="companies of negative value: `clip` pays them nothing, `charge` makes them pay"
    )
    max_charge: int | None = Field(
        None, ge=0, le=10**15, description="with `charge`: the most a company may be charged, in cents; default the pot"
    )
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(
        "EUR", description="ISO 4217 code; amounts are whole minor units"
    )
    decimals: int = Field(2, ge=0, le=4, description="minor units in one unit of the currency, as a power of ten")


# --- the machine --------------------------------------------------------------------------------------------------


class Compute(Frozen):
    """How the work is spread. `dtype` and `device` change results; `threads` and `chunk` at most their last digits."""

    workers: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Ray actors, or threads of one process, that train companies side by side; the machine's cores "
        "without it",
    )
    threads: int = Field(1, ge=1, le=256, description="threads of torch and BLAS in every process")
    chunk: int = Field(128, ge=1, le=65_536, description="models that are trained together as one stack")
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of training and messages")
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")] = Field(
        "cpu", description="where companies train: cpu, cuda or cuda:INDEX"
    )
    max_hours: float = Field(
        24.0, gt=0, le=10_000, description="`run` refuses what `plan` expects to take longer, hours"
    )

    @property
    def at_once(self) -> int:
        """Companies that train side by side where no cluster says how many."""
        return self.workers or os.cpu_count() or 1

    @property
    def threads_at_once(self) -> int:
        """The same in one process: on a GPU one after the other, for its memory is one."""
        return 1 if self.device.startswith("cuda") else self.at_once


class Faults(Frozen):
    """What is tried before a run stops. A missing reply is never averaged over."""

    retries: int = Field(2, ge=0, le=100, description="times a message is sent again to a company that failed it")
    timeout_seconds: float = Field(
        3600.0,
        gt=0,
        le=1e6,
        description="seconds a company has for one message, with the time that it waits for a worker in a simulation",
    )
    restarts: int = Field(2, ge=0, le=100, description="times the simulation is started again after a worker died")


class RayCluster(Frozen):
    """An existing Ray cluster instead of a new one on this machine."""

    address: str | None = Field(
        None, pattern=r"^(auto|[^:\s]+:\d{1,5})$", description="address of the cluster's head node, host:port, or auto"
    )


class Config(Frozen):
    """One run: who, on what data, with which models, valued and paid by which rules."""

    title: str = Field("", max_length=200, description="headline of the report")
    seed: int = Field(0, ge=0, lt=2**63, description="the one seed; every stream of random numbers derives from it")
    companies: Annotated[
        tuple[CompanyName, ...],
        _many("names of the companies; bit i of a coalition is the i-th", min_length=2, max_length=1000),
    ]
    data: Data = Field(description="rows, owners and validation set")
    models: Models = Field(description="the small models and the large one")
    training: Training = Field(Training(), description="federated training, the same for all")
    teacher: Teacher = Field(Teacher(), description="strategy of the large model")
    distillation: Distillation | None = Field(None, description="students of the teacher; none without it")
    coalitions: Coalitions = Field(Coalitions(), description="which coalitions train, and in which waves")
    law: Law = Field(Law(), description="from small losses to large ones")
    values: Values = Field(Values(), description="semivalue and level of the intervals")
    payouts: Payouts = Field(description="pot and rules of payment")
    compute: Compute = Field(Compute(), description="how the work is spread")
    faults: Faults = Field(Faults(), description="retries and restarts")
    ray: RayCluster = Field(RayCluster(), description="an existing Ray cluster")

    @property
    def n_companies(self) -> int:
        return len(self.companies)

    @property
    def students(self) -> Distillation | None:
        """How the small models listen to the teacher; None when they are plain."""
        return self.distillation if self.distillation is not None and self.distillation.weight > 0 else None

    @property
    def deployed(self) -> Deployed | None:
        """The student that is deployed; None when it is the teacher itself."""
        return None if self.distillation is None else self.distillation.deployed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_companies(self)
        _check_data(self)
        _check_models(self)
        _check_design(self)
        _check_law(self)
        if self.distillation is not None:
            _check_distillation(self.distillation, self.data)
        return self


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


def _check_companies(config: Config) -> None:
    doubles = [name for name, count in Counter(config.companies).items() if count > 1]
    if doubles:
        raise ValueError(f"companies: the name {doubles[0]!r} stands twice; every company needs a name of its own")
    named = {
        "data.files": config.data.files or {},
        "data.partition.sizes": getattr(config.data.partition, "sizes", None) or {},
        "data.partition.owners": getattr(config.data.partition, "owners", None) or {},
    }
    for where, mapping in named.items():
        _check_names(where, mapping, config.companies, complete=bool(mapping))
    united = [company for members in config.values.unions.values() for company in members]
    _check_names("values.unions", united, config.companies, complete=False)
    if len(set(united)) < len(united):
        twice = next(company for company in united if united.count(company) > 1)
        raise ValueError(f"values.unions: {twice!r} stands twice; a company belongs to one union at most")
    for index, corruption in enumerate(config.data.corruptions):
        mentioned = [corruption.company, corruption.of] if isinstance(corruption, Duplicate) else [corruption.company]
        _check_names(f"data.corruptions[{index}]", mentioned, config.companies, complete=False)


def _check_names(where: str, names: Any, companies: tuple[str, ...], *, complete: bool) -> None:
    for name in names:
        if name not in companies:
            raise ValueError(f"{where}: there is no company {name!r}; the companies are {', '.join(companies[:10])}")
    missing = [name for name in companies if name not in names]
    if complete and missing:
        raise ValueError(f"{where}: {missing[0]!r} is missing; name every company")


def _check_data(config: Config) -> None:
    data = config.data
    is_function = re.fullmatch(REFERENCE, data.source) is not None
    if not (data.source in BUILT_IN_SOURCES or data.source == "own" or data.source.endswith(DATA_FILES) or is_function):
        raise ValueError(
            f"data.source: there is no source {data.source!r}; allowed are {', '.join(BUILT_IN_SOURCES)}, own, a file "
            f"({', '.join(DATA_FILES)}) or module:function"
        )
    if data.options and not is_function:
        raise ValueError(f"data.options: only a module:function takes options, {data.source} takes none")
    if data.classes is not None and (data.task or BUILT_IN_SOURCES.get(data.source)) == "regression":
        raise ValueError("data.classes: a regression has no classes; leave the key out")
    if data.source == "own":
        if data.validation.file is None:
            raise ValueError("data.validation.file: `source: own` needs the operator's own validation file")
        if data.partition is not None:
            raise ValueError("data.partition: with `source: own` every company brings its rows; leave it out")
        if data.task != "regression" and data.classes is None:
            raise ValueError("data.classes: with `source: own` nobody sees all labels; say how many classes there are")
    else:
        if data.files is not None:
            raise ValueError("data.files: only `source: own` takes a file for each company")
        if data.partition is None:
            raise ValueError("data.partition: say how the rows are divided, for example {kind: iid}")
    for index, corruption in enumerate(data.corruptions):
        if isinstance(corruption, Duplicate) and (corruption.of == corruption.company or data.source == "own"):
            raise ValueError(f"data.corruptions[{index}]: a duplicate copies another company's rows of a shared source")
        if any(
            (other.kind, other.company) == (corruption.kind, corruption.company) for other in data.corruptions[:index]
        ):
            raise ValueError(
                f"data.corruptions[{index}]: {corruption.company!r} has two defects of one kind; join them"
            )


def _check_models(config: Config) -> None:
    names = [model_name(model) for model in (*config.models.small, config.models.large)]
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(
            f"models: {doubles[0]!r} stands twice; every size is another one, the large model larger than all small "
            "ones, and a `name` tells apart what is written alike"
        )


def _check_design(config: Config) -> None:
    design, stop, n = config.coalitions.design, config.coalitions.stop, config.n_companies
    if design == "all":
        if stop is not None:
            raise ValueError("coalitions.stop: only `design: sampled` stops; leave it out, or take a sample")
        return
    if stop is None:
        raise ValueError("coalitions.stop: `design: sampled` needs it, for example {max_evaluations: 500}")
    least = 2 * n + 2
    if stop.max_evaluations < least:
        raise ValueError(
            f"coalitions.stop.max_evaluations: {stop.max_evaluations} are too few for {n} companies; at least {least} "
            "(nobody, everybody, every company alone and everybody but one)"
        )
    if stop.max_evaluations >= 2**n:
        raise ValueError(
            f"coalitions.stop.max_evaluations: {n} companies form only {2**n} coalitions; take `design: all`, or fewer"
        )
    if config.values.semivalue != "shapley":
        raise ValueError(
            f"values.semivalue: {config.values.semivalue} needs `coalitions.design: all`; from a sample only shapley "
            "is estimated"
        )
    if config.values.unions:
        raise ValueError("values.unions: what acting as one pays needs `coalitions.design: all`; leave the unions out")


def most_anchors(config: Config) -> int:
    """How many extra large runs `law.anchors` may ask for: all coalitions, of a sample those that it always holds."""
    n = config.n_companies
    others: int = 2**n - 2  # besides the empty and the grand coalition
    return min(2 * n, others) if config.coalitions.design == "sampled" else others


def _check_law(config: Config) -> None:
    if config.law.family.startswith("ladder") and ":" not in config.law.family and len(config.models.small) < 2:
        raise ValueError(f"law.family: {config.law.family} needs at least two models in models.small")
    anchors, n, most = config.law.anchors, config.n_companies, most_anchors(config)
    if not isinstance(anchors, int) or anchors <= most:
        return
    if config.coalitions.design == "sampled":
        raise ValueError(
            f"law.anchors: {anchors} extra large runs; with `coalitions.design: sampled` take at most {most}, the "
            "companies alone and all but one"
        )
    raise ValueError(
        f"law.anchors: {anchors} extra large runs, but besides nobody and all {n} companies form "
        f"only {most} coalitions; take at most that many"
    )


def _check_distillation(distillation: Distillation, data: Data) -> None:
    loss = distillation.loss
    regression = (data.task or BUILT_IN_SOURCES.get(data.source)) == "regression"
    if distillation.deployed is not None:
        _check_transfer_rows(distillation.deployed.transfer_set, regression=regression)
    if loss in SOFT_LOSSES and regression:
        others = ", ".join(name for name in LOSS_OPTIONS if name not in SOFT_LOSSES)
        raise ValueError(
            f"distillation.loss: {loss} compares class probabilities, and this is a regression; allowed are {others}"
        )
    if distillation.temperature is not None and loss not in SOFT_LOSSES:
        raise ValueError(f"distillation.temperature: {loss} has none; it belongs to {' and '.join(SOFT_LOSSES)}")
    try:
        LOSS_OPTIONS[loss].model_validate(distillation.options)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        allowed = ", ".join(LOSS_OPTIONS[loss].model_fields) or "none"
        unknown = problem["type"] == "extra_forbidden"
        what = f"{loss} has no such option" if unknown else f"{problem['msg']}; given {problem['input']!r}"
        raise ValueError(
            f"distillation.options.{problem['loc'][0]}: {what}. The options of {loss}: {allowed}"
        ) from None


def _check_transfer_rows(rows: TransferRows, *, regression: bool) -> None:
    where = "distillation.deployed.transfer_set"
    if isinstance(rows, PublicRows):
        return
    if not rows.low < rows.high:
        raise ValueError(f"{where}: low is {rows.low:g} and high is {rows.high:g}; a box needs low < high")
    if regression and isinstance(rows, InversionRows | GeneratorRows | DensityRows):
        raise ValueError(
            f"{where}: the rows of kind {rows.kind} are made from class probabilities, and this is a regression; "
            "allowed are public, gaussian, uniform"
        )
