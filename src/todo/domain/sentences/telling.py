"""Dates and reminders, said shortly: `Mon 30 Nov`, with the year where it is another than today's."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from todo.domain.due import MORNING, Due, zone_info
from todo.domain.recurrence import Due as Date
from todo.domain.reminder import Reminder, parse_reminder
from todo.domain.sentences.speech import Speech

SHOWN: Final = 3  # dates, before "and so on"
_ANY_MORNING: Final = dt.datetime.combine(dt.date(2000, 1, 1), MORNING)
_PARTS: Final = (("hours", 3600), ("minutes", 60), ("seconds", 1))


def say_day(day: dt.date, speech: Speech, today: dt.date | None = None) -> str:
    name = "short day" if today and day.year == today.year else "short day and year"
    weekday, month = speech.short_weekdays[day.weekday()], speech.short_months[day.month - 1]
    return speech.say(name, weekday=weekday, day=day.day, month=month, year=day.year)


def say_due(due: Due, speech: Speech, today: dt.date) -> str:
    """The day, and the time of day with its zone."""
    if due.at is None:
        return say_day(due.value, speech, today)
    local = due.at.astimezone(zone_info(due.zone))
    return f"{say_day(local.date(), speech, today)}, {say_time(local.time(), due.zone, speech)}"


def say_time(time: dt.time, zone: str, speech: Speech) -> str:
    return speech.say("time", time=f"{time:%H:%M}", zone=zone)


def say_dates(dates: Sequence[Date], zone: str, speech: Speech, today: dt.date) -> str:
    """The next few of these."""
    some = dates[:SHOWN]
    days = {_local(date, zone) for date in some}
    said = ", ".join(_date(date, zone, speech, today, timed=len(days) < len(some)) for date in some)
    return speech.say("next", dates=speech.say("and so on", dates=said) if len(dates) > SHOWN else said)


def say_reminder(text: str, due: Due | None, zone: str, speech: Speech, today: dt.date) -> str:
    """When it is sent: a length before due, or a moment; for a whole day the time of day too."""
    reminder = parse_reminder(text)
    if reminder.at is not None:
        local = reminder.at.astimezone(zone_info(zone))
        return speech.say("at", day=say_day(local.date(), speech, today), time=f"{local:%H:%M}")
    if due is not None and due.date is not None:
        return _around(reminder, speech)
    if not reminder.days and not reminder.seconds:
        return speech.say("on time")
    earlier = reminder.days < 0 or reminder.seconds < 0
    return speech.say("before" if earlier else "after", length=_length(reminder, speech))


def _around(reminder: Reminder, speech: Speech) -> str:
    """Of a whole day: how many days from it, and when."""
    moment = _ANY_MORNING + dt.timedelta(reminder.days, reminder.seconds)
    days, time = (moment.date() - _ANY_MORNING.date()).days, f"{moment:%H:%M}"
    if not days:
        return speech.say("on the day", time=time)
    return speech.say("days before" if days < 0 else "days after", length=_days(days, speech), time=time)


def _length(reminder: Reminder, speech: Speech) -> str:
    seconds = abs(reminder.seconds)
    parts = [_days(reminder.days, speech)] if reminder.days else []
    for name, size in _PARTS:
        if seconds >= size:
            parts.append(speech.say(name, n=seconds // size))
            seconds %= size
    return " ".join(parts)


def _days(days: int, speech: Speech) -> str:
    return speech.say("day" if abs(days) == 1 else "days", n=abs(days))


def _date(date: Date, zone: str, speech: Speech, today: dt.date, *, timed: bool) -> str:
    day = say_day(_local(date, zone), speech, today)
    if timed and isinstance(date, dt.datetime):
        return speech.say("at", day=day, time=f"{date.astimezone(zone_info(zone)):%H:%M}").replace(",", "")
    return day


def _local(date: Date, zone: str) -> dt.date:
    return date.astimezone(zone_info(zone)).date() if isinstance(date, dt.datetime) else date
