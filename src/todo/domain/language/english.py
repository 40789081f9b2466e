"""English, as a table."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from todo.domain.language import meanings as means
from todo.domain.language.patterns import Language, Shy, row
from todo.domain.recurrence.rule import Freq

_EVERY: Final = "(every | each) [{bang}]"
_MONTHLY: Final = "of [every | each | the] month"
_ON: Final = "[on [the] {on} | on [the] {on_date:on}]"
_TIMELY: Final = "[on | by | due [on | by]]"

_ROWS: Final = {
    "day": (
        row("today | tod", means.days_ahead, n=0),
        row("tomorrow | tmrw | tmr", means.days_ahead, n=1),
        row("[the] day after tomorrow", means.days_ahead, n=2),
        row("in {n} {unit}", means.ahead),
        row("{n} {unit} from (now | today)", means.ahead),
        row("{weekday_name:weekday}", means.coming),
        row("{weekday}", means.coming, Shy.END),
        row("(on | coming) {weekday}", means.coming),
        row("this {weekday}", means.coming, today=True),
        row("next {weekday}", means.of_next_week),
        row("next {unit}", means.start_of_next),
        row("(this | on the) weekend", means.weekend),
        row("[at the | by the] end of (month | the month | this month)", means.month_end),
        row("on the {numbered:dom}", means.of_month),
        row("{calendar}", means.same),
        row("{weekday} [,] [the] {calendar}", means.agreed),
        row("{slashed}", means.slashed, Shy.EDGE),
    ),
    "calendar": (
        row("{iso}", means.iso),
        row("{dotted}", means.dotted),
        row("{month} {dom} [[,] {year}]", means.on_calendar),
        row("[the] {dom} [of] {month} [[,] {year}]", means.on_calendar),
    ),
    "dom": (row("{digits} [st | nd | rd | th]", means.same),),
    "said_day": (row("(on | by | due | due on | due by) {day}", means.same),),
    "clock": (
        row("{half_day} {half}", means.half_of_day),
        row("{full_time}", means.same),
        row("{short_time}", means.same),
        row("noon | midday", means.fixed, time=dt.time(12)),
    ),
    "said_time": (
        row("(at | by) {clock}", means.same),
        row("{half_day} {half}", means.half_of_day),
        row("{full_time}", means.same),
        row("{short_time}", means.same, Shy.EDGE),
        row("noon | midday", means.fixed, Shy.END, time=dt.time(12)),
        row("[in the] {daypart:time}", means.fixed, Shy.AFTER),
    ),
    "moment": (
        row("in {length}", means.soon),
        row("{length} from now", means.soon),
        row("in half an hour", means.soon, length=(0, 1800)),
        row("this {daypart}", means.part_of_day),
        row("tonight", means.part_of_day, daypart=dt.time(20)),
    ),
    "unclear": (row("{slashed}", means.two_days), row("at {hour}", means.two_hours)),
    "nth": (
        row("{numbered}", means.same),
        row("{ordinal}", means.same),
        row("{numbered:nth} to last", means.from_end),
    ),
    "numbered": (row("{digits} (st | nd | rd | th)", means.same),),
    "month_day": (
        row("[the] {numbered:nth}", means.day_of_month),
        row("[the] {nth} day", means.day_of_month),
    ),
    "nth_day": (row("[the] {nths} {weekday}", means.nth_days),),
    "year_day": (
        row("{month} {dom}", means.year_day),
        row("[the] {dom} [of] {month}", means.year_day),
        row("[the] last day of {month}", means.last_of_month),
    ),
    "on": (
        row("{weekdays}", means.on_weekdays),
        row("{weekday_range:weekdays}", means.on_weekdays),
        row("weekday | weekdays | workday | workdays", means.work_week),
        row("weekend | weekends", means.weekends),
        row("{nth_days}", means.on_nth_days),
        row("{nth} (weekday | workday | working day | business day)", means.on_work_day),
        row("{year_days}", means.on_year_days),
        row("{nth_days} (of | in) {month}", means.on_nth_days_of),
    ),
    "on_date": (row("{month_days}", means.on_month_days),),
    "repeat": (
        row(_EVERY + " {unit} " + _ON, means.every),
        row(_EVERY + " {n} {unit} " + _ON, means.every),
        row(_EVERY + " other {unit} " + _ON, means.every, n=2),
        row(_EVERY + " {nth} {unit} " + _ON, means.every_nth),
        row(_EVERY + " other {weekdays}", means.every_other),
        row(_EVERY + " {on}", means.every_on),
        row(_EVERY + " {on_date:on}", means.every_on, Shy.END),
        row(_EVERY + " ({on} | {on_date:on}) " + _MONTHLY, means.monthly_on),
        row("[on] [the] ({on} | {on_date:on}) of (every | each) month", means.monthly_on),
        row("on (weekdays | workdays)", means.work_week),
        row("on weekends", means.weekends),
        row("weekdays | workdays", means.work_week, Shy.END),
        row("{adverb} " + _ON, means.adverb, Shy.END),
        row("{n} {unit} after (done | completion | completing | finishing)", means.after_done),
    ),
    "ending": (
        row("[,] (until | till | through | ending [on]) {day}", means.until),
        row("[,] until {calendar} [,] {seconds_time} utc", means.until_instant),
        row("[,] for {n} (times | time | x)", means.times),
        row("[,] {n} (times | time | x)", means.times, Shy.AFTER),
        row("[,] [counted] (from | after) (completion | done)", means.counted),
        row("[,] with missed dates", means.missed),
    ),
    "start": (row("(from | starting [on | from] | beginning [on]) {day}", means.same),),
    "remind": (row("(remind [me] | reminder | reminders) [,] {reminders}", means.same),),
    "reminder": (
        row("{length} [before | earlier | ahead]", means.before),
        row("{length} before [at] {clock}", means.before),
        row("[the] day before [at] {clock}", means.day_before),
        row("the day before", means.day_before),
        row("[at] {clock}", means.at_clock),
        row("(at due | on time | when due)", means.at_due),
        row("in {length}", means.in_length),
        row("[on] {day} [[at] {clock}]", means.on_day),
        row("[on] {day} [in the] {daypart:clock}", means.on_day),
        row("{moment}", means.at_moment),
    ),
}

_WEEKDAY_NAMES: Final = {
    name: number
    for number, name in enumerate(("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"))
} | {"mon": 0, "tue": 1, "tues": 1, "thu": 3, "thur": 3, "thurs": 3, "fri": 4}
_PLURALS: Final = {f"{name}s": number for name, number in _WEEKDAY_NAMES.items() if name.endswith("day")}
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_UNITS: Final = {
    (Freq.HOURLY, 1): ("hour", "hours"),
    (Freq.DAILY, 1): ("day", "days"),
    (Freq.WEEKLY, 1): ("week", "weeks"),
    (Freq.WEEKLY, 2): ("fortnight", "fortnights"),
    (Freq.MONTHLY, 1): ("month", "months"),
    (Freq.MONTHLY, 3): ("quarter", "quarters"),
    (Freq.YEARLY, 1): ("year", "years"),
}
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ORDINALS: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_SPANS: Final = {
    (0, 60): ("m", "min", "mins", "minute", "minutes"),
    (0, 3600): ("h", "hr", "hrs", "hour", "hours"),
    (1, 0): ("d", "day", "days"),
    (7, 0): ("w", "week", "weeks"),
}

_WORDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "weekday_name": _WEEKDAY_NAMES,
    "weekday": _WEEKDAY_NAMES | _PLURALS | {"wed": 2, "weds": 2, "sat": 5, "sun": 6},
    "month": {name: number for number, name in enumerate(_MONTHS, 1)}
    | {name[:3]: number for number, name in enumerate(_MONTHS, 1)}
    | {"sept": 9},
    "unit": {word: unit for unit, words in _UNITS.items() for word in words},
    "span": {word: span for span, words in _SPANS.items() for word in words},
    "number": {"a": 1, "an": 1} | {word: number for number, word in enumerate(_NUMBERS, 1)},
    "ordinal": {"last": -1} | {word: number for number, word in enumerate(_ORDINALS, 1)},
    "adverb": {
        "hourly": (Freq.HOURLY, 1),
        "daily": (Freq.DAILY, 1),
        "everyday": (Freq.DAILY, 1),
        "weekly": (Freq.WEEKLY, 1),
        "biweekly": (Freq.WEEKLY, 2),
        "fortnightly": (Freq.WEEKLY, 2),
        "monthly": (Freq.MONTHLY, 1),
        "quarterly": (Freq.MONTHLY, 3),
        "yearly": (Freq.YEARLY, 1),
        "annually": (Freq.YEARLY, 1),
    },
    "half": {"am": 0, "pm": 12},
    "daypart": {
        "morning": dt.time(9),
        "noon": dt.time(12),
        "afternoon": dt.time(15),
        "evening": dt.time(18),
        "night": dt.time(21),
    },
    "bang": {"!": True},
}

ENGLISH: Final = Language(
    "en",
    _ROWS,
    _WORDS,
    ands=frozenset({"and", "&", "+"}),
    before=frozenset(
        "a after about before between from of since than the through till to until up within".split()  # noqa: SIM905
    ),
)
