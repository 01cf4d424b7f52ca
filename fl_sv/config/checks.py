"""What the sections of a configuration must agree on, as far as the configuration alone can tell.

Every check raises ValueError with one message: where, what is wrong, what is allowed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from fl_sv.config.base import REFERENCE
from fl_sv.config.data import Data, Duplicate
from fl_sv.config.models import Models, Teacher, model_name, stated_rate
from fl_sv.config.names import check_names
from fl_sv.config.strategies import STRATEGIES, StrategyFacts
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
from fl_sv.config.training import Training
from fl_sv.config.valuation import (
    MOST_EVALUATIONS,
    Coalitions,
    FixedPot,
    LawRules,
    PerformancePot,
    Values,
)
from fl_sv.numbers import MAX_CENTS

MAX_COMPANIES_FOR_ALL = 20  # 2**20 trainings of each small model


def check_companies(
    companies: tuple[str, ...], names: Mapping[str, str], data: Data, values: Values
) -> None:
    """No name is taken for another, and every section names companies of the list `companies`."""
    try:
        check_names(companies, names)
    except ValueError as error:
        raise ValueError(f"companies: {error}") from None
    _check_names("names", names, companies, complete=False)
    sizes = getattr(data.partition, "sizes", None)
    named = {
        "data.files": data.files or {},
        "data.partition.sizes": sizes if isinstance(sizes, dict) else {},
        "data.partition.owners": getattr(data.partition, "owners", None) or {},
    }
    for where, mapping in named.items():
        _check_names(where, mapping, companies, complete=bool(mapping))
    united = [company for members in values.unions.values() for company in members]
    _check_names("values.unions", united, companies, complete=False)
    if len(set(united)) < len(united):
        twice = next(company for company in united if united.count(company) > 1)
        raise ValueError(
            f"values.unions: {twice!r} is listed twice; a company belongs to at most one union"
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


def check_models(models: Models) -> None:
    """Every model has its own name in the tables."""
    names = [model_name(model) for model in (*models.small, models.large)]
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(
            f"models: two models have the name {doubles[0]!r}; no two models may be equal, and the"
            " large one must be larger than all small ones. Give each of them a `name`, if they"
            " differ in other keys"
        )


def check_strategy(teacher: Teacher, n_companies: int) -> None:
    """The teacher's strategy is known, and so are its options; there are enough companies.

    A strategy of the user's own is tried before a run (`server.trial`).
    """
    name = teacher.strategy
    if re.fullmatch(REFERENCE, name):
        return
    if name not in STRATEGIES:
        raise ValueError(
            f"teacher.strategy: there is no strategy {name!r}. Built in are"
            f" {', '.join(STRATEGIES)}; any other Flower Strategy is given as package.module:Class"
        )
    facts = STRATEGIES[name]
    _check_options(name, facts, teacher)
    malicious = int(teacher.options.get("num_malicious_nodes", 0))
    if n_companies < facts.minimum(malicious):
        raise ValueError(
            f"teacher.strategy: {name} with num_malicious_nodes={malicious} needs at least"
            f" {facts.minimum(malicious)} companies, {facts.why}; there are {n_companies}; choose"
            " another strategy or fewer malicious nodes"
        )
    selected = teacher.options.get("num_nodes_to_select", 1)
    if int(selected) > n_companies - malicious:
        raise ValueError(
            f"teacher.options.num_nodes_to_select: {selected} given; of {n_companies} companies,"
            f" {malicious} of them malicious, at most {n_companies - malicious} can be selected"
        )


def _check_options(name: str, facts: StrategyFacts, teacher: Teacher) -> None:
    for option, value in teacher.options.items():
        if option not in facts.options:
            allowed = ", ".join(facts.options) or "no options"
            raise ValueError(
                f"teacher.options: {name} has no option {option!r}; it takes {allowed}"
            )
        if value not in facts.options[option]:
            raise ValueError(
                f"teacher.options.{option}: {value!r:.40} given; {name} takes"
                f" {facts.options[option]}"
            )


def check_pot(pot: FixedPot | PerformancePot) -> None:
    """A performance pot can be earned at all, and never exceeds what amounts are computed for.

    The utility is minus a loss, and no loss is below 0.
    """
    if isinstance(pot, FixedPot):
        return
    if pot.floor >= 0:
        raise ValueError(
            f"payouts.pot.floor: {pot.floor:g} given, but the utility is minus the validation loss,"
            " so it never exceeds 0 and nothing could be earned; give a floor below 0, such as"
            " minus the loss of the untrained model"
        )
    most = -pot.floor * pot.cents_per_utility
    if most > MAX_CENTS:
        raise ValueError(
            f"payouts.pot: from the floor {pot.floor:g} to the utility 0 this pot grows to"
            f" {most:.3g} cents; at most 10**15 are allowed; lower cents_per_utility, or raise the"
            " floor"
        )
    if most < 1:
        raise ValueError(
            f"payouts.pot: from the floor {pot.floor:g} to the utility 0 this pot grows to"
            f" {most:.3g} cents, so nothing could be earned; raise cents_per_utility, or lower the"
            " floor"
        )


def check_design(coalitions: Coalitions, values: Values, n_companies: int) -> None:
    """Not too many coalitions; a sample has a rule to stop, and values that it can estimate."""
    design, stop, n = coalitions.design, coalitions.stop, n_companies
    if design == "all" and n > MAX_COMPANIES_FOR_ALL:
        suggested = min(40 * n, MOST_EVALUATIONS)
        raise ValueError(
            f"{n} companies mean 2**{n} coalitions; with coalitions.design = all the limit is"
            f" 2**{MAX_COMPANIES_FOR_ALL} ({MAX_COMPANIES_FOR_ALL} companies). Take a sample:"
            f" coalitions: {{design: sampled, stop: {{max_evaluations: {suggested}}}}}"
        )
    if design == "all":
        if stop is not None:
            raise ValueError(
                "coalitions.stop: `design: all` takes no such key; leave it out, or set `design:"
                " sampled`"
            )
        return
    if stop is None:
        raise ValueError(
            "coalitions.stop: the key is missing; `design: sampled` needs it, for example"
            " {max_evaluations: 500}"
        )
    least = 2 * n + 2
    if stop.max_evaluations < least:
        raise ValueError(
            f"coalitions.stop.max_evaluations: {stop.max_evaluations} are too few for {n}"
            f" companies; at least {least} are needed: the empty and the grand coalition, {n}"
            f" singletons and {n} leave-one-out coalitions"
        )
    if stop.max_evaluations >= 2**n:
        raise ValueError(
            f"coalitions.stop.max_evaluations: {stop.max_evaluations} given, but {n} companies form"
            f" only {2**n} coalitions; set `design: all`, or give fewer"
        )
    if values.semivalue != "shapley":
        raise ValueError(
            f"values.semivalue: {values.semivalue} needs `coalitions.design: all`; from a"
            " sample only shapley can be estimated"
        )
    if values.unions:
        raise ValueError(
            "values.unions: the payout of a union needs `coalitions.design: all`; leave the key out"
        )


def most_large_runs(n_companies: int, coalitions: Coalitions) -> int:
    """The most large runs that `law.anchors` may plan, besides the empty and the grand coalition.

    With a sampled design only coalitions that every sample holds can be planned: singletons and
    leave-one-out coalitions.
    """
    others: int = 2**n_companies - 2  # besides the empty and the grand coalition
    return min(2 * n_companies, others) if coalitions.design == "sampled" else others


def check_law(law: LawRules, models: Models, coalitions: Coalitions, n_companies: int) -> None:
    """The law's family has the small models that it needs, and there are enough coalitions."""
    if law.family.startswith("ladder") and ":" not in law.family and len(models.small) < 2:
        raise ValueError(f"law.family: {law.family} needs at least two models in `models.small`")
    anchors, n, most = law.anchors, n_companies, most_large_runs(n_companies, coalitions)
    if not isinstance(anchors, int) or anchors <= most:
        return
    if coalitions.design == "sampled":
        raise ValueError(
            f"law.anchors: {anchors} large runs given; with `coalitions.design: sampled` there are"
            f" at most {most}, the singletons and the leave-one-out coalitions"
        )
    raise ValueError(
        f"law.anchors: {anchors} large runs given, but besides the empty and the grand coalition"
        f" {n} companies form only {most} coalitions; give at most {most}"
    )


def check_distillation(distillation: Distillation, data: Data, training: Training) -> None:
    """Loss and transfer set suit the task, and the options are those of the loss.

    The deployed student has a learning rate: there is nothing to try one on.
    """
    loss = distillation.loss
    regression = data.is_regression
    if distillation.deployed is not None:
        _check_transfer_rows(distillation.deployed.transfer_set, regression=regression)
        if stated_rate(distillation.deployed.model, training) is None:
            raise ValueError(
                "distillation.deployed.model.learning_rate: a student that is deployed needs a"
                " number of its own; auto is for the models of `models`"
            )
    if loss in SOFT_LOSSES and regression:
        others = ", ".join(name for name in LOSS_OPTIONS if name not in SOFT_LOSSES)
        raise ValueError(
            f"distillation.loss: {loss} compares class probabilities, but this is a regression;"
            f" allowed are {others}"
        )
    if distillation.temperature is not None and loss not in SOFT_LOSSES:
        raise ValueError(
            f"distillation.temperature: {loss} has no temperature; {' and '.join(SOFT_LOSSES)} have"
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
            f"{where}: low is {rows.low:g} and high is {rows.high:g}; low must be below high"
        )
    if regression and isinstance(rows, InversionRows | GeneratorRows | DensityRows):
        raise ValueError(
            f"{where}: rows of the kind {rows.kind} are made from class probabilities, but this is"
            " a regression; allowed are public, gaussian, uniform"
        )
