"""What the sections of a configuration must agree on, as far as the configuration alone can tell.

Every check raises ValueError with one sentence: where, what is wrong, what is allowed.
"""

import re
from collections import Counter
from collections.abc import Iterable

from pydantic import ValidationError

from fl_sv.config.base import DATA_FILES, REFERENCE
from fl_sv.config.data import BUILT_IN_SOURCES, Data, Duplicate
from fl_sv.config.models import Models, model_name
from fl_sv.config.students import (
    LOSS_OPTIONS,
    SOFT_LOSSES,
    DensityRows,
    Distillation,
    GeneratorRows,
    InversionRows,
    PublicRows,
    TransferRows,
)
from fl_sv.config.valuation import Coalitions, Law, Values


def check_companies(companies: tuple[str, ...], data: Data, values: Values) -> None:
    """Names stand once, and every section names companies that there are."""
    doubles = [name for name, count in Counter(companies).items() if count > 1]
    if doubles:
        raise ValueError(
            f"companies: the name {doubles[0]!r} stands twice; every company needs a name of"
            " its own"
        )
    named = {
        "data.files": data.files or {},
        "data.partition.sizes": getattr(data.partition, "sizes", None) or {},
        "data.partition.owners": getattr(data.partition, "owners", None) or {},
    }
    for where, mapping in named.items():
        _check_names(where, mapping, companies, complete=bool(mapping))
    united = [company for members in values.unions.values() for company in members]
    _check_names("values.unions", united, companies, complete=False)
    if len(set(united)) < len(united):
        twice = next(company for company in united if united.count(company) > 1)
        raise ValueError(
            f"values.unions: {twice!r} stands twice; a company belongs to one union at most"
        )
    for index, corruption in enumerate(data.corruptions):
        mentioned = (
            [corruption.company, corruption.of]
            if isinstance(corruption, Duplicate)
            else [corruption.company]
        )
        _check_names(f"data.corruptions[{index}]", mentioned, companies, complete=False)


def _check_names(
    where: str, names: Iterable[str], companies: tuple[str, ...], *, complete: bool
) -> None:
    for name in names:
        if name not in companies:
            raise ValueError(
                f"{where}: there is no company {name!r}; the companies are"
                f" {', '.join(companies[:10])}"
            )
    missing = [name for name in companies if name not in names]
    if complete and missing:
        raise ValueError(f"{where}: {missing[0]!r} is missing; name every company")


def check_data(data: Data) -> None:
    """A source that there is, and the keys that it needs."""
    is_function = re.fullmatch(REFERENCE, data.source) is not None
    if not (
        data.source in BUILT_IN_SOURCES
        or data.source == "own"
        or data.source.endswith(DATA_FILES)
        or is_function
    ):
        raise ValueError(
            f"data.source: there is no source {data.source!r}; allowed are"
            f" {', '.join(BUILT_IN_SOURCES)}, own, a file ({', '.join(DATA_FILES)}) or"
            " module:function"
        )
    if data.options and not is_function:
        raise ValueError(
            f"data.options: only a module:function takes options, {data.source} takes none"
        )
    if (
        data.classes is not None
        and (data.task or BUILT_IN_SOURCES.get(data.source)) == "regression"
    ):
        raise ValueError("data.classes: a regression has no classes; leave the key out")
    if data.source == "own":
        if data.validation.file is None:
            raise ValueError(
                "data.validation.file: `source: own` needs the operator's own validation file"
            )
        if data.partition is not None:
            raise ValueError(
                "data.partition: with `source: own` every company brings its rows; leave it out"
            )
        if data.task != "regression" and data.classes is None:
            raise ValueError(
                "data.classes: with `source: own` nobody sees all labels; say how many classes"
                " there are"
            )
    else:
        if data.files is not None:
            raise ValueError("data.files: only `source: own` takes a file for each company")
        if data.partition is None:
            raise ValueError(
                "data.partition: say how the rows are divided, for example {kind: iid}"
            )
    for index, corruption in enumerate(data.corruptions):
        if isinstance(corruption, Duplicate) and (
            corruption.of == corruption.company or data.source == "own"
        ):
            raise ValueError(
                f"data.corruptions[{index}]: a duplicate copies another company's rows of a shared"
                " source"
            )
        if any(
            (other.kind, other.company) == (corruption.kind, corruption.company)
            for other in data.corruptions[:index]
        ):
            raise ValueError(
                f"data.corruptions[{index}]: {corruption.company!r} has two defects of one kind;"
                " join them"
            )


def check_models(models: Models) -> None:
    """Every size has a name of its own in the tables."""
    names = [model_name(model) for model in (*models.small, models.large)]
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(
            f"models: {doubles[0]!r} stands twice; every size is another one, the large model"
            " larger than all small ones, and a `name` tells apart what is written alike"
        )


def check_design(coalitions: Coalitions, values: Values, n_companies: int) -> None:
    """A sample has an end, and only values that can be estimated from it."""
    design, stop, n = coalitions.design, coalitions.stop, n_companies
    if design == "all":
        if stop is not None:
            raise ValueError(
                "coalitions.stop: only `design: sampled` stops; leave it out, or take a sample"
            )
        return
    if stop is None:
        raise ValueError(
            "coalitions.stop: `design: sampled` needs it, for example {max_evaluations: 500}"
        )
    least = 2 * n + 2
    if stop.max_evaluations < least:
        raise ValueError(
            f"coalitions.stop.max_evaluations: {stop.max_evaluations} are too few for {n}"
            f" companies; at least {least} (nobody, everybody, every company alone and everybody"
            " but one)"
        )
    if stop.max_evaluations >= 2**n:
        raise ValueError(
            f"coalitions.stop.max_evaluations: {n} companies form only {2**n} coalitions; take"
            " `design: all`, or fewer"
        )
    if values.semivalue != "shapley":
        raise ValueError(
            f"values.semivalue: {values.semivalue} needs `coalitions.design: all`; from a sample"
            " only shapley is estimated"
        )
    if values.unions:
        raise ValueError(
            "values.unions: what acting as one pays needs `coalitions.design: all`; leave the"
            " unions out"
        )


def most_large_runs(n_companies: int, coalitions: Coalitions) -> int:
    """How many extra large runs `law.anchors` may ask for: all coalitions, of a sample those that
    it always holds.
    """
    others: int = 2**n_companies - 2  # besides the empty and the grand coalition
    return min(2 * n_companies, others) if coalitions.design == "sampled" else others


def check_law(law: Law, models: Models, coalitions: Coalitions, n_companies: int) -> None:
    """The law's family has the sizes that it needs, and the large runs are coalitions that there
    are.
    """
    if law.family.startswith("ladder") and ":" not in law.family and len(models.small) < 2:
        raise ValueError(f"law.family: {law.family} needs at least two models in models.small")
    anchors, n, most = law.anchors, n_companies, most_large_runs(n_companies, coalitions)
    if not isinstance(anchors, int) or anchors <= most:
        return
    if coalitions.design == "sampled":
        raise ValueError(
            f"law.anchors: {anchors} extra large runs; with `coalitions.design: sampled` take at"
            f" most {most}, the companies alone and all but one"
        )
    raise ValueError(
        f"law.anchors: {anchors} extra large runs, but besides nobody and all {n} companies form "
        f"only {most} coalitions; take at most that many"
    )


def check_distillation(distillation: Distillation, data: Data) -> None:
    """The loss and the transfer set suit the task, and the loss takes these options."""
    loss = distillation.loss
    regression = (data.task or BUILT_IN_SOURCES.get(data.source)) == "regression"
    if distillation.deployed is not None:
        _check_transfer_rows(distillation.deployed.transfer_set, regression=regression)
    if loss in SOFT_LOSSES and regression:
        others = ", ".join(name for name in LOSS_OPTIONS if name not in SOFT_LOSSES)
        raise ValueError(
            f"distillation.loss: {loss} compares class probabilities, and this is a regression;"
            f" allowed are {others}"
        )
    if distillation.temperature is not None and loss not in SOFT_LOSSES:
        raise ValueError(
            f"distillation.temperature: {loss} has none; it belongs to {' and '.join(SOFT_LOSSES)}"
        )
    try:
        LOSS_OPTIONS[loss].model_validate(distillation.options)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        allowed = ", ".join(LOSS_OPTIONS[loss].model_fields) or "none"
        unknown = problem["type"] == "extra_forbidden"
        what = (
            f"{loss} has no such option"
            if unknown
            else f"{problem['msg']}; given {problem['input']!r}"
        )
        raise ValueError(
            f"distillation.options.{problem['loc'][0]}: {what}. The options of {loss}: {allowed}"
        ) from None


def _check_transfer_rows(rows: TransferRows, *, regression: bool) -> None:
    where = "distillation.deployed.transfer_set"
    if isinstance(rows, PublicRows):
        return
    if not rows.low < rows.high:
        raise ValueError(
            f"{where}: low is {rows.low:g} and high is {rows.high:g}; a box needs low < high"
        )
    if regression and isinstance(rows, InversionRows | GeneratorRows | DensityRows):
        raise ValueError(
            f"{where}: the rows of kind {rows.kind} are made from class probabilities, and this is"
            " a regression; allowed are public, gaussian, uniform"
        )
