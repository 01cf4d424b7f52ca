"""Everything about a config that can be wrong and is known before torch or Flower are loaded."""

from fl_sv.config import Config
from fl_sv.config.strategies import check_strategy
from fl_sv.config.students import PublicRows
from fl_sv.data import company_data, operator_data, public_rows
from fl_sv.design.sample import check_design
from fl_sv.valuation.fit import try_law


def check(config: Config, *, own_data: bool = True) -> dict[str, int]:
    """Checks a config together with its data.

    own_data: whether to read the companies' own files too. On a real federation they are not the
    server's to read. Returns each company's number of examples, and nothing where the files are
    not read. Raises InputError that names what is wrong.
    """
    check_design(config)
    check_strategy(config)
    try_law(config)
    scaling = operator_data(config).scaling
    if config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows):
        public_rows(config, scaling)
    if config.data.source == "own" and not own_data:
        return {}
    return {company: len(company_data(config, company, scaling)) for company in config.companies}
