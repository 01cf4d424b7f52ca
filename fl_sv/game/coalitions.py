"""Coalitions as bitmasks: bit `i` set means that company `i` (order of the config) is a member.

Shapes: N companies, C coalitions. A table over all coalitions is indexed by the bitmask itself.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError

EMPTY = 0
NAME_JOINER = "+"


def grand(n_companies: int) -> int:
    """The coalition of all `n_companies`."""
    return (1 << n_companies) - 1


def members_of(coalition: int) -> tuple[int, ...]:
    """Indices of the members, ascending.

    >>> members_of(0b1101)
    (0, 2, 3)
    """
    return tuple(i for i in range(coalition.bit_length()) if coalition >> i & 1)


def member_names(coalition: int, companies: Sequence[str]) -> str:
    """The members' names as the utility table spells them.

    >>> member_names(0b101, ["Ash", "Beech", "Chestnut"])
    'Ash+Chestnut'
    """
    return NAME_JOINER.join(companies[i] for i in members_of(coalition))


def coalition_name(coalition: int, companies: Sequence[str]) -> str:
    """The coalition for a person: nobody, all companies, all but one, or the members' names.

    >>> coalition_name(0b101, ["Ash", "Beech", "Chestnut"])
    'all but Beech'
    """
    all_companies = grand(len(companies))
    if coalition in (EMPTY, all_companies):
        return "nobody" if coalition == EMPTY else "all companies"
    absent = all_companies & ~coalition
    if absent.bit_count() == 1 and coalition.bit_count() > 1:
        return f"all but {member_names(absent, companies)}"
    return member_names(coalition, companies)


def members_matrix(coalitions: Iterable[int], n_companies: int) -> NDArray[np.bool_]:
    """(C, N) whether company n is a member of coalition c, for any number of companies.

    >>> members_matrix([0b01, 0b11], 2)
    array([[ True, False],
           [ True,  True]])
    """
    coalitions = list(coalitions)
    n_bytes = (n_companies + 7) // 8
    packed = np.frombuffer(
        b"".join(c.to_bytes(n_bytes, "little") for c in coalitions), dtype=np.uint8
    )
    bits = np.unpackbits(packed.reshape(len(coalitions), n_bytes), axis=1, bitorder="little")
    return bits[:, :n_companies].astype(bool)


def ascending(coalitions: Iterable[int]) -> Sequence[int]:
    """The coalitions in ascending order; a range where they follow each other.

    >>> ascending([5, 4, 6]), ascending([3, 1])
    (range(4, 7), (1, 3))
    """
    if isinstance(coalitions, range) and coalitions.step == 1:
        return coalitions
    ordered = tuple(sorted(coalitions))
    if ordered and ordered[-1] - ordered[0] + 1 == len(ordered):
        return range(ordered[0], ordered[-1] + 1)
    return ordered


def place_of(coalition: int, among: Sequence[int]) -> int | None:
    """The place of a coalition among others, which are ascending; None when it is not there."""
    place = bisect_left(among, coalition)
    return place if place < len(among) and among[place] == coalition else None


def mirrored(coalitions: Sequence[int], n_companies: int) -> NDArray[Any]:
    """(C,) the same coalitions when the companies stand in reverse order.

    >>> mirrored([0b001, 0b011], 3).tolist() == [0b100, 0b110]
    True
    """
    # Python's integers where there are more companies than bits in a word.
    bits = np.array(coalitions, dtype=np.int64 if n_companies < 63 else object)
    renamed = np.zeros_like(bits)
    for i in range(n_companies):
        renamed |= (bits >> i & 1) << (n_companies - 1 - i)
    return renamed


def n_companies_of_table(length: int, what: str = "the table") -> int:
    """Number of companies N of a table over all 2**N coalitions.

    what: how messages name the table.

    Raises InputError when `length` is not a power of two of at least 2.
    """
    n_companies = length.bit_length() - 1
    if length < 2 or length != 1 << n_companies:
        raise InputError(
            f"{what} has {length} entries; a table over all coalitions of N companies has 2**N (2,"
            " 4, 8, ...). Give one utility for every coalition, the empty one included."
        )
    return n_companies
