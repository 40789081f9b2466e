"""What a machine keeps, in sentences: rules, dates, reminders, and what the clocks' changes do to them.

A sentence of a rule can be read back (`read_rule`): as the same rule, always. Rules that have no words of their own are
told as what they are, an RRULE.
"""

from todo.domain.sentences.remarks import calendar_remarks, clock_remarks, wall_remarks
from todo.domain.sentences.rules import read_rule, say_rule
from todo.domain.sentences.speech import SPEECHES, Speech
from todo.domain.sentences.telling import say_dates, say_day, say_due, say_reminder

__all__ = [
    "SPEECHES",
    "Speech",
    "calendar_remarks",
    "clock_remarks",
    "read_rule",
    "say_dates",
    "say_day",
    "say_due",
    "say_reminder",
    "say_rule",
    "wall_remarks",
]
