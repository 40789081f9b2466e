"""One line as a task: a table of phrases, and what must hold for any text."""

import datetime as dt
import re
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todo.domain.due import parse_due
from todo.domain.errors import RuleError
from todo.domain.language import LANGUAGES
from todo.domain.quick_add import MAX_TEXT, Kind, Reading, read
from todo.domain.recurrence import Mode, Policy, parse_rule
from todo.domain.series import Repetition, start_series
from todo.domain.task import check_labels, check_title

ROOT = Path(__file__).parents[3]
BERLIN = "Europe/Berlin"
NOW = dt.datetime(2026, 11, 25, 10, 30, tzinfo=ZoneInfo(BERLIN))  # a Wednesday
UNKNOWN = ("milk", "x", "7", "0", "31.1.", "5/3", "9am", "18:00", "#a", "@B", "!1", "every", "jeden", '"', "\\", ",")


def reading(text: str, language: str = "en", *, now: dt.datetime = NOW, zone: str = BERLIN) -> Reading:
    return read(text, now=now, zone=zone, language=language)


def table(language: str) -> list[tuple[str, str]]:
    text = Path(__file__).with_name(f"quick_add_phrases.{language}.txt").read_text()
    lines = text.split("\n")[1:-1]
    return list(zip(lines[::2], lines[1::2], strict=True))


def told(read: Reading) -> str:
    symbols = [f"!{read.priority}"] if read.priority else []
    symbols += [f"@{read.list}"] if read.list else []
    symbols += [f"#{label}" for label in read.labels]
    said = [read.title, read.sentence.replace(f" {BERLIN}", ""), *([" ".join(symbols)] if symbols else [])]
    return "  " + " | ".join(said)


PHRASES = [(language, *row) for language in LANGUAGES for row in table(language)]


def test_the_table_is_long_enough() -> None:
    assert len(PHRASES) >= 300
    assert len({row[:2] for row in PHRASES}) == len(PHRASES)


@pytest.mark.parametrize(("language", "phrase", "expected"), PHRASES, ids=[f"{row[0]} {row[1]}" for row in PHRASES])
def test_a_phrase_is_read_as_the_table_says(language: str, phrase: str, expected: str) -> None:
    assert told(reading(phrase, language)) == expected


class TestParts:
    def test_every_part_of_the_example_arrives(self) -> None:
        read = reading("pay rent every last day of month 9am #home !1 remind 1h @Flat")
        assert (read.title, read.labels, read.priority, read.list) == ("pay rent", ("home",), 1, "Flat")
        assert read.repetition == Repetition("FREQ=MONTHLY;BYMONTHDAY=-1")
        assert read.due is not None
        assert read.due.at == dt.datetime(2026, 11, 30, 8, tzinfo=dt.UTC)
        assert read.reminders == ("-PT1H",)
        assert [one.fire_at for one in read.instances] == [dt.datetime(2026, 11, 30, 7, tzinfo=dt.UTC)]
        assert [one.astimezone(NOW.tzinfo).day for one in read.occurrences if isinstance(one, dt.datetime)] == [
            *(30, 31, 31, 28, 31)
        ]
        assert read.remarks == ()

    def test_tokens_are_stretches_of_the_text_in_their_order(self) -> None:
        text = "rent every! 2 weeks at 9am, until dec 31 #home !1 remind 1h @Flat tomorrow"
        assert [(one.kind, text[one.start : one.end]) for one in reading(text).tokens] == [
            (Kind.RECURRENCE, "every! 2 weeks"),
            (Kind.TIME, "at 9am,"),
            (Kind.RECURRENCE, "until dec 31"),
            (Kind.LABEL, "#home"),
            (Kind.PRIORITY, "!1"),
            (Kind.REMINDER, "remind 1h"),
            (Kind.LIST, "@Flat"),
            (Kind.DATE, "tomorrow"),
        ]

    @pytest.mark.parametrize("text", ["x every! 3 days", "x 3 days after done", "x every 3 days after completion"])
    def test_from_completion(self, text: str) -> None:
        assert reading(text).repetition == Repetition("FREQ=DAILY;INTERVAL=3", Mode.COMPLETION)

    def test_missed_dates_are_kept_if_asked_for(self) -> None:
        assert reading("x daily with missed dates").repetition == Repetition("FREQ=DAILY", policy=Policy.EACH)

    def test_a_time_that_has_passed_is_tomorrows_and_an_interval_begins_there(self) -> None:
        for text in ("x 9am", "x every 3 days 9am", "x every! 3 days 9am", "x every other thu 9am"):
            due = reading(text).due
            assert due is not None
            assert due.at == dt.datetime(2026, 11, 26, 8, tzinfo=dt.UTC)

    def test_a_count_begins_at_the_first_date_to_come(self) -> None:
        dates = reading("x every monday 9am for 2 times").occurrences
        assert [one.day for one in dates] == [30, 7]

    def test_words_mean_days_and_times_in_the_zone(self) -> None:
        there = reading("x today 23:00", zone="Pacific/Auckland")
        assert there.due is not None
        assert there.due.at == dt.datetime(2026, 11, 25, 10, tzinfo=dt.UTC)

    def test_a_reminder_at_a_time_of_day_moves_with_due(self) -> None:
        assert reading("x every day 9am remind at 8am").reminders == ("-PT1H",)
        assert reading("x tomorrow remind 1 day before at 6pm").reminders == ("-PT15H",)
        assert reading("x remind at 5pm").reminders == ("2026-11-25T16:00:00Z",)


class TestBounds:
    def test_a_longer_text_is_refused_and_says_so(self) -> None:
        assert reading("a" * MAX_TEXT).title == "a" * MAX_TEXT
        with pytest.raises(RuleError, match="501 characters"):
            reading("a" * (MAX_TEXT + 1))

    def test_a_zone_that_is_none_is_refused(self) -> None:
        with pytest.raises(RuleError, match="no time zone"):
            reading("x", zone="Mars/Olympus")

    @pytest.mark.parametrize(
        ("text", "title"),
        [
            ("x 2300-01-01", "x 2300-01-01"),
            ("x 1950-01-01 9am", "x 1950-01-01"),
            ("x tomorrow remind 1.1.2500", "x remind 1.1.2500"),
            ("x in 9999 weeks", "x in 9999 weeks"),
        ],
    )
    def test_years_that_no_task_may_have_stay_in_the_title(self, text: str, title: str) -> None:
        assert reading(text).title == title

    def test_the_last_year_goes_in_every_zone(self) -> None:
        for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
            assert reading("x 2198-12-31 11pm remind 2198-12-31 11:30pm", zone=zone).title == "x"

    def test_labels_and_reminders_beyond_what_a_task_may_have_stay_in_the_title(self) -> None:
        labels = [f"#l{number}" for number in range(25)]
        read = reading(" ".join(labels))
        assert (len(read.labels), read.title.split()) == (20, labels[20:])
        times = [f"{number}m" for number in range(1, 25)]
        assert reading("x tomorrow remind " + ", ".join(times)).title.startswith("x remind 1m,")

    @pytest.mark.parametrize(
        "unit",
        [
            "every ",
            "mon and ",
            "remind 1h, ",
            "1h",
            '" ',
            '"',
            "1st, ",
            "every 2nd 3rd ",
            "9:",
            "in 1 ",
            "5/3/",
            "a-",
            "#",
        ],
    )
    def test_hostile_text_is_read_by_looking_at_each_place_a_bounded_number_of_times(
        self, unit: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked = 0
        from todo.domain.language import patterns  # noqa: PLC0415 - what is counted

        ends = patterns._Sequence.ends

        def counted(self: patterns._Sequence, parse: patterns.Parse, at: int) -> object:
            nonlocal looked
            looked += 1
            return ends(self, parse, at)

        monkeypatch.setattr(patterns._Sequence, "ends", counted)
        for language in LANGUAGES:
            reading((unit * MAX_TEXT)[:MAX_TEXT], language)
        assert looked < 120_000


class TestRemarks:
    @pytest.mark.parametrize(
        ("text", "remark"),
        [
            ("tomorrow", "there is no title yet"),
            ("pay 5/3", "\u201c5/3\u201d may be Mon 3 May 2027 or Fri 5 Mar 2027: write one of these"),
            ("call at 9 tomorrow", "\u201cat 9\u201d may be 09:00 or 21:00: write one of these"),
            ("call mon, no tue", "\u201cmon,\u201d stays in the title: \u201ctue\u201d is used"),
            ("x daily until 2020-01-01", "\u201cuntil 2020-01-01\u201d is not used: no date would come"),
            ("x today 9am", "Wed 25 Nov, 09:00 Europe/Berlin has already passed"),
            ("x today 11am remind 1h", "the mail 1 h before would have been at Wed 25 Nov, 10:00: it will not be sent"),
            ("x remind 1h", "mail 1 h before: there is no date yet that it could count from"),
            (
                "x every month on the 31st",
                "months without a 31st have no date; the last day of every month is one in each",
            ),
            ("x every year on feb 29", "29 February: only leap years have this date"),
            (
                "x every monday from dec 1",
                "Tue 1 Dec is not one of the dates: the first is Mon 7 Dec",
            ),
            (
                "x 28.3.2027 2:30am",
                "02:30 does not exist on Sun 28 Mar 2027 in Europe/Berlin, the clocks go forward: it will be 03:30",
            ),
            (
                "x every day 2:30am from 27.3.2027",
                "02:30 does not exist on Sun 28 Mar 2027 in Europe/Berlin, the clocks go forward: it will be 03:30",
            ),
            (
                "x 31.10.2027 2:30am",
                "02:30 comes twice on Sun 31 Oct 2027 in Europe/Berlin, the clocks go back: the first counts",
            ),
        ],
    )
    def test_what_a_person_should_know_is_said(self, text: str, remark: str) -> None:
        assert remark in reading(text).remarks

    def test_a_series_does_not_take_over_the_time_that_the_clocks_moved(self) -> None:
        read = reading("x every day 2:30am from 28.3.2027")
        assert read.due is not None
        assert read.due.at == dt.datetime(2027, 3, 29, 0, 30, tzinfo=dt.UTC)

    def test_a_series_that_began_in_the_past_is_remarked_on(self) -> None:
        read = reading("x every monday from 2.1.2023")
        assert read.remarks == ("Mon 2 Jan 2023 has already passed",)

    def test_an_instant_counted_from_now_is_neither_of_two(self) -> None:
        read = reading("x in 2 hours", now=dt.datetime(2027, 10, 30, 23, 30, tzinfo=dt.UTC))
        assert read.due is not None
        assert (read.due.at, read.remarks) == (dt.datetime(2027, 10, 31, 1, 30, tzinfo=dt.UTC), ())

    def test_a_plain_line_has_none(self) -> None:
        assert reading("buy 1/2 cup of milk at 9 Main Street").remarks == ()


def words_of(language: str) -> list[str]:
    tables = LANGUAGES[language].words.values()
    return sorted({word for table in tables for word in table} | {*LANGUAGES[language].before, *UNKNOWN})


languages = st.sampled_from(sorted(LANGUAGES))
moments = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2150, 1, 1)).map(  # noqa: DTZ001 - given a zone here
    lambda wall: wall.replace(tzinfo=dt.UTC)
)
zones = st.sampled_from([BERLIN, "America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "UTC"])
phrases = st.sampled_from(PHRASES).map(lambda row: (row[0], row[1]))


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, str]:
    """A language, and words that mean something in it in any order, or a phrase of the table with others round it."""
    language = draw(languages)
    some = st.lists(st.sampled_from(words_of(language)), max_size=12).map(" ".join)
    if draw(st.booleans()):
        return language, draw(some)
    known = draw(st.sampled_from([row[1] for row in PHRASES if row[0] == language]))
    return language, " ".join([draw(some), known, draw(some)])[:MAX_TEXT]


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=MAX_TEXT), language=languages, now=moments, zone=zones)
def test_any_text_is_read(text: str, language: str, now: dt.datetime, zone: str) -> None:
    check(text, reading(text, language, now=now, zone=zone))


@settings(deadline=None, max_examples=400)
@given(line=lines(), now=moments, zone=zones)
def test_words_in_any_order_are_read_and_none_is_lost(line: tuple[str, str], now: dt.datetime, zone: str) -> None:
    language, text = line
    read = reading(text, language, now=now, zone=zone)
    check(text, read)
    assert read == reading(text, language, now=now, zone=zone)
    assert read.repetition is None or (read.due is not None and read.occurrences)


@settings(deadline=None, max_examples=200)
@given(line=lines())
def test_a_task_can_be_made_of_what_was_read(line: tuple[str, str]) -> None:
    read = reading(line[1], line[0])
    check_labels(read.labels)
    if read.title:
        check_title(read.title)
    if read.due:
        assert parse_due(read.due.at, read.due.date, read.zone) == read.due
    if read.repetition:
        series = start_series(UUID(int=1), 1, read.repetition, read.due)
        assert series.rule == read.repetition.rule == parse_rule(read.repetition.rule).text


@settings(deadline=None, max_examples=200)
@given(line=lines())
def test_a_title_without_tokens_is_read_as_itself(line: tuple[str, str]) -> None:
    language, text = line
    read = reading(text, language)
    if not read.tokens and "\\" not in text:
        assert reading(read.title, language).title == read.title == " ".join(text.split())
        assert reading(read.title, language).tokens == ()


@settings(deadline=None, max_examples=200)
@given(line=lines())
def test_every_word_can_be_kept_in_the_title_by_a_backslash(line: tuple[str, str]) -> None:
    language, text = line
    escaped = " ".join(f"\\{word}" for word in text.split())
    read = reading(escaped[:MAX_TEXT], language)
    assert read.tokens == ()
    if len(escaped) <= MAX_TEXT:
        assert read.title == " ".join(text.split())


def check(text: str, read: Reading) -> None:
    """Title and tokens are the words of the text, each once and in order; a backslash is all that may go."""
    assert all(text[token.start : token.end] == token.text for token in read.tokens)
    taken = [position for token in read.tokens for position in range(token.start, token.end)]
    assert taken == sorted(set(taken))
    inside = set(taken)
    left = [match for match in re.finditer(r"\S+", text) if match.start() not in inside]
    assert all(match.end() - 1 not in inside for match in left)
    for shown, match in zip(read.title.split(), left, strict=True):
        assert shown == match[0] or "\\" + shown == match[0]


def documented() -> list[tuple[str, str]]:
    english, german = (ROOT / "docs/quick-add.md").read_text().split("\n## Auf Deutsch\n")
    return [
        (language, phrase)
        for language, text in (("en", english), ("de", german.partition("\n## ")[0]))
        for line in text.splitlines()
        if line.startswith("| `")
        for phrase in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]


@pytest.mark.parametrize(("language", "phrase"), documented(), ids=[" ".join(row) for row in documented()])
def test_what_the_page_for_users_promises_is_understood(language: str, phrase: str) -> None:
    read = reading(f"title {phrase}", language)
    assert read.title == "title"
    assert read.tokens
    assert not [remark for remark in read.remarks if "title" in remark]
