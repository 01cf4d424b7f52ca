"""Transfer sets, what a teacher dreams up, and training with them."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from fl_sv import distillation as kd
from fl_sv.errors import InputError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def two_classes(n=200, seed=0):
    """Two clouds, around (-2, 0) and (2, 0)."""
    y = torch.arange(n) % 2
    return (
        torch.randn(n, 2, generator=seeded(seed)) + torch.stack([4.0 * y - 2, torch.zeros(n)], 1),
        y,
    )


def net(hidden=8, inputs=2, outputs=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


X, Y = two_classes()
SOFT = kd.loss("hinton", temperature=2, alpha=1)
SGD = kd.Schedule(partial(torch.optim.SGD, lr=0.3), epochs=5, batch_size=32)


@pytest.fixture(scope="module")
def teacher():
    labels_only = kd.objective(kd.loss("logit_l2"), 0)
    return kd.distil(net(16), net(16), kd.own(X, Y), labels_only, SGD, seeded())


def accuracy(model, x=X, y=Y):
    return float((model(x).argmax(1) == y).double().mean())


def same(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


# --- rows -----------------------------------------------------------------------------------------


def test_real_rows_keep_their_labels_and_public_rows_have_none():
    assert torch.equal(kd.own(X, Y).targets, Y)
    assert torch.equal(kd.held_out(X, Y).x, X)
    assert kd.public(X).targets is None
    assert len(kd.public(X)) == 200


def test_a_teacher_may_label_public_rows(teacher):
    labelled = kd.public(X).labelled_by(teacher)
    assert torch.equal(labelled.targets, teacher(X).argmax(1))
    assert labelled.name == "public"


def test_a_shifted_set_has_the_wanted_frequencies_and_real_rows():
    shifted = kd.shifted(X, Y, torch.tensor([0.9, 0.1]), size=5000, generator=seeded())
    assert float((shifted.targets == 0).double().mean()) == pytest.approx(0.9, abs=0.02)
    assert all(any(torch.equal(row, real) for real in X) for row in shifted.x[:20])
    assert torch.equal(shifted.targets, (shifted.x[:, 0, None] == X[:, 0]).int().argmax(1) % 2)
    only = kd.shifted(X, Y, torch.tensor([0.0, 1.0]), size=50, generator=seeded())
    assert set(only.targets.tolist()) == {1}


def test_gaussian_rows_have_the_moments_of_the_real_ones():
    like = torch.stack([X[:, 0], X[:, 1] + X[:, 0], torch.ones(200), X[:, 0]], 1).reshape(200, 2, 2)
    rows = kd.gaussian(like, size=100_000, generator=seeded()).x
    assert rows.shape == (100_000, 2, 2)
    assert rows.dtype == like.dtype
    torch.testing.assert_close(rows.mean(0), like.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(
        rows.flatten(1).T.cov(), like.flatten(1).T.cov(), rtol=0.02, atol=0.05
    )
    assert rows[:, 1, 0].unique().tolist() == [1.0]  # a constant input stays constant
    torch.testing.assert_close(rows[:, 0, 0], rows[:, 1, 1])  # and equal ones stay equal


def test_uniform_rows_fill_the_box_and_nothing_else():
    low, high = torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 2.0])
    rows = kd.uniform(low, high, size=5000, generator=seeded()).x
    assert rows[:, 0].min() < -0.99
    assert rows[:, 0].max() > 0.99
    assert rows[:, 1].unique().tolist() == [2.0]


def test_equal_generators_give_equal_rows(teacher):
    low, high = X.min(0).values, X.max(0).values
    for make in (
        lambda g: kd.gaussian(X, size=9, generator=g),
        lambda g: kd.uniform(low, high, size=9, generator=g),
        lambda g: kd.shifted(X, Y, torch.tensor([0.5, 0.5]), size=9, generator=g),
        lambda g: kd.implied(teacher, low, high, size=9, steps=5, generator=g),
        lambda g: kd.generated(
            teacher, nn.Linear(3, 2, bias=False), size=9, latent=3, steps=2, generator=g
        ),
    ):
        torch.manual_seed(
            5
        )  # layers draw their start from the global generator, the sets draw nothing from it
        first = make(seeded(1))
        torch.manual_seed(5)
        assert torch.equal(first.x, make(seeded(1)).x)


# --- what the teacher dreams up -------------------------------------------------------------------


def test_inverted_rows_are_what_the_teacher_takes_for_their_classes(teacher):
    targets = torch.arange(40) % 2
    start = kd.uniform(X.min(0).values, X.max(0).values, size=40, generator=seeded()).x
    dreamt = kd.inverted(teacher, start, targets, steps=50)
    assert torch.equal(dreamt.targets, targets)
    assert torch.equal(teacher(dreamt.x).argmax(1), targets)
    assert teacher[0].weight.grad is None  # the teacher is evaluated, not trained
    assert not dreamt.x.requires_grad


def test_inverted_rows_keep_given_moments(teacher):
    targets, start = torch.arange(40) % 2, torch.randn(40, 2, generator=seeded())
    moments = (X.mean(0), X.var(0, unbiased=False))
    near = kd.inverted(teacher, start, targets, moments=moments).x
    free = kd.inverted(teacher, start, targets).x
    assert kd.moment_distance(near, *moments) < kd.moment_distance(free, *moments) / 5


def test_inversion_against_a_student_finds_where_it_differs(teacher):
    targets, start, student = (
        torch.arange(40) % 2,
        torch.randn(40, 2, generator=seeded()),
        net(4, seed=3),
    )

    def agreement(**options):
        x = kd.inverted(teacher, start, targets, **options).x
        return float(kd.agreement(student(x), teacher(x)).detach())

    assert agreement(student_fn=student, student_weight=10) < agreement()


def test_a_trained_generator_satisfies_the_teacher_better_than_an_untrained_one(teacher):
    untrained = net(8, 3, 2, seed=1)
    before = [parameter.clone() for parameter in untrained.parameters()]
    made = kd.generated(
        teacher,
        untrained,
        size=300,
        latent=3,
        steps=60,
        learning_rate=0.01,
        generator=seeded(),
        features_fn=teacher[:2],
    )
    assert made.x.shape == (300, 2)
    assert made.targets is None
    assert all(
        torch.equal(a, b) for a, b in zip(before, untrained.parameters(), strict=True)
    )  # a copy was trained
    assert teacher[0].weight.grad is None
    with torch.no_grad():
        noise = untrained(torch.randn(300, 3, generator=seeded()))
        assert kd.dafl(teacher(made.x), teacher[:2](made.x)) < kd.dafl(
            teacher(noise), teacher[:2](noise)
        )


def test_samples_from_the_implied_density_have_it():
    """One input, two classes: p(x) proportional to exp(4 x) + exp(-2 x) on [-1, 1], whose mean is
    an integral.
    """
    weight = torch.tensor([[4.0], [-2.0]], dtype=torch.float64)
    low, high = torch.full((1,), -1.0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    sampled = kd.implied(
        lambda x: x @ weight.T, low, high, size=20_000, steps=150, step_size=0.3, generator=seeded()
    ).x[:, 0]
    grid = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    density = (4 * grid).exp() + (-2 * grid).exp()
    density /= density.sum()
    assert sampled.abs().max() <= 1
    for moment in (1, 2):
        expected = float((density * grid**moment).sum())
        assert float((sampled**moment).mean()) == pytest.approx(expected, abs=0.015)
    assert float((sampled < 0).double().mean()) == pytest.approx(
        float(density[grid < 0].sum()), abs=0.01
    )


def test_images_are_dreamt_in_their_own_shape(teacher):
    def of_images(x):
        return teacher(x.flatten(1))

    low, high = X.min(0).values.reshape(1, 1, 2), X.max(0).values.reshape(1, 1, 2)
    assert kd.implied(of_images, low, high, size=7, steps=3, generator=seeded()).x.shape == (
        7,
        1,
        1,
        2,
    )
    start = kd.uniform(low, high, size=6, generator=seeded()).x
    assert kd.inverted(of_images, start, torch.arange(6) % 2, steps=3).x.shape == (6, 1, 1, 2)


# --- training -------------------------------------------------------------------------------------


KINDS_OF_ROWS = (
    "own", "held_out", "public", "shifted", "gaussian", "uniform", "inverted",
    "generated", "density",
)  # fmt: skip


@pytest.mark.parametrize("name", KINDS_OF_ROWS)
def test_a_student_learns_from_the_teacher_on_every_kind_of_rows(teacher, name):
    low, high = X.min(0).values, X.max(0).values
    rows = {
        "own": lambda: kd.own(X, Y),
        "held_out": lambda: kd.held_out(*two_classes(seed=6)),
        "shifted": lambda: kd.shifted(X, Y, torch.tensor([0.2, 0.8]), size=200, generator=seeded()),
        "generated": lambda: kd.generated(
            teacher,
            net(8, 3, 2, seed=1),
            size=200,
            latent=3,
            steps=100,
            learning_rate=0.02,
            generator=seeded(),
        ),
        "public": lambda: kd.public(two_classes(seed=5)[0]),
        "gaussian": lambda: kd.gaussian(X, size=200, generator=seeded()),
        "uniform": lambda: kd.uniform(low, high, size=200, generator=seeded()),
        "density": lambda: kd.implied(teacher, low, high, size=200, steps=30, generator=seeded()),
        "inverted": lambda: kd.inverted(
            teacher,
            kd.uniform(low, high, size=200, generator=seeded()).x,
            torch.arange(200) % 2,
            steps=30,
        ),
    }[name]()
    assert rows.name == name
    student = net(4, seed=2)
    learned = kd.distil(student, teacher, rows, SOFT, SGD, seeded())
    assert same(student, net(4, seed=2))  # a copy was trained
    before, after = (
        (model(X).argmax(1) == teacher(X).argmax(1)).double().mean() for model in (student, learned)
    )
    assert after > max(0.9, before)


def test_distillation_is_plain_torch(teacher):
    ours = kd.distil(net(4, seed=2), teacher, kd.public(X), SOFT, SGD, seeded(7))
    student, generator = net(4, seed=2), seeded(7)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.3)
    with torch.no_grad():
        logits = teacher(X)
    for _ in range(5):
        for rows in torch.randperm(200, generator=generator).split(32):
            optimiser.zero_grad()
            SOFT(student(X[rows]), logits[rows]).mean().backward()
            optimiser.step()
    assert same(ours, student)


def test_a_chain_without_assistants_is_plain_distillation(teacher):
    def learn(student, teacher):
        return kd.distil(student, teacher, kd.public(X), SOFT, SGD, seeded(7))

    (student,) = kd.chain(teacher, [net(4, seed=2)], learn)
    assert same(student, learn(net(4, seed=2), teacher))


def test_an_assistant_that_is_the_teacher_changes_nothing(teacher):
    def learn(student, teacher):
        return kd.distil(student, teacher, kd.public(X), SOFT, SGD, seeded(7))

    assistant, student = kd.chain(teacher, [teacher, net(4, seed=2)], learn)
    for learned, original in ((assistant, teacher), (student, learn(net(4, seed=2), teacher))):
        for a, b in zip(learned.parameters(), original.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_each_hop_of_a_chain_learns_from_the_one_before():
    teachers = []

    def learn(student, teacher):
        teachers.append(teacher)
        return student

    models = [net(8), net(6), net(4)]
    assert kd.chain(torch.sin, models, learn) == models
    assert teachers == [torch.sin, *models[:2]]
    assert kd.chain(torch.sin, [], learn) == []


def test_student_and_teacher_learn_together_in_any_order():
    large, small = net(16, seed=1), net(3, seed=2)
    learned_large, learned_small = kd.learn_together([large, small], kd.own(X, Y), SGD, seeded(3))
    again_small, again_large = kd.learn_together([small, large], kd.own(X, Y), SGD, seeded(3))
    for learned, again in ((learned_large, again_large), (learned_small, again_small)):
        for a, b in zip(learned.parameters(), again.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert accuracy(learned_large) > 0.9
    assert accuracy(learned_small) > 0.9
    assert same(large, net(16, seed=1))


def test_a_single_peer_learns_from_labels():
    (single,) = kd.learn_together([net(4, seed=2)], kd.own(X, Y), SGD, seeded(3))
    labels_only = kd.objective(SOFT, 0)
    plain = kd.distil(net(4, seed=2), net(4), kd.own(X, Y), labels_only, SGD, seeded(3))
    for a, b in zip(single.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_hint_is_learned_together_with_its_regressor(teacher):
    student, regressor = net(4, seed=2), kd.regressor((4,), (16,))
    with torch.no_grad():
        features = teacher[:2](X)
        before = float(kd.hint(regressor(student[:2](X)), features).mean())
    together = nn.ModuleList([student, regressor])
    kd.minimise(
        together,
        lambda rows: kd.hint(regressor(student[:2](X[rows])), features[rows]),
        200,
        SGD,
        seeded(),
    )
    with torch.no_grad():
        assert float(kd.hint(regressor(student[:2](X)), features).mean()) < before / 2


def test_the_example_of_the_page_runs(capsys):
    page = (Path(__file__).parent.parent / "docs" / "distillation.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(example, "distillation.md", "exec"), {})
    before, after = map(float, capsys.readouterr().out.split(" -> "))
    assert after < before / 100


# --- what is refused ------------------------------------------------------------------------------

TEACHER = net()
BOX = (torch.zeros(2), torch.ones(2))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kd.public(X[:0]), "x of the transfer set public is empty"),
        (lambda: kd.public(X[:, 0]), r"has shape \(200,\); it must be \(B, \*D\)"),
        (lambda: kd.public(X / 0), "x of the transfer set public holds NaN or infinity"),
        (lambda: kd.public(torch.arange(4).reshape(2, 2)), "holds torch.int64"),
        (lambda: kd.own(X, Y[:3]), "targets of the transfer set own"),
        (lambda: kd.own(X, Y - 1), "holds the class -1; the classes are 0 and above"),
        (lambda: kd.own(X, X[:, 0]), "targets of the transfer set own holds torch.float32"),
        (
            lambda: kd.shifted(X, Y, torch.tensor([1.0, 1.0]), size=3, generator=seeded()),
            "sum to 1",
        ),
        (
            lambda: kd.shifted(X, Y, torch.ones(3) / 3, size=3, generator=seeded()),
            "want the class 2, of which",
        ),
        (
            lambda: kd.shifted(X, Y, torch.tensor([1.0]), size=3, generator=seeded()),
            "holds the class 1",
        ),
        (lambda: kd.gaussian(X[:1], size=3, generator=seeded()), "at least two rows"),
        (lambda: kd.gaussian(X, size=0, generator=seeded()), "size is 0"),
        (lambda: kd.uniform(BOX[1], BOX[0], size=3, generator=seeded()), "low is above high"),
        (
            lambda: kd.uniform(BOX[0], torch.ones(3), size=3, generator=seeded()),
            "low and high have shapes",
        ),
        (
            lambda: kd.public(torch.ones(5, 3)).labelled_by(TEACHER),
            "the teacher cannot use the transfer set public",
        ),
        (lambda: kd.public(X).labelled_by(lambda x: x[:3]), "has 3 outputs for 200 rows"),
        (lambda: kd.public(X).labelled_by(lambda x: x[:, 0]), r"it must be \(B, K\)"),
        (lambda: kd.inverted(TEACHER, X, Y + 1), "targets holds the class 2"),
        (lambda: kd.inverted(TEACHER, X, Y, steps=0), "steps is 0"),
        (lambda: kd.inverted(TEACHER, X, Y, learning_rate=0), "learning_rate is 0"),
        (
            lambda: kd.inverted(TEACHER, X, Y, moments=(torch.ones(3), torch.ones(3))),
            "a row of features and the mean",
        ),
        (
            lambda: kd.inverted(TEACHER, torch.ones(4, 3), Y[:4]),
            "the teacher cannot use the transfer set start",
        ),
        (
            lambda: kd.generated(TEACHER, nn.Linear(2, 3), size=3, latent=2, generator=seeded()),
            "the teacher cannot use the transfer set generated",
        ),
        (
            lambda: kd.implied(TEACHER, torch.zeros(3), torch.ones(3), size=3, generator=seeded()),
            "set density",
        ),
        (
            lambda: kd.implied(TEACHER, *BOX, size=3, step_size=1e6, generator=seeded()),
            "no step was accepted",
        ),
        (
            lambda: kd.distil(net(3), TEACHER, kd.public(torch.ones(5, 3)), SOFT, SGD, seeded()),
            "the teacher cannot use",
        ),
        (
            lambda: kd.distil(net(3, 3), TEACHER, kd.public(X), SOFT, SGD, seeded()),
            "the student cannot use",
        ),
        (
            lambda: kd.distil(net(3, 2, 3), TEACHER, kd.public(X), SOFT, SGD, seeded()),
            "have shapes",
        ),
        (
            lambda: kd.distil(net(3), TEACHER, kd.public(X), kd.loss("dkd"), SGD, seeded()),
            "dkd needs a target class for every row, and the rows have none",
        ),
        (
            lambda: kd.distil(net(3), TEACHER, kd.own(X, Y + 1), kd.loss("dkd"), SGD, seeded()),
            "holds the class 2",
        ),
        (
            lambda: kd.learn_together([net(3)], kd.public(X), SGD, seeded()),
            "mutual learning needs a target class",
        ),
        (
            lambda: kd.learn_together([net(3), net(3, 4)], kd.own(X, Y), SGD, seeded()),
            "the peer 1 cannot use",
        ),
        (
            lambda: kd.distil(
                net(3), TEACHER, kd.public(X), SOFT, kd.Schedule(torch.optim.Adam, 0, 1), seeded()
            ),
            "epochs is 0",
        ),
    ],
)
def test_a_set_that_cannot_be_used_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
