"""How a .csv file seems to be written: its encoding, its separator, and whether it has a header."""

import codecs
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fl_sv.config.columns import ANSWER, Csv
from fl_sv.csv_text import CHUNK
from fl_sv.data.cells import LIKE_A_NUMBER
from fl_sv.data.csv_file import records
from fl_sv.errors import InputError
from fl_sv.files import require_regular

SEPARATORS = (",", ";", "tab", "|")
MOST_RECORDS = 1000  # that are looked at for the separator
UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # bytes that no letter has in cp1252


@dataclass(frozen=True)
class Remark:
    """A line of a proposal, with what is said of it.

    key, value: as in a config. said: the sentence above it; empty where nothing need be said.
    A value that is or holds ANSWER is a question.
    row: of the cell that the sentence names with `{at}`; None where it names none.
    """

    key: str
    value: Any
    said: str = ""
    row: int | None = None


def sniffed(path: str) -> tuple[Csv, list[Remark]]:
    """How the file seems to be written, with the keys of `data.csv` that are not the default.

    Raises InputError or OSError when it is no table.
    """
    require_regular(Path(path))
    remarks = []
    encoding, said = _encoding(path)
    if said:
        remarks.append(Remark("encoding", encoding, said))
    known = Csv.model_validate({"encoding": encoding.replace(ANSWER, "latin-1")})
    width_of = {sign: _width(path, _parted(known, sign)) for sign in SEPARATORS}
    fitting = sorted((sign for sign in SEPARATORS if width_of[sign] > 1), key=width_of.__getitem__)
    if not fitting:
        raise InputError(
            f"{path}: no separator ({', '.join(SEPARATORS)}) parts every line into as many cells"
            " as its first line, at least two. Give a header line and one cell a column."
        )
    if len(fitting) > 1:
        said = f"what parts the cells of a line? {' and '.join(fitting)} both would"
        remarks.append(Remark("separator", ANSWER, said))
    elif fitting != [","]:
        remarks.append(Remark("separator", fitting[0], "every line has as many of them"))
    csv = _parted(known, fitting[-1])
    first = next(record for _, record in records(path, csv) if record)
    if first[0].casefold().startswith("sep="):
        raise InputError(f"{path}: the first line, {first[0]!r}, is a note of Excel. Remove it.")
    if all(not cell.strip() or LIKE_A_NUMBER.fullmatch(cell.strip()) for cell in first):
        said = "does the first line name the columns, true or false? It holds nothing but numbers"
        remarks.append(Remark("header", ANSWER, said))
        csv = csv.model_copy(update={"header": False})
    return csv, remarks


def _parted(csv: Csv, sign: str) -> Csv:
    return csv.model_copy(update={"separator": sign})


def _encoding(path: str) -> tuple[str, str]:
    """The encoding, and what must be said of it; nothing of UTF-8."""
    with Path(path).open("rb") as file:
        start = file.read(CHUNK)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "its first bytes say so"
    if b"\0" in start:
        raise InputError(
            f"{path} holds NUL bytes, as no text in UTF-8 or cp1252 does. Save it as UTF-8."
        )
    if _is_utf_8(path):
        return "utf-8", ""
    place = next(i for i, byte in enumerate(start) if byte > 127) if not start.isascii() else 0
    around = start[max(0, place - 10) : place + 10].splitlines()
    sample = next((line for line in around if not line.isascii()), b"")
    if any(byte in start for byte in UNDEFINED):
        return ANSWER, "no bytes of UTF-8, and some that cp1252 has not: cp850, mac-roman, cp1251?"
    return "cp1252", f"no UTF-8; with cp1252 (Windows) it reads {sample.decode('cp1252')!r}"


def _is_utf_8(path: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _width(path: str, csv: Csv) -> int:
    """How many cells each of the first records has; 0 where they differ."""
    try:
        found = [len(record) for _, record in islice(records(path, csv), MOST_RECORDS) if record]
    except OSError:
        return 0
    return found[0] if len({*found}) == 1 else 0
