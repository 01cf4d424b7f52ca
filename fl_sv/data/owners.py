"""The column that names the owner of each row: what it may hold, and the rows of nobody.

A wrong spelling would leave rows out and change what is paid. So it is refused, not guessed.

Shapes: (rows,) has one entry for each row.
"""

import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.data import ColumnPartition
from fl_sv.data.raw import RawRows
from fl_sv.errors import InputError, listed, suggestion

# Letters of other scripts that look like a Latin one, after `casefold`.
OTHER_SCRIPTS = str.maketrans(
    "авеԁһіјкмнорԛѕтухԝαβεικνορτυχı", "abedhijkmhopqstyxwabeiknoptuxi"
)  # fmt: skip


def owned_rows(
    partition: ColumnPartition, companies: Sequence[str], columns: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.int64]]:
    """The row numbers of each company: where the owner column holds its value.

    Raises InputError when there is no such column, or no row of a company.
    """
    owner_of, value_of = owners(partition, columns), values(partition, companies)
    rows = {company: np.flatnonzero(owner_of == value_of[company]) for company in companies}
    empty = [company for company in companies if not len(rows[company])]
    if empty:
        raise InputError(
            f"data.partition: {empty[0]} would get no row: where rows are not held out, column"
            f" {partition.column!r} never holds {value_of[empty[0]]!r}; it holds"
            f" {listed([repr(owner[:40]) for owner in np.unique(owner_of).tolist()])}. Name each"
            " company's value in `data.partition.owners`."
        )
    return rows


def left_out(
    partition: ColumnPartition, companies: Sequence[str], columns: Mapping[str, NDArray[Any]]
) -> dict[str, int]:
    """How many rows each owner has that is no company of the run, the most first.

    Rows without an owner stand under the empty text.
    """
    found = Counter(owners(partition, columns).tolist())
    for value in values(partition, companies).values():
        found.pop(value, None)
    return dict(found.most_common())


def left_out_sentence(
    partition: ColumnPartition, rows: int, rows_of: Mapping[str, int] | None = None
) -> str:
    """What must be known about rows that belong to no company of the run.

    rows_of: how many rows each such owner has, where that may be told.
    """
    named = [
        f"{owner[:40]!r}: {n:,}" if owner else f"no owner: {n:,}"
        for owner, n in (rows_of or {}).items()
    ]
    belong = "row of the source belongs" if rows == 1 else "rows of the source belong"
    return (
        f"{rows:,} {belong} to no company of the run (column {partition.column!r}): left out of"
        f" every training{f' ({listed(named, 3)})' if named else ''}."
    )


def owners(partition: ColumnPartition, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    """The owner column as text (rows,); empty where a row has no owner.

    Raises InputError when there is no such column.
    """
    if partition.column not in columns:
        raise InputError(
            f"data.partition.column: the data have no column {partition.column!r} that could name"
            f" an owner. {suggestion(partition.column, columns)}"
        )
    column = columns[partition.column]
    text = column.astype(str)
    return np.where(np.isnan(column), "", text) if column.dtype.kind == "f" else text


def values(partition: ColumnPartition, companies: Sequence[str]) -> Mapping[str, str]:
    """What the owner column holds for each company."""
    return partition.owners or {company: company for company in companies}


def check_owners(raw: RawRows, partition: ColumnPartition, companies: Sequence[str]) -> None:
    """Raises InputError where the owner of a row is in doubt.

    That is a cell with a line break, an owner that is no company's but is spelled almost like one,
    and a value that two companies share.
    """
    found, rows, counts = np.unique(
        owners(partition, raw.columns), return_index=True, return_counts=True
    )
    first, rows_of = (dict(zip(found.tolist(), n.tolist(), strict=True)) for n in (rows, counts))
    column = f"column {partition.column!r}"
    for owner in sorted(rows_of, key=first.__getitem__):
        if len(lines := f"{owner}|".splitlines()) > 1:
            raise InputError(
                f"{raw.place(first[owner])}, {column}: the name of an owner has {len(lines)} lines"
                f" and begins with {lines[0][:40]!r}. Did a quote open here that closes rows later?"
                " It swallows the rows between. Correct the cell."
            )
    value_of = values(partition, companies)
    company_of: dict[str, str] = {}
    for company in companies:
        other = company_of.setdefault(value_of[company], company)
        if other != company:
            raise InputError(
                f"data.partition.owners: {other} and {company} both own the rows of"
                f" {value_of[company]!r}. A row has one owner: give each company its own value."
            )
    spelled = {_spelling(value): value for value in company_of}
    alike = {
        owner: spelled[key]
        for owner in sorted(rows_of, key=first.__getitem__)
        if owner not in company_of and (key := _spelling(owner)) in spelled
    }
    if alike:
        pairs = [
            f"{one} ({rows_of[owner]:,} rows) is almost {other}"
            for owner, value in alike.items()
            for one, other in [_told_apart(owner[:40], value[:40])]
        ]
        raise InputError(
            f"{raw.place(first[next(iter(alike))])}, {column}: {listed(pairs, 5)}. These rows would"
            " belong to no company. Spell every owner in one way, as `data.partition.owners` or the"
            " company's name has it; another owner needs a name of its own."
        )


def _spelling(text: str) -> Hashable:
    """Equal for texts that differ by case, blanks, accents, look-alikes, or how a number is put."""
    letters = unicodedata.normalize("NFKD", text.casefold()).casefold().translate(OTHER_SCRIPTS)
    kept = "".join(
        "-" if category == "Pd" else letter
        for letter in letters
        if (category := unicodedata.category(letter))[0] not in "ZC" and category != "Mn"
    )
    try:
        number = Decimal(kept)
    except InvalidOperation:
        return kept
    return number if number.is_finite() else kept


def _told_apart(one: str, other: str) -> tuple[str, str]:
    """Both in quotes, with the codes of their letters where the eye could not tell them apart."""
    folded = [text.casefold() for text in (one, other)]
    seen = {unicodedata.normalize("NFKC", text).translate(OTHER_SCRIPTS) for text in folded}
    if len(seen) == 1 and folded[0] != folded[1]:
        return ascii(one), ascii(other)
    return repr(one), repr(other)
