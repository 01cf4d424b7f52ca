"""Alarms: what a check found, as a record that reads as a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from fl_sv.game.coalitions import members_of
from fl_sv.values.inputs import spelled

PLACE = "{coalition}"  # where a sentence names the coalition that the alarm is about


class Alarm(str):
    """A check that fired: a `str`, the sentence for a person, which starts with the code.

    code: which check: D1, A2, P1, ...
    sentence: the text after the code; `{coalition}` stands where it names its coalition.
    coalition: the coalition that the alarm is about, as a bitmask, or None.
    figures: the numbers that decided, by name.

    The text spells the coalition as a bitmask; `named` replaces that by the companies' names.

    >>> alarm = Alarm("D1", "the loss of coalition {coalition} is too high", 5, {"p_value": 0.01})
    >>> alarm
    'D1: the loss of coalition 5 = {0, 2} is too high'
    >>> alarm.named(["Ash", "Beech", "Chestnut"])
    'D1: the loss of coalition {Ash, Chestnut} is too high'
    """

    code: str
    sentence: str
    coalition: int | None
    figures: dict[str, float]
    _name: str | None

    def __new__(
        cls,
        code: str,
        sentence: str,
        coalition: int | None = None,
        figures: Mapping[str, float] | None = None,
        *,
        name: str | None = None,
    ) -> Self:
        """name: how the text spells the coalition; by default as a bitmask with its members."""
        if name is None and coalition is not None:
            name = spelled(coalition)
        alarm = super().__new__(cls, f"{code}: {sentence.replace(PLACE, name or '')}")
        alarm.code, alarm.sentence, alarm.coalition = code, sentence, coalition
        alarm.figures, alarm._name = dict(figures or {}), name
        return alarm

    def __getnewargs_ex__(self) -> Any:
        """For pickle and copy, which would otherwise make a plain `str` of the text."""
        return (self.code, self.sentence, self.coalition, self.figures), {"name": self._name}

    def named(self, companies: Sequence[str]) -> Alarm:
        """The same alarm, its coalition by the names of its members."""
        if self.coalition is None:
            return self
        names = f"{{{', '.join(companies[i] for i in members_of(self.coalition))}}}"
        return Alarm(self.code, self.sentence, self.coalition, self.figures, name=names)


def codes_of(alarms: Sequence[Alarm]) -> list[str]:
    """The codes of the alarms, each once, in order."""
    return list(dict.fromkeys(alarm.code for alarm in alarms))
