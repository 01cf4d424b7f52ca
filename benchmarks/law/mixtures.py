"""Published tables of language models that were trained on the same mixtures at several sizes.

benchmarks/data/public has them, with their sources.

Shapes: C mixtures (as coalitions whose members take part by a weight), M small sizes.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PUBLIC = Path(__file__).resolve().parents[1] / "data" / "public"
MILLION = 10**6
# Which small sizes predict which large one, in millions of parameters.
SLIMPAJAMA = (((122,), 1235), ((310,), 1235), ((122, 310), 1235), ((122, 310), 937))
REGMIX_LOSS = "loss_{size}_the_pile_"


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Losses of the same mixtures at small sizes and a large one.

    weights: (C, sources) of each source in the mixture, from 0 to 1.
    small: (C, M, domains) losses on texts of several domains, sizes ascending.
    large: (C, domains).
    """

    name: str
    sizes: tuple[int, ...]  # in millions of parameters, the large one last
    weights: Floats
    small: Floats
    large: Floats

    @property
    def title(self) -> str:
        """What is predicted from what."""
        *small, large = (f"{size}M" for size in self.sizes)
        return f"{self.name}, {', '.join(small)} to {large} ({len(self.large)})"


def all_tables() -> Iterator[Mixtures]:
    """Every table and choice of sizes that the benchmark judges."""
    rows = _rows("dmsl_slimpajama.csv")
    for small, large in SLIMPAJAMA:
        yield _slimpajama(rows, small, large)
    yield _regmix(_rows("regmix_pile.csv"))


def _rows(name: str) -> list[dict[str, str]]:
    with (PUBLIC / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _slimpajama(rows: list[dict[str, str]], small: tuple[int, ...], large: int) -> Mixtures:
    """The mixtures that were trained at all of these sizes (millions of parameters)."""
    by_size = {
        size: {row["mixture"]: row for row in rows if row["model_size"] == str(size * MILLION)}
        for size in (*small, large)
    }
    common = [name for name in by_size[large] if all(name in by_size[size] for size in small)]
    losses = [column for column in rows[0] if column.endswith("_loss")]
    found = np.array(
        [
            [[float(by_size[size][name][column]) for column in losses] for size in (*small, large)]
            for name in common
        ]
    )
    return Mixtures(
        name="SlimPajama",
        sizes=(*small, large),
        weights=_weights([by_size[large][name] for name in common]),
        small=found[:, :-1],
        large=found[:, -1],
    )


def _regmix(rows: list[dict[str, str]]) -> Mixtures:
    found = {}
    for size in ("1m", "60m"):
        losses = [column for column in rows[0] if column.startswith(REGMIX_LOSS.format(size=size))]
        found[size] = np.array([[float(row[column]) for column in losses] for row in rows])
    return Mixtures("RegMix", (1, 60), _weights(rows), found["1m"][:, None], found["60m"])


def _weights(rows: list[dict[str, str]]) -> Floats:
    sources = [column for column in rows[0] if column.startswith("w_")]
    return np.array([[float(row[column]) for column in sources] for row in rows])
