"""An RRULE as a sentence, and a sentence as an RRULE."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from todo.domain.errors import RuleError
from todo.domain.language import Context, Parse, parse, words_of
from todo.domain.language.meanings import Ending, Repeat
from todo.domain.language.patterns import Found
from todo.domain.recurrence import Mode, Policy, Rule, parse_rule
from todo.domain.recurrence.rule import Freq
from todo.domain.sentences.speech import SPEECHES, Speech
from todo.domain.series import Repetition

MAX_TEXT: Final = 1200  # characters of a sentence: the longest rule, and the words around it
_WORK_WEEK: Final = tuple((0, day) for day in range(5))
_WEEKEND: Final = ((0, 5), (0, 6))
_MOST_WEEKS: Final = 5
_MOST_DAYS: Final = 31
_RULE: Final = re.compile(r"(?:RRULE:)?[A-Z]+=\S*", re.IGNORECASE)


def say_rule(rule: Rule, mode: Mode, policy: Policy, language: str) -> str:
    """One sentence without a full stop, such as `last day of every month, 3 times`."""
    speech = SPEECHES[language]
    said = _core(rule, speech)
    if said is None:
        said = speech.say("rule", rule=rule.text)
    else:
        said += _end(rule, speech)
    said += speech.say("completion") if mode is Mode.COMPLETION else ""
    return said + (speech.say("each") if policy is Policy.EACH else "")


def read_rule(text: str, context: Context, language: str) -> Repetition:
    """What a sentence, or an RRULE, says. Raises `RuleError` that names what is not understood."""
    if len(text) > MAX_TEXT:
        raise RuleError("text", f"it has {len(text):,} characters", f"use at most {MAX_TEXT:,}")
    given, rest = _given_rule(text, SPEECHES[language])
    read = parse(words_of(rest), language, context)
    first = None if given else read.phrase("repeat", 0)
    if not given and first is None:
        raise RuleError("text", f"{_clipped(text)!r} says nothing that repeats", _fix(language))
    endings = list(_endings(read, first.end if first else 0))
    repeat: Repeat | None = first.value if first else None
    return _repetition(given or (repeat.text if repeat else ""), repeat, endings)


def _repetition(text: str, repeat: Repeat | None, endings: list[Ending]) -> Repetition:
    completion = any(one.completion for one in endings) or (repeat is not None and repeat.completion)
    try:
        rule = parse_rule(text + "".join(one.text for one in endings))
    except RuleError as error:  # it names the part of the rule, callers know the field the sentence is in
        raise RuleError("text", f"{error.field} {error.problem}", error.fix) from error
    return Repetition(
        rule.text,
        Mode.COMPLETION if completion else Mode.DUE,
        Policy.EACH if any(one.each for one in endings) else Policy.SKIP,
    )


def _endings(read: Parse, at: int) -> Iterator[Ending]:
    while at < len(read.pieces):
        found = _ending(read, at)
        if found is None:
            words = " ".join(dict.fromkeys(piece.key for piece in read.pieces[at:]))
            raise RuleError("text", f"{_clipped(words)!r} is not understood", _fix(read.language.code))
        yield found.value
        at = found.end


def _ending(read: Parse, at: int) -> Found | None:
    """An ending that begins here; a comma before it may hang on the word before it."""
    return next(iter(read.slot("ending", at)), None)


def _given_rule(text: str, speech: Speech) -> tuple[str, str]:
    """An RRULE that the sentence begins with, and the rest."""
    intro = speech.texts["rule"].format(rule="").casefold()
    stripped = text.strip()
    if stripped.casefold().startswith(intro):
        stripped = stripped[len(intro) :]
    match = _RULE.match(stripped)
    if match is None:
        return "", text
    # Commas separate values and sentences: the rule ends where a comma is followed by a space.
    return match[0].rstrip(","), stripped[len(match[0].rstrip(",")) :]


def _fix(language: str) -> str:
    speech = SPEECHES[language]
    monday, thursday = speech.weekdays[0], speech.weekdays[3]
    example = speech.say("weekdays", days=speech.listed([monday, thursday]))
    return f"write it like {example!r}, or an RRULE such as FREQ=WEEKLY;BYDAY=MO,TH"


def _clipped(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."  # noqa: PLR2004 - enough to recognise it


def _end(rule: Rule, speech: Speech) -> str:
    if rule.count is not None:
        return speech.say("count" if rule.count > 1 else "count once", n=rule.count)
    if rule.until is None:
        return ""
    date = rule.until
    said = speech.say("date", day=date.day, month=speech.months[date.month - 1], year=f"{date.year:04}")
    time = f" {date:%H:%M:%S} UTC" if isinstance(date, dt.datetime) else ""
    return speech.say("until", date=said + time)


_SIMPLE: Final = frozenset({"text", "freq", "interval", "count", "until"})


def _core(rule: Rule, speech: Speech) -> str | None:
    """The rule without its end, or None if it has no words of its own."""
    parts = {one.name for one in fields(rule) if one.name not in _SIMPLE and getattr(rule, one.name)}
    every = speech.every[rule.freq][rule.interval > 1].format(n=rule.interval)
    match rule.freq, parts:
        case _, _ if not parts:
            return every
        case Freq.WEEKLY, _ if parts == {"days"}:
            return _weekly(rule, speech, every)
        case Freq.MONTHLY, _:
            days = _days_of_month(rule, speech, parts)
            name = "on the days" if rule.interval > 1 else "of the month"
            return None if days is None else speech.say(name, every=every, days=days)
        case Freq.YEARLY, _:
            return _yearly(rule, speech, parts, every)
    return None


def _weekly(rule: Rule, speech: Speech, every: str) -> str:
    several = rule.interval > 1
    if rule.days == _WORK_WEEK:
        return speech.say("on the work week" if several else "work week", every=every)
    if rule.days == _WEEKEND:
        return speech.say("on the weekend" if several else "weekend", every=every)
    days = speech.listed([speech.weekdays[day] for _, day in rule.days])
    return speech.say("on weekdays" if several else "weekdays", every=every, days=days)


def _days_of_month(rule: Rule, speech: Speech, parts: set[str]) -> str | None:
    if parts == {"month_days"}:
        days = sorted(rule.month_days, key=lambda day: (day < 0, day))
        return speech.listed([_month_day(day, speech) for day in days])
    if parts == {"days"} and _are_numbered(rule):
        return _nth_days(rule, speech)
    if parts == {"days", "positions"} and rule.days == _WORK_WEEK and len(rule.positions) == 1:
        (nth,) = rule.positions
        return speech.say("work day", nth=speech.nth(nth)) if abs(nth) <= _MOST_DAYS else None
    return None


def _yearly(rule: Rule, speech: Speech, parts: set[str], every: str) -> str | None:
    if parts == {"months", "month_days"} and all(day >= -1 for day in rule.month_days):
        days = [_year_day(month, day, speech) for month in rule.months for day in rule.month_days]
        said = all(days) and len(days) <= _MOST_DAYS
        return speech.say("on year days", every=every, days=speech.listed([d for d in days if d])) if said else None
    if parts == {"months", "days"} and len(rule.months) == 1 and _are_numbered(rule):
        month = speech.months[rule.months[0] - 1]
        return speech.say("nth of the year", every=every, days=_nth_days(rule, speech), month=month)
    return None


def _are_numbered(rule: Rule) -> bool:
    return all(0 < abs(nth) <= _MOST_WEEKS for nth, _ in rule.days) and len(rule.days) <= _MOST_DAYS


def _nth_days(rule: Rule, speech: Speech) -> str:
    return speech.listed(
        [speech.say("nth weekday", nth=speech.nth(nth), day=speech.weekdays[day]) for nth, day in rule.days]
    )


def _month_day(day: int, speech: Speech) -> str:
    return speech.say("month day" if day > 0 else "last month day", nth=speech.nth(day))


_LONGEST_MONTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _year_day(month: int, day: int, speech: Speech) -> str | None:
    if day > _LONGEST_MONTHS[month - 1]:
        return None
    name = speech.months[month - 1]
    return speech.say("last of month", month=name) if day < 0 else speech.say("year day", day=day, month=name)
