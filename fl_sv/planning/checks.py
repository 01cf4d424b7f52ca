"""Checks of a config and its data that need neither torch nor Flower."""

from dataclasses import dataclass

from fl_sv.config import Config
from fl_sv.config.strategies import STRATEGIES
from fl_sv.config.students import PublicRows
from fl_sv.data import Scaling, all_company_data, operator_data, public_rows, read_source
from fl_sv.design.sample import check_design_size
from fl_sv.errors import InputError
from fl_sv.valuation.fit import try_law


@dataclass(frozen=True)
class CheckedData:
    """Results of the checks. examples: rows of every company; empty where they are not read."""

    scaling: Scaling
    examples: dict[str, int]


def check(config: Config, *, own_data: bool = True) -> CheckedData:
    """Checks a config together with its data.

    own_data: whether to read the companies' own files as well. On a real federation the server has
        none of them.

    Raises InputError that names what is wrong.
    """
    check_design_size(config)
    check_strategy(config)
    try_law(config)
    source = read_source(config.data)
    scaling = operator_data(config, source).scaling
    if config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows):
        public_rows(config, scaling)
    if source is None and not own_data:
        return CheckedData(scaling, {})
    rows = all_company_data(config, scaling, source)
    return CheckedData(scaling, {company: len(data) for company, data in rows.items()})


def check_strategy(config: Config) -> None:
    """Checks the teacher's strategy by what fl-sv knows of it.

    Raises InputError when the strategy or an option is unknown, when an option's value is not
    allowed, or when the strategy needs more companies than there are. The class and the options of
    a user's own strategy are checked when it is made.
    """
    name, options = config.teacher.strategy, config.teacher.options
    if ":" in name:
        return
    if name not in STRATEGIES:
        raise InputError(
            f"teacher.strategy: there is no strategy {name!r}. Built in are"
            f" {', '.join(STRATEGIES)}; any other Flower Strategy is given as package.module:Class."
        )
    facts = STRATEGIES[name]
    unknown = [option for option in options if option not in facts.options]
    if unknown:
        allowed = ", ".join(facts.options) or "no options"
        raise InputError(
            f"teacher.options: {name} has no option {unknown[0]!r}; it takes {allowed}."
        )
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InputError(
                f"teacher.options.{option}: {value!r} given; {name} takes a number of at least 0."
            )
        if option.startswith("num_") and not isinstance(value, int):
            raise InputError(
                f"teacher.options.{option}: {value!r} given; a whole number is needed."
            )
    malicious = int(options.get("num_malicious_nodes", 0))
    if config.n_companies < facts.minimum(malicious):
        raise InputError(
            f"teacher.strategy: {name} with num_malicious_nodes={malicious} needs at least "
            f"{facts.minimum(malicious)} companies, {facts.why}; there are {config.n_companies}. "
            "Choose another strategy or fewer malicious nodes."
        )
