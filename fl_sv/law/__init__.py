"""The law: from small models' losses on all coalitions to the large model's, with intervals."""

from fl_sv.law.alarms import Alarm
from fl_sv.law.families import Family
from fl_sv.law.fit import Law, fit_law
from fl_sv.law.next_runs import NextRun
from fl_sv.law.normalized import Game

__all__ = ["Alarm", "Family", "Game", "Law", "NextRun", "fit_law"]
