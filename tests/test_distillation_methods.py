"""Methods beyond logits: derivatives, specialists, boundary samples, hints, transformers."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from fl_sv import distillation as kd
from fl_sv.distillation.methods import specialists
from fl_sv.errors import RunError

FEW = settings(max_examples=30)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def net(hidden=4, inputs=3, outputs=2, seed=0):
    module = nn.Sequential(
        nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
    ).double()
    nn.utils.vector_to_parameters(
        random(sum(p.numel() for p in module.parameters()), seed=seed), list(module.parameters())
    )
    return module


def close(first, second, rtol=1e-9, atol=1e-10):
    torch.testing.assert_close(first, second, rtol=rtol, atol=atol)


# --- what is loaded -------------------------------------------------------------------------------


def loaded_after(code: str) -> set[str]:
    """Modules of a fresh process that has run the code."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_names_of_the_package_are_imported_on_first_use():
    loaded = loaded_after("from fl_sv import distillation; dir(distillation)")
    assert "fl_sv.distillation" in loaded
    assert not {name for name in loaded if name.startswith(("torch", "fl_sv.distillation."))}


def test_no_module_that_a_run_uses_loads_the_library_of_further_methods():
    code = (
        "import pkgutil, importlib, fl_sv.distillation as kd, fl_sv.training.deployed\n"
        "for module in pkgutil.iter_modules(kd.__path__, 'fl_sv.distillation.'):\n"
        "    module.ispkg or importlib.import_module(module.name)"
    )
    loaded = loaded_after(code)
    assert "fl_sv.distillation.training" in loaded
    assert not {name for name in loaded if name.startswith("fl_sv.distillation.methods")}


# --- derivatives ----------------------------------------------------------------------------------

X = random(5, 3)


def test_a_teacher_with_its_hidden_units_permuted_is_no_other_teacher():
    teacher, order = net(), [2, 0, 3, 1]
    student = net()
    with torch.no_grad():
        student[0].weight.copy_(teacher[0].weight[order])
        student[0].bias.copy_(teacher[0].bias[order])
        student[2].weight.copy_(teacher[2].weight[:, order])
    close(kd.sobolev(student, teacher, X), torch.zeros(5, dtype=X.dtype), atol=1e-24)


def test_sobolev_is_the_definition_row_by_row():
    student, teacher = net(seed=1), net(6, seed=2)
    for x, loss in zip(X, kd.sobolev(student, teacher, X, weight=0.7), strict=True):
        jacobians = jacrev(student)(x) - jacrev(teacher)(x)
        close(loss, ((student(x) - teacher(x)) ** 2).sum() + 0.7 * (jacobians**2).sum())


def test_the_mean_over_orthonormal_directions_is_the_full_jacobian_over_the_outputs():
    student, teacher = net(seed=1), net(seed=2)
    value = kd.sobolev(student, teacher, X, weight=0)
    full = kd.sobolev(student, teacher, X) - value
    rotation = torch.linalg.qr(random(2, 2, seed=3))[0]
    projected = [
        kd.sobolev(student, teacher, X, directions=v.expand(5, -1)) - value for v in rotation
    ]
    close(sum(projected), full)


def test_random_directions_estimate_the_jacobian_over_the_outputs():
    student, teacher = net(seed=1), net(seed=2)
    x = X[:1].expand(100_000, -1)
    v = kd.unit_directions(100_000, 2, torch.Generator().manual_seed(0), torch.float64)
    close(v.norm(dim=1), torch.ones(len(v), dtype=v.dtype))
    value = kd.sobolev(student, teacher, X[:1], weight=0)
    stochastic = kd.sobolev(student, teacher, x, directions=v).mean() - value
    close(stochastic, (kd.sobolev(student, teacher, X[:1]) - value) / 2, rtol=2e-2)


def test_second_order_is_the_hessian_times_a_vector():
    student, teacher, v, u = net(seed=1), net(seed=2), random(5, 2, seed=3), random(5, 3, seed=4)
    ours = kd.second_order(student, teacher, X, v, u)
    for row, loss in enumerate(ours):

        def along(x, fn, row=row):
            return fn(x) @ v[row]

        difference = jacrev(jacrev(along))(X[row], student) - jacrev(jacrev(along))(X[row], teacher)
        close(loss, ((difference @ u[row]) ** 2).sum())


def test_jacobian_matching_compares_directions_not_lengths():
    teacher, targets = net(seed=2), torch.tensor([0, 1, 0, 1, 0])
    assert kd.jacobian_matching(lambda x: 3 * teacher(x), teacher, X, targets).abs().max() < 1e-20
    opposite = kd.jacobian_matching(lambda x: -teacher(x), teacher, X, targets)
    close(
        opposite, torch.full((5,), 4 / 3, dtype=X.dtype)
    )  # two unit vectors, opposite, over three inputs


@pytest.mark.parametrize("form", ["full", "stochastic", "second order", "target"])
def test_derivative_losses_pass_through_a_stack_of_students(form):
    students, teacher = [net(seed=seed) for seed in (1, 2, 3)], net(seed=4)
    v, u, targets = random(5, 2, seed=5), random(5, 3, seed=6), torch.tensor([0, 1, 0, 1, 0])

    def loss(parameters):
        def student(x):
            return functional_call(students[0], parameters, (x,))

        match form:
            case "full":
                return kd.sobolev(student, teacher, X).mean()
            case "stochastic":
                return kd.sobolev(student, teacher, X, directions=v).mean()
            case "second order":
                return kd.second_order(student, teacher, X, v, u).mean()
            case "target":
                return kd.jacobian_matching(student, teacher, X, targets).mean()

    stack, _ = stack_module_state(students)
    gradients = vmap(grad(loss))(stack)
    for i, student in enumerate(students):
        separate = grad(loss)(dict(student.named_parameters()))
        for name, gradient in separate.items():
            close(gradients[name][i], gradient)
    assert gradients["0.weight"].abs().min() > 0


def test_a_student_of_few_points_learns_more_from_slopes_than_from_values():
    """Regression of a net from ten points; error on new ones. (Czarnecki et al. 2017, section 4.1
    in small.)
    """
    teacher, x, new = net(8, 2, 1, seed=2), random(10, 2, seed=3), random(500, 2, seed=4)
    errors = {}
    for weight in (0.0, 1.0):
        student = net(16, 2, 1, seed=1)
        optimiser = torch.optim.Adam(student.parameters(), lr=0.02)
        for _ in range(300):
            optimiser.zero_grad()
            kd.sobolev(student, teacher, x, weight=weight).mean().backward()
            optimiser.step()
        errors[weight] = float(((student(new) - teacher(new)) ** 2).mean().detach())
    assert errors[1.0] < errors[0.0] / 2


# --- generalist and specialists -------------------------------------------------------------------


def distributions(*shape, seed=0):
    return random(*shape, seed=seed).softmax(-1)


def opinion(classes, n_rows=(), seed=0):
    p = distributions(*n_rows, len(classes) + 1, seed=seed)
    return classes, p[..., :-1], p[..., -1]


def common_objective(q, g, opinions):
    def kl(p, q):
        return float((p * (p / q).log()).sum())

    total = kl(g, q)
    for classes, p, dustbin in opinions:
        collapsed = torch.cat([q[classes], (q.sum() - q[classes].sum())[None]])
        total += kl(torch.cat([p, dustbin[None]]), collapsed)
    return total


def test_without_specialists_the_generalist_decides():
    g = distributions(5)
    close(kd.specialists(g, []), g)


@FEW
@given(st.sets(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 100))
def test_one_specialist_has_a_closed_form(classes, seed):
    g, classes = distributions(6, seed=seed), sorted(classes)
    _, p, dustbin = opinion(classes, seed=seed + 1)
    outside = [k for k in range(6) if k not in classes]
    q = kd.specialists(g, [(classes, p, dustbin)])
    close(q[classes], (g[classes] + p) / 2, rtol=1e-8)
    close(q[outside], g[outside] / g[outside].sum() * (g[outside].sum() + dustbin) / 2, rtol=1e-8)


@FEW
@given(st.integers(1, 5), st.integers(0, 100))
def test_specialists_for_all_classes_are_averaged(n, seed):
    g, everywhere = (
        distributions(4, seed=seed),
        [distributions(4, seed=seed + 1 + i) for i in range(n)],
    )
    q = kd.specialists(g, [([2, 0, 1, 3], p[[2, 0, 1, 3]], 0.0) for p in everywhere])
    close(q, torch.stack([g, *everywhere]).mean(0), rtol=1e-8)


@FEW
@given(
    st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=4), min_size=2, max_size=5),
    st.integers(0, 100),
)
def test_nothing_beats_the_common_distribution(class_sets, seed):
    g = distributions(6, seed=seed)
    opinions = [opinion(sorted(classes), seed=seed + 1 + i) for i, classes in enumerate(class_sets)]
    q = kd.specialists(g, opinions)
    assert float(q.sum()) == pytest.approx(1, abs=1e-12)
    best = common_objective(q, g, opinions)
    for direction in random(20, 6, seed=seed):
        for length in (1e-2, 1e-4):
            elsewhere = (q.log() + length * direction).softmax(0)
            assert common_objective(elsewhere, g, opinions) > best - 1e-13


def test_a_batch_of_rows_is_its_rows_one_by_one():
    g, opinions = distributions(7, 5), [opinion([0, 1], (7,), 1), opinion([1, 2, 4], (7,), 2)]
    together = kd.specialists(g, opinions)
    for row in range(7):
        close(
            together[row],
            kd.specialists(g[row], [(own, p[row], d[row]) for own, p, d in opinions]),
            rtol=1e-8,
        )


def test_a_sum_that_does_not_settle_is_an_error_and_no_number(monkeypatch):
    monkeypatch.setattr(specialists, "MOST_STEPS", 3)
    with pytest.raises(RunError, match="has not settled after 3 steps"):
        kd.specialists(distributions(5), [opinion([0, 1], (), 1), opinion([1, 2], (), 2)])


def test_a_stack_cannot_stop_before_the_sum_has_settled():
    """How often to repeat depends on the numbers, so vmap is refused by torch; rows need none, they
    are a batch.
    """
    with pytest.raises(RuntimeError, match="vmap"):
        vmap(lambda g: kd.specialists(g, [opinion([0, 1])]))(distributions(3, 5))


def test_the_dustbins_correction_undoes_the_enriched_sample():
    """Bayes: two special classes are 2 % of the world and 50 % of the specialist's sample."""
    likelihood, special = torch.tensor([0.3, 0.6, 0.1]), 0.02
    prior = torch.tensor([special / 2, special / 2, 1 - special])
    sampled = torch.tensor([0.25, 0.25, 0.5])
    logits = (likelihood * sampled).log()
    logits[2] += kd.dustbin_correction(special, 0.5)
    posterior = likelihood * prior / (likelihood * prior).sum()
    close(logits.softmax(0), posterior, rtol=1e-5, atol=1e-7)
    assert kd.dustbin_correction(0.3, 0.3) == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kd.specialists(torch.tensor([0.5, 0.6]), []), "generalist is no distribution"),
        (lambda: kd.specialists(torch.tensor(1.0), []), "generalist is one number"),
        (
            lambda: kd.specialists(distributions(3), [([0, 0], [0.3, 0.3], 0.4)]),
            "they must be different",
        ),
        (
            lambda: kd.specialists(distributions(3), [([3], [0.6], 0.4)]),
            r"different ones of 0 to 2",
        ),
        (lambda: kd.specialists(distributions(3), [([], [], 1.0)]), r"has the classes \[\]"),
        (
            lambda: kd.specialists(distributions(3), [([0, 1], [0.6], 0.4)]),
            r"p of specialist 0 has shape \(1,\)",
        ),
        (
            lambda: kd.specialists(distributions(3), [([0], [0.6], 0.6)]),
            "specialist 0 is no distribution",
        ),
        (
            lambda: kd.specialists(distributions(2), [([0, 1], [0.5, 0.4], 0.1)]),
            "p_dustbin must be 0",
        ),
        (
            lambda: kd.specialists(distributions(3), [([0.5], [0.6], 0.4)]),
            "a class of specialist 0 is 0.5",
        ),
        (
            lambda: kd.specialists(distributions(3), [([0], [0.6], [0.4])]),
            r"p_dustbin of specialist 0 has shape \(1,\)",
        ),
        (
            lambda: kd.specialists(distributions(3), ["an expert", 3]),
            r"it must be \(classes, p, p_dustbin\)",
        ),
        (lambda: kd.active_specialists(distributions(3), [[0]], 0), "n is 0"),
        (lambda: kd.dustbin_correction(0.0, 0.5), "true_share is 0.0"),
        (lambda: kd.dustbin_correction(0.5, 1.0), "a share of 1 leaves nothing"),
    ],
)
def test_what_is_no_opinion_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- boundary samples -----------------------------------------------------------------------------

WEIGHT = random(3, 4, seed=1)
ROWS = random(6, 4, seed=2)


def linear(x):
    return x @ WEIGHT.T


def second_class(x):
    return linear(x).argsort(1, descending=True)[:, 1]


def gap(x, base, target):
    f = linear(x)
    return f.gather(1, base[:, None])[:, 0] - f.gather(1, target[:, None])[:, 0]


def test_the_gap_to_a_linear_boundary_shrinks_geometrically():
    base, target = linear(ROWS).argmax(1), second_class(ROWS)
    alpha, eps = 0.1, 1e-4
    norm = (WEIGHT[target] - WEIGHT[base]).norm(dim=1)
    for steps in (1, 3, 6):
        moved = kd.bss(linear, ROWS, target, alpha=alpha, eps=eps, steps=steps, clip=None)
        expected = (gap(ROWS, base, target) + eps) * (1 - alpha * norm) ** steps
        close(gap(moved, base, target) + eps, expected)


def test_divided_by_the_squared_norm_one_step_crosses_the_boundary():
    base, target = linear(ROWS).argmax(1), second_class(ROWS)
    moved = kd.bss(linear, ROWS, target, alpha=1, eps=1e-4, steps=10, clip=None, squared_norm=True)
    close(gap(moved, base, target), torch.full((6,), -1e-4, dtype=ROWS.dtype))
    assert (linear(moved).argmax(1) != base).all()


def test_every_row_moves_for_itself_and_stays_inside_the_clip():
    target = second_class(ROWS)
    together = kd.bss(linear, ROWS, target, clip=0.5)
    assert together.abs().max() <= 0.5
    for row in range(6):
        close(
            kd.bss(linear, ROWS[row : row + 1], target[row : row + 1], clip=0.5)[0], together[row]
        )


def test_images_are_attacked_like_rows():
    target = second_class(ROWS)
    images = kd.bss(lambda x: linear(x.flatten(1)), ROWS.reshape(6, 1, 2, 2), target)
    close(images.flatten(1), kd.bss(linear, ROWS, target))


def test_a_flat_teacher_moves_nothing():
    x = ROWS.clamp(-1, 1).float()
    flat = torch.tensor([100.0, 0.0])
    for squared_norm in (False, True):
        there = kd.bss(
            lambda x: flat + 0 * x[:, :2],
            x,
            torch.ones(6, dtype=torch.int64),
            squared_norm=squared_norm,
        )
        assert torch.equal(there, x)


def test_base_rows_are_the_eligible_ones_with_the_largest_difference():
    t = torch.tensor([[5.0, 0, 0], [5.0, 0, 0], [5.0, 0, 0], [0.0, 5, 0]])
    s = torch.tensor([[4.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0], [0.0, 9, 0]])
    eligible, score = kd.base_scores(s, t, torch.tensor([0, 0, 0, 0]))
    assert eligible.tolist() == [True, True, False, False]
    assert score[1] > score[0]
    assert kd.base_rows(s, t, torch.tensor([0, 0, 0, 0])).tolist() == [1, 0]
    assert kd.base_rows(s, t, torch.tensor([0, 0, 0, 0]), size=1).tolist() == [1]


def test_targets_are_drawn_as_the_teacher_finds_the_other_classes_probable():
    t = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    u = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    drawn = kd.draw_targets(t.expand(len(u), -1), u)
    shares = torch.bincount(drawn, minlength=4) / len(u)
    others = t[0].softmax(0)
    others[0] = 0
    close(shares, others / others.sum(), rtol=0, atol=1e-2)


def test_weights_of_the_boundary_recipe_fade():
    assert kd.bss_weights(0, 80) == (4, 2)
    assert kd.bss_weights(60, 80) == (1.75, 0)
    assert kd.bss_weights(80, 80) == (1, 0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kd.bss(linear, ROWS, linear(ROWS).argmax(1)), "what the teacher predicts already"),
        (lambda: kd.bss(linear, ROWS, torch.full((6,), 3)), "target_class holds the class 3"),
        (lambda: kd.bss(linear, ROWS.long(), second_class(ROWS)), "x holds torch.int64"),
        (lambda: kd.bss(linear, ROWS, second_class(ROWS), alpha=0), "alpha is 0"),
        (lambda: kd.bss(linear, ROWS, second_class(ROWS), steps=0), "steps is 0"),
        (lambda: kd.base_scores(ROWS, ROWS, None), "needs a target class"),
        (lambda: kd.draw_targets(ROWS, torch.full((6,), 1.5)), "6 numbers in 0..1"),
        (lambda: kd.draw_targets(ROWS[:, :1], torch.zeros(6)), "one class only"),
        (
            lambda: kd.sobolev(net(), net(outputs=3), X),
            "outputs of student and teacher have shapes",
        ),
        (
            lambda: kd.sobolev(net(), net(), X, directions=random(5, 3)),
            "directions and outputs have shapes",
        ),
        (lambda: kd.sobolev(net(), net(), X.long()), "x holds torch.int64"),
        (lambda: kd.sobolev(net(), net(), X, weight=-1), "weight is -1"),
        (
            lambda: kd.sobolev(lambda x: x[:2], lambda x: x[:2], X),
            "5 rows of x give 2 rows of outputs",
        ),
        (
            lambda: kd.second_order(net(), net(), X, random(5, 2), random(5, 2)),
            "x and input_directions",
        ),
        (
            lambda: kd.jacobian_matching(net(), net(), X, torch.full((5,), 2)),
            "targets holds the class 2",
        ),
        (lambda: kd.hint(random(2, 3), random(2, 4)), "features and teacher_features have shapes"),
        (lambda: kd.cosine(random(2, 3, 4), random(2, 3, 4)), r"it must be \(B, F\)"),
        (lambda: kd.regressor((3,), (3, 4, 4)), "no regressor leads"),
        (lambda: kd.regressor((3, 2, 2), (3, 5, 5)), "no regressor leads"),
    ],
)
def test_bad_calls_are_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- stacks and precision -------------------------------------------------------------------------

T, Y = random(5, 3, seed=8), torch.tensor([0, 1, 2, 1, 0])
SCORES = random(5, 2, 4, 4, seed=9)


def as_model(weight):
    """A student with these weights, (3, 3)."""
    return lambda x: (x @ weight).tanh()


METHODS = {
    "mutual": lambda s: kd.mutual(torch.stack([s, T.to(s)]), Y),
    "several teachers, logits": lambda s: kd.multi_teacher(
        s, torch.stack([T, -T]).to(s), temperature=2
    ),
    "several teachers, probs": lambda s: kd.multi_teacher(
        s, torch.stack([T, -T]).to(s), combine="probs"
    ),
    "several teachers, losses": lambda s: kd.multi_teacher(
        s, torch.stack([T, -T]).to(s), combine="losses"
    ),
    "entropy reduction": lambda s: kd.entropy_reduction(torch.stack([s, T.to(s)]), 1.0),
    "hint": lambda s: kd.hint(s, T.to(s)),
    "cosine": lambda s: kd.cosine(s, T.to(s)),
    "attention": lambda s: kd.attention(
        s.reshape(5, 1, 3, 1) * SCORES[:, :, :3, :3].to(s), SCORES[:, :, :3, :3].to(s)
    ),
    "sobolev": lambda s: kd.sobolev(as_model(s[:3]), as_model(T[:3].to(s)), X.to(s)),
    "stochastic sobolev": lambda s: kd.sobolev(
        as_model(s[:3]), as_model(T[:3].to(s)), X.to(s), directions=T.to(s)
    ),
    "second order": lambda s: kd.second_order(
        as_model(s[:3]), as_model(T[:3].to(s)), X.to(s), T.to(s), X.to(s)
    ),
    "jacobian matching": lambda s: kd.jacobian_matching(
        as_model(s[:3]), as_model(T[:3].to(s)), X.to(s), Y
    ),
    "perturb": lambda s: kd.perturb(s, sigma=0.5, noise=T, mask=torch.ones(5, 1)),
    "base scores": lambda s: kd.base_scores(s, T.to(s), Y)[1],
    "dafl": lambda s: kd.dafl(s, s * T.to(s)),
    "moments": lambda s: kd.moment_distance(s, T[0].to(s), T[1].to(s) ** 2),
    "agreement": lambda s: kd.agreement(s, T.to(s)),
    "distilbert": lambda s: kd.distilbert(s, T.to(s), Y, s, T.to(s)),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_precision_and_passes_through_a_stack(method):
    call, s_C = METHODS[method], torch.stack([random(5, 3, seed=seed) for seed in (1, 2, 3)])
    found = {}
    for dtype, rtol, atol in ((torch.float64, 1e-9, 1e-10), (torch.float32, 1e-4, 1e-5)):
        stack = s_C.to(dtype)
        values, gradients = vmap(call)(stack), vmap(grad(lambda s: call(s).sum()))(stack)
        close(values, torch.stack([call(s) for s in stack]), rtol, atol)
        close(gradients, torch.stack([grad(lambda s: call(s).sum())(s) for s in stack]), rtol, atol)
        assert values.dtype == gradients.dtype == dtype
        found[dtype] = values, gradients
    for coarse, fine in zip(found[torch.float32], found[torch.float64], strict=True):
        close(coarse.double(), fine, rtol=1e-3, atol=1e-4)


def test_boundary_samples_of_a_stack_are_those_of_each_and_keep_the_precision():
    for dtype in (torch.float32, torch.float64):
        stack, weight = torch.stack([ROWS, 0.9 * ROWS]).to(dtype), WEIGHT.to(dtype)
        targets = torch.stack([second_class(x.double()) for x in stack])
        moved = vmap(lambda x, target, w=weight: kd.bss(lambda x: x @ w.T, x, target))(
            stack, targets
        )
        assert moved.dtype == dtype
        for i, (x, target) in enumerate(zip(stack, targets, strict=True)):
            close(moved[i], kd.bss(lambda x, w=weight: x @ w.T, x, target), rtol=1e-5, atol=1e-5)


# --- hints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "teacher_shape"),
    [((3,), (5,)), ((2, 8, 8), (4, 8, 8)), ((2, 8, 6), (4, 4, 4)), ((2, 4, 4), (3, 8, 8))],
)
def test_features_that_the_regressor_made_are_matched_and_it_learns(shape, teacher_shape):
    regressor, features = (
        kd.regressor(shape, teacher_shape),
        torch.randn(2, *shape, requires_grad=True),
    )
    assert kd.hint(regressor(features), regressor(features)).tolist() == [0, 0]
    kd.hint(regressor(features), torch.ones(2, *teacher_shape)).mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in regressor.parameters())
    assert features.grad.abs().sum() > 0


def test_the_cosine_of_parallel_features_costs_nothing_and_of_opposite_ones_two():
    h = random(3, 4)
    close(kd.cosine(h, 5 * h), torch.zeros(3, dtype=h.dtype))
    close(kd.cosine(h, -h), torch.full((3,), 2, dtype=h.dtype))


# --- transformers ---------------------------------------------------------------------------------


def encoder(width=8, heads=2, layers=4, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kd.Encoder(vocabulary=11, longest=6, width=width, heads=heads, layers=layers)


TOKENS = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(0))
PADDING = torch.tensor([[False] * 6, [False] * 4 + [True] * 2, [False] * 5 + [True]])


def test_attention_scores_are_those_of_torchs_layer():
    model = encoder()
    states = model.states(TOKENS, PADDING)
    attention = model.layers[1].self_attn
    hidden = states.hidden[1]
    _, weights = attention(
        hidden, hidden, hidden, key_padding_mask=PADDING, average_attn_weights=False
    )
    close(states.scores[1].softmax(-1), weights, rtol=1e-5, atol=1e-6)
    assert len(states.hidden) == 5
    assert len(states.scores) == 4
    close(states.logits, model(TOKENS, PADDING))


def test_padding_changes_nothing_for_the_tokens_before_it():
    model, longer = encoder(), TOKENS[:1]
    padding = torch.tensor([[False] * 4 + [True] * 2])
    close(model(longer, padding)[:, :4], model(longer[:, :4]), rtol=1e-4, atol=1e-5)


def test_a_student_begins_as_its_teachers_layers():
    teacher, student = encoder(), encoder(layers=2, seed=1)
    kd.initialise_from(student, teacher, [0, 2])
    for own, original in zip(student.layers, [0, 2], strict=True):
        for name, parameter in own.named_parameters():
            assert torch.equal(parameter, teacher.layers[original].get_parameter(name))
    close(student.states(TOKENS).hidden[1], teacher.states(TOKENS).hidden[1])
    whole = encoder(seed=1)
    kd.initialise_from(whole, teacher, range(4))
    close(whole(TOKENS), teacher(TOKENS))


def test_layers_are_mapped_uniformly():
    assert kd.attention_layers(4, 12) == [2, 5, 8, 11]
    assert kd.hidden_layers(4, 12) == [0, 3, 6, 9, 12]
    assert kd.attention_layers(1, 1) == [0]


def test_scores_of_padding_are_not_compared():
    s = torch.tensor([[[[1.0, -10_000.0], [2.0, -9_000.0]]]])
    t = torch.tensor([[[[2.0, -8_000.0], [2.0, -9_999.0]]]])
    close(kd.attention(s, t), torch.tensor([0.25]))


def test_distilbert_lowers_its_three_terms_together_at_first():
    teacher, student = encoder(), encoder(layers=2, seed=1)
    with torch.no_grad():
        teacher.head.weight.mul_(
            10
        )  # a teacher that is sure, so that labels and probabilities ask for the same
        kd.initialise_from(student, teacher, [0, 2])
        for parameter in student.layers.parameters():
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    taught = teacher.states(TOKENS)
    labels = taught.logits.argmax(2).flatten()

    def term(*weights):
        states = student.states(TOKENS)
        return kd.distilbert(
            states.logits.flatten(0, 1),
            taught.logits.flatten(0, 1),
            labels,
            states.hidden[-1].flatten(0, 1),
            taught.hidden[-1].flatten(0, 1),
            weights=weights,
        )

    optimiser = torch.optim.SGD(student.parameters(), lr=0.001)
    histories = []
    for _ in range(4):
        with torch.no_grad():
            histories.append(
                [float(term(*weights)) for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
            )
        for _ in range(5):
            optimiser.zero_grad()
            term(5, 2, 1).backward()
            optimiser.step()
    for before, after in pairwise(histories):
        assert all(late < early for early, late in zip(before, after, strict=True))


def test_tinybert_lowers_its_layers_and_is_zero_for_the_teacher_itself():
    teacher, student, projection = encoder(), encoder(width=4, layers=2, seed=1), nn.Linear(4, 8)
    taught = teacher.states(TOKENS, PADDING)
    assert float(kd.tinybert(taught, taught, nn.Identity()).detach()) == 0
    optimiser = torch.optim.Adam([*student.parameters(), *projection.parameters()], lr=0.01)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = kd.tinybert(student.states(TOKENS, PADDING), taught, projection)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kd.Encoder(11, 6, 8, 3, 1), "a width of 8 cannot be parted among 3 heads"),
        (lambda: encoder()(TOKENS.repeat(1, 2)), r"tokens have shape \(3, 12\)"),
        (lambda: kd.initialise_from(encoder(layers=2), encoder(), [0, 7]), r"layers are \[0, 7\]"),
        (lambda: kd.initialise_from(encoder(layers=2), encoder(), [0]), "name 2 of the teacher's"),
        (
            lambda: kd.initialise_from(encoder(width=4), encoder(), range(4)),
            "do not fit into the student",
        ),
        (lambda: kd.attention_layers(3, 4), "cannot be mapped evenly on 3"),
        (
            lambda: kd.attention(random(1, 2, 3, 3), random(1, 4, 3, 3)),
            "scores and teacher_scores have shapes",
        ),
        (
            lambda: kd.distilbert(*[random(2, 3)] * 2, torch.tensor([0, 3]), *[random(2, 3)] * 2),
            "the class 3",
        ),
        (
            lambda: kd.distilbert(
                *[random(2, 3)] * 2, torch.tensor([0, 1]), *[random(2, 3)] * 2, weights=(-1, 1, 1)
            ),
            "-1",
        ),
    ],
)
def test_bad_recipes_are_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# --- terms of data-free distillation --------------------------------------------------------------


def test_moment_distance_is_zero_for_a_batch_of_these_moments():
    features = random(20, 4)
    mean, variance = features.mean(0), features.var(0, unbiased=False)
    close(kd.moment_distance(features, mean, variance), torch.tensor(0.0, dtype=features.dtype))
    expected = math.sqrt(4 * 3**2) + math.sqrt(4 * 2**2)
    close(
        kd.moment_distance(features, mean + 3, variance + 2),
        torch.tensor(expected, dtype=features.dtype),
    )


def test_models_agree_fully_with_themselves_and_less_the_surer_they_are_of_different_classes():
    one, other = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    close(kd.agreement(one, one), torch.tensor(1.0))
    p, q = one.softmax(1)[0].tolist(), other.softmax(1)[0].tolist()
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    js = sum(c * math.log(c / a) + c * math.log(c / b) for a, b, c in zip(p, q, m, strict=True)) / 2
    assert float(kd.agreement(one, other, temperature=1)) == pytest.approx(1 - js, rel=1e-5)
    assert float(kd.agreement(30 * one, 30 * other)) == 0
