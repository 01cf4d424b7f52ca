"""Small bases for a first project, made of any text: two to fine-tune, and the large one.

    python -m fl_sv.projects.bases general.txt bases

They are Llamas that read bytes, so any text in any language will do. A base of your own is a folder
in the Hugging Face format.
"""

import argparse
from pathlib import Path
from typing import Any

from fl_sv.data.documents import read_documents
from fl_sv.errors import FlsvError, InputError
from fl_sv.terminal import complain, say
from fl_sv.training.extra import require_extra
from fl_sv.training.pretrained import quiet

PLACES = 32  # bytes of a row
WIDTHS = {"tiny": 16, "small": 32, "large": 64}  # of the bases, ascending
STEPS, ROWS, RATE = 200, 32, 0.01


def make_bases(texts: Path, folder: Path) -> None:
    """Writes tokenizer.json and the bases into a folder: 20 seconds on one core.

    texts: a .txt, .jsonl or .parquet file, or a folder of such files.

    Raises InputError when there is no text or the packages of fl-sv[lm] are missing.
    """
    require_extra()
    documents = read_documents(str(texts), "text")
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode("\n\n".join(each.text for each in documents)).ids
    if len(ids) <= PLACES:
        raise InputError(f"{texts} holds {len(ids)} bytes of text. Give more than {PLACES}.")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, width in WIDTHS.items():
        loss = _train(width, ids, folder / name)
        say(f"{folder / name}: loss {loss:.2f} nats a byte")


def byte_tokenizer() -> Any:
    """A tokenizer whose tokens are the 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: i for i, each in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def new_base(width: int, n_tokens: int, places: int) -> Any:
    """A small Llama that was trained on nothing. The caller seeds torch."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n_tokens,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=places,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    )


def _train(width: int, ids: list[int], folder: Path) -> float:
    """Trains and writes a base. Returns the mean loss of its last steps."""
    import torch
    from torch.nn.functional import cross_entropy

    with quiet():
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        base = new_base(width, 256, PLACES)
        tokens = torch.tensor(ids)
        optimizer = torch.optim.AdamW(base.parameters(), lr=RATE)
        losses = []
        for step in range(STEPS):
            starts = torch.randint(len(tokens) - PLACES, (ROWS, 1), generator=generator)
            rows = tokens[starts + torch.arange(PLACES + 1)]
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            logits = base(input_ids=rows[:, :-1], use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        base.save_pretrained(folder)
    return sum(losses[-50:]) / 50


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m fl_sv.projects.bases", description="small bases, made of any text"
    )
    parser.add_argument("texts", type=Path, help="a .txt, .jsonl or .parquet file, or a folder")
    parser.add_argument("folder", type=Path, help="where the bases go")
    options = parser.parse_args()
    try:
        make_bases(options.texts, options.folder)
    except FlsvError as error:
        complain(f"fl-sv: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
