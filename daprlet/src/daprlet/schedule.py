"""When a job ticks: `@every 1m30s`, `@hourly` and the like, or cron with seconds first; UTC without `CRON_TZ=`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol
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
_FIELDS: Final = 6


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
    expression, zone = _zone(text.strip())
    if expression.startswith("@every "):
        if zone is not None:
            raise ValueError("a time zone means nothing to @every")
        return _every(expression.removeprefix("@every ").strip())
    expression = _SHORTHANDS.get(expression, expression)
    if expression.startswith("@"):
        raise ValueError(f"unrecognized descriptor: {expression}")
    if len(expression.split()) != _FIELDS:
        raise ValueError(f"expected exactly {_FIELDS} fields (seconds first), found {len(expression.split())}: {text}")
    return _cron(expression.replace("?", "*"), zone or UTC)


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
    cron = Cron(expression.upper(), zone)
    try:
        cron.after(datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"{error} in {expression!r}") from error
    return cron
