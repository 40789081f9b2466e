"""A rule as `parse_rule` leaves it, and the bounds it keeps."""

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from todo.domain.errors import RuleError

Due: TypeAlias = dt.datetime | dt.date  # an instant, or a whole day for a date-only series
NthDay: TypeAlias = tuple[int, int]  # (n, weekday): the n-th such day, from the end if negative, every one if 0

MAX_RULE_LENGTH: Final = 1024
MAX_COUNT: Final = 10_000
MAX_INTERVAL: Final = 10_000
MAX_TIMES_PER_HOUR: Final = 4
MAX_PREVIEW: Final = 1_000
FIRST_YEAR: Final = 1600
LAST_YEAR: Final = 9998  # one short of Python's, so that no zone's offset and no week leaves the calendar


class RecurrenceError(RuleError):
    """What a person gave cannot be a recurrence."""


class Freq(StrEnum):
    YEARLY = "YEARLY"
    MONTHLY = "MONTHLY"
    WEEKLY = "WEEKLY"
    DAILY = "DAILY"
    HOURLY = "HOURLY"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that `parse_rule` has checked and normalised; two rules are equal if their canonical texts are."""

    text: str  # canonical, without "RRULE:"; parsing it gives the same rule
    freq: Freq = field(repr=False)
    interval: int = field(repr=False)
    count: int | None = field(repr=False)
    until: Due | None = field(repr=False)
    wkst: int = field(repr=False)
    months: tuple[int, ...] = field(repr=False)
    weeks: tuple[int, ...] = field(repr=False)
    year_days: tuple[int, ...] = field(repr=False)
    month_days: tuple[int, ...] = field(repr=False)
    days: tuple[NthDay, ...] = field(repr=False)
    hours: tuple[int, ...] = field(repr=False)
    minutes: tuple[int, ...] = field(repr=False)
    seconds: tuple[int, ...] = field(repr=False)
    positions: tuple[int, ...] = field(repr=False)
