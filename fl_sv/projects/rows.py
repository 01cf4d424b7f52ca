"""The tiny data of the first projects, the same every time. No customer is a real person."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Row = list[str]

COMPANIES = ("Ash", "Beech", "Chestnut")
SIZES = (300, 200, 120)  # rows of each company
SIZES_OF_IMAGES = (600, 400, 200)
VALIDATION = 400  # rows of the operator
SEED = 5
NUMBERS = ("age", "distance", "visits", "hour", "spent", "household")
GOODS = ("bread", "cheese", "coffee", "fish", "tea", "wine")
CITIES = ("north", "south", "island")
COLUMNS = (*NUMBERS, "city", "member", "bought")
# The shares of the goods that each shop sells: it knows some customers better than others.
EVEN = np.full(len(GOODS), 1 / len(GOODS))
MIXES = 0.5 * EVEN + 0.25 * np.repeat(np.eye(3), 2, axis=1)


def customers(n_rows: int, random: np.random.Generator, mix: NDArray[np.float64]) -> list[Row]:
    """Invented customers of a shop, and what each bought. mix: the share of each of the goods."""
    habits = np.random.default_rng(SEED).normal(0, 1.3, (len(GOODS), len(NUMBERS)))
    bought = random.choice(len(GOODS), n_rows, p=mix)
    numbers = habits[bought] + random.normal(0, 1, (n_rows, len(NUMBERS)))
    near = random.random(n_rows) < 0.6  # else a customer of any city
    city = np.where(near, bought // 2, random.integers(0, len(CITIES), n_rows))
    member = random.random(n_rows) < 0.2 + 0.1 * bought
    return [
        [
            *(f"{50 + 10 * number:.1f}" for number in numbers[row]),
            CITIES[city[row]],
            "yes" if member[row] else "no",
            GOODS[bought[row]],
        ]
        for row in range(n_rows)
    ]


def write_shared_table(folder: Path) -> None:
    """sales.csv, whose column `company` names the owner of each row; validation.csv."""
    random = np.random.default_rng(SEED)
    owned = [
        [*row, company]
        for company, n_rows, mix in zip(COMPANIES, SIZES, MIXES, strict=True)
        for row in customers(n_rows, random, mix)
    ]
    _write(folder / "sales.csv", (*COLUMNS, "company"), owned)
    _write(folder / "validation.csv", COLUMNS, customers(VALIDATION, random, EVEN))


def write_own_tables(folder: Path) -> None:
    """A file for each company, and validation.csv: the rows of `write_shared_table`."""
    random = np.random.default_rng(SEED)
    for company, n_rows, mix in zip(COMPANIES, SIZES, MIXES, strict=True):
        _write(folder / f"{company}.csv", COLUMNS, customers(n_rows, random, mix))
    _write(folder / "validation.csv", COLUMNS, customers(VALIDATION, random, EVEN))


def write_images(folder: Path) -> None:
    """images.npz: scikit-learn's handwritten digits of 8x8 pixels, and their owners."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    # Images are not scaled by the run: their pixels are from 0 to 1.
    x, y = (digits.images[order, None] / 16).astype(np.float32), digits.target[order]
    owner = np.repeat([*COMPANIES], SIZES_OF_IMAGES)
    end = len(owner)
    np.savez(folder / "images.npz", x=x[:end], y=y[:end], company=owner)
    np.savez(folder / "validation.npz", x=x[end:], y=y[end:])


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
