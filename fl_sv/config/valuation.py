"""The sections `coalitions`, `law`, `values` and `payouts`: from the game to the money."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from fl_sv.config.base import Frozen, Reference, many
from fl_sv.config.keys import Key
from fl_sv.config.names import LegalName
from fl_sv.config.semivalues import SEMIVALUES, semivalue_name
from fl_sv.numbers import MAX_CENTS

MOST_EVALUATIONS = 20_000
ALARM_CODE, CURRENCY = r"^D([1-9]|10)$", r"^[A-Z]{3}$"


class Stop(Frozen):
    """When a growing sample of coalitions is large enough."""

    widest_interval_cents: int | None = Field(
        None,
        ge=1,
        le=MAX_CENTS,
        description=(
            "stop when no payout's interval is wider than this, from its low to its high end, in"
            " minor units; without it the sample grows to `max_evaluations`"
        ),
    )
    max_evaluations: int = Field(
        ge=10,
        le=MOST_EVALUATIONS,
        description=(
            "most coalitions whose utility is measured, the empty and the grand one included"
        ),
    )


class Coalitions(Frozen):
    """Which coalitions train the small models."""

    design: Literal["all", "sampled"] = Field(
        "all",
        description=(
            "`all`: every one of the 2**N coalitions, for up to 20 companies; `sampled`: a sample"
            " that grows until a condition in `stop` holds, for any number of companies"
        ),
    )
    stop: Stop | None = Field(None, description="with `sampled`: when the sample is large enough")
    wave_megabytes: float = Field(
        64.0,
        gt=0,
        le=1024,
        description=(
            "upper bound on a message of a wave, in MB; a crash loses the work of two waves at most"
        ),
    )
    waves: int = Field(
        1,
        ge=1,
        le=100_000,
        description=(
            "the least number of waves (in a sample: of each step); with more waves a crash loses"
            " less"
        ),
    )


BuiltInLaw = Literal["auto", "affine", "unscaled", "power", "averaged", "ladder"]


class LawRules(Frozen):
    """How the large model's losses are predicted from those of the small models."""

    anchors: (
        Literal["none", "singletons", "singletons+loo"] | Annotated[int, Field(ge=0, le=10_000)]
    ) = Field(
        "singletons",
        description=(
            "large runs besides those of the empty and the grand coalition: `singletons` trains the"
            " large model on every company by itself, `singletons+loo` also on all but one; a"
            " number plans that many: singletons first, then leave-one-out coalitions, then the"
            " coalitions that reduce the uncertainty of the values most for their price"
        ),
    )
    family: Annotated[BuiltInLaw | Reference, Key(imports=True)] = Field(
        "auto",
        description=(
            "the law: `auto` blends all, each by how well it predicts the largest small model; one"
            " of them by name; or a function of your own, `package.module:function`"
        ),
    )
    accept: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=ALARM_CODE)], ...],
        many("codes (D1 ... D10) of alarms that do not block payment"),
    ] = ()
    untrained_loss: float | None = Field(
        None,
        ge=0,
        le=1e9,
        description=(
            "loss of the empty coalition for a `module` model, in nats or squared units; without it"
            " the loss is measured"
        ),
    )


class Values(Frozen):
    """From utilities to values."""

    semivalue: Annotated[str, AfterValidator(semivalue_name)] = Field(
        "shapley", description=SEMIVALUES
    )
    level: float = Field(
        0.9, ge=0.5, le=0.999, description="coverage of every interval (probability)"
    )
    unions: dict[
        LegalName, Annotated[tuple[str, ...], many("companies of the union", min_length=2)]
    ] = Field(
        {},
        description=(
            "companies that belong together, by the union's name; the report shows what they would"
            " be paid as one"
        ),
    )


class FixedPot(Frozen):
    """A fixed sum is divided."""

    kind: Literal["fixed"]
    cents: int = Field(ge=0, le=MAX_CENTS, description="the pot in minor units (cents)")


class PerformancePot(Frozen):
    """The pot grows with the deployed model's measured utility u.

    It is round(max(0, u - floor) * cents_per_utility).
    """

    kind: Literal["performance"]
    cents_per_utility: float = Field(
        gt=0, le=float(MAX_CENTS), description="cents for each unit of utility above the floor"
    )
    floor: float = Field(
        ge=-1e9, le=1e9, description="utility at which nothing is earned (minus the loss)"
    )


# The rules are in fl_sv/payment/rules.py.
NegativeRule = Literal["clip", "charge"]

Pot = Annotated[FixedPot | PerformancePot, Field(discriminator="kind")]


class Payouts(Frozen):
    """From values to cents."""

    pot: Pot = Field(description="what is divided")
    negative: NegativeRule = Field(
        "clip",
        description=(
            "a company with a negative value is paid nothing (`clip`) or has to pay (`charge`)"
        ),
    )
    max_charge: int | None = Field(
        None,
        ge=0,
        le=MAX_CENTS,
        description=(
            "with `charge`: the most that a company may be charged, in cents; by default the pot"
        ),
    )
    currency: Annotated[str, StringConstraints(pattern=CURRENCY)] = Field(
        "EUR", description="ISO 4217 code; amounts are whole minor units"
    )
    decimals: int = Field(
        2, ge=0, le=4, description="minor units in one unit of the currency, as a power of ten"
    )
