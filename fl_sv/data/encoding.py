"""From the columns of a table to features: fitted on the operator's rows, applied everywhere.

scikit-learn's encoders find the categories and what an empty cell counts as. What they find is data
in JSON: the operator sends it to every company, and it stays with the trained model.

Shapes: (rows, features).
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.columns import (
    MOST_CATEGORIES,
    Boolean,
    Category,
    Column,
    Date,
    Ignore,
    Label,
    Numeric,
    Ordinal,
)
from fl_sv.data.archive import require_growth
from fl_sv.data.raw import RawRows
from fl_sv.data.table import NUMBER, parts
from fl_sv.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Step:
    """What becomes of one column of a table.

    kind: `number` and `level` are one feature, the number itself and the place of a word in an
        order; a `category` is a feature for each word, 1 where a cell holds it.
    words: those that are known; of a level in their order.
    rare: a category has one more feature, for all other words.
    fill: what an empty cell counts as, and a level that is not known; None where no cell is empty.
    missing: one more feature says where a cell was empty.
    """

    column: str
    kind: Literal["number", "level", "category"]
    words: tuple[str, ...] = ()
    rare: bool = False
    fill: float | None = None
    missing: bool = False

    @property
    def features(self) -> list[str]:
        """The names of its features in their order."""
        names = [self.column]
        if self.kind == "category":
            names = [f"{self.column}={word}" for word in self.words]
            names += [f"{self.column}.rare"] * self.rare
        return names + [f"{self.column}.missing"] * self.missing

    def apply(self, cells: "pl.Series") -> NDArray[np.float64]:
        """The features (rows, features of this column) of its cells."""
        if self.kind == "number" and self.fill is None:
            return cells.to_numpy()[:, None]
        empty = cells.is_null().to_numpy()
        if self.kind == "category":
            found = _indicators(cells, self.words)
            if self.rare:
                found = np.c_[found, ~empty & ~found.any(axis=1)]
        else:
            number = _places(cells, self.words) if self.kind == "level" else cells.to_numpy()
            found = np.where(np.isnan(number), np.nan if self.fill is None else self.fill, number)
            found = found[:, None]
        return np.c_[found, empty] if self.missing else found

    def unknown(self, cells: "pl.Series") -> NDArray[np.bool_]:
        """Which cells (rows,) hold a word that no feature tells from others."""
        known = self.kind == "number" or self.rare
        is_unknown = cells.is_null() if known else ~cells.is_in(self.words)
        found: NDArray[np.bool_] = is_unknown.fill_null(False).to_numpy()
        return np.zeros_like(found) if known else found


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the columns of a table become features, one step for each column.

    >>> steps = (Step(column="colour", kind="category", words=("blue", "red"), missing=True),)
    >>> Encoding(steps=steps).features
    ('colour=blue', 'colour=red', 'colour.missing')
    """

    steps: tuple[Step, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all features in their order."""
        return tuple(name for step in self.steps for name in step.features)

    @classmethod
    def fitted(cls, raw: RawRows, columns: Mapping[str, Column]) -> Self:
        """The encoding of these columns by the operator's rows.

        raw: with a table. columns: what the config says of its columns.

        Raises InputError where a column has too many words, or nothing to fill its empty cells by.
        """
        assert raw.table is not None
        by_part = {part: column for name, column in columns.items() for part in parts(name, column)}
        kinds = {name: by_part.get(name, NUMBER) for name in raw.table.columns}
        steps = tuple(
            _fitted(raw.table[name], kind, f"{raw.origin}, column {name!r}")
            for name, kind in kinds.items()
        )
        found = cls(steps=steps)
        twice = [name for name, count in Counter(found.features).items() if count > 1]
        if twice:
            raise InputError(
                f"{raw.origin}: two features would have the name {twice[0]!r}. Rename a column."
            )
        return found

    def apply(self, raw: RawRows) -> RawRows:
        """The rows with their features in place of the table.

        Raises InputError when the table has other columns, or the features would not fit.
        """
        table = raw.table
        if table is None:
            raise InputError(
                f"{raw.origin}: `data.columns` describes columns by name, and this source has none."
                " Give a .csv or .parquet file."
            )
        known, given = dict.fromkeys(step.column for step in self.steps), table.columns
        there = {*given}
        lacking = [name for name in known if name not in there]
        foreign = [name for name in given if name not in known]
        if lacking or foreign:
            raise InputError(
                f"{raw.origin}: the columns are not those of the validation set; missing: "
                f"{listed(lacking) or 'none'}; unknown: {listed(foreign) or 'none'}. "
                "Give every file the same columns."
            )
        features = self.features
        require_growth(
            raw.origin,
            len(raw) * len(features) * np.dtype(np.float64).itemsize,
            "Give columns of many words fewer (`rare`), or ignore them.",
        )
        x = np.empty((len(raw), len(features)))
        unknown = np.zeros(len(raw), dtype=np.int64)
        first = 0
        for step in self.steps:
            cells = table[step.column]
            found = step.apply(cells)
            x[:, first : first + found.shape[1]] = found
            if step.words:
                unknown += step.unknown(cells)
            first += found.shape[1]
        return replace(raw, x=x, features=features, table=None, unknown=unknown)

    def unknown_words(self, raw: RawRows) -> dict[str, dict[str, int]]:
        """How many cells of each column hold which word that is not known, the most first."""
        found = {}
        for step in self.steps if raw.table is not None else ():
            assert raw.table is not None
            cells = raw.table[step.column]
            is_unknown = step.unknown(cells)
            if is_unknown.any():
                counts = Counter(cells.filter(is_unknown).to_list())
                found[step.column] = dict(counts.most_common())
        return found

    def filled(self, raw: RawRows) -> dict[str, int]:
        """How many cells of each column were empty."""
        if raw.table is None:
            return {}
        counts = {step.column: raw.table[step.column].null_count() for step in self.steps}
        return {column: count for column, count in counts.items() if count}

    def content(self) -> list[dict[str, Any]]:
        """The steps as JSON holds them; `from_content` reads them back exactly."""
        return [asdict(step) for step in self.steps]

    @classmethod
    def from_content(cls, content: Any) -> Self:
        """The encoding in decoded JSON. Raises ValueError, KeyError or TypeError otherwise."""
        encoding = cls(steps=tuple(map(_step, content)))
        if not encoding.steps or len({*encoding.features}) < len(encoding.features):
            raise ValueError("an encoding has no step, or one feature twice")
        return encoding

    def to_json(self) -> str:
        """One line of text that `from_json` reads back exactly."""
        return json.dumps(self.content())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The encoding in a text. Raises ValueError, KeyError or TypeError unless it is one."""
        return cls.from_content(json.loads(text))


def unknown_sentence(company: str, unknown: NDArray[np.int64] | None) -> str:
    """What must be known about words that no feature stands for; empty where there are none."""
    count = 0 if unknown is None else int(unknown.sum())
    if not count or unknown is None:
        return ""
    cells = "1 cell holds a word" if count == 1 else f"{count:,} cells hold words"
    return (
        f"{company}: {cells} that the operator's rows and the config do not know, in"
        f" {np.count_nonzero(unknown):,} of {len(unknown):,} rows."
    )


def _step(fields: Any) -> Step:
    """One step of decoded JSON. Raises ValueError, KeyError or TypeError unless it is one."""
    step = Step(**{**fields, "words": tuple(fields["words"])})
    is_sound = (
        isinstance(step.column, str)
        and step.kind in ("number", "level", "category")
        and len(step.words) <= MOST_CATEGORIES
        and all(isinstance(word, str) and word for word in step.words)
        and len({*step.words}) == len(step.words)
        and isinstance(step.rare, bool)
        and isinstance(step.missing, bool)
        and (step.fill is None or (isinstance(step.fill, float) and math.isfinite(step.fill)))
        and (step.kind == "number" or bool(step.features))
    )
    if not is_sound:
        raise ValueError(f"{str(fields)[:100]!r} is no step of an encoding")
    return step


# --- fitting on the operator's rows ---------------------------------------------------------------


def _fitted(cells: "pl.Series", kind: Column, where: str) -> Step:
    """The step of one column of a table. where: names it in messages."""
    name = cells.name
    match kind:
        case Category():
            words, rare = _categories(cells, kind, where)
            return Step(
                column=name,
                kind="category",
                words=words,
                rare=rare,
                missing=kind.missing == "category",
            )
        case Ordinal():
            places = _places(cells, kind.order)
            fill = _statistic(places, "median", where)
            missing = kind.missing == "indicator"
            return Step(column=name, kind="level", words=kind.order, fill=fill, missing=missing)
        case Numeric() | Boolean() | Date():
            if kind.missing in ("refuse", "unticked"):
                return Step(column=name, kind="number")
            by_default = "median" if isinstance(kind, Date) else "mean"
            way = by_default if kind.missing == "indicator" else kind.missing
            fill = _statistic(cells.to_numpy(), way, where)
            missing = kind.missing == "indicator"
            return Step(column=name, kind="number", fill=fill, missing=missing)
        case Label() | Ignore():
            raise AssertionError(f"{kind.kind} is no feature")


def _statistic(numbers: NDArray[np.float64], way: str, where: str) -> float:
    from sklearn.impute import SimpleImputer

    if np.isnan(numbers).all():
        raise InputError(
            f"{where}: no row of the validation set has a number that an empty cell could count as"
            " (or, in an order, a word of it). Give such rows, or ignore the column."
        )
    imputer = SimpleImputer(strategy=way).fit(numbers[:, None])
    return float(imputer.statistics_[0])


def _categories(cells: "pl.Series", kind: Category, where: str) -> tuple[tuple[str, ...], bool]:
    """The words of a category that have a feature each, and whether others share one."""
    from sklearn.preprocessing import OneHotEncoder

    if kind.categories:
        return kind.categories, False
    held = cells.drop_nulls()
    n_words = held.n_unique()
    if n_words == 0:
        raise InputError(
            f"{where}: every cell of the validation set is empty. List the categories, or ignore"
            " the column."
        )
    encoder = OneHotEncoder(min_frequency=kind.rare, handle_unknown="infrequent_if_exist")
    encoder.fit(held.to_numpy().astype(object)[:, None])
    (words,) = encoder.categories_
    rare = [] if kind.rare is None else encoder.infrequent_categories_[0]
    kept = sorted({*words} - {*(() if rare is None else rare)})
    if len(kept) > MOST_CATEGORIES:
        raise InputError(
            f"{where}: {len(kept):,} different words in the validation set; at most"
            f" {MOST_CATEGORIES:,} of a column are categories. Ignore the column, or give `rare`:"
            " words that fewer rows hold share one feature."
        )
    return tuple(kept), rare is not None and len(rare) > 0


# --- applying -------------------------------------------------------------------------------------


def _indicators(cells: "pl.Series", words: Sequence[str]) -> NDArray[np.float64]:
    """1 where a cell holds a word: (rows, words)."""
    from sklearn.preprocessing import OneHotEncoder

    if not words:
        return np.zeros((len(cells), 0))
    encoder = OneHotEncoder(
        categories=[np.array(words, dtype=object)], handle_unknown="ignore", sparse_output=False
    )
    found: NDArray[np.float64] = encoder.fit_transform(_column(cells))
    return found


def _places(cells: "pl.Series", words: Sequence[str]) -> NDArray[np.float64]:
    """The place of each cell's word (rows,), NaN where it is none of them."""
    from sklearn.preprocessing import OrdinalEncoder

    encoder = OrdinalEncoder(
        categories=[np.array(words, dtype=object)],
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
    )
    found: NDArray[np.float64] = encoder.fit_transform(_column(cells))[:, 0]
    return found


def _column(cells: "pl.Series") -> NDArray[Any]:
    """The words as scikit-learn takes them. No word is empty, so an empty cell is unknown."""
    return cells.fill_null("").to_numpy().astype(object)[:, None]
