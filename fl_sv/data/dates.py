"""The form in which the dates of a column are written, where it is certain."""

from typing import TYPE_CHECKING

from fl_sv.config.columns import ANSWER

if TYPE_CHECKING:
    import polars as pl

DATE = (
    r"^(?<a>[0-9]{1,4})(?<s>[-./])(?<b>[0-9]{1,2})(?<t>[-./])(?<c>[0-9]{1,4})"
    r"(?<gap>[ T])?(?<clock>[0-9]{1,2}:[0-9]{2}(?<second>:[0-9]{2})?)?$"
)


def date_form(words: "pl.Series") -> tuple[str, str] | None:
    """The form of the dates and what must be said of it; None where these are no dates.

    words: different texts of one column. The form is ANSWER where it is a question.
    """
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
