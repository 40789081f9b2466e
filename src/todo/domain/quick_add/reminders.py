"""Reminders as they were said, as reminders of a task."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence

from todo.domain.due import Due, to_instant, zone_info
from todo.domain.language.meanings import Remind
from todo.domain.language.patterns import Context
from todo.domain.reminder import MAX_OFFSET, parse_reminder

_DAY = dt.timedelta(days=1)


def reminder_texts(said: Iterable[Sequence[Remind]], due: Due | None, zone: str, context: Context) -> tuple[str, ...]:
    """Canonical texts, each once. A time of day is measured from due, so that it moves with it."""
    texts = [text for reminders in said for one in reminders for text in _texts(one, due, zone, context)]
    return tuple(dict.fromkeys(parse_reminder(text).text for text in texts))


def _texts(one: Remind, due: Due | None, zone: str, context: Context) -> Iterator[str]:
    if one.at is not None:
        yield _instant(one.at, zone)
    elif one.clock is None:
        yield _duration(-dt.timedelta(one.days, one.seconds))
    elif due is not None:
        local = due.moment.astimezone(zone_info(due.zone)).replace(tzinfo=None)
        clock = dt.datetime.combine(local.date() - dt.timedelta(one.days), one.clock)
        if abs(clock - local) <= MAX_OFFSET:
            yield _duration(clock - local)
    else:
        wall = dt.datetime.combine(context.today, one.clock)
        passed = to_instant(wall, zone) <= context.now
        yield _instant(wall + _DAY if passed else wall, zone)


def _duration(length: dt.timedelta) -> str:
    sign, length = ("-" if length < dt.timedelta() else ""), abs(length)
    return f"{sign}P{length.days}DT{length.seconds}S"


def _instant(at: dt.datetime, zone: str) -> str:
    return (at if at.tzinfo else to_instant(at, zone)).isoformat()
