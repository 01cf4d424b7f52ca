"""A small federation for the studies of distillation: stacked FedAvg of all coalitions, teachers,
and transfer rows.

One company of the partition takes no part: its rows, without labels, are the public ones.

Shapes: N companies, C = 2**N coalitions, T rounds, P parameters, n rows, B rows of a batch, K
classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_sv import distillation as kd
from fl_sv.config import Config
from fl_sv.data import all_company_data, operator_data
from fl_sv.distillation.transfer import TransferSet
from fl_sv.game.coalitions import members_matrix
from fl_sv.streams import stream_seed
from fl_sv.training.models import ModelSpec, model_specs, tensors
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.sgd import Recipe, SoftTargets, make_recipe
from fl_sv.training.stack import train_stack
from fl_sv.training.students import make_soft_targets

Floats = NDArray[np.float64]
Rows = tuple[Tensor, Tensor]
Train = Callable[[str, Tensor, int], Tensor]  # company, stack (C, P) and round -> trained stack

COMPANIES = ("Ash", "Beech", "Cedar", "Dogwood", "Elm")
PUBLIC = "the public"
SIZES = {"Ash": 1, "Beech": 2, "Cedar": 4, "Dogwood": 4, "Elm": 6, PUBLIC: 6}
SPOILT = ("Dogwood", 0.4)  # share of its labels that are wrong
TEMPERATURE, CLASSES = 3.0, 10
SETS = ("own", "public", "inversion", "gaussian", "uniform")


def game(
    seed: int, *, rounds: int = 15, spoilt: bool = True, width: int = 12, seeds: int = 1
) -> Config:
    """Digits with label skew, five companies of very different size, one of them careless, and
    public rows.
    """
    company, fraction = SPOILT
    wrong = [{"kind": "wrong_labels", "company": company, "fraction": fraction}] if spoilt else []
    return Config.model_validate(
        {
            "seed": seed,
            "companies": [*COMPANIES, PUBLIC],
            "data": {
                "source": "digits",
                "partition": {"kind": "dirichlet", "alpha": 2.0, "sizes": SIZES},
                "corruptions": wrong,
            },
            "models": {
                "small": [{"kind": "mlp", "hidden": [width]}],
                "large": {"kind": "mlp", "hidden": [96]},
            },
            "training": {
                "rounds": rounds,
                "local_epochs": 2,
                "batch_size": 32,
                "learning_rate": 0.2,
                "seeds": seeds,
            },
            "distillation": {"weight": 0, "temperature": TEMPERATURE},
            "payouts": {"pot": {"kind": "fixed", "cents": 1}},
        }
    )


@dataclass(frozen=True)
class Federation:
    """The game with the rows of all companies in memory."""

    config: Config
    companies: tuple[str, ...]
    rows: dict[str, Rows]
    public: Rows
    validation: ValidationSet
    small: ModelSpec
    large: ModelSpec

    @property
    def examples(self) -> Floats:
        """(N,) rows of each company."""
        return np.array([len(self.rows[company][1]) for company in self.companies], dtype=float)

    def losses(self, model: ModelSpec, stack: Tensor) -> Floats:
        """(C,) mean losses on the validation set."""
        return np.array([loss for loss, _ in self.validation.means(model, stack, "the study")])

    def recipe(self, model: ModelSpec, company: str, replicate: int, server_round: int) -> Recipe:
        return make_recipe(
            self.config, model, company, len(self.rows[company][1]), replicate, server_round
        )


def federation(config: Config, n_companies: int = len(COMPANIES)) -> Federation:
    """The first `n_companies` of the game."""
    operator = operator_data(config)
    (small,), large = model_specs(config, operator.task)
    rows = {
        company: tensors(data, config)
        for company, data in all_company_data(config, operator.scaling).items()
    }
    validation = ValidationSet(config, *tensors(operator.validation, config))
    return Federation(config, COMPANIES[:n_companies], rows, rows[PUBLIC], validation, small, large)


# --- federated training ---------------------------------------------------------------------------


def fedavg(
    game: Federation, model: ModelSpec, replicate: int, train: Train, coalitions: Sequence[int]
) -> list[Tensor]:
    """The stack (C, P) after every round, the untrained one first. An empty coalition stays
    untrained.
    """
    weight_CN = members_matrix(coalitions, len(game.companies)) * game.examples
    weight_CN = torch.from_numpy(weight_CN / np.maximum(weight_CN.sum(axis=1, keepdims=True), 1))
    stacks = [model.initial_params(game.config.seed, replicate).repeat(len(coalitions), 1)]
    for server_round in range(1, game.config.training.rounds + 1):
        before = stacks[-1]
        after = before.double() * (weight_CN.sum(dim=1, keepdim=True) == 0)
        for i, company in enumerate(game.companies):
            rows = weight_CN[:, i].nonzero()[:, 0]
            if len(rows):
                trained = train(company, before[rows], server_round).double()
                after.index_add_(0, rows, trained * weight_CN[rows, i, None])
        stacks.append(after.to(before.dtype))
    return stacks


def swept(game: Federation, train_of: Callable[[int], Train], coalitions: Sequence[int]) -> Floats:
    """(C,) losses of the small model, means over the config's seeds; train_of(replicate)."""
    mean_C: Floats = swept_by_seed(game, train_of, coalitions).mean(axis=0)
    return mean_C


def swept_by_seed(
    game: Federation, train_of: Callable[[int], Train], coalitions: Sequence[int]
) -> Floats:
    """(R, C) losses of the small model, one row a seed."""
    return np.stack(
        [
            game.losses(game.small, fedavg(game, game.small, r, train_of(r), coalitions)[-1])
            for r in range(game.config.training.seeds)
        ]
    )


def honestly(game: Federation, model: ModelSpec, replicate: int) -> Train:
    """What every company should do: the product's own training."""

    def train(company: str, stack: Tensor, server_round: int) -> Tensor:
        recipe = game.recipe(model, company, replicate, server_round)
        return train_stack(model, stack, *game.rows[company], recipe, len(stack))

    return train


def learning_from_teacher(
    game: Federation,
    teacher_params: Tensor,
    transfer: TransferSet | None,
    weight: float,
    replicate: int,
) -> Train:
    """Students of one teacher: CE on a company's rows, and soft targets on as many rows of
    the transfer set.

    Without a transfer set the soft targets are those of the company's own rows, as in the product.
    """
    model = game.small
    assert game.config.distillation is not None
    students = game.config.distillation.model_copy(update={"weight": weight})
    config = game.config.model_copy(update={"distillation": students})
    teacher = game.large.loaded(teacher_params)

    def train(company: str, stack: Tensor, server_round: int) -> Tensor:
        (x, y), recipe = game.rows[company], game.recipe(model, company, replicate, server_round)
        key = (replicate, company, server_round)
        with torch.no_grad():
            if transfer is None:
                soft_targets = make_soft_targets(config, model.task, teacher(x), recipe, *key)
            else:
                generator = np.random.default_rng(stream_seed(config.seed, *key, "transfer"))
                x, y, recipe, soft_targets = _mixed(
                    teacher, x, y, transfer.x, recipe, weight, generator
                )
        return train_stack(model, stack, x, y, recipe, len(stack), soft_targets)

    return train


def _mixed(
    teacher: nn.Module,
    x: Tensor,
    y: Tensor,
    more_x: Tensor,
    recipe: Recipe,
    weight: float,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor, Recipe, SoftTargets]:
    """Batches of which the first half are own rows with their targets, the second transfer rows
    with the teacher's.

    A last column beside the teacher's logits marks the two kinds.
    """
    soft = kd.loss("hinton", temperature=TEMPERATURE, alpha=1.0)
    drawn = [generator.integers(len(more_x), size=len(rows)) for rows in recipe.batches]
    batches = tuple(
        np.concatenate([rows, len(x) + more])
        for rows, more in zip(recipe.batches, drawn, strict=True)
    )
    all_x, all_y = torch.cat([x, more_x]), torch.cat([y, y.new_zeros(len(more_x))])
    is_more = (torch.arange(len(all_x)) >= len(x)).to(x.dtype)[:, None]
    teacher_outputs = torch.cat([teacher(all_x), is_more], dim=1)

    def loss_of(outputs: Tensor, targets: Tensor, teacher_outputs: Tensor) -> Tensor:
        more = teacher_outputs[:, -1]
        own = nn.functional.cross_entropy(outputs, targets, reduction="none")
        return 2 * (
            (1 - weight) * (1 - more) * own + weight * more * soft(outputs, teacher_outputs[:, :-1])
        )

    return (
        all_x,
        all_y,
        replace(recipe, batches=batches),
        SoftTargets(loss_of, tuple(teacher_outputs[rows] for rows in batches)),
    )


# --- teachers and rows ----------------------------------------------------------------------------


def transfer_set(
    name: str, game: Federation, teacher_params: Tensor, size: int
) -> TransferSet | None:
    """Rows by the name of SETS; None for the companies' own. Pixels lie in 0..1."""
    generator = torch.Generator().manual_seed(stream_seed(game.config.seed, name))
    low, high = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    match name:
        case "own":
            return None
        case "public":
            return kd.public(game.public[0])
        case "gaussian":
            return kd.gaussian(game.public[0], size=size, generator=generator)
        case "uniform":
            return kd.uniform(low, high, size=size, generator=generator)
        case "inversion":
            start = kd.uniform(low, high, size=size, generator=generator).x
            return kd.inverted(
                game.large.loaded(teacher_params), start, torch.arange(size) % CLASSES, steps=100
            )
    raise AssertionError(name)


def student_utility(game: Federation, teacher_params: Tensor, epochs: int = 20) -> float:
    """u of the deployed student, distilled on the public rows as the product does it."""
    loss = kd.loss("hinton", temperature=TEMPERATURE, alpha=1.0)
    schedule = kd.Schedule(partial(torch.optim.SGD, lr=game.small.learning_rate), epochs, 32)
    generator = torch.Generator().manual_seed(stream_seed(game.config.seed, "deployed student"))
    student = game.small.loaded(game.small.initial_params(game.config.seed, 0))
    rows = kd.public(game.public[0])
    student = kd.distil(student, game.large.loaded(teacher_params), rows, loss, schedule, generator)
    params = nn.utils.parameters_to_vector(student.parameters()).detach()
    return -float(game.losses(game.small, params[None])[0])
