"""Games of which everything is known: every model's loss on every coalition, and every training's.

They come from benchmarks.law.brute_force, which trains them, or from benchmarks/data/games, where
they are stored (README there). Files of both have one form.

Shapes: N companies, C = 2**N coalitions, M small sizes, R seeds.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STORED = Path(__file__).resolve().parents[1] / "data" / "games"
# The kind of data of every stored game, by the first part of its name.
KINDS = {
    "ames": "tables with owners",
    "epa": "tables with owners",
    "oj": "tables with owners",
    "oj_long": "tables with owners",
    "randhie": "tables with owners",
    "breast": "tables, divided",
    "breast_wrong": "tables, divided",
    "diabetes": "tables, divided",
    "wine": "tables, divided",
    "digits03": "images",
    "fashion": "images",
    "fashion_inv": "images",
    "fashion_patho": "images",
    "mlp2cnn": "images",
    "pretrained": "pretrained bases",
    "scratch": "from scratch",
    "four_factors": "average factors",
    "four_product": "average product",
    "four_frozen_a": "average frozen_a",
}

# Fields of a game that a file may have, by the names of its arrays.
MERGED = {
    "merged_small_RCM": "averaged_parameters_small_RCM",
    "merged_large_RC": "averaged_parameters_large_RC",
    "products_small_RCM": "averaged_products_small_RCM",
    "products_large_RC": "averaged_products_large_RC",
}


@dataclass(frozen=True, eq=False)
class KnownGame:
    """The losses of a game.

    small_RCM: of the small models, sizes ascending; large_RC: of the large one's trainings.
    averaged_small_RCM, averaged_large_RC: of the averages of the members' own models (outputs).
    merged_small_RCM, merged_large_RC: of models merged from the members' own (averaged parameters);
        products_*: the same of averaged products of adapters. None where they are unknown.
    sizes: (M+1,) parameters, the large model's last; examples_N: rows of the companies.
    one_round_RC, by_round (R, rounds, C): losses of models that were put together from the updates
        of the large model's trainings (updates.py); None where they are unknown.
    """

    name: str
    small_RCM: Floats
    large_RC: Floats
    averaged_small_RCM: Floats
    averaged_large_RC: Floats
    sizes: Floats
    examples_N: Floats
    one_round_RC: Floats | None = None
    by_round: Floats | None = None
    merged_small_RCM: Floats | None = None
    merged_large_RC: Floats | None = None
    products_small_RCM: Floats | None = None
    products_large_RC: Floats | None = None

    def columns(self) -> dict[str, tuple[Floats, Floats]]:
        """Losses of models put together from the members' own, small and large, by how."""
        known = {
            "outputs": (self.averaged_small_RCM, self.averaged_large_RC),
            "merged": (self.merged_small_RCM, self.merged_large_RC),
            "products": (self.products_small_RCM, self.products_large_RC),
        }
        return {
            name: (small, large)
            for name, (small, large) in known.items()
            if small is not None and large is not None
        }

    @property
    def n_companies(self) -> int:
        """N."""
        return len(self.examples_N)

    @property
    def trainings(self) -> int:
        """How often the large model was trained on every coalition."""
        return len(self.large_RC)


def read(path: Path) -> KnownGame:
    """A game of a file in the form of benchmarks/data/games."""
    with np.load(path) as file:
        return KnownGame(
            name=path.stem,
            small_RCM=file["small_RCM"],
            large_RC=file["large_RC"],
            averaged_small_RCM=file["averaged_outputs_small_RCM"],
            averaged_large_RC=file["averaged_outputs_large_RC"],
            sizes=file["sizes"].astype(np.float64),
            examples_N=file["examples"].astype(np.float64),
            one_round_RC=file.get("one_round_RC"),
            by_round=file.get("by_round"),
            **{field: file.get(name) for field, name in MERGED.items()},
        )


def write(game: KnownGame, path: Path) -> None:
    """The file that `read` reads: whole, or not at all."""
    further = {"one_round_RC": game.one_round_RC, "by_round": game.by_round}
    further |= {name: getattr(game, field) for field, name in MERGED.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(
        unfinished,
        small_RCM=game.small_RCM,
        large_RC=game.large_RC,
        averaged_outputs_small_RCM=game.averaged_small_RCM,
        averaged_outputs_large_RC=game.averaged_large_RC,
        sizes=game.sizes,
        examples=game.examples_N,
        **{name: losses for name, losses in further.items() if losses is not None},
    )
    unfinished.replace(path)


def games_in(folder: Path) -> Iterator[KnownGame]:
    """Every game of a folder, by name."""
    for path in sorted(folder.glob("*.npz")):
        yield read(path)


def kind_of(game: KnownGame) -> str:
    """The kind of data of a stored game; the name of one that is not stored.

    >>> KINDS["ames"]
    'tables with owners'
    """
    return KINDS.get(game.name.rsplit("-", 1)[0], game.name.split(",")[0])
