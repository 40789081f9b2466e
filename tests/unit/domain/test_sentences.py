"""Rules as sentences, and back."""

import contextlib
import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.domain.test_quick_add import PHRASES, reading
from tests.unit.domain.test_recurrence_properties import rule_texts
from todo.domain.errors import RuleError
from todo.domain.language import LANGUAGES, Context
from todo.domain.recurrence import Mode, Policy, RecurrenceError, Series, occurrences, parse_rule
from todo.domain.sentences import SPEECHES, calendar_remarks, clock_remarks, read_rule, say_rule
from todo.domain.series import Repetition

BERLIN = ZoneInfo("Europe/Berlin")
CONTEXT = Context(dt.datetime(2026, 11, 25, 10, 30, tzinfo=BERLIN), BERLIN)
SAID = [
    ("FREQ=DAILY", "every day", "jeden Tag"),
    ("FREQ=DAILY;INTERVAL=3", "every 3 days", "alle 3 Tage"),
    ("FREQ=WEEKLY;BYDAY=MO,TH;COUNT=1", "every Monday and Thursday, 1 time", "jeden Montag und Donnerstag, 1 Mal"),
    (
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;UNTIL=20301231",
        "every 2 weeks on Monday and Thursday, until 31 December 2030",
        "alle 2 Wochen am Montag und Donnerstag, bis 31. Dezember 2030",
    ),
    (
        "FREQ=WEEKLY;UNTIL=20301231T225959Z",
        "every week, until 31 December 2030 22:59:59 UTC",
        "jede Woche, bis 31. Dezember 2030 22:59:59 UTC",
    ),
    ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "every weekday", "jeden Arbeitstag"),
    ("FREQ=MONTHLY;INTERVAL=3", "every 3 months", "alle 3 Monate"),
    ("FREQ=MONTHLY;BYMONTHDAY=-1", "last day of every month", "am letzten Tag jedes Monats"),
    (
        "FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=1,15,-1",
        "every 2 months on the 1st, 15th and last day",
        "alle 2 Monate am 1., 15. und letzten Tag",
    ),
    ("FREQ=MONTHLY;BYDAY=2TU", "2nd Tuesday of every month", "am 2. Dienstag jedes Monats"),
    (
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "last weekday of every month",
        "am letzten Arbeitstag jedes Monats",
    ),
    ("FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=31", "every year on 31 January", "jedes Jahr am 31. Januar"),
    (
        "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH",
        "every year on the 4th Thursday of November",
        "jedes Jahr am 4. Donnerstag im November",
    ),
    ("FREQ=DAILY;BYHOUR=9,18", "by the rule FREQ=DAILY;BYHOUR=9,18", "nach der Regel FREQ=DAILY;BYHOUR=9,18"),
]


def again(text: str, language: str) -> Repetition:
    return read_rule(text, CONTEXT, language)


@pytest.mark.parametrize(("rule", "english", "german"), SAID, ids=[row[0] for row in SAID])
def test_a_rule_is_said_in_words_and_read_back(rule: str, english: str, german: str) -> None:
    for language, sentence in (("en", english), ("de", german)):
        assert say_rule(parse_rule(rule), Mode.DUE, Policy.SKIP, language) == sentence
        assert again(sentence, language) == Repetition(parse_rule(rule).text)


@pytest.mark.parametrize(("language", "phrase"), [row[:2] for row in PHRASES], ids=[row[1] for row in PHRASES])
def test_every_rule_of_quick_add_has_words_and_comes_back_the_same_in_every_language(
    language: str, phrase: str
) -> None:
    repetition = reading(phrase, language).repetition
    if repetition is None:
        return
    for spoken in LANGUAGES:
        sentence = say_rule(parse_rule(repetition.rule), repetition.mode, repetition.policy, spoken)
        assert "FREQ" not in sentence
        assert again(sentence, spoken) == repetition


@settings(deadline=None, max_examples=300)
@given(
    text=rule_texts(),
    mode=st.sampled_from(Mode),
    policy=st.sampled_from(Policy),
    language=st.sampled_from(sorted(LANGUAGES)),
)
def test_any_rule_is_said_and_comes_back_the_same(text: str, mode: Mode, policy: Policy, language: str) -> None:
    try:
        rule = parse_rule(text)
    except RecurrenceError:
        return
    assert again(say_rule(rule, mode, policy, language), language) == Repetition(rule.text, mode, policy)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    signed = st.integers(low, high) | st.integers(low, high).map(lambda each: -each)
    return st.lists(signed, min_size=1, max_size=4, unique=True).map(lambda some: ",".join(map(str, some)))


weekdays = st.lists(st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]), min_size=1, max_size=6, unique=True)
nth_weekdays = st.lists(
    st.builds("{}{}".format, st.sampled_from([1, 2, 3, 4, 5, -1, -2, -3]), st.sampled_from(["MO", "WE", "SU"])),
    min_size=1,
    max_size=4,
    unique=True,
)
months = st.integers(1, 12).map(lambda month: f"BYMONTH={month}")
worded = st.one_of(
    st.sampled_from(["FREQ=HOURLY", "FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY", "FREQ=YEARLY"]),
    weekdays.map(lambda days: "FREQ=WEEKLY;BYDAY=" + ",".join(days)),
    numbers(1, 31).map("FREQ=MONTHLY;BYMONTHDAY={}".format),
    nth_weekdays.map(lambda days: "FREQ=MONTHLY;BYDAY=" + ",".join(days)),
    st.integers(1, 20).map("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS={}".format),
    st.builds("FREQ=YEARLY;{};BYMONTHDAY={}".format, months, st.sampled_from(["1", "28", "-1", "1,15,-1"])),
    st.builds(
        "FREQ=YEARLY;{};BYDAY={}".format,
        months,
        nth_weekdays.map(",".join),
    ),
)
endings = st.sampled_from(["", ";COUNT=1", ";COUNT=9999", ";UNTIL=20300101", ";UNTIL=20991231T235959Z"])


@settings(deadline=None, max_examples=300)
@given(core=worded, interval=st.integers(1, 10_000), ending=endings, language=st.sampled_from(sorted(LANGUAGES)))
def test_ordinary_rules_have_words_of_their_own(core: str, interval: int, ending: str, language: str) -> None:
    rule = parse_rule(f"{core};INTERVAL={interval}{ending}")
    sentence = say_rule(rule, Mode.COMPLETION, Policy.EACH, language)
    assert "FREQ" not in sentence
    assert again(sentence, language) == Repetition(rule.text, Mode.COMPLETION, Policy.EACH)


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=200), language=st.sampled_from(sorted(LANGUAGES)))
def test_any_text_is_a_rule_or_is_refused_with_a_fix(text: str, language: str) -> None:
    with contextlib.suppress(RuleError):  # it has a problem and a fix, always
        rule = again(text, language).rule
        assert parse_rule(rule).text == rule


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "says nothing that repeats"),
        ("tomorrow", "says nothing that repeats"),
        ("call mom every day", "says nothing that repeats"),
        ("every day at 9am", "'at 9 am' is not understood"),
        ("every monday tuesdays off", "'tuesdays off' is not understood"),
        ("every day until 1 jan 2027, 3 times", "together with COUNT"),
        ("FREQ=SOMETIMES", "is no frequency"),
        ("x" * 1201, "1,201 characters"),
    ],
)
def test_what_is_wrong_with_a_sentence_is_said(text: str, problem: str) -> None:
    with pytest.raises(RuleError, match=problem):
        again(text, "en")


def test_a_rule_itself_is_a_sentence_too() -> None:
    for text in ("FREQ=WEEKLY;BYDAY=MO,TH", "RRULE:FREQ=WEEKLY;BYDAY=MO,TH", "by the rule freq=weekly;byday=mo,th"):
        assert again(text, "en").rule == "FREQ=WEEKLY;BYDAY=MO,TH"


def test_both_languages_say_the_same_things() -> None:
    english, german = SPEECHES["en"], SPEECHES["de"]
    assert english.texts.keys() == german.texts.keys()
    assert LANGUAGES.keys() == SPEECHES.keys()


class TestClockRemarks:
    def remarks(self, rule: str, start: dt.datetime, mode: Mode = Mode.DUE, limit: int = 5) -> list[str]:
        series = Series(start, str(start.tzinfo), parse_rule(rule), mode)
        return clock_remarks(series, occurrences(series, after=None, limit=limit), "en")

    def test_only_the_dates_shown_that_the_clocks_touch(self) -> None:
        start = dt.datetime(2027, 3, 26, 2, 30, tzinfo=BERLIN)
        (gap,) = self.remarks("FREQ=DAILY", start)
        assert gap.startswith("02:30 does not exist on Sun 28 Mar 2027")
        assert self.remarks("FREQ=DAILY", start, limit=2) == []
        assert self.remarks("FREQ=DAILY", start.replace(hour=3)) == []
        assert self.remarks("FREQ=DAILY", start.replace(hour=1)) == []

    def test_from_completion_too(self) -> None:
        (gap,) = self.remarks("FREQ=DAILY", dt.datetime(2027, 3, 26, 2, 30, tzinfo=BERLIN), Mode.COMPLETION)
        assert gap.endswith("it will be 03:30")

    def test_half_an_hour_where_that_is_the_gap(self) -> None:
        start = dt.datetime(2026, 10, 3, 2, 15, tzinfo=ZoneInfo("Australia/Lord_Howe"))
        (gap,) = self.remarks("FREQ=DAILY", start)
        assert "02:15 does not exist on Sun 4 Oct 2026 in Australia/Lord_Howe" in gap
        assert gap.endswith("it will be 02:45")

    def test_a_time_that_comes_twice(self) -> None:
        (fold,) = self.remarks("FREQ=DAILY", dt.datetime(2027, 10, 29, 2, 30, tzinfo=BERLIN))
        assert fold.startswith("02:30 comes twice on Sun 31 Oct 2027")

    def test_an_hourly_rule_goes_by_the_wall_clock(self) -> None:
        (gap,) = self.remarks("FREQ=HOURLY;INTERVAL=12", dt.datetime(2027, 3, 27, 14, 30, tzinfo=BERLIN))
        assert gap.startswith("02:30 does not exist")

    def test_whole_days_have_none(self) -> None:
        series = Series(dt.date(2027, 3, 26), "Europe/Berlin", parse_rule("FREQ=DAILY"))
        assert clock_remarks(series, occurrences(series, after=None, limit=5), "en") == []


@pytest.mark.parametrize(
    ("rule", "start", "remark"),
    [
        ("FREQ=MONTHLY", "2027-01-31", "months without a 31st"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,30", "2027-01-01", "months without a 30th"),
        ("FREQ=YEARLY", "2028-02-29", "only leap years"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "2027-01-31", None),
        ("FREQ=MONTHLY", "2027-01-28", None),
        ("FREQ=YEARLY", "2027-01-31", None),
        ("FREQ=MONTHLY;BYDAY=1MO", "2027-01-31", None),
        ("FREQ=WEEKLY", "2027-01-31", None),
    ],
)
def test_dates_that_some_months_lack_are_told(rule: str, start: str, remark: str | None) -> None:
    series = Series(dt.date.fromisoformat(start), "UTC", parse_rule(rule))
    said = calendar_remarks(series, "en")
    assert (remark is None and not said) or (remark is not None and remark in said[0])
