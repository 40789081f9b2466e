"""What a line says: its tokens put together into a task, and said back."""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from todo.domain import recurrence, reminder
from todo.domain.due import Due, to_instant, zone_info
from todo.domain.errors import RuleError
from todo.domain.language import Context, Parse, parse, words_of
from todo.domain.language.meanings import Ending, Repeat
from todo.domain.language.pieces import Word
from todo.domain.quick_add.reminders import reminder_texts
from todo.domain.quick_add.series import Begun, begin
from todo.domain.quick_add.tokens import MAX_TEXT, Chosen, Phrase, Token, choose, unclear
from todo.domain.recurrence import RecurrenceError
from todo.domain.reminder import Instance
from todo.domain.sentences import (
    SPEECHES,
    calendar_remarks,
    clock_remarks,
    say_dates,
    say_due,
    say_reminder,
    say_rule,
    wall_remarks,
)
from todo.domain.sentences.speech import Speech
from todo.domain.sentences.telling import say_day, say_time
from todo.domain.series import Repetition

SHOWN: Final = 5  # dates of a series


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A line as a task. Every word of it is in `title` or in one of `tokens`, in their order.

    `list` is a name; `occurrences` are the first dates of what repeats, `instances` the firings of the reminders.
    """

    title: str
    tokens: tuple[Token, ...]
    zone: str
    due: Due | None = None
    repetition: Repetition | None = None
    reminders: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    list: str | None = None
    priority: int | None = None
    occurrences: tuple[recurrence.Due, ...] = ()
    instances: tuple[Instance, ...] = ()
    sentence: str
    remarks: tuple[str, ...] = ()


def read(text: str, *, now: dt.datetime, zone: str, language: str, lists: Collection[str] | None = None) -> Reading:
    """Read a line. `now` is aware; words mean days and times in `zone`.

    `lists` are the lists there are, casefolded: one of another name stays in the title. None: any name is taken.

    Any text is read. Raises `RuleError` for one that is too long, and for a zone that is none.
    """
    if len(text) > MAX_TEXT:
        raise RuleError("text", f"it has {len(text):,} characters", f"use at most {MAX_TEXT}; notes hold the rest")
    info = zone_info(zone)
    context = Context(now.astimezone(info), info)
    words, refused = words_of(text), list[str]()
    while True:
        parsed = parse(words, language, context)
        line = _Line(text, words, choose(parsed, words), zone, parsed, SPEECHES[language])
        if unknown := line.unknown(lists):
            refused += [line.says("unknown_list", one) for one in unknown]
            words = _kept(words, unknown)
            continue
        try:
            return line.reading(refused)
        except RecurrenceError:
            wrong = line.impossible()
            refused += [line.says("refused", one) for one in wrong]
            words = _kept(words, wrong)


def _kept(words: Sequence[Word], phrases: Sequence[Phrase]) -> list[Word]:
    """The same words, these phrases left to the title."""
    numbers = {number for one in phrases for number in range(one.first, one.last)}
    return [replace(word, kept=word.kept or number in numbers) for number, word in enumerate(words)]


class _Line:
    """One way to read a line: its phrases, and what they make together."""

    def __init__(  # noqa: PLR0913 - what a line is read with
        self, text: str, words: Sequence[Word], chosen: Chosen, zone: str, parsed: Parse, speech: Speech
    ) -> None:
        self._text, self._words, self._chosen = text, words, chosen
        self._zone, self._parsed, self._speech = zone, parsed, speech
        self._context, self._today = parsed.context, parsed.context.today

    def reading(self, refused: Sequence[str]) -> Reading:
        """Raises `RecurrenceError` for a series that cannot be."""
        title, said = self._title(), self._chosen
        begun = self._begun()
        due = begun.due if begun else self._single()
        reminders = reminder_texts(said.all("remind"), due, self._zone, self._context)
        instances = reminder.instances(reminders, due, now=self._context.now.astimezone(dt.UTC))
        dates = begun.dates(SHOWN) if begun else ()
        return Reading(
            title=title,
            tokens=tuple(self._token(one) for one in said.phrases),
            zone=self._zone,
            due=due,
            repetition=begun.repetition if begun else None,
            reminders=reminders,
            labels=tuple(dict.fromkeys(said.all("label"))),
            list=said.one("list"),
            priority=said.one("priority"),
            occurrences=dates,
            instances=instances,
            sentence=self._sentence(begun, due, dates, reminders),
            remarks=(*refused, *self._remarks(title, begun, due, dates, instances)),
        )

    def impossible(self) -> list[Phrase]:
        """The phrases without which the series might be: its end, or else all of it."""
        ends = [one for one in self._chosen.phrases if one.says == {"end"}]
        return ends or [one for one in self._chosen.phrases if one.slot == "repeat"]

    def unknown(self, lists: Collection[str] | None) -> list[Phrase]:
        """The lists that are named and not there."""
        named = [one for one in self._chosen.phrases if one.slot == "list"]
        return [] if lists is None else [one for one in named if one.value.casefold() not in lists]

    def says(self, word: str, phrase: Phrase) -> str:
        """Why a phrase is not used."""
        return self._speech.say(word, text=self._token(phrase).text)

    def _title(self) -> str:
        taken = {number for one in self._chosen.phrases for number in range(one.first, one.last)}
        return " ".join(word.shown for number, word in enumerate(self._words) if number not in taken)

    def _token(self, phrase: Phrase) -> Token:
        start, end = self._words[phrase.first].start, self._words[phrase.last - 1].end
        return Token(start, end, phrase.kind, self._text[start:end])

    def _begun(self) -> Begun | None:
        repeat: Repeat | None = self._chosen.one("repeat")
        if repeat is None:
            return None
        endings: list[Ending] = self._chosen.all("ending")
        return begin(repeat, endings, self._start(), self._chosen.one("said_time"), self._zone, self._context)

    def _start(self) -> dt.date | dt.datetime | None:
        """What was said of the day, or of the moment."""
        moment: dt.datetime | None = self._chosen.one("moment")
        if moment is not None:
            return self._wall(moment)
        day: dt.date | None = self._chosen.one("start", "said_day", "day")
        return day

    def _wall(self, moment: dt.datetime) -> dt.datetime:
        return moment if moment.tzinfo is None else moment.astimezone(self._context.zone).replace(tzinfo=None)

    def _single(self) -> Due | None:
        """When a task is due that does not repeat."""
        moment: dt.datetime | None = self._chosen.one("moment")
        if moment is not None and moment.tzinfo is not None:
            return Due(self._zone, at=moment.astimezone(dt.UTC))
        wall = self._single_wall()
        if wall is not None:
            return Due(self._zone, at=to_instant(wall, self._zone))
        day = self._start()
        return None if day is None else Due(self._zone, date=day)

    def _single_wall(self) -> dt.datetime | None:
        """The wall time that was said; a time alone is today's, or tomorrow's if that has passed."""
        moment: dt.datetime | None = self._chosen.one("moment")
        if moment is not None:
            return self._wall(moment)
        time: dt.time | None = self._chosen.one("said_time")
        if time is None:
            return None
        day = self._start()
        wall = dt.datetime.combine(day or self._today, time)
        passed = day is None and to_instant(wall, self._zone) <= self._context.now
        return wall + dt.timedelta(days=1) if passed else wall

    def _sentence(
        self, begun: Begun | None, due: Due | None, dates: Sequence[recurrence.Due], reminders: Sequence[str]
    ) -> str:
        parts = [self._when(begun, due)]
        if begun:
            parts.append(say_dates(dates, self._zone, self._speech, self._today))
        if reminders:
            said = self._speech.listed([self._say_reminder(text, due) for text in reminders])
            parts.append(self._speech.say("mail", when=said))
        return "; ".join(parts)

    def _when(self, begun: Begun | None, due: Due | None) -> str:
        if due is None:
            return self._speech.say("no date")
        if begun is None:
            return say_due(due, self._speech, self._today)
        said = say_rule(begun.series.rule, begun.repetition.mode, begun.repetition.policy, self._speech.code)
        if due.at is None:
            return said
        time = due.at.astimezone(self._context.zone).time()
        return f"{said}, {say_time(time, self._zone, self._speech)}"

    def _remarks(
        self,
        title: str,
        begun: Begun | None,
        due: Due | None,
        dates: Sequence[recurrence.Due],
        instances: Sequence[Instance],
    ) -> Iterator[str]:
        if self._words and not title:
            yield self._speech.say("no title")
        yield from self._of_words()
        if begun:
            yield from self._of_start(begun)
            yield from calendar_remarks(begun.series, self._speech.code)
            yield from clock_remarks(begun.series, dates, self._speech.code)
        else:
            yield from self._of_clocks()
        if due is not None and (due.at <= self._context.now if due.at else due.value < self._today):
            yield self._speech.say("past due", when=say_due(due, self._speech, self._today))
        yield from self._of_reminders(due, instances)

    def _of_words(self) -> Iterator[str]:
        """What might have been understood, and was not."""
        for one, later in self._chosen.earlier:
            yield self._speech.say("later", text=self._token(one).text, other=self._token(later).text)
        for numbers, readings in unclear(self._parsed, self._words, self._chosen):
            text = " ".join(self._words[number].shown for number in numbers)
            one_way, other = (self._say_either(reading) for reading in readings)
            yield self._speech.say("ambiguous", text=text, one=one_way, other=other)

    def _say_either(self, reading: dt.date | dt.time) -> str:
        return f"{reading:%H:%M}" if isinstance(reading, dt.time) else say_day(reading, self._speech)

    def _of_start(self, begun: Begun) -> list[str]:
        said, first = self._start(), begun.day
        day = said.date() if isinstance(said, dt.datetime) else said
        if day is None or day == first:
            return []
        told, instead = (say_day(one, self._speech, self._today) for one in (day, first))
        return [self._speech.say("not first", day=told, first=instead)]

    def _of_clocks(self) -> list[str]:
        """Of a wall time that was said; what is so many hours from now is an instant."""
        moment: dt.datetime | None = self._chosen.one("moment")
        wall = self._single_wall() if moment is None or moment.tzinfo is None else None
        return wall_remarks(wall, self._zone, self._speech.code) if wall else []

    def _of_reminders(self, due: Due | None, instances: Sequence[Instance]) -> Iterator[str]:
        if due is None:
            for text in reminder_texts(self._chosen.all("remind"), None, self._zone, self._context):
                if reminder.parse_reminder(text).at is None:
                    yield self._speech.say("no due", when=self._say_reminder(text, due))
        for one in instances:
            if one.past:
                when, at = self._say_reminder(one.reminder, due), self._say_instant(one.fire_at)
                yield self._speech.say("past mail", when=when, at=at)

    def _say_reminder(self, text: str, due: Due | None) -> str:
        return say_reminder(text, due, self._zone, self._speech, self._today)

    def _say_instant(self, at: dt.datetime) -> str:
        local = at.astimezone(self._context.zone)
        day = say_day(local.date(), self._speech, self._today)
        return self._speech.say("at", day=day, time=f"{local:%H:%M}")
