"""The one configuration of a run: frozen pydantic models, every number with its range and unit.

`docs/config.md` is generated from these models (`make docs`): users read the descriptions.

Values are checked here as far as the configuration alone allows; `fl_sv.planning` checks what needs
the data or torch. Every number has an upper bound, so that the calibration allocates nothing that
`plan` would refuse.
"""

import unicodedata
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fl_sv.config import checks
from fl_sv.config.base import Frozen, many
from fl_sv.config.data import Data
from fl_sv.config.data_checks import check_data
from fl_sv.config.keys import Key
from fl_sv.config.models import Models, Teacher, stated_rate
from fl_sv.config.names import CompanyName, LegalName, Registered, names_by_handle, renamed
from fl_sv.config.runtime import Compute, Faults, RayCluster
from fl_sv.config.students import Deployed, Distillation
from fl_sv.config.training import Training
from fl_sv.config.training_checks import check_inputs, check_training
from fl_sv.config.valuation import Coalitions, LawRules, Payouts, Values


class Config(Frozen):
    """One run: who, on what data, with which models, valued and paid by which rules."""

    title: Annotated[str, Key(may_change="on extension")] = Field(
        "", max_length=200, description="headline of the report"
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="the only seed; every stream of random numbers derives from it",
    )
    companies: Annotated[
        tuple[Registered, ...],
        Key(may_change="on extension"),
        many(
            "the companies, each by its name as in the trade register, or by `{name: ..., handle:"
            " ...}`; without a handle it is made from the name, where that has other characters;"
            " bit i of a coalition is the i-th company",
            min_length=2,
            max_length=1000,
        ),
    ]
    names: Annotated[dict[CompanyName, LegalName], Key(may_change="on extension")] = Field(
        {},
        description=(
            "each company's name by its handle, where the two differ; from `companies`, for a run's"
            " own config.yaml"
        ),
    )
    data: Data = Field(description="the rows, their owners, and the validation set")
    models: Models = Field(description="the small models and the large one")
    training: Training = Field(Training(), description="federated training, the same for all")
    teacher: Teacher = Field(Teacher(), description="strategy of the large model")
    # It may change as long as the small models of neither run learn from a teacher.
    distillation: Annotated[Distillation | None, Key(may_change="on extension")] = Field(
        None, description="students that learn from the teacher; without it there are none"
    )
    coalitions: Annotated[Coalitions, Key(may_change="on extension")] = Field(
        Coalitions(), description="which coalitions train, and in which waves"
    )
    law: Annotated[LawRules, Key(may_change="on extension")] = Field(
        LawRules(), description="from the losses of small models to those of the large one"
    )
    values: Annotated[Values, Key(may_change="on extension")] = Field(
        Values(), description="semivalue and level of the intervals"
    )
    payouts: Annotated[Payouts, Key(may_change="on extension")] = Field(
        description="pot and rules of payment"
    )
    compute: Compute = Field(Compute(), description="where and how the models train")
    faults: Annotated[Faults, Key(may_change="on resume")] = Field(
        Faults(), description="retries and restarts"
    )
    ray: Annotated[RayCluster, Key(may_change="on resume")] = Field(
        RayCluster(), description="an existing Ray cluster"
    )

    @property
    def n_companies(self) -> int:
        return len(self.companies)

    @property
    def tries_rates(self) -> bool:
        """Whether the run chooses a model's learning rate itself, by trial."""
        models = (*self.models.small, self.models.large)
        return any(stated_rate(model, self.training) is None for model in models)

    @property
    def students(self) -> Distillation | None:
        """How the small models learn from the teacher; None when they do not."""
        return (
            self.distillation
            if self.distillation is not None and self.distillation.weight > 0
            else None
        )

    @property
    def deployed(self) -> Deployed | None:
        """The student that is deployed; None when the teacher is."""
        return None if self.distillation is None else self.distillation.deployed

    @property
    def legal_names(self) -> tuple[str, ...]:
        """The companies' names as a person reads them, in order."""
        return tuple(map(self.legal_name, self.companies))

    def legal_name(self, company: str) -> str:
        """The name of the company with this handle, as a person reads it."""
        return self.names.get(company, company)

    @model_validator(mode="before")
    @classmethod
    def _by_handle(cls, content: Any) -> Any:
        """The content with handles for names; what is wrong with an entry, its own field says."""
        if not isinstance(content, dict):
            return content
        entries, names = content.get("companies"), content.get("names", {})
        if not isinstance(entries, list | tuple) or not isinstance(names, dict):
            return content
        called = names_by_handle(entries)
        names = {**names, **{handle: name for handle, name in called.items() if handle != name}}
        if not names:
            return content
        handle_of = {
            unicodedata.normalize("NFC", name): handle
            for handle, name in names.items()
            if isinstance(name, str)
        }
        return {**renamed(content, handle_of, {**called, **names}), "names": names}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        checks.check_companies(self.companies, self.names, self.data, self.values)
        check_data(self.data)
        checks.check_models(self.models)
        check_inputs(self.data, self.models, self.distillation)
        check_training(self.training, self.models, self.teacher, self.distillation)
        checks.check_strategy(self.teacher, self.n_companies)
        checks.check_design(self.coalitions, self.values, self.n_companies)
        checks.check_law(self.law, self.models, self.coalitions, self.n_companies)
        checks.check_pot(self.payouts.pot)
        if self.distillation is not None:
            checks.check_distillation(self.distillation, self.data, self.training)
        return self
