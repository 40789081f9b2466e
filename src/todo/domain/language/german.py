"""German, as a table."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from todo.domain.language import meanings as means
from todo.domain.language.patterns import Language, Shy, row
from todo.domain.recurrence.rule import Freq

_EVERY: Final = "(jeden | jede | jedes | alle) [{bang}]"
_MONTHLY: Final = "(im monat | des monats | jedes monats | jeden monats | jeden monat)"
_ON: Final = "[am {on} | an {on} | am {on_date:on}]"
_NEXT: Final = "(nächsten | nächster | nächste | nächstes)"

_ROWS: Final = {
    "day": (
        row("heute", means.days_ahead, n=0),
        row("morgen", means.days_ahead, n=1),
        row("übermorgen | uebermorgen", means.days_ahead, n=2),
        row("in {n} {unit}", means.ahead),
        row("{weekday_name:weekday}", means.coming),
        row("{weekday}", means.coming, Shy.END),
        row("(am | kommenden | kommender) {weekday}", means.coming),
        row("(diesen | dieser) {weekday}", means.coming, today=True),
        row(_NEXT + " {weekday}", means.of_next_week),
        row(_NEXT + " {unit}", means.start_of_next),
        row("am wochenende", means.weekend),
        row("ende des monats | ende dieses monats | monatsende | zum monatsende", means.month_end),
        row("am {numbered:dom}", means.of_month),
        row("{calendar}", means.same),
        row("[am] {weekday} [,] [dem | den | der] {calendar}", means.agreed),
        row("{slashed}", means.slashed, Shy.EDGE),
    ),
    "calendar": (
        row("{iso}", means.iso),
        row("{dotted}", means.dotted),
        row("{dom} {month} [{year}]", means.on_calendar),
    ),
    "dom": (row("{digits} [.]", means.same),),
    "said_day": (row("(am | zum | bis | bis zum | fällig | fällig am) {day}", means.same),),
    "clock": (
        row("{hour} uhr [{minute}]", means.hour_minute),
        row("{full_time} [uhr]", means.same),
        row("{short_time} [uhr]", means.same),
        row("{dotted_time} uhr", means.same),
        row("mittag | mittags", means.fixed, time=dt.time(12)),
    ),
    "said_time": (
        row("(um | bis) {clock}", means.same),
        row("um {hour}", means.same),
        row("{hour} uhr [{minute}]", means.hour_minute),
        row("{full_time} [uhr]", means.same),
        row("{short_time} uhr", means.same),
        row("{short_time}", means.same, Shy.EDGE),
        row("{dotted_time} uhr", means.same),
        row("mittags", means.fixed, time=dt.time(12)),
        row("[am] {daypart:time}", means.fixed, Shy.AFTER),
    ),
    "moment": (
        row("in {length}", means.soon),
        row("in einer halben stunde", means.soon, length=(0, 1800)),
        row("heute [am] {daypart}", means.part_of_day),
    ),
    "unclear": (row("{slashed}", means.two_days),),
    "nth": (
        row("{numbered}", means.same),
        row("{ordinal}", means.same),
        row("({numbered:nth} letzten | {nth_from_end:nth})", means.from_end),
    ),
    "numbered": (row("{digits} .", means.same),),
    "month_day": (row("{numbered:nth}", means.day_of_month), row("{nth} tag", means.day_of_month)),
    "nth_day": (row("{nths} {weekday}", means.nth_days),),
    "year_day": (
        row("{dom} {month}", means.year_day),
        row("letzten tag im {month}", means.last_of_month),
    ),
    "on": (
        row("{weekdays}", means.on_weekdays),
        row("{weekday_range:weekdays}", means.on_weekdays),
        row("werktag | werktagen | arbeitstag | arbeitstagen", means.work_week),
        row("wochenende | wochenenden", means.weekends),
        row("{nth_days}", means.on_nth_days),
        row("{nth} (werktag | arbeitstag)", means.on_work_day),
        row("{year_days}", means.on_year_days),
        row("{nth_days} im {month}", means.on_nth_days_of),
    ),
    "on_date": (row("{month_days}", means.on_month_days),),
    "repeat": (
        row(_EVERY + " {unit} " + _ON, means.every),
        row(_EVERY + " {n} {unit} " + _ON, means.every),
        row(_EVERY + " {nth} {unit} " + _ON, means.every_nth),
        row(_EVERY + " {on}", means.every_on),
        row(_EVERY + " {on_date:on}", means.every_on, Shy.END),
        row(_EVERY + " ({on} | {on_date:on}) " + _MONTHLY, means.monthly_on),
        row("[am] ({on} | {on_date:on}) (jedes monats | jeden monats | jeden monat)", means.monthly_on),
        row("{habits:weekdays}", means.on_weekdays),
        row("{habit:weekday} bis {last_habit:last}", means.on_span),
        row("an (werktagen | arbeitstagen)", means.work_week),
        row("werktags | arbeitstags", means.work_week),
        row("an wochenenden", means.weekends),
        row("{adverb} " + _ON, means.adverb),
        row("{n} {unit} nach (erledigung | abschluss | erledigen)", means.after_done),
    ),
    "ending": (
        row("[,] bis [zum | einschließlich] {day}", means.until),
        row("[,] bis {calendar} [,] {seconds_time} utc", means.until_instant),
        row("[,] für {n} (mal | x)", means.times),
        row("[,] {n} (mal | x)", means.times, Shy.AFTER),
        row("[,] (ab | nach) (erledigung | abschluss) [gezählt]", means.counted),
        row("[,] mit versäumten terminen", means.missed),
    ),
    "start": (row("(ab | beginnend | beginnend am | ab dem) {day}", means.same),),
    "remind": (row("(erinnern | erinnere [mich] | erinnerung | erinnerungen) [,] {reminders}", means.same),),
    "reminder": (
        row("{length} [vorher | davor | früher]", means.before),
        row("{length} (vorher | davor) [um] {clock}", means.before),
        row("am (vortag | tag davor | tag vorher) [um] {clock}", means.day_before),
        row("am (vortag | tag davor | tag vorher)", means.day_before),
        row("[um] {clock}", means.at_clock),
        row("um {hour:clock}", means.at_clock),
        row("(pünktlich | zur fälligkeit)", means.at_due),
        row("in {length}", means.in_length),
        row("[am] {day} [[um] {clock}]", means.on_day),
        row("[am] {day} [am] {daypart:clock}", means.on_day),
        row("{moment}", means.at_moment),
    ),
}

_WEEKDAY_NAMES: Final = {
    name: number
    for number, name in enumerate(("montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag"))
} | {"sonnabend": 5}
_HABITS: Final = {f"{name}s": number for name, number in _WEEKDAY_NAMES.items()}
_MONTHS: Final = (
    *("januar", "februar", "märz", "april", "mai", "juni"),
    *("juli", "august", "september", "oktober", "november", "dezember"),
)
_UNITS: Final = {
    (Freq.HOURLY, 1): ("stunde", "stunden"),
    (Freq.DAILY, 1): ("tag", "tage", "tagen"),
    (Freq.WEEKLY, 1): ("woche", "wochen"),
    (Freq.MONTHLY, 1): ("monat", "monate", "monaten"),
    (Freq.MONTHLY, 3): ("quartal", "quartale", "quartalen"),
    (Freq.YEARLY, 1): ("jahr", "jahre", "jahren"),
}
_NUMBERS: Final = ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf")
_ORDINALS: Final = ("erste", "zweite", "dritte", "vierte", "fünfte", "sechste", "siebte", "achte", "neunte", "zehnte")
_ENDINGS: Final = ("", "n", "r", "s")  # of an adjective
_SPANS: Final = {
    (0, 60): ("m", "min", "minute", "minuten"),
    (0, 3600): ("h", "std", "stunde", "stunden"),
    (1, 0): ("t", "tag", "tage", "tagen"),
    (7, 0): ("w", "woche", "wochen"),
}

_WORDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "weekday_name": _WEEKDAY_NAMES,
    "weekday": _WEEKDAY_NAMES
    | {short: number for number, short in enumerate(("mo", "di", "mi", "do", "fr", "sa", "so"))},
    "habit": _HABITS,
    "last_habit": _HABITS,
    "month": {name: number for number, name in enumerate(_MONTHS, 1)}
    | {name[:3]: number for number, name in enumerate(_MONTHS, 1)}
    | {"jänner": 1, "maerz": 3, "sept": 9},
    "unit": {word: unit for unit, words in _UNITS.items() for word in words},
    "span": {word: span for span, words in _SPANS.items() for word in words},
    "number": {"ein": 1, "eine": 1, "einem": 1, "einer": 1} | {word: number for number, word in enumerate(_NUMBERS, 1)},
    "ordinal": {f"letzte{end}": -1 for end in _ENDINGS}
    | {f"{word}{end}": number for number, word in enumerate(_ORDINALS, 1) for end in _ENDINGS},
    "nth_from_end": {f"{word}letzte{end}": number for word, number in (("vor", 2), ("dritt", 3)) for end in _ENDINGS},
    "adverb": {
        "stündlich": (Freq.HOURLY, 1),
        "täglich": (Freq.DAILY, 1),
        "wöchentlich": (Freq.WEEKLY, 1),
        "zweiwöchentlich": (Freq.WEEKLY, 2),
        "monatlich": (Freq.MONTHLY, 1),
        "vierteljährlich": (Freq.MONTHLY, 3),
        "quartalsweise": (Freq.MONTHLY, 3),
        "halbjährlich": (Freq.MONTHLY, 6),
        "jährlich": (Freq.YEARLY, 1),
    },
    "daypart": {
        "früh": dt.time(9),
        "vormittag": dt.time(9),
        "mittag": dt.time(12),
        "nachmittag": dt.time(15),
        "abend": dt.time(18),
        "nacht": dt.time(21),
        "morgens": dt.time(9),
        "vormittags": dt.time(9),
        "nachmittags": dt.time(15),
        "abends": dt.time(18),
    },
    "bang": {"!": True},
}

GERMAN: Final = Language(
    "de",
    _ROWS,
    _WORDS,
    ands=frozenset({"und", "&", "+"}),
    before=frozenset(
        "ab bis das dem der die ein eine nach seit vom von vor zwischen über".split()  # noqa: SIM905
    ),
)
