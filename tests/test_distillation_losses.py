"""Losses of logits: their limits as properties, vmap against a loop, gradients, and what they
refuse.
"""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, vmap
from torch.nn import functional

import fl_sv
from fl_sv import distillation as kd
from fl_sv.errors import InputError

FEW = settings(max_examples=40)
TEMPERATURES = st.floats(0.5, 20)


SOME_CLASSES = st.integers(2, 6)


@st.composite
def batches(draw, classes=SOME_CLASSES):
    """Student (B, K), teacher (B, K) and targets (B,) in float64."""
    rows, n_classes = draw(st.integers(1, 4)), draw(classes)
    numbers = st.lists(st.floats(-6, 6), min_size=rows * n_classes, max_size=rows * n_classes)
    s, t = (
        torch.tensor(draw(numbers), dtype=torch.float64).reshape(rows, n_classes) for _ in range(2)
    )
    targets = draw(st.lists(st.integers(0, n_classes - 1), min_size=rows, max_size=rows))
    return s, t, torch.tensor(targets)


def batch(rows=4, classes=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    s, t = (3 * torch.randn(rows, classes, generator=generator, dtype=dtype) for _ in range(2))
    return s, t, torch.randint(classes, (rows,), generator=generator)


def centred(z):
    return z - z.mean(1, keepdim=True)


def gradient_of(loss, s, t, y=None):
    return grad(lambda s: loss(s, t, y).sum())(s)


def close(first, second, rtol=1e-9, atol=1e-10):
    torch.testing.assert_close(first, second, rtol=rtol, atol=atol)


# --- limits ---------------------------------------------------------------------------------------


@FEW
@given(batches())
def test_hot_distillation_is_matching_centred_logits(given_batch):
    s, t, _ = given_batch
    hot = kd.loss("hinton", temperature=1e4, alpha=1)
    difference, classes = centred(s) - centred(t), s.shape[1]
    close(hot(s, t), (difference**2).sum(1) / (2 * classes), rtol=1e-2, atol=1e-6)
    close(gradient_of(hot, s, t), difference / classes, rtol=1e-2, atol=1e-3)


@FEW
@given(batches(), TEMPERATURES)
def test_gradient_of_the_soft_part_is_temperature_times_difference_of_probabilities(
    given_batch, temperature
):
    s, t, _ = given_batch
    expected = temperature * ((s / temperature).softmax(1) - (t / temperature).softmax(1))
    close(gradient_of(kd.loss("hinton", temperature=temperature, alpha=1), s, t), expected)
    close(gradient_of(kd.loss("cross_entropy", temperature=temperature), s, t), expected)


@FEW
@given(batches(), TEMPERATURES)
def test_decoupled_is_plain_distillation_when_beta_is_what_the_teacher_leaves(
    given_batch, temperature
):
    s, t, y = given_batch
    left = 1 - (t / temperature).softmax(1).gather(1, y[:, None])[:, 0]
    decoupled = kd.loss("dkd", temperature=temperature, alpha=1, beta=left)
    plain = kd.loss("hinton", temperature=temperature, alpha=1)
    close(decoupled(s, t, y), plain(s, t))
    close(gradient_of(decoupled, s, t, y), gradient_of(plain, s, t))


@FEW
@given(batches())
def test_the_second_decoupled_term_does_not_move_the_target(given_batch):
    s, t, y = given_batch
    rest = kd.loss("dkd", alpha=0, beta=1)
    close(gradient_of(rest, s, t, y).gather(1, y[:, None]), torch.zeros(len(s), 1, dtype=s.dtype))


@FEW
@given(batches(classes=st.just(2)))
def test_with_two_classes_nothing_is_left_to_decouple(given_batch):
    s, t, y = given_batch
    close(kd.loss("dkd", alpha=0, beta=1)(s, t, y), torch.zeros(len(s), dtype=s.dtype))


@FEW
@given(batches(), st.floats(-50, 50))
def test_a_shift_of_all_logits_changes_the_squared_error_only(given_batch, shift):
    s, t, y = given_batch
    for name in ("hinton", "dkd"):
        close(kd.loss(name)(s, t + shift, y), kd.loss(name)(s, t, y), rtol=1e-8)
    moved = kd.loss("logit_l2")(s, t + shift) - kd.loss("logit_l2")(s, t)
    close(moved, s.shape[1] * shift**2 / 2 - shift * (s - t).sum(1), atol=1e-8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hinton", {"alpha": 1}),
        ("dkd", {}),
        ("logit_l2", {}),
        ("smooth_l1", {}),
        ("noisy_teacher", {"sigma": 0}),
    ],
)
@FEW
@given(batches())
def test_a_student_equal_to_its_teacher_has_no_loss(name, options, given_batch):
    _, t, y = given_batch
    close(kd.loss(name, **options)(t, t, y), torch.zeros(len(t), dtype=t.dtype))


@FEW
@given(
    batches(),
    st.sampled_from(["multiplicative", "additive"]),
    st.sampled_from(["per_logit", "per_sample"]),
)
def test_a_teacher_without_noise_is_the_teacher(given_batch, mode, granularity):
    s, t, _ = given_batch
    clean = kd.loss("logit_l2")(s, t)
    options = {"mode": mode, "granularity": granularity}
    assert torch.equal(kd.loss("noisy_teacher", sigma=0, **options)(s, t), clean)
    assert torch.equal(kd.loss("noisy_teacher", sigma=2, probability=0, **options)(s, t), clean)
    columns = t.shape[1] if granularity == "per_logit" else 1
    nothing = torch.zeros(len(t), columns)
    assert torch.equal(kd.loss("noisy_teacher", sigma=2, noise=nothing, **options)(s, t), clean)


def test_noise_adds_variance_to_the_gradient_and_no_bias():
    s, t, _ = batch(rows=1)
    draws, sigma, probability = 200_000, 0.6, 0.5
    many_s, many_t = s.expand(draws, -1), t.expand(draws, -1)
    loss = kd.loss(
        "noisy_teacher",
        sigma=sigma,
        probability=probability,
        generator=torch.Generator().manual_seed(1),
    )
    expected = kd.loss("logit_l2")(s, t) + probability * sigma**2 / 2 * (t**2).sum(1)
    close(loss(many_s, many_t).mean(0, keepdim=True), expected, rtol=2e-2)
    close(gradient_of(loss, many_s, many_t).mean(0, keepdim=True), s - t, rtol=2e-2, atol=2e-2)


@FEW
@given(batches(), st.floats(-0.8, 2))
def test_one_multiplicative_draw_a_row_is_another_temperature_of_the_teacher(given_batch, xi):
    _, t, _ = given_batch
    draw = {"noise": torch.full((len(t), 1), xi), "mask": torch.ones(len(t), 1)}
    noisy = kd.perturb(t, sigma=1, granularity="per_sample", **draw)
    close((noisy / 4).softmax(1), (t / (4 / (1 + torch.tensor(xi).double()))).softmax(1), rtol=1e-6)


@FEW
@given(batches(), st.floats(0.01, 3))
def test_smooth_l1_is_a_parabola_inside_and_straight_outside(given_batch, beta):
    s, t, _ = given_batch
    d = (s - t).abs()
    expected = torch.where(d < beta, d**2 / (2 * beta), d - beta / 2).mean(1)
    close(kd.loss("smooth_l1", beta=beta)(s, t), expected)
    close(kd.loss("smooth_l1", beta=0)(s, t), d.mean(1))


@FEW
@given(batches(), st.floats(0, 1))
def test_the_objective_lies_between_labels_and_teacher(given_batch, weight):
    s, t, y = given_batch
    distance = kd.loss("logit_l2")
    expected = (1 - weight) * functional.cross_entropy(s, y, reduction="none") + weight * distance(
        s, t
    )
    close(kd.objective(distance, weight)(s, t, y), expected)


def test_an_objective_of_only_the_teacher_needs_no_targets():
    s, t, _ = batch()
    distance = kd.loss("logit_l2")
    assert torch.equal(kd.objective(distance, 1)(s, t), distance(s, t))


def test_a_users_factory_may_take_any_options():
    s, t, _ = batch()
    close(kd.loss("tests.own_losses:scaled", by=2.0)(s, t), 2 * (s - t).abs().sum(1))


# --- peers and several teachers -------------------------------------------------------------------


@FEW
@given(batches(), st.integers(1, 4), st.booleans())
def test_identical_peers_learn_only_from_the_labels(given_batch, n_peers, average):
    s, _, y = given_batch
    peers = s.expand(n_peers, -1, -1)
    expected = functional.cross_entropy(s, y, reduction="none").expand(n_peers, -1)
    close(kd.mutual(peers, y, average), expected)


def test_the_order_of_peers_does_not_matter():
    s, t, y = batch()
    peers = torch.stack([s, t, s + t])
    order = [2, 0, 1]
    close(kd.mutual(peers[order], y), kd.mutual(peers, y)[order])


def test_without_average_the_peers_are_summed():
    s, t, y = batch()
    peers = torch.stack([s, t, s + t])
    hard = torch.stack([functional.cross_entropy(z, y, reduction="none") for z in peers])
    close(kd.mutual(peers, y, average=False) - hard, 2 * (kd.mutual(peers, y) - hard))


@FEW
@given(batches(), TEMPERATURES, st.sampled_from(["logits", "probs", "losses"]))
def test_equal_teachers_are_one_teacher(given_batch, temperature, combine):
    s, t, _ = given_batch
    together = kd.multi_teacher(s, torch.stack([t, t, t]), temperature=temperature, combine=combine)
    close(together, kd.loss("hinton", temperature=temperature, alpha=1)(s, t))


def test_averaging_probabilities_or_losses_gives_one_gradient_averaging_logits_another():
    s, t, _ = batch()
    teachers, weights = torch.stack([t, -t, 2 * t]), [0.5, 0.5, 0.0]
    gradients = {
        combine: grad(
            lambda s, combine=combine: kd.multi_teacher(
                s, teachers, weights=weights, combine=combine
            ).sum()
        )(s)
        for combine in ("logits", "probs", "losses")
    }
    close(gradients["probs"], gradients["losses"])
    assert (gradients["logits"] - gradients["probs"]).abs().max() > 0.1


# --- stacks, precision, gradients -----------------------------------------------------------------

EVERY_LOSS = [
    ("hinton", {}),
    ("hinton", {"alpha": 1}),
    ("dkd", {}),
    ("dkd", {"beta": [1.0, 2.0, 3.0, 4.0]}),
    ("cross_entropy", {"temperature": 3}),
    ("logit_l2", {}),
    ("smooth_l1", {"beta": 0.5}),
    ("noisy_teacher", {"noise": batch()[0], "mask": torch.ones(4, 1)}),
    ("noisy_teacher", {"mode": "additive", "noise": batch()[0], "mask": torch.ones(4, 1)}),
    (
        "noisy_teacher",
        {"granularity": "per_sample", "noise": batch()[0][:, :1], "mask": torch.ones(4, 1)},
    ),
    ("tests.own_losses:hellinger", {"power": 1.0}),
]
ids = [f"{name}-{'-'.join(options)}" for name, options in EVERY_LOSS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options"), EVERY_LOSS, ids=ids)
def test_a_stack_of_students_has_the_losses_and_gradients_of_each(name, options, dtype):
    loss = kd.loss(name, **options)
    _, t, y = batch(dtype=dtype)
    s_C = torch.stack([batch(seed=seed, dtype=dtype)[0] for seed in (1, 2, 3)])
    rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (1e-12, 1e-12)
    values = vmap(loss, in_dims=(0, None, None))(s_C, t, y)
    assert values.dtype == dtype
    close(values, torch.stack([loss(s, t, y) for s in s_C]), rtol=rtol, atol=atol)
    gradients = vmap(grad(lambda s: loss(s, t, y).mean()))(s_C)
    for s, of_stack in zip(s_C, gradients, strict=True):
        student, teacher = s.clone().requires_grad_(True), t.clone().requires_grad_(True)
        loss(student, teacher, y).mean().backward()
        close(of_stack, student.grad, rtol=rtol, atol=atol)
        assert teacher.grad is None
        assert student.grad.abs().sum() > 0


def test_students_of_a_stack_get_the_same_noise():
    s, t, _ = batch()

    def noisy():
        return kd.loss("noisy_teacher", sigma=0.5, generator=torch.Generator().manual_seed(3))

    values = vmap(noisy(), in_dims=(0, None), randomness="same")(torch.stack([s, s]), t)
    close(values[0], values[1])
    close(values[0], noisy()(s, t))


@pytest.mark.parametrize(("name", "options"), EVERY_LOSS, ids=ids)
def test_gradients_are_those_of_finite_differences(name, options):
    s, t, y = batch()
    loss = kd.loss(name, **options)
    assert torch.autograd.gradcheck(lambda s: loss(s, t, y), s.requires_grad_(True))


@pytest.mark.parametrize(
    ("name", "options"), [pair for pair in EVERY_LOSS if pair[0] != "noisy_teacher"]
)
def test_sure_models_in_float32_have_finite_losses_and_gradients(name, options):
    s = torch.tensor([[1e4, -1e4, 0, 5, 1]] * 4).requires_grad_(True)
    t = torch.tensor([[-1e4, 1e4, 0, 5, 1]] * 4)
    loss_B = kd.loss(name, **options)(s, t, torch.tensor([0, 1, 2, 3]))
    loss_B.sum().backward()
    assert torch.isfinite(loss_B).all()
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("temperature", [1, 20, 100])
def test_float32_is_near_float64_even_when_temperature_squared_magnifies_rounding(temperature):
    s, t, _ = batch(rows=500, dtype=torch.float32)
    loss = kd.loss("hinton", temperature=temperature, alpha=1)
    close(loss(s, t).mean().double(), loss(s.double(), t.double()).mean(), rtol=2e-5)
    close(
        gradient_of(loss, s, t).double(),
        gradient_of(loss, s.double(), t.double()),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_student_equal_to_its_teacher_does_not_change():
    _, t, y = batch(dtype=torch.float32)
    assert gradient_of(kd.loss("hinton", alpha=1), t, t).abs().max() == 0
    assert gradient_of(kd.loss("dkd"), t, t, y).abs().max() < 1e-6


@pytest.mark.parametrize("method", ["mutual", "multi_teacher"])
def test_methods_of_several_models_go_through_vmap(method):
    s, t, y = batch()
    teachers = torch.stack([t, s])
    call = {
        "mutual": lambda s: kd.mutual(torch.stack([s, t]), y),
        "multi_teacher": lambda s: kd.multi_teacher(s, teachers, combine="probs"),
    }[method]
    s_C = torch.stack([s, 2 * s, s - t])
    close(vmap(call)(s_C), torch.stack([call(s) for s in s_C]))


# --- what is refused ------------------------------------------------------------------------------

S, T, Y = batch(rows=2, classes=3)
NAN = torch.tensor([[0.0, math.nan, 0.0]] * 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((S, T[:, :2], Y), r"student_logits and teacher_logits have shapes \(2, 3\) and \(2, 2\)"),
        ((S[0], T[0], None), r"student_logits has shape \(3,\); it must be \(B, K\)"),
        ((S[:0], T[:0], Y[:0]), "student_logits is empty"),
        ((S.long(), T, Y), "student_logits holds torch.int64"),
        ((NAN, T, Y), "student_logits holds NaN or infinity"),
        ((S, NAN, Y), "teacher_logits holds NaN or infinity"),
        ((S, "a teacher", Y), "teacher_logits is 'a teacher'"),
        ((S, [[1.0], [2.0, 3.0]], Y), "teacher_logits is"),
        ((S, T, None), "needs a target class for every row"),
        ((S, T, torch.tensor([0, 3])), "targets holds the class 3; the classes are 0 to 2"),
        ((S, T, torch.tensor([-100, 0])), "targets holds the class -100"),
        ((S, T, torch.tensor([0])), r"targets has shape \(1,\)"),
        ((S, T, torch.tensor([0.0, 1.0])), "targets holds torch.float32"),
    ],
)
@pytest.mark.parametrize("name", ["hinton", "dkd"])
def test_bad_batches_are_refused_with_a_sentence(name, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.loss(name)(*arguments)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("hinton", {"temperature": 0}, "temperature is 0.0; it must be at least 1e-06"),
        ("hinton", {"temperature": -1}, "temperature is -1.0"),
        ("dkd", {"temperature": math.inf}, "temperature is inf; a finite number"),
        ("cross_entropy", {"temperature": "hot"}, "temperature is 'hot'"),
        ("hinton", {"temperature": True}, "temperature is True"),
        ("hinton", {"temperature": 10**400}, "a finite number is needed"),
        ("hinton", {"temperature": 1e200}, "at most 1e+06"),
        ("tests.own_losses:__doc__", {}, "is a str; it must be a function"),
        ("hinton", {"alpha": 1.5}, "alpha is 1.5; it must be at least 0 and at most 1"),
        ("dkd", {"alpha": -1}, "alpha is -1.0; it must be at least 0"),
        ("dkd", {"beta": -1}, "beta is -1.0"),
        ("smooth_l1", {"beta": -1}, "beta is -1.0"),
        ("noisy_teacher", {"sigma": -1}, "sigma is -1.0"),
        ("noisy_teacher", {"probability": 2}, "probability is 2.0"),
        ("noisy_teacher", {"mode": "additiv"}, "Did you mean additive?"),
        ("noisy_teacher", {"granularity": "per_row"}, "Did you mean per_"),
        ("hintn", {}, "there is no loss 'hintn'. Did you mean hinton?"),
        ("zebra", {}, "Allowed here: hinton, dkd"),
        (3, {}, "the name of a loss is text"),
        ("hinton", {"temprature": 4}, "no option 'temprature'. Did you mean temperature?"),
        ("logit_l2", {"beta": 1}, "no option 'beta'. It has none."),
        ("tests.own_losses:helinger", {}, "has no 'helinger'"),
        ("tests.own_losses:hellinger", {"powr": 1}, "Did you mean power?"),
    ],
)
def test_bad_names_and_options_are_refused_before_anything_is_computed(name, options, sentence):
    with pytest.raises(InputError) as refusal:
        kd.loss(name, **options)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kd.loss("dkd", beta=[1.0])(S, T, Y), "beta has 1 entries for 2 rows"),
        (
            lambda: kd.loss("dkd")(S[:, :1], T[:, :1], torch.tensor([0, 0])),
            "there is only one class",
        ),
        (
            lambda: kd.loss("noisy_teacher", noise=torch.zeros(2, 2))(S, T),
            r"noise has shape \(2, 2\)",
        ),
        (lambda: kd.loss("noisy_teacher", mask=torch.ones(2, 3))(S, T), r"mask has shape \(2, 3\)"),
        (
            lambda: kd.loss("tests.own_losses:mean_over_everything")(S, T),
            r"returned shape \(\); it must be \(2,\)",
        ),
        (lambda: kd.objective(kd.loss("logit_l2"), 2), "weight is 2.0"),
        (
            lambda: kd.objective(kd.loss("logit_l2"), 0.5)(S, T),
            "needs a target class for every row",
        ),
        (lambda: kd.multi_teacher(S, T), r"teachers has shape \(2, 3\); it must be \(P, B, K\)"),
        (lambda: kd.multi_teacher(S, T[None], combine="logit"), "Did you mean logits?"),
        (
            lambda: kd.multi_teacher(S, T[None], weights=[0.5, 0.5]),
            "weights has 2 entries for 1 teachers",
        ),
        (lambda: kd.multi_teacher(S, torch.stack([T, T]), weights=[1, 1]), "sum to 1"),
        (lambda: kd.multi_teacher(S, T[None], temperature=0), "temperature is 0"),
        (lambda: kd.entropy_reduction(T[None], 0), "temperature is 0"),
        (lambda: kd.mutual(T[None], torch.tensor([0, 5])), "targets holds the class 5"),
    ],
)
def test_bad_calls_are_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_inside_vmap_numbers_cannot_be_read_and_shapes_are_still_checked():
    stack = torch.stack([S, NAN.double()])
    assert vmap(kd.loss("logit_l2"), in_dims=(0, None))(stack, T).isnan().tolist() == [
        [False] * 2,
        [True] * 2,
    ]
    with pytest.raises(InputError, match="have shapes"):
        vmap(kd.loss("logit_l2"), in_dims=(0, None))(stack, T[:, :2])


def test_numbers_that_are_no_tensors_are_read_as_float64():
    close(kd.loss("hinton")(S.tolist(), T.numpy(), Y.tolist()), kd.loss("hinton")(S, T, Y))


# --- the door -------------------------------------------------------------------------------------


def test_distillation_is_imported_on_first_use():
    assert fl_sv.distillation.loss is kd.loss
    with pytest.raises(AttributeError, match="no attribute 'destillation'"):
        fl_sv.destillation  # noqa: B018


def test_public_names_are_exactly_what_the_package_exports():
    assert dir(kd) == sorted(kd.__all__)
    assert all(getattr(kd, name) is not None for name in kd.__all__)
    assert set(kd.__all__) == {name for names in kd._MODULES.values() for name in names}
    defined = {name for name in vars(kd) if not name.startswith("_")}
    assert all(f"fl_sv.distillation.{name}" in sys.modules for name in defined), (
        "a name that is no submodule and not exported"
    )
    with pytest.raises(AttributeError, match="no attribute 'hintn'"):
        _ = kd.hintn
