"""The exact cases of tests/data/distillation.json, computed with numpy float64 straight from the
formulas.

Values of the cases are means over the batch, ours are one number a row. Every case runs in float64,
and in float32 unless it says otherwise; every field of `expected` is compared."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import vjp

from fl_sv import distillation as kd

CASES = json.loads(
    (Path(__file__).parent / "data" / "distillation.json").read_text(encoding="utf-8")
)
COVERED = {"spec-active-set"}


def cases(family, *ids):
    """The cases of a family, or those with the given ids, in both precisions."""
    chosen = [case for case in CASES[family] if not ids or case["id"] in ids]
    COVERED.update(case["id"] for case in chosen)
    return [
        pytest.param(case, dtype, id=f"{case['id']}-{str(dtype)[6:]}")
        for case in chosen
        for dtype in (torch.float64, torch.float32)
        if dtype == torch.float64 or not case.get("f64_only")
    ]


def tensor(value, dtype):
    return torch.tensor(value, dtype=dtype)


def logits(case, dtype):
    """s, which wants a gradient, t, and y or None."""
    inputs = case["inputs"]
    y = torch.tensor(inputs["y"]) if "y" in inputs else None
    return tensor(inputs["s"], dtype).requires_grad_(True), tensor(inputs["t"], dtype), y


def agree(ours, case, field, dtype, expected=None):
    expected = case["expected"][field] if expected is None else expected
    rtol, atol = (1e-9, 1e-11) if dtype == torch.float64 else (2e-4, 2e-6)
    rtol, atol = max(case.get("rtol", rtol), rtol), max(case.get("atol", atol), atol)
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    np.testing.assert_allclose(
        ours, expected, rtol=rtol, atol=atol, err_msg=f"{case['id']}: {field}"
    )


def gradient(value, s):
    return torch.autograd.grad(value, s, retain_graph=True)[0]


def test_every_case_is_covered():
    assert {
        case["id"] for family, chosen in CASES.items() if family != "meta" for case in chosen
    } == COVERED


# --- losses by name -------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "dtype"), cases("kd_hinton"))
def test_hinton(case, dtype):
    s, t, y = logits(case, dtype)
    temperature, lam = case["params"]["T"], case["params"]["lam"]
    soft_B = kd.loss("hinton", temperature=temperature, alpha=1)(s, t)
    hard = kd.loss("hinton", temperature=temperature, alpha=0)(s, t, y).mean()
    convex = kd.loss("hinton", temperature=temperature, alpha=lam)(s, t, y).mean()
    entropy = kd.loss("cross_entropy", temperature=temperature)(s, t).mean()
    ours = {
        "soft_kl_T2": soft_B.mean(),
        "soft_ce_T2": entropy,
        "hard_ce": hard,
        "per_sample_kl_T2": soft_B,
        "loss_convex": convex,
        "loss_seed_form": hard + lam * entropy,
        "grad_soft_T2": gradient(soft_B.mean(), s),
        "grad_hard": gradient(hard, s),
        "grad_convex": gradient(convex, s),
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)
    agree(
        gradient(entropy, s), case, "grad_soft_T2", dtype
    )  # the teacher's entropy is no function of s
    if "limit" in case:
        gap = (
            abs(float(soft_B.detach().mean()) - case["limit"]["soft_kl_T2"])
            / case["limit"]["soft_kl_T2"]
        )
        assert gap == pytest.approx(case["rel_gap_to_limit"], rel=1e-3)


@pytest.mark.parametrize(("case", "dtype"), cases("dkd"))
def test_dkd(case, dtype):
    s, t, y = logits(case, dtype)
    temperature, alpha, beta = (case["params"][key] for key in ("T", "alpha", "beta"))
    target_B = kd.loss("dkd", temperature=temperature, alpha=1, beta=0)(s, t, y)
    rest_B = kd.loss("dkd", temperature=temperature, alpha=0, beta=1)(s, t, y)
    whole = kd.loss("dkd", temperature=temperature, alpha=alpha, beta=beta)(s, t, y).mean()
    ours = {
        "tckd_T2": target_B.mean(),
        "nckd_T2": rest_B.mean(),
        "loss": whole,
        "per_sample_tckd_T2": target_B,
        "per_sample_nckd_T2": rest_B,
        "teacher_target_prob_T": (t / temperature).softmax(1).gather(1, y[:, None])[:, 0],
        "grad": gradient(whole, s),
        "kd_T2": kd.loss("hinton", temperature=temperature, alpha=1)(s, t).mean(),
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)
    if "identity" in case:
        agree(whole, case, "identity", dtype, case["identity"]["loss_equals_kd_T2"])
        agree(ours["grad"], case, "identity", dtype, case["identity"]["grad_equals"])


@pytest.mark.parametrize(("case", "dtype"), cases("logit_l2"))
def test_logit_l2(case, dtype):
    s, t, _ = logits(case, dtype)
    classes = s.shape[1]
    half = kd.loss("logit_l2")(s, t).mean()
    centred = (
        kd.loss("logit_l2")(s - s.mean(1, keepdim=True), t - t.mean(1, keepdim=True)).mean()
        / classes
    )
    ours = {
        "mse": half * 2 / classes,
        "half_sum_batchmean": half,
        "sum_batchmean": 2 * half,
        "centred_over_2C": centred,
        "grad_mse": gradient(half * 2 / classes, s),
        "grad_half_sum_batchmean": gradient(half, s),
        "grad_centred_over_2C": gradient(centred, s),
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("smooth_l1"))
def test_smooth_l1(case, dtype):
    s, t, _ = logits(case, dtype)
    mean = kd.loss("smooth_l1", beta=case["params"]["beta"])(s, t).mean()
    ours = {
        "mean": mean,
        "sum_batchmean": s.shape[1] * mean,
        "grad_mean": gradient(mean, s),
        "huber_mean": case["params"]["beta"] * mean,
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("noisy_teacher"))
def test_noisy_teacher(case, dtype):
    s, t, y = logits(case, dtype)
    params = case["params"]
    draws = {
        "noise": tensor(case["inputs"]["eps"], dtype),
        "mask": tensor(case["inputs"]["mask"], dtype),
    }
    options = {"sigma": params["sigma"], "mode": params["mode"], **draws}
    noisy = kd.perturb(t, **options)
    squared = kd.loss("noisy_teacher", **options)(s, t).mean()
    convex = kd.loss("hinton", temperature=params["T"], alpha=params["lam"])(s, noisy, y).mean()
    ours = {
        "noisy_teacher_logits": noisy,
        "half_sum_batchmean": squared,
        "grad_half_sum_batchmean": gradient(squared, s),
        "kd_soft_kl_T2": kd.loss("hinton", temperature=params["T"], alpha=1)(s, noisy).mean(),
        "kd_loss_convex": convex,
        "kd_grad_convex": gradient(convex, s),
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)


# --- beyond logits --------------------------------------------------------------------------------


def parameters(net, dtype):
    return {
        name: tensor(value, dtype).requires_grad_(True)
        for name, value in net.items()
        if name != "kind"
    }


def function(p):
    """y = W2 tanh(W1 x + b1) + b2, or W x + b."""
    if "W" in p:
        return lambda x: x @ p["W"].T + p["b"]
    return lambda x: torch.tanh(x @ p["W1"].T + p["b1"]) @ p["W2"].T + p["b2"]


def jacobian(fn, x):
    return torch.func.vmap(torch.func.jacrev(lambda row: fn(row[None])[0]))(x)


@pytest.mark.parametrize(("case", "dtype"), cases("sobolev", "sob1-full-lam1"))
def test_sobolev_of_order_1(case, dtype):
    inputs, lam = case["inputs"], case["params"]["lam"]
    student, x = parameters(inputs["student"], dtype), tensor(inputs["x"], dtype)
    student_fn, teacher_fn = function(student), function(parameters(inputs["teacher"], dtype))
    value = kd.sobolev(student_fn, teacher_fn, x, weight=0).mean()
    whole = kd.sobolev(student_fn, teacher_fn, x, weight=lam).mean()
    ours = {
        "loss": whole,
        "value_term": value,
        "jacobian_term": (whole - value) / lam,
        "student_out": student_fn(x),
        "teacher_out": teacher_fn(x),
        "student_jacobian": jacobian(student_fn, x),
        "teacher_jacobian": jacobian(teacher_fn, x),
    } | {f"grad_{name}": gradient(whole, parameter) for name, parameter in student.items()}
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("sobolev", "sob1-stochastic"))
def test_stochastic_sobolev(case, dtype):
    inputs, lam = case["inputs"], case["params"]["lam"]
    x, v = tensor(inputs["x"], dtype), tensor(inputs["v"], dtype)
    student_fn, teacher_fn = (
        function(parameters(inputs[who], dtype)) for who in ("student", "teacher")
    )
    whole = kd.sobolev(student_fn, teacher_fn, x, weight=lam, directions=v).mean()
    ours = {
        "loss": whole,
        "proj_term": (whole - kd.sobolev(student_fn, teacher_fn, x, weight=0).mean()) / lam,
        "student_vjp": vjp(student_fn, x)[1](v)[0],
        "teacher_vjp": vjp(teacher_fn, x)[1](v)[0],
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("sobolev", "jacobian-matching-target-logit"))
def test_jacobian_matching(case, dtype):
    inputs = case["inputs"]
    student_fn, teacher_fn = (
        function(parameters(inputs[who], dtype)) for who in ("student", "teacher")
    )
    loss_B = kd.jacobian_matching(
        student_fn, teacher_fn, tensor(inputs["x"], dtype), torch.tensor(inputs["y"])
    )
    agree(loss_B.mean(), case, "loss", dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("specialists", "spec-one", "spec-two-overlap"))
def test_specialists(case, dtype):
    g = tensor(case["inputs"]["generalist"], dtype)
    opinions = [
        (m["classes"], tensor(m["p"], dtype), m["p_dustbin"]) for m in case["inputs"]["specialists"]
    ]
    q = kd.specialists(g, opinions)
    agree(q, case, "q", dtype)
    if "closed_form_q" in case:
        agree(q, case, "closed_form_q", dtype, case["closed_form_q"])

    def kl(p, q):
        return sum(
            float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True) if a > 0
        )

    parts = []
    for classes, p, dustbin in opinions:
        outside = float(q.sum()) - float(q[classes].sum())
        parts.append(kl([*p, dustbin], [*q[classes], outside]))
    agree(kl(g, q), case, "kl_generalist", dtype)
    agree(parts, case, "kl_specialists", dtype)
    agree(kl(g, q) + sum(parts), case, "objective", dtype)


def test_active_specialists():
    case = next(case for case in CASES["specialists"] if case["id"] == "spec-active-set")
    g = torch.tensor(case["inputs"]["generalist"])
    for n in (1, 2, 3):
        assert (
            kd.active_specialists(g, case["inputs"]["specialist_classes"], n)
            == case["expected"][f"active_n{n}"]
        )


@pytest.mark.parametrize(("case", "dtype"), cases("bss", "bss-linear-official", "bss-mlp-one-step"))
def test_boundary_samples(case, dtype):
    inputs, params, expected = case["inputs"], case["params"], case["expected"]
    teacher = function(parameters(inputs["teacher"], dtype))
    x, target = tensor(inputs["x"], dtype), torch.tensor(inputs["target_class"])
    options = {key: params[key] for key in ("alpha", "eps", "clip", "squared_norm")}
    after_1 = kd.bss(teacher, x, target, steps=1, **options)
    final = kd.bss(teacher, x, target, steps=params["steps"], **options)
    base = teacher(x).argmax(1)
    assert base.tolist() == expected["base_class"]

    def gap(x):
        return (teacher(x).gather(1, base[:, None]) - teacher(x).gather(1, target[:, None]))[:, 0]

    agree(gap(x), case, "loss_before_step1", dtype)
    agree(after_1, case, "x_after_step1", dtype)
    agree(final, case, "x_final", dtype)
    agree(gap(final), case, "loss_final", dtype)
    assert teacher(final).argmax(1).tolist() == expected["final_pred"]
    if params["steps"] > 1:
        assert not torch.equal(
            final, kd.bss(teacher, x, target, steps=expected["steps_taken"] - 1, **options)
        )


@pytest.mark.parametrize(("case", "dtype"), cases("bss", "bss-selection"))
def test_selection_of_base_rows(case, dtype):
    s, t, y = logits(case, dtype)
    eligible, score = kd.base_scores(s, t, y)
    assert eligible.tolist() == case["expected"]["eligible"]
    agree(score, case, "score", dtype)
    for field, expected in case["expected"].items():
        if field.startswith("target_class_u"):
            u = float(field.removeprefix("target_class_u").replace("_", "."))
            assert kd.draw_targets(t, torch.full((len(t),), u)).tolist() == expected, field


@pytest.mark.parametrize(("case", "dtype"), cases("mutual"))
def test_mutual(case, dtype):
    z = tensor(case["inputs"]["logits"], dtype).requires_grad_(True)
    loss_P = kd.mutual(
        z, torch.tensor(case["inputs"]["y"]), average=case["params"]["average"]
    ).mean(1)
    agree(loss_P, case, "losses", dtype)
    agree(gradient(loss_P.sum(), z), case, "grads_peer_detached", dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("multi_teacher", "mt-T1"))
def test_several_teachers(case, dtype):
    s = tensor(case["inputs"]["s"], dtype).requires_grad_(True)
    teachers, weights = tensor(case["inputs"]["teachers"], dtype), case["inputs"]["weights"]
    for combine in ("logits", "probs", "losses"):
        options = {"weights": weights, "temperature": case["params"]["T"], "combine": combine}
        value = kd.multi_teacher(s, teachers, **options).mean()
        agree(value, case, f"avg_{combine}", dtype)
        agree(gradient(value, s), case, f"grad_avg_{combine}", dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("multi_teacher", "era-dsfl"))
def test_entropy_reduction(case, dtype):
    teachers = tensor(case["inputs"]["teachers"], dtype)
    mean, era = teachers.softmax(2).mean(0), kd.entropy_reduction(teachers, case["params"]["T"])
    ours = {
        "mean_prob": mean,
        "era": era,
        "entropy_before": torch.special.entr(mean).sum(1),
        "entropy_after": torch.special.entr(era).sum(1),
    }
    for field in case["expected"]:
        agree(ours[field], case, field, dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("hint"))
def test_hint(case, dtype):
    f_s, weight, offset = (
        tensor(case["inputs"][key], dtype).requires_grad_(True) for key in ("f_s", "R", "rb")
    )
    f_t = tensor(case["inputs"]["f_t"], dtype)
    mse = kd.hint(f_s @ weight.T + offset, f_t).mean()
    agree(mse, case, "mse", dtype)
    agree(mse * f_t.shape[1] / 2, case, "half_sum_batchmean", dtype)
    agree(gradient(mse, weight), case, "grad_R", dtype)
    agree(gradient(mse, f_s), case, "grad_f_s", dtype)


@pytest.mark.parametrize(("case", "dtype"), cases("transformer"))
def test_distilbert(case, dtype):
    s, t, y = logits(case, dtype)
    h_s, h_t = (tensor(case["inputs"][key], dtype) for key in ("h_s", "h_t"))
    a_ce, a_mlm, a_cos = (case["params"][key] for key in ("a_ce", "a_mlm", "a_cos"))
    for field, weights in {
        "loss_ce": (1, 0, 0),
        "loss_mlm": (0, 1, 0),
        "loss_cos": (0, 0, 1),
        "loss": (a_ce, a_mlm, a_cos),
    }.items():
        agree(
            kd.distilbert(s, t, y, h_s, h_t, temperature=case["params"]["T"], weights=weights),
            case,
            field,
            dtype,
        )


@pytest.mark.parametrize(("case", "dtype"), cases("data_free"))
def test_dafl(case, dtype):
    t, f = tensor(case["inputs"]["t"], dtype), tensor(case["inputs"]["f_t"], dtype)
    params = case["params"]
    agree(kd.dafl(t, f, weights=(1, 0, 0)), case, "one_hot", dtype)
    agree(kd.dafl(t, f, weights=(0, 1, 0)), case, "info_entropy_log10", dtype)
    agree(kd.dafl(t, f, weights=(0, math.log(10), 0)), case, "info_entropy_ln", dtype)
    agree(kd.dafl(t, f, weights=(0, 0, 1)), case, "activation", dtype)
    agree(
        kd.dafl(t, f, weights=(params["oh"], params["ie"], params["a"])),
        case,
        "loss_official",
        dtype,
    )
