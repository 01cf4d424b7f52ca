"""Small pretrained models in the Hugging Face format, with random weights, and texts."""

import json
from pathlib import Path
from typing import Any

import pytest

LETTERS = "abcdefgh ."
DOCUMENTS = ("abc abd.", "had a bad cab.", "fed a hag.", "deaf gab.", "beg a bead.", "a cage.")


def make_tokenizer(path: Path, letters: str = LETTERS) -> Path:
    """A tokenizer of single letters."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra lm")
    model = tokenizers.models.WordLevel({each: i for i, each in enumerate(letters)}, " ")
    tokenizer = tokenizers.Tokenizer(model)
    every = tokenizers.Regex("[\\s\\S]")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(every, "isolated")
    tokenizer.save(str(path))
    return path


def make_base(folder: Path, width: int = 16, **options: Any) -> Path:
    """A Llama of two blocks with random weights."""
    content = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 16,
        "tie_word_embeddings": False,
    }
    return _made(folder, "Llama", "ForCausalLM", width, content | options)


def make(folder: Path, family: str, **options: Any) -> Path:
    """A language model of this family of transformers, of two blocks with random weights."""
    if family == "GPT2":
        return make_gpt2(folder)
    return _made(folder, family, "ForCausalLM", 16, _USUAL | options)


def make_gpt2(folder: Path) -> Path:
    """A GPT-2 of two blocks; it calls its layers Conv1D."""
    content = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return _made(folder, "GPT2", "LMHeadModel", 16, content)


def make_neox(folder: Path) -> Path:
    """A GPT-NeoX of two blocks; attention and feed-forward run beside each other."""
    return _made(folder, "GPTNeoX", "ForCausalLM", 16, _USUAL)


def make_bert(folder: Path) -> Path:
    """A BERT of two blocks, with dropout of its own and a pooler."""
    return _made(folder, "Bert", "Model", 16, _USUAL)


_USUAL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}


def _made(folder: Path, family: str, kind: str, seed: int, content: dict[str, Any]) -> Path:
    """A model of this class of transformers with random weights."""
    transformers = pytest.importorskip("transformers", reason="needs the extra lm")
    pytest.importorskip("peft", reason="needs the extra lm")
    import torch

    torch.manual_seed(seed)
    transformers.utils.logging.disable_progress_bar()
    config = getattr(transformers, f"{family}Config")(vocab_size=len(LETTERS), **content)
    getattr(transformers, f"{family}{kind}")(config).save_pretrained(folder)
    return folder


def write_lines(path: Path, documents: dict[str, tuple[str, ...]]) -> Path:
    """The documents of each owner as JSON lines."""
    lines = [
        json.dumps({"owner": owner, "text": text})
        for owner, texts in documents.items()
        for text in texts
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def lm_config(folder: Path, *, bases: bool = True, **changes: Any) -> dict[str, Any]:
    """A run of three companies that fine-tune two bases, all in this folder.

    bases: whether they are made, where they are not there yet.
    """
    folder.mkdir(exist_ok=True)
    lora = {"kind": "lora", "rank": 2}
    base = {"kind": "pretrained", "adapter": lora}
    for name, width in (("tiny", 8), ("large", 16)):
        if bases and not (folder / name).exists():
            make_base(folder / name, width)
    owners = ("Ash", "Beech", "Cedar")
    write_lines(folder / "texts.jsonl", {name: DOCUMENTS[i:] for i, name in enumerate(owners)})
    content: dict[str, Any] = {
        "companies": [*owners],
        "data": {
            "source": str(folder / "texts.jsonl"),
            "task": "next_token",
            "text": {"tokenizer": str(make_tokenizer(folder / "tokenizer.json")), "places": 6},
            "partition": {"kind": "column", "column": "owner"},
        },
        "models": {
            "small": [{**base, "name": "tiny", "path": str(folder / "tiny")}],
            "large": {**base, "name": "large", "path": str(folder / "large")},
        },
        "training": {
            "optimizer": "adamw",
            "learning_rate": 0.01,
            "rounds": 2,
            "batch_size": 4,
            "seeds": 1,
        },
        "payouts": {"pot": {"kind": "fixed", "cents": 1000}},
    }
    return content | changes
