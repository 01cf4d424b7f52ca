"""Tasks of benchmarks.truth that fine-tune the bases of examples/finetune.py, as
configs/finetune.yaml does: six authors, adapters of rank 4, four rounds.
"""

from pathlib import Path

from benchmarks.law.tasks import Task, networks, owned

BASES = Path(__file__).resolve().parents[2] / "runs" / "finetune-bases"
NAMES = ("tiny", "small", "large")  # ascending
AUTHORS = ("Austen", "Carroll", "Melville", "Milton", "Shakespeare", "Whitman")
FOUR = ("Austen", "Carroll", "Melville", "Shakespeare")  # on which averages are compared
AVERAGES = ("factors", "product", "frozen_a")
TEXTS = owned(
    str(BASES / "authors.jsonl"),
    task="next_token",
    text={"tokenizer": str(BASES / "tokenizer.json"), "places": 32},
    validation={"fraction": 0.2},
) | {"partition": {"kind": "column", "column": "author"}}
TRAINING = {
    "optimizer": "adamw",
    "rounds": 4,
    "local_epochs": 1,
    "batch_size": 32,
    "seeds": 2,
    "large_seeds": 3,
}
CACHED = {"chunk": 2}  # models that are scored at a time: rows have places, and few fill the cache


def _adapters(average: str, authors: tuple[str, ...]) -> Task:
    return Task(
        TEXTS,
        companies=authors,
        models=tuple(
            {
                "kind": "pretrained",
                "name": name,
                "path": str(BASES / name),
                "adapter": {"kind": "lora", "rank": 4},
                "average": average,
                "learning_rate": 0.01,
            }
            for name in NAMES
        ),
        training=TRAINING,
        compute=CACHED,
        merged=True,
    )


def _from_scratch(authors: tuple[str, ...]) -> Task:
    """The same transformers, all of their parameters trained, on nothing but the authors' texts."""
    return Task(
        TEXTS,
        companies=authors,
        models=networks("llama", 16, 32, 64, small_rate=0.01, large_rate=0.003),
        training=TRAINING,
        compute=CACHED,
        merged=True,
    )


FINE_TUNING = {
    "fine-tuning": _adapters("factors", AUTHORS),
    "fine-tuning from scratch": _from_scratch(AUTHORS),
    **{f"four authors, {average}": _adapters(average, FOUR) for average in AVERAGES},
    "four authors, from scratch": _from_scratch(FOUR),
}
