"""How each language says things: templates, and names of days, months and places in a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from todo.domain.recurrence.rule import Freq


@dataclass(frozen=True, slots=True)
class Speech:
    """`texts` are templates by what they say; `nth` says a place in a row, counted from the end if negative."""

    code: str
    weekdays: tuple[str, ...]
    short_weekdays: tuple[str, ...]
    months: tuple[str, ...]
    short_months: tuple[str, ...]
    every: Mapping[Freq, tuple[str, str]]  # one, several
    joined: str  # the last two of a list
    nth: Callable[[int], str]
    texts: Mapping[str, str]

    def say(self, name: str, **values: object) -> str:
        return self.texts[name].format(**values)

    def listed(self, items: list[str]) -> str:
        return self.joined.join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _english_nth(number: int) -> str:
    if number == -1:
        return "last"
    place = abs(number)
    teen = place % 100 in {11, 12, 13}
    ordinal = f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"
    return ordinal if number > 0 else f"{ordinal} to last"


def _german_nth(number: int) -> str:
    if number == -1:
        return "letzten"
    return f"{number}." if number > 0 else f"{-number}. letzten"


_ENGLISH: Final = Speech(
    "en",
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    {
        Freq.HOURLY: ("every hour", "every {n} hours"),
        Freq.DAILY: ("every day", "every {n} days"),
        Freq.WEEKLY: ("every week", "every {n} weeks"),
        Freq.MONTHLY: ("every month", "every {n} months"),
        Freq.YEARLY: ("every year", "every {n} years"),
    },
    " and ",
    _english_nth,
    {
        "weekdays": "every {days}",
        "work week": "every weekday",
        "weekend": "every weekend",
        "on weekdays": "{every} on {days}",
        "on the work week": "{every} on weekdays",
        "on the weekend": "{every} on weekends",
        "of the month": "{days} of every month",
        "on the days": "{every} on the {days}",
        "month day": "{nth}",
        "last month day": "{nth} day",
        "nth weekday": "{nth} {day}",
        "work day": "{nth} weekday",
        "year day": "{day} {month}",
        "last of month": "the last day of {month}",
        "on year days": "{every} on {days}",
        "nth of the year": "{every} on the {days} of {month}",
        "until": ", until {date}",
        "count": ", {n} times",
        "count once": ", 1 time",
        "completion": ", counted from completion",
        "each": ", with missed dates",
        "rule": "by the rule {rule}",
        "date": "{day} {month} {year}",
        "short day": "{weekday} {day} {month}",
        "short day and year": "{weekday} {day} {month} {year}",
        "time": "{time} {zone}",
        "whole day": "all day",
        "next": "next {dates}",
        "and so on": "{dates}, ...",
        "no date": "no date",
        "mail": "mail {when}",
        "before": "{length} before",
        "after": "{length} after",
        "on time": "when due",
        "on the day": "on the day, {time}",
        "days before": "{length} before, {time}",
        "days after": "{length} after, {time}",
        "at": "{day}, {time}",
        "day": "{n} day",
        "days": "{n} days",
        "hours": "{n} h",
        "minutes": "{n} min",
        "seconds": "{n} s",
        "gap": "{wall} does not exist on {day} in {zone}, the clocks go forward: it will be {shown}",
        "fold": "{wall} comes twice on {day} in {zone}, the clocks go back: the first counts",
        "short months": "months without a {day} have no date; the last day of every month is one in each",
        "leap years": "29 February: only leap years have this date",
        "past due": "{when} has already passed",
        "past mail": "the mail {when} would have been at {at}: it will not be sent",
        "no due": "mail {when}: there is no date yet that it could count from",
        "no title": "there is no title yet",
        "not first": "{day} is not one of the dates: the first is {first}",
        "unknown_list": "\u201c{text}\u201d is not used: there is no such list",
        "refused": "\u201c{text}\u201d is not used: no date would come",
        "ambiguous": "\u201c{text}\u201d may be {one} or {other}: write one of these",
        "later": "\u201c{text}\u201d stays in the title: \u201c{other}\u201d is used",
    },
)

_GERMAN: Final = Speech(
    "de",
    ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    ("Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"),
    (
        *("Januar", "Februar", "März", "April", "Mai", "Juni"),
        *("Juli", "August", "September", "Oktober", "November", "Dezember"),
    ),
    ("Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sep.", "Okt.", "Nov.", "Dez."),
    {
        Freq.HOURLY: ("jede Stunde", "alle {n} Stunden"),
        Freq.DAILY: ("jeden Tag", "alle {n} Tage"),
        Freq.WEEKLY: ("jede Woche", "alle {n} Wochen"),
        Freq.MONTHLY: ("jeden Monat", "alle {n} Monate"),
        Freq.YEARLY: ("jedes Jahr", "alle {n} Jahre"),
    },
    " und ",
    _german_nth,
    {
        "weekdays": "jeden {days}",
        "work week": "jeden Arbeitstag",
        "weekend": "jedes Wochenende",
        "on weekdays": "{every} am {days}",
        "on the work week": "{every} an Arbeitstagen",
        "on the weekend": "{every} an Wochenenden",
        "of the month": "am {days} jedes Monats",
        "on the days": "{every} am {days}",
        "month day": "{nth}",
        "last month day": "{nth} Tag",
        "nth weekday": "{nth} {day}",
        "work day": "{nth} Arbeitstag",
        "year day": "{day}. {month}",
        "last of month": "letzten Tag im {month}",
        "on year days": "{every} am {days}",
        "nth of the year": "{every} am {days} im {month}",
        "until": ", bis {date}",
        "count": ", {n} Mal",
        "count once": ", 1 Mal",
        "completion": ", ab Erledigung gezählt",
        "each": ", mit versäumten Terminen",
        "rule": "nach der Regel {rule}",
        "date": "{day}. {month} {year}",
        "short day": "{weekday} {day}. {month}",
        "short day and year": "{weekday} {day}. {month} {year}",
        "time": "{time} {zone}",
        "whole day": "ganztägig",
        "next": "die nächsten: {dates}",
        "and so on": "{dates}, ...",
        "no date": "kein Termin",
        "mail": "Mail {when}",
        "before": "{length} vorher",
        "after": "{length} danach",
        "on time": "zur Fälligkeit",
        "on the day": "am selben Tag, {time}",
        "days before": "{length} vorher, {time}",
        "days after": "{length} danach, {time}",
        "at": "{day}, {time}",
        "day": "{n} Tag",
        "days": "{n} Tage",
        "hours": "{n} Std.",
        "minutes": "{n} Min.",
        "seconds": "{n} s",
        "gap": "{wall} gibt es am {day} in {zone} nicht, die Uhren werden vorgestellt: es wird {shown}",
        "fold": "{wall} gibt es am {day} in {zone} zweimal, die Uhren werden zurückgestellt: die erste gilt",
        "short months": "Monate ohne den {day} haben keinen Termin; den letzten Tag hat jeder Monat",
        "leap years": "29. Februar: nur Schaltjahre haben diesen Termin",
        "past due": "{when} ist schon vorbei",
        "past mail": "die Mail {when} wäre am {at} gewesen: sie wird nicht gesendet",
        "no due": "Mail {when}: es gibt noch keinen Termin, von dem sie zählen könnte",
        "no title": "es gibt noch keinen Titel",
        "not first": "{day} ist keiner der Termine: der erste ist {first}",
        "unknown_list": "\u201e{text}\u201c wird nicht verwendet: es gibt keine solche Liste",
        "refused": "\u201e{text}\u201c wird nicht verwendet: es käme kein Termin",
        "ambiguous": "\u201e{text}\u201c kann {one} oder {other} sein: eines davon schreiben",
        "later": "\u201e{text}\u201c bleibt im Titel: \u201e{other}\u201c wird verwendet",
    },
)

SPEECHES: Final = {speech.code: speech for speech in (_ENGLISH, _GERMAN)}
