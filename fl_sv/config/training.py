"""The section `training`: rounds, batches, and the optimiser with its schedule."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fl_sv.config.base import Frozen, Reference
from fl_sv.config.keys import Key

# Learning rates where the config states none.
USUAL_RATES = {"sgd": 0.1, "adam": 0.001, "adamw": 0.001}
# What each optimiser takes besides `weight_decay` and `clip_norm`.
OPTIONS = {"sgd": ("momentum",), "adam": ("betas", "eps"), "adamw": ("betas", "eps")}
BETAS, EPS = (0.9, 0.999), 1e-8  # torch's

Rate = Annotated[float, Field(gt=0, le=100)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, le=10)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, ...], Field(strict=False, min_length=2, max_length=2)]
Eps = Annotated[float, Field(gt=0, le=1)]
Norm = Annotated[float, Field(gt=0, le=1e6)]


class OptimizerOptions(Frozen):
    """Options of `training.optimizer` that one model has of its own."""

    momentum: Momentum | None = Field(None, description="of sgd; as in `training` without it")
    weight_decay: Decay | None = Field(None, description="as in `training` without it")
    betas: Betas | None = Field(None, description="of adam, adamw; as in `training` without it")
    eps: Eps | None = Field(None, description="of adam, adamw; as in `training` without it")
    clip_norm: Norm | None = Field(None, description="as in `training` without it")


MOST_SEEDS = 100  # of a model


class Training(Frozen):
    """How models are trained: the same for every coalition, seed and size."""

    rounds: int = Field(20, ge=1, le=100_000, description="communication rounds")
    local_epochs: int = Field(
        1, ge=1, le=1000, description="passes over a company's own data in one round"
    )
    local_steps: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description=(
            "steps of every company in one round, in place of passes: it goes through its shuffled"
            " rows again and again, so that more rows make no more steps. For money across"
            " companies (docs/attacks.md)"
        ),
    )
    weights: Literal["examples", "equal"] = Field(
        "examples",
        description=(
            "what a member's model weighs in the mean of its coalition: its registered `examples`,"
            " or the same as every other's (`equal`), so that nobody gains by a number that nobody"
            " can check. For money across companies (docs/attacks.md)"
        ),
    )
    batch_size: int = Field(
        32, ge=1, le=1_000_000, description="rows in a batch; the short last batch is kept"
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "sgd",
        description=(
            "torch's optimiser at the companies, for all models; fresh at each company in every"
            " round, moments at zero"
        ),
    )
    learning_rate: Rate | Literal["auto"] = Field(
        USUAL_RATES["sgd"],
        description=(
            f"client learning rate, per step; {USUAL_RATES['adam']} with adam and adamw where none"
            " is stated. `auto`: `auto` for every model without a rate of its own, around that one"
        ),
    )
    momentum: Momentum = Field(0.0, description="of sgd (no unit)")
    betas: Betas | None = Field(
        None, description=f"of adam, adamw: decay of both moments, {[*BETAS]} without it"
    )
    eps: Eps | None = Field(
        None, description=f"of adam, adamw: added to the denominator, {EPS:g} without it"
    )
    weight_decay: Decay = Field(
        0.0, description="per step: an L2 penalty (sgd, adam), or apart from the gradient (adamw)"
    )
    clip_norm: Norm | None = Field(
        None,
        description=(
            "largest norm of a model's gradient in a step, over all its parameters; longer ones"
            " are scaled down to it. Without it none is"
        ),
    )
    loss: Annotated[Reference | None, Key(imports=True)] = Field(
        None,
        description=(
            "`package.module:function` (docs/plugins.md): what is minimised, and what scores on the"
            " validation set; without it cross-entropy, in a regression the squared error"
        ),
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate after the warm-up; `cosine` falls to zero at the end"
    )
    schedule_by: Literal["round", "step"] = Field(
        "round",
        description=(
            "how often the rate changes; steps are counted through all rounds of a company's"
            " training, so that all companies are equally far in every round"
        ),
    )
    warmup_rounds: int = Field(
        0, ge=0, le=100_000, description="first rounds, in which the rate rises evenly"
    )
    seeds: int = Field(
        3,
        ge=1,
        le=MOST_SEEDS,
        description="trainings of each small model and coalition, seeds 0, 1, ...",
    )
    large_seeds: int = Field(
        1,
        ge=1,
        le=MOST_SEEDS,
        description=(
            "trainings in each large run, seeds 0, 1, ...; the teacher of seed 0 is deployed"
        ),
    )

    def rows_of_a_round(self, n_examples: float) -> float:
        """Rows through which a company with so many examples goes in one round."""
        if self.local_steps is None:
            return self.local_epochs * n_examples
        return self.local_steps * min(self.batch_size, n_examples)

    def weight(self, n_examples: int) -> int:
        """What the model of a member with so many examples weighs in the mean of a coalition."""
        return n_examples if self.weights == "examples" else 1

    @model_validator(mode="before")
    @classmethod
    def _usual_rate(cls, content: Any) -> Any:
        """Fills in the usual learning rate of the optimiser, so that the resolved config has it."""
        if not isinstance(content, dict) or content.get("optimizer") not in (*OPTIONS,):
            return content
        return {"learning_rate": USUAL_RATES[content["optimizer"]], **content}


@dataclass(frozen=True)
class Optimizer:
    """The optimiser of one model, with all its options."""

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, ...] = BETAS
    eps: float = EPS
    clip_norm: float | None = None

    @classmethod
    def of(cls, training: Training, own: OptimizerOptions | None) -> Self:
        """The optimiser of `training`, with a model's own options where it has some."""
        given: dict[str, Any] = {}
        for name in OptimizerOptions.model_fields:
            for value in (getattr(training, name), getattr(own, name, None)):
                if value is not None:
                    given[name] = value
        return cls(training.optimizer, **given)
