"""One teacher, one student, no federation: which rows teach a student most, and what helps it.

Everything is trained on digits. The validation set is only for tests; no model learns from it.

Shapes: n rows, K classes.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.distillation.students import CLASSES, federation, game
from fl_sv import distillation as kd
from fl_sv.distillation.transfer import TransferSet
from fl_sv.streams import stream_seed

TEMPERATURE, LATENT = 4.0, 16
TEACHER, ASSISTANT, STUDENT, TINY = 96, 16, 16, 5  # widths
WRONG = 0.4  # share of wrong labels of the careless teacher
FEW = 0.03
SHIFTED = torch.tensor([0.02] * 5 + [0.18] * 5)  # other class frequencies
OMITTED = 3
TRANSFER_SETS = (
    "own",
    "public",
    "shifted",
    "moved",
    "gaussian",
    "uniform",
    "inversion",
    "generator",
    "density",
)
METHODS = (
    "hinton",
    "dkd",
    "logit_l2",
    "smooth_l1",
    "noisy_teacher",
    "sobolev",
    "jacobian",
    "hint",
    "mutual",
)
SOFT = kd.loss("hinton", temperature=TEMPERATURE, alpha=1.0)


@dataclass(frozen=True)
class Room:
    """Training rows with labels, public rows, test rows, and the test rows moved by a pixel."""

    seed: int
    x: Tensor
    y: Tensor
    public: Tensor
    test: Tensor
    test_y: Tensor

    def generator(self, *purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.seed, *purpose))

    def seeded(self, name: str, make: Callable[[], nn.Sequential]) -> nn.Sequential:
        """A fresh net; the same name gives the same initial parameters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.seed, name))
            return make()

    def net(self, width: int, name: str = "student") -> nn.Sequential:
        """An untrained classifier."""
        return self.seeded(
            f"{name} of {width}",
            lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, CLASSES)
            ),
        )

    def taught(self, net: nn.Sequential, x: Tensor, y: Tensor, epochs: int) -> nn.Sequential:
        """A copy that learned from labels."""
        net = copy.deepcopy(net)

        def loss_of_rows(rows: Tensor) -> Tensor:
            return nn.functional.cross_entropy(net(x[rows]), y[rows])

        kd.minimise(net, loss_of_rows, len(y), schedule(epochs), self.generator("labels"))
        return net

    def accuracy(self, net: nn.Module, x: Tensor | None = None) -> float:
        return float((predicted(net, self.test if x is None else x) == self.test_y).double().mean())

    def accuracy_when_shifted(self, net: nn.Module) -> float:
        """As if the classes of the test rows had the frequencies of SHIFTED."""
        weight_n = (SHIFTED / torch.bincount(self.test_y, minlength=CLASSES))[self.test_y]
        return float(weight_n[predicted(net, self.test) == self.test_y].sum())

    def recall(self, net: nn.Module, label: int) -> float:
        return float((predicted(net, self.test[self.test_y == label]) == label).double().mean())


def schedule(epochs: int) -> kd.Schedule:
    return kd.Schedule(partial(torch.optim.Adam, lr=5e-3), epochs, 32)


def predicted(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        labels: Tensor = net(x).argmax(1)
    return labels


def moved(x: Tensor) -> Tensor:
    """Images one pixel to the right: another distribution of inputs, the same labels."""
    return nn.functional.pad(x, (1, 0))[..., :-1]


def room(seed: int) -> Room:
    played = federation(game(seed, spoilt=False))
    x, y = (
        torch.cat([played.rows[company][part] for company in played.companies]) for part in (0, 1)
    )
    order = torch.randperm(
        len(y), generator=torch.Generator().manual_seed(stream_seed(seed, "order"))
    )
    return Room(
        seed, x[order], y[order], played.public[0], played.validation.x, played.validation.y
    )


# --- which rows -----------------------------------------------------------------------------------


def rows_by_name(name: str, here: Room, teacher: nn.Module) -> TransferSet:
    """As many rows as there are public ones."""
    size, generator, low, high = (
        len(here.public),
        here.generator(name),
        torch.zeros(1, 8, 8),
        torch.ones(1, 8, 8),
    )
    match name:
        case "own":
            return kd.public(here.x[:size])
        case "public":
            return kd.public(here.public)
        case "shifted":
            return kd.public(kd.shifted(here.x, here.y, SHIFTED, size=size, generator=generator).x)
        case "moved":
            return kd.public(moved(here.public))
        case "gaussian":
            return kd.gaussian(here.x, size=size, generator=generator)
        case "uniform":
            return kd.uniform(low, high, size=size, generator=generator)
        case "inversion":
            start = kd.uniform(low, high, size=size, generator=generator).x
            return kd.inverted(teacher, start, torch.arange(size) % CLASSES, steps=100)
        case "generator":
            net = here.seeded("generator", _generator_net)
            return kd.generated(
                teacher, net, size=size, latent=LATENT, generator=generator, steps=300
            )
        case "density":
            return kd.implied(
                teacher, low, high, size=size, generator=generator, steps=100, step_size=0.03
            )
    raise AssertionError(name)


def _generator_net() -> nn.Sequential:
    """From noise to images."""
    layers = [
        nn.Linear(LATENT, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.Sigmoid(),
        nn.Unflatten(1, (1, 8, 8)),
    ]
    return nn.Sequential(*layers)


def transfer(
    seed: int, sets: tuple[str, ...] = TRANSFER_SETS, epochs: int = 60, teacher_epochs: int = 40
) -> list[dict[str, Any]]:
    """One row for each teacher, honest or careless, and each transfer set; `labels` is a student
    without a teacher.
    """
    here = room(seed)
    wrong = torch.rand(len(here.y), generator=here.generator("wrong")) < WRONG
    shift = torch.randint(1, CLASSES, here.y.shape, generator=here.generator("shift"))
    rows = []
    for kind, y in (
        ("sound", here.y),
        ("careless", torch.where(wrong, (here.y + shift) % CLASSES, here.y)),
    ):
        teacher = here.taught(here.net(TEACHER, "teacher"), here.x, y, teacher_epochs)
        plain = here.taught(here.net(STUDENT), here.x, y, teacher_epochs)
        students = {"labels": plain}
        for name in sets:
            transfer_rows = rows_by_name(name, here, teacher)
            students[name] = kd.distil(
                here.net(STUDENT),
                teacher,
                transfer_rows,
                SOFT,
                schedule(epochs),
                here.generator("soft"),
            )
        rows += [
            {
                "seed": seed,
                "teacher": kind,
                "set": name,
                "own": here.accuracy(student),
                "shifted": here.accuracy_when_shifted(student),
                "moved": here.accuracy(student, moved(here.test)),
                "agreement": float(
                    (predicted(student, here.test) == predicted(teacher, here.test)).double().mean()
                ),
                "teacher_own": here.accuracy(teacher),
                "teacher_shifted": here.accuracy_when_shifted(teacher),
                "teacher_moved": here.accuracy(teacher, moved(here.test)),
            }
            for name, student in students.items()
        ]
    return rows


# --- classics -------------------------------------------------------------------------------------


def classics(
    seed: int, methods: tuple[str, ...] = METHODS, epochs: int = 60, teacher_epochs: int = 40
) -> list[dict[str, Any]]:
    """Accuracies of the classical experiments, and of students on few rows with and without each
    method.
    """
    here = room(seed)
    teacher = here.taught(here.net(TEACHER, "teacher"), here.x, here.y, teacher_epochs)
    few = slice(round(FEW * len(here.y)))
    x, y = here.x[few], here.y[few]
    long = 4 * epochs  # few rows make few steps
    found = {
        "seed": seed,
        "teacher": here.accuracy(teacher),
        **_omitted(here, teacher, epochs),
        **_assistant(here, teacher, epochs),
        "few": {
            "labels": here.accuracy(here.taught(here.net(STUDENT), x, y, long)),
            **{name: here.accuracy(METHOD_OF[name](here, teacher, x, y, long)) for name in methods},
        },
    }
    return [found]


def _omitted(here: Room, teacher: nn.Module, epochs: int) -> dict[str, float]:
    """A class that no row of the student shows: how many of its test rows the student knows."""
    kept = here.y != OMITTED
    x, y = here.x[kept], here.y[kept]
    hard = here.taught(here.net(STUDENT), x, y, epochs)
    soft = kd.distil(
        here.net(STUDENT), teacher, kd.public(x), SOFT, schedule(epochs), here.generator("soft")
    )
    corrected = _with_bias(soft, here.public, 1 / CLASSES)
    return {
        "omitted, labels": here.recall(hard, OMITTED),
        "omitted, soft": here.recall(soft, OMITTED),
        "omitted, soft with bias": here.recall(corrected, OMITTED),
        "omitted, soft with bias, all classes": here.accuracy(corrected),
    }


def _with_bias(net: nn.Module, x: Tensor, frequency: float) -> nn.Module:
    """Raises the omitted class's bias until it is predicted as often as it occurs, on rows without
    labels.
    """
    with torch.no_grad():
        logits = net(x)
        lead = (
            logits[:, OMITTED]
            - logits[:, [k for k in range(CLASSES) if k != OMITTED]].max(dim=1).values
        )
        net[-1].bias[OMITTED] -= torch.quantile(lead, 1 - frequency)
    return net


def _assistant(here: Room, teacher: nn.Module, epochs: int) -> dict[str, float]:
    """A student far smaller than its teacher, with and without an assistant between them."""
    objective, rows = kd.objective(SOFT, 0.9), kd.own(here.x, here.y)

    def learn(student: nn.Module, above: Callable[[Tensor], Tensor]) -> nn.Module:
        return kd.distil(
            student, above, rows, objective, schedule(epochs), here.generator("assistant")
        )

    return {
        "tiny, labels": here.accuracy(here.taught(here.net(TINY), here.x, here.y, epochs)),
        "tiny, teacher": here.accuracy(kd.chain(teacher, [here.net(TINY)], learn)[-1]),
        "tiny, assistant": here.accuracy(
            kd.chain(teacher, [here.net(ASSISTANT), here.net(TINY)], learn)[-1]
        ),
    }


# --- methods, on few labelled rows ----------------------------------------------------------------

Method = Callable[[Room, nn.Sequential, Tensor, Tensor, int], nn.Module]


def _by_loss(name: str, weight: float, **options: Any) -> Method:
    def method(here: Room, teacher: nn.Sequential, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
        more = {"generator": here.generator(name)} if name == "noisy_teacher" else {}
        objective = kd.objective(kd.loss(name, **options, **more), weight)
        return kd.distil(
            here.net(STUDENT),
            teacher,
            kd.own(x, y),
            objective,
            schedule(epochs),
            here.generator("labels"),
        )

    return method


def _by_more(extra: Callable[[nn.Sequential, nn.Sequential, Tensor, Tensor], Tensor]) -> Method:
    """CE plus a term of (student, teacher, x, y)."""

    def method(here: Room, teacher: nn.Sequential, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
        student = here.net(STUDENT)

        def loss_of_rows(rows: Tensor) -> Tensor:
            hard = nn.functional.cross_entropy(student(x[rows]), y[rows], reduction="none")
            return hard + extra(student, teacher, x[rows], y[rows])

        kd.minimise(student, loss_of_rows, len(y), schedule(epochs), here.generator("labels"))
        return student

    return method


def _hint(here: Room, teacher: nn.Sequential, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """First the hidden layer learns the teacher's, through a regressor that is thrown away; then
    labels (FitNets).
    """
    student = here.net(STUDENT)
    regressor = here.seeded(
        "regressor", lambda: nn.Sequential(kd.regressor((STUDENT,), (TEACHER,)))
    )
    learning = nn.ModuleList([student[:3], regressor])
    features = teacher[:3](x).detach()

    def loss_of_rows(rows: Tensor) -> Tensor:
        return kd.hint(regressor(student[:3](x[rows])), features[rows])

    kd.minimise(learning, loss_of_rows, len(y), schedule(epochs), here.generator("hint"))
    return here.taught(student, x, y, epochs)


def _mutual(here: Room, teacher: nn.Sequential, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """Two students, no teacher; the first is the one that is tested."""
    peers = [here.net(STUDENT), here.net(STUDENT, "peer")]
    return kd.learn_together(peers, kd.own(x, y), schedule(epochs), here.generator("labels"))[0]


METHOD_OF: dict[str, Method] = {
    "hinton": _by_loss("hinton", 0.9, temperature=TEMPERATURE, alpha=1.0),
    "dkd": _by_loss("dkd", 0.5, temperature=TEMPERATURE, beta=2.0),
    "logit_l2": _by_loss("logit_l2", 0.5),
    "smooth_l1": _by_loss("smooth_l1", 0.9),
    "noisy_teacher": _by_loss("noisy_teacher", 0.5, sigma=0.3),
    "sobolev": _by_more(lambda s, t, x, y: kd.sobolev(s, t, x, weight=0.1)),
    "jacobian": _by_more(lambda s, t, x, y: 10 * kd.jacobian_matching(s, t, x, y)),
    "hint": _hint,
    "mutual": _mutual,
}
