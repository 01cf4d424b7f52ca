"""The form in which the dates of a column are written, where it is certain."""

from typing import TYPE_CHECKING

from fl_sv.config.columns import ANSWER

if TYPE_CHECKING:
    import polars as pl

DATE = (
    r"^(?<a>[0-9]{1,4})(?<s>[-./])(?<b>[0-9]{1,2})(?<t>[-./])(?<c>[0-9]{1,4})"
    r"(?<gap>[ T])?(?<clock>[0-9]{1,2}:[0-9]{2}(?<second>:[0-9]{2})?)?$"
)

# In English, German, French, Spanish and Italian, short and long; no name means two months.
_NAMES = {
    "1": "jan january januar jänner jän janvier janv ene enero gen gennaio",
    "2": "feb february februar fév févr février febrero febbraio",
    "3": "mar march märz mär mrz mars marzo",
    "4": "apr april avr avril abr abril aprile",
    "5": "may mai mayo mag maggio",
    "6": "jun june juni juin junio giu giugno",
    "7": "jul july juli juil juillet julio lug luglio",
    "8": "aug august août aoû ago agosto",
    "9": "sep sept september septembre septiembre set settembre",
    "10": "oct october okt oktober octobre octubre ott ottobre",
    "11": "nov november novembre noviembre",
    "12": "dec december dez dezember déc décembre dic diciembre dicembre",
}
MONTHS = {name: number.zfill(2) for number, names in _NAMES.items() for name in names.split()}
NAMED = (  # 4. August 2025, 04AUG2025, August 4, 2025, 04-Aug-25
    r"^(?:(?<d>[0-9]{1,2})(?<s>[-./ ]{0,2}))?(?<m>\p{L}{3,}\.?)(?<t>[-./ ]{0,2})"
    r"(?<e>[0-9]{1,2})?(?<u>, ?)?(?<y>[0-9]{4})?$"
)


def date_form(words: "pl.Series") -> tuple[str, str] | None:
    """The form of the dates and what must be said of it; None where these are no dates.

    words: different texts of one column. The form is ANSWER where it is a question.
    """
    if named := _named_form(words):
        return named
    found = words.str.extract_groups(DATE).struct.unnest()
    if not len(words) or found["a"].null_count():
        return None
    one = found.select("s", "t", "gap", (~found["second"].is_null()), found["clock"].is_null())
    lengths = {name: {*found[name].str.len_chars()} for name in "abc"}
    year_first, year_last = (lengths[name] == {4} for name in "ac")
    sign, other, gap, has_seconds, has_no_clock = one.row(0)
    if one.n_unique() > 1 or sign != other or (not year_first and 4 in lengths["a"]):
        shown = " and ".join(repr(word) for word in sorted(words.head(1000), key=len)[::-1][:2])
        return ANSWER, f"dates in several forms, such as {shown}. Write them in one; in which?"
    clock = "" if has_no_clock else f"{gap or ''}%H:%M{':%S' if has_seconds else ''}"
    first, second = (int(found[name].cast(int).max()) for name in "ab")  # type: ignore[arg-type]
    if year_first:
        return f"%Y{sign}%m{sign}%d{clock}", ""
    day_first, month_first = (
        f"%{first}{sign}%{second}{sign}%{'Y' if year_last else 'y'}{clock}"
        for first, second in (("d", "m"), ("m", "d"))
    )
    if year_last and first > 12 >= second:
        return day_first, f"the first number reaches {first}, so it is the day"
    if year_last and second > 12 >= first:
        return month_first, f"the second number reaches {second}, so it is the day"
    if year_last and sign == "." and max(first, second) <= 12:
        return day_first, "with points the day comes first"
    example = repr(words[0])
    if year_last:
        return ANSWER, f'is {example} written as "{day_first}" or as "{month_first}"?'
    year = f"%y{sign}%m{sign}%d{clock}"
    return ANSWER, f'is {example} written as "{day_first}", "{month_first}" or "{year}"?'


def _named_form(words: "pl.Series") -> tuple[str, str] | None:
    """The same for dates with the name of a month."""
    found = words.str.extract_groups(NAMED).struct.unnest()
    names = found["m"].str.to_lowercase().str.strip_suffix(".")
    if not len(words) or names.null_count() or not names.is_in([*MONTHS]).all():
        return None
    shapes = found.select(
        "s", "t", "u", *(found[name].is_null().alias(f"no {name}") for name in "dey")
    )
    sign, other, comma, no_first, no_second, no_year = shapes.row(0)
    if shapes.n_unique() > 1:
        shown = " and ".join(repr(word) for word in sorted(words.head(1000), key=len)[::-1][:2])
        return ANSWER, f"dates in several forms, such as {shown}. Write them in one; in which?"
    said = f"{words[0]!r} has the name of a month"
    if not no_first and no_second and not no_year and comma is None:
        return f"%d{sign}%b{other}%Y", said
    if no_first and not no_second and not no_year and comma is not None:
        return f"%b{other}%d{comma}%Y", said
    if not no_first and not no_second and no_year:
        forms = f'"%d{sign}%b{other}%y" or "%y{sign}%b{other}%d"'
        return ANSWER, f"is {words[0]!r} written as {forms}?"
    return None
