"""Fine-tuning a pretrained transformer: adapters by peft, on a frozen base in a local folder."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fl_sv
from fl_sv.config.load import config_of
from fl_sv.data import operator_data
from fl_sv.deployment.export import export
from fl_sv.deployment.load import stored_model
from fl_sv.errors import InputError
from fl_sv.planning.checks import check
from fl_sv.planning.forecast import forecast
from fl_sv.training import factories
from fl_sv.training.models import model_specs, tensors
from fl_sv.training.trial import tried_models
from tests.pretrained import LETTERS, lm_config, make_base, make_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lm")
    lm_config(made)
    return made


def of(folder: Path, **changes: Any) -> Any:
    return config_of(lm_config(folder, **changes), "test")


def large(folder: Path, **options: Any) -> dict[str, Any]:
    """The models of the config, the large one with other options."""
    models: dict[str, Any] = copy.deepcopy(lm_config(folder)["models"])
    models["large"] |= options
    return models


def adapter(**options: Any) -> dict[str, Any]:
    return {"adapter": {"kind": "lora", "rank": 2, **options}}


def test_an_untrained_model_answers_as_its_base(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = of(folder)
    operator = operator_data(config)
    small, _ = model_specs(config, operator.task)
    x, _ = tensors(operator.validation, config)
    base = AutoModelForCausalLM.from_pretrained(folder / "tiny", attn_implementation="eager")
    with torch.no_grad():
        ours = small[0].loaded(small[0].initial_params(config.seed, 0))(x)
        torch.testing.assert_close(ours, base.eval()(input_ids=x).logits)


def test_only_adapters_are_trained_and_they_stack(folder: Path) -> None:
    config = of(folder)
    operator = operator_data(config)
    x, y = tensors(operator.validation, config)
    small, _ = tried_models(config, operator.task, x, y)
    # Rank 2 beside q, k, v, o (8 to 8), gate, up (8 to 16) and down (16 to 8), in two blocks.
    assert small[0].n_params == 2 * 2 * (4 * (8 + 8) + 3 * (8 + 16))
    assert all("lora_" in name for name in small[0].shapes)
    assert small[0].unstackable is None


def test_with_a_frozen_the_average_of_models_is_the_model_of_the_average(folder: Path) -> None:
    config = of(folder, models=large(folder, average="frozen_a"))
    operator = operator_data(config)
    _, spec = model_specs(config, operator.task)
    assert all("lora_B" in name for name in spec.shapes)
    module = spec.fresh(torch.device("cpu"))
    change = {}
    one, other = torch.randn(2, spec.n_params, generator=torch.Generator().manual_seed(0))
    for name, params in (("one", one), ("other", other), ("mean", (one + other) / 2)):
        module = spec.loaded(params).base
        part = module.base_model.model.model.layers[0].self_attn.q_proj
        change[name] = part.get_delta_weight("default").detach()
    torch.testing.assert_close(change["mean"], (change["one"] + change["other"]) / 2)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft
def test_a_run_ends_with_adapters_that_peft_loads_on_the_base(folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = fl_sv.run(lm_config(folder), tmp_path / "run", backend="inline")
    fl_sv.verify(run.path)  # raises where a file does not follow from the others
    assert "Perplexity of the large model" in (run.path / "report.html").read_text()
    record = json.loads((run.path / "model.json").read_text())
    assert record["trainable"] < record["parameters"]
    written = export(stored_model(run.path), "peft", tmp_path / "adapter")
    assert "adapter_model.safetensors" in {path.name for path in written}
    base = AutoModelForCausalLM.from_pretrained(folder / "large", attn_implementation="eager")
    tuned = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    x = torch.arange(6)[None] % len(LETTERS)
    with torch.no_grad():
        torch.testing.assert_close(fl_sv.load_model(run.path)(x), tuned(input_ids=x).logits)


def test_a_head_alone_is_trained_on_labelled_rows(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, len(LETTERS), (60, 6))
    np.savez(tmp_path / "rows.npz", x=x, y=x[:, 0] % 2)
    data = {
        "source": str(tmp_path / "rows.npz"),
        "inputs": "ids",
        "partition": {"kind": "iid"},
    }
    models = large(folder, task="head", adapter=None)
    models["small"][0] |= {"task": "head", "adapter": None}
    config = of(folder, data=data, models=models)
    plan = forecast(config, check(config), on_ray=False)
    assert plan.models["large"]["trainable"] == 16 * 2 + 2


def broken(folder: Path, tmp_path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Wrong models by name, and what the message has to say of each."""
    no_config = tmp_path / "no-config"
    no_config.mkdir()
    no_weights = tmp_path / "no-weights"
    no_weights.mkdir()
    (no_weights / "config.json").write_text((folder / "tiny" / "config.json").read_text())
    pickle = tmp_path / "pickle"
    pickle.mkdir()
    (pickle / "config.json").write_text('{"model_type": "llama"}')
    (pickle / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    (damaged / "model.safetensors").write_bytes(b"")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "no-such-model"}')
    (other / "model.safetensors").write_bytes(b"")
    return {
        "nowhere": ({"path": str(tmp_path / "nowhere")}, "does not exist"),
        "no config": ({"path": str(no_config)}, "has no config.json"),
        "no weights": ({"path": str(no_weights)}, "has no model.safetensors"),
        "a pickle": ({"path": str(pickle)}, "has no model.safetensors"),
        "damaged": ({"path": str(damaged)}, "is no JSON"),
        "another kind": ({"path": str(other)}, "cannot be loaded"),
        "no such layer": (
            adapter(target_modules=["qproj"]),
            "'qproj' is no layer of the model",
        ),
        "what there is": (adapter(target_modules=["x"]), "k_proj, o_proj, q_proj"),
        "the frozen head": (adapter(target_modules=["lm_head"]), "is the output layer"),
        "no such block": (adapter(layers=[2]), "the blocks 0 to 1"),
    }


def test_what_is_wrong_with_a_base_is_a_sentence_before_anything_trains(
    folder: Path, tmp_path: Path
) -> None:
    for name, (options, said) in broken(folder, tmp_path).items():
        config = of(folder, models=large(folder, **options))
        with pytest.raises(InputError) as refused:
            forecast(config, check(config), on_ray=False)
        message = str(refused.value)
        assert said in message and "large" in message, (name, message)
        assert "\n" not in message


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    path = make_tokenizer(tmp_path / "tokenizer.json", LETTERS + "xyz")
    data = lm_config(folder)["data"]
    config = of(folder, data=data | {"text": {"tokenizer": str(path), "places": 6}})
    with pytest.raises(InputError, match="knows 10 tokens, and the tokenizer has 13"):
        forecast(config, check(config), on_ray=False)


def test_rows_longer_than_the_model_takes_are_refused(folder: Path) -> None:
    data = lm_config(folder)["data"]
    config = of(folder, data=data | {"text": data["text"] | {"places": 17}})
    with pytest.raises(InputError, match="at most 16 tokens"):
        forecast(config, check(config), on_ray=False)


def test_nothing_to_train_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="nothing of a causal_lm is trained"):
        of(folder, models=large(folder, adapter=None))


def test_weights_that_lack_a_part_are_refused(folder: Path, tmp_path: Path) -> None:
    base = make_base(tmp_path / "deeper", 16)
    content = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(content | {"num_hidden_layers": 3}))
    config = of(folder, models=large(folder, path=str(base)))
    with pytest.raises(InputError, match=r"lack model\.layers\.2"):
        forecast(config, check(config), on_ray=False)


@pytest.mark.slow
def test_a_tuned_model_is_loaded_from_its_base_and_says_so_where_that_has_gone(
    folder: Path, tmp_path: Path
) -> None:
    content = lm_config(tmp_path / "lm")
    content["training"]["rounds"] = 1
    run = fl_sv.run(content, tmp_path / "run", backend="inline")
    x = torch.arange(6)[None] % len(LETTERS)
    before = fl_sv.load_model(run.path)(x)
    (tmp_path / "lm" / "large").rename(tmp_path / "moved")
    factories._made.cache_clear()
    with pytest.raises(InputError, match=r"fine-tuned on a frozen base.*does not exist.*--config"):
        fl_sv.load_model(run.path)
    content["models"]["large"]["path"] = str(tmp_path / "moved")
    (tmp_path / "moved.yaml").write_text(json.dumps(content), encoding="utf-8")
    assert torch.equal(fl_sv.load_model(run.path, config=tmp_path / "moved.yaml")(x), before)
