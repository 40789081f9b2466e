"""When a job ticks: `@every 1m30s`, `@hourly` and the like, or cron with seconds first; UTC without `CRON_TZ=`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from daprlet.durations import go_duration

_SHORTHANDS: Final = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of the values from `low` on

    def read(self, text: str) -> str:
        """The field as ranges with steps, or `*`; Go's cron has neither 7 for Sunday nor L, W or #."""
        return ",".join(self._range(one) for one in text.split(",") if one)

    def _range(self, text: str) -> str:
        part, slash, step = text.partition("/")
        by = self._number(step, text) if slash else 1
        if part in ("*", "?") and by == 1:
            return "*"
        first, dash, last = part.partition("-")
        every = first in ("*", "?")
        begin = self.low if every else self._value(first, text)
        end = self.high if every or (slash and not dash) else self._value(last, text) if dash else begin
        if not self.low <= begin <= end <= self.high or not by:
            raise ValueError(f"{text!r} is no {self.name}: it goes from {self.low} to {self.high}")
        return str(begin) if begin == end else f"{begin}-{end}/{by}" if by > 1 else f"{begin}-{end}"

    def _value(self, word: str, text: str) -> int:
        named = word.lower()
        return self.low + self.names.index(named) if named in self.names else self._number(word, text)

    def _number(self, word: str, text: str) -> int:
        if not (word.isascii() and word.isdecimal()):
            raise ValueError(f"{text!r} is no {self.name}")
        return int(word)


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)


class Schedule(Protocol):
    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than `moment` (aware); None when there is none any more."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed distance between ticks, counted from the moment the job was made."""

    interval: timedelta

    def after(self, moment: datetime) -> datetime | None:
        try:
            return moment + self.interval
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class Cron:
    expression: str
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        following = next(CronSim(self.expression, moment.astimezone(self.zone)), None)
        return following.astimezone(UTC) if following else None


def parse(text: str) -> Schedule:
    """Read a schedule; ValueError says what is wrong with it."""
    expression, zone = _zone(text)
    if expression.startswith("@every "):
        if zone is not None:
            raise ValueError("a time zone means nothing to @every")
        return _every(expression.removeprefix("@every ").strip())
    expression = _SHORTHANDS.get(expression, expression)
    if expression.startswith("@"):
        raise ValueError(f"unrecognized descriptor: {expression}")
    words = expression.split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"expected exactly {len(_FIELDS)} fields (seconds first), found {len(words)}: {text}")
    fields = (field.read(word) for field, word in zip(_FIELDS, words, strict=True))
    return _cron(" ".join(fields), zone or UTC)


def _zone(text: str) -> tuple[str, ZoneInfo | None]:
    if not text.startswith(("CRON_TZ=", "TZ=")):
        return text, None
    prefix, _, expression = text.partition(" ")
    name = prefix.partition("=")[2]
    try:
        return expression.strip(), ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}") from error


def _every(text: str) -> Every:
    try:
        interval = timedelta(seconds=go_duration(text))
    except OverflowError as error:
        raise ValueError(f"{text} is too long") from error
    if interval <= timedelta(0):
        raise ValueError("@every needs a duration above 0")
    return Every(interval)


def _cron(expression: str, zone: tzinfo) -> Cron:
    cron = Cron(expression, zone)
    try:
        cron.after(datetime.now(UTC))
    except CronSimError as error:  # the fields are right: it is a date that no year has
        raise ValueError("the schedule never fires") from error
    return cron
