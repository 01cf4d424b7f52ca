"""The tiny texts of the first project that fine-tunes: sentences made of words, always the same."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fl_sv.projects.rows import COMPANIES, SEED

GENERAL = "general"  # what the bases learn before anybody joins; belongs to no company
N_DOCUMENTS = {GENERAL: 400, **dict(zip(COMPANIES, (60, 40, 28), strict=True))}
SENTENCES = 3  # of a document
WHEN = ("today", "at noon", "in the morning", "before the rain", "after the meeting", "every day")
WORDS: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    GENERAL: (
        ("the teacher", "a child", "the neighbour", "my sister", "the old man", "a friend"),
        ("reads", "finds", "writes", "wants", "sees", "carries", "opens", "remembers"),
        ("a letter", "the green book", "the door", "a long story", "the map", "a small box"),
    ),
    "Ash": (
        ("the baker", "our miller", "the apprentice", "a hungry guest"),
        ("kneads", "weighs", "bakes", "tastes", "orders"),
        ("the sourdough", "rye bread", "a butter cake", "two pounds of flour", "warm rolls"),
    ),
    "Beech": (
        ("the mechanic", "a truck driver", "the inspector", "our workshop"),
        ("repairs", "tests", "replaces", "cleans", "orders"),
        ("the gearbox", "a worn tyre", "the brake pads", "an oil filter", "the exhaust"),
    ),
    "Chestnut": (
        ("the doctor", "a night nurse", "the patient", "our pharmacist"),
        ("measures", "prescribes", "notes", "checks", "orders"),
        ("the blood pressure", "a mild painkiller", "the x-ray", "a fresh bandage", "the dose"),
    ),
}


def documents(topic: str) -> Iterator[str]:
    """The documents of a topic, each of a few sentences."""
    random = np.random.default_rng([SEED, [*WORDS].index(topic)])
    subjects, verbs, objects = WORDS[topic]
    parts = (subjects, verbs, objects, WHEN)
    for _ in range(N_DOCUMENTS[topic]):
        sentences = (
            " ".join(part[int(random.integers(len(part)))] for part in parts)
            for _ in range(SENTENCES)
        )
        yield ". ".join(each.capitalize() for each in sentences) + "."


def write_texts(folder: Path) -> None:
    """general.txt for the bases, and in `texts` a folder with a .txt for each company."""
    for topic in WORDS:
        path = folder / "general.txt"
        if topic != GENERAL:
            path = folder / "texts" / topic / "notes.txt"
            path.parent.mkdir(parents=True)
        path.write_text("\n\n".join(documents(topic)) + "\n", encoding="utf-8")
