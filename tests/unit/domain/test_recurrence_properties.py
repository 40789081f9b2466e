import datetime as dt
import itertools
import math
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from todo.domain.recurrence import (
    Due,
    Mode,
    Policy,
    RecurrenceError,
    Rule,
    Series,
    next_due,
    occurrences,
    parse_rule,
)
from todo.domain.recurrence.expansion import Expansion
from todo.domain.recurrence.parsing import _CYCLE_START

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "UTC")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

relaxed = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.filter_too_much])
weaker = settings(relaxed, max_examples=40)  # for what the other properties mostly imply


def numbers(low: int, high: int, *, signed: bool = False) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    either = number | number.map(lambda each: -each) if signed else number
    return st.lists(either, min_size=1, max_size=4, unique=True).map(lambda some: ",".join(map(str, some)))


def weekdays(*, nth: int) -> st.SearchStrategy[str]:
    """Weekdays, all plain or, up to `nth`, all numbered."""
    plain = st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=4, unique=True).map(",".join)
    if not nth:
        return plain
    place = st.integers(1, nth) | st.integers(-nth, -1)
    numbered = st.lists(st.builds("{}{}".format, place, st.sampled_from(WEEKDAYS)), min_size=1, max_size=3, unique=True)
    return plain | numbered.map(",".join)


def times_of_a_period(freq: str, parts: dict[str, str]) -> int:
    """How many times an hour, day or week offers BYSETPOS; asked for more, a rule never fires and is slow to refuse."""
    counted = {"HOURLY": ("BYMINUTE",), "DAILY": ("BYHOUR", "BYMINUTE"), "WEEKLY": ("BYDAY", "BYHOUR", "BYMINUTE")}
    if freq not in counted:
        return 5
    return math.prod(parts[name].count(",") + 1 for name in counted[freq] if name in parts)


@st.composite
def rule_texts(draw: st.DrawFn, *, second_opinion: bool = False) -> str:
    """RRULE texts; with `second_opinion` only such as dateutil reads as the RFC does."""
    freq = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]))
    parts = {"FREQ": freq}
    optional: dict[str, st.SearchStrategy[str]] = {
        "INTERVAL": st.integers(1, 40).map(str),
        "WKST": st.sampled_from(WEEKDAYS),
        "BYMONTH": numbers(1, 12),
        "BYDAY": weekdays(nth=5 if freq in {"YEARLY", "MONTHLY"} else 0),
        "BYHOUR": numbers(0, 23),
        "BYMINUTE": numbers(0, 59),
    }
    if freq != "WEEKLY":
        optional["BYMONTHDAY"] = numbers(1, 31, signed=True)
    if freq in {"YEARLY", "HOURLY"}:
        optional["BYYEARDAY"] = numbers(1, 366, signed=True)
    if freq == "YEARLY" and not second_opinion:
        optional["BYWEEKNO"] = numbers(1, 53, signed=True)
    for name, values in optional.items():
        if draw(st.integers(0, 2)) == 0:
            parts[name] = draw(values)
    if freq == "HOURLY" and parts.keys() & {"BYMONTH", "BYMONTHDAY"}:
        parts.pop("BYYEARDAY", None)  # they rarely agree, and that an hourly rule never fires takes long to find out
    has_by = any(name.startswith("BY") for name in parts)
    if has_by and not (second_opinion and freq == "WEEKLY") and draw(st.integers(0, 3)) == 0:
        parts["BYSETPOS"] = draw(numbers(1, min(5, times_of_a_period(freq, parts)), signed=True))
    ending = draw(st.sampled_from(["", "", "COUNT", "UNTIL"])) if not second_opinion else ""
    if ending == "COUNT":
        parts["COUNT"] = str(draw(st.integers(1, 200)))
    if ending == "UNTIL":
        parts["UNTIL"] = f"{draw(st.dates(dt.date(1990, 1, 1), dt.date(2050, 1, 1))):%Y%m%d}"
    return ";".join(f"{name}={value}" for name, value in parts.items())


@st.composite
def rules(draw: st.DrawFn, *, second_opinion: bool = False) -> Rule:
    text = draw(rule_texts(second_opinion=second_opinion))
    try:
        return parse_rule(text)
    except RecurrenceError:
        assume(condition=False)
        raise


wall = dt.datetime.fromisoformat  # what a clock on the wall shows, in no zone
walls = st.datetimes(wall("1970-01-01"), wall("2040-01-01")).map(lambda each: each.replace(microsecond=0))
instants = st.datetimes(wall("1960-01-01"), wall("2060-01-01"), timezones=st.just(dt.UTC))


@st.composite
def all_series(draw: st.DrawFn, *, modes: tuple[Mode, ...] = tuple(Mode)) -> Series:
    rule, zone = draw(rules()), draw(st.sampled_from(ZONES))
    local = draw(walls)
    whole_days = draw(st.booleans()) and not rule.text.startswith("FREQ=HOURLY")
    start: Due = local.date() if whole_days else local.replace(tzinfo=ZoneInfo(zone))
    return Series(start, zone, rule, draw(st.sampled_from(modes)), draw(st.sampled_from(Policy)))


def in_order(dates: list[Due]) -> bool:
    return all(earlier < later for earlier, later in itertools.pairwise(dates))


@relaxed
@given(rules(second_opinion=True), walls)
def test_walls_are_those_of_a_second_implementation(rule: Rule, start: dt.datetime) -> None:
    """Where dateutil reads rules as the RFC does, both give the same dates."""
    soon = itertools.takewhile(lambda each: each.year < start.year + 40, Expansion(rule, start).walls(start))
    ours = list(itertools.islice(soon, 30))
    assume(ours)
    assert ours == list(
        itertools.islice(rrulestr(rule.text + ("" if "WKST" in rule.text else ";WKST=MO"), dtstart=start), len(ours))
    )


@relaxed
@given(rules(), walls, st.integers(0, 20))
def test_a_search_from_any_moment_finds_what_iteration_from_the_start_finds(
    rule: Rule, start: dt.datetime, skip: int
) -> None:
    """Fast forward is aligned: INTERVAL, WKST and every BY part give the same dates from wherever the search begins."""
    expansion = Expansion(rule, start)
    slow = list(itertools.islice(expansion.walls(start), 30))
    assume(len(slow) > skip)
    for since in (slow[skip], slow[skip] - dt.timedelta(seconds=1), slow[skip] - dt.timedelta(days=3)):
        expected = [each for each in slow if each >= since]
        assert list(itertools.islice(expansion.walls(max(since, start)), len(expected))) == expected


@weaker
@given(
    st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]), st.integers(1, 40), st.sampled_from(WEEKDAYS)
)
def test_a_search_over_years_stays_aligned(freq: str, interval: int, wkst: str) -> None:
    start = wall("1996-02-01T09:00")
    expansion = Expansion(parse_rule(f"FREQ={freq};INTERVAL={interval};WKST={wkst}"), start)
    since = wall("2006-01-01")
    slow = next(each for each in expansion.walls(start) if each >= since)
    assert next(expansion.walls(since)) == slow


@relaxed
@given(st.integers(1, 53), st.booleans(), st.dates(dt.date(1971, 1, 1), dt.date(2040, 1, 1)))
def test_week_numbers_are_those_of_iso_8601(week: int, from_end: bool, start: dt.date) -> None:
    """With weeks that begin on Monday, BYWEEKNO agrees with the ISO calendar, also around New Year."""
    number = -week if from_end else week
    days = ",".join(WEEKDAYS)
    it = Series(start, "UTC", parse_rule(f"FREQ=YEARLY;BYWEEKNO={number};BYDAY={days}"))

    def fits(day: dt.date) -> bool:
        year, of_year, _ = day.isocalendar()
        return of_year - (dt.date(year, 12, 28).isocalendar().week + 1 if from_end else 0) == number

    candidates = (start + dt.timedelta(days=each) for each in range(366 * 7))
    expected = [day for day in candidates if fits(day)][:20]
    assert occurrences(it, after=None, limit=20)[: len(expected)] == expected


@weaker
@given(all_series(), st.none() | instants)
def test_previews_strictly_increase_and_come_after(it: Series, after: dt.datetime | None) -> None:
    found = occurrences(it, after=after, limit=20)
    assert in_order(found)
    assert found == occurrences(it, after=after, limit=20)
    if after is not None and found and isinstance(found[0], dt.datetime):
        assert found[0] > after


@relaxed
@given(all_series(modes=(Mode.DUE,)), st.integers(0, 10))
def test_a_preview_goes_on_where_the_one_before_ended(it: Series, cut: int) -> None:
    """With `after` at any of the dates the rest comes: no date depends on where one begins to look."""
    whole = occurrences(it, after=None, limit=20)
    assume(len(whole) > cut)
    assert occurrences(it, after=whole[cut], limit=20)[: 19 - cut] == whole[cut + 1 :]


@relaxed
@given(all_series(), instants, instants, st.integers(1, 250))
def test_the_next_date_is_one_of_the_series_after_all_it_must_follow(
    it: Series, due: dt.datetime, closed_at: dt.datetime, seq: int
) -> None:
    """It depends on nothing but the arguments; COUNT is a bound on its number."""
    found = next_due(it, seq=seq, due=due, closed_at=closed_at)
    assert found == next_due(it, seq=seq, due=due, closed_at=closed_at)
    if found is None:
        return
    assert it.rule.count is None or seq < it.rule.count
    if isinstance(found, dt.datetime) and it.mode is Mode.COMPLETION:
        assert found > closed_at
    if isinstance(found, dt.datetime) and it.mode is Mode.DUE:
        assert found > due
        assert it.policy is Policy.EACH or found > closed_at
    if it.mode is Mode.DUE:
        before = found - dt.timedelta(days=1)
        assert found in occurrences(it, after=before, limit=100)


@weaker
@given(
    all_series(modes=(Mode.DUE,)),
    st.lists(st.timedeltas(dt.timedelta(days=-3), dt.timedelta(days=40)), min_size=1, max_size=12),
)
def test_whoever_closes_early_or_late_meets_each_date_of_the_series_once(
    it: Series, delays: list[dt.timedelta]
) -> None:
    """Walking the series by closings never leaves its dates, never goes back and never exceeds COUNT."""
    due = next(iter(occurrences(it, after=None, limit=1)), None)
    walked: list[Due] = []
    for delay in delays:
        if due is None:
            break
        walked.append(due)
        noon = due if isinstance(due, dt.datetime) else dt.datetime.combine(due, dt.time(12), dt.UTC)
        due = next_due(it, seq=len(walked), due=due, closed_at=noon + delay)
    assert in_order(walked)
    assert it.rule.count is None or len(walked) <= it.rule.count
    if it.policy is Policy.EACH:
        assert walked == occurrences(it, after=None, limit=20)[: len(walked)]


@weaker
@given(rule_texts())
def test_canonical_texts_are_their_own(text: str) -> None:
    try:
        rule = parse_rule(text)
    except RecurrenceError:
        assume(condition=False)
    assert parse_rule(rule.text) == rule
    assert parse_rule(rule.text).text == rule.text


@relaxed
@given(st.text(max_size=60) | st.text(alphabet="FREQ=DAILYBMO;,-+0123456789:TZ", max_size=60))
def test_any_text_is_a_rule_or_a_clear_refusal(text: str) -> None:
    try:
        assert parse_rule(text).text
    except RecurrenceError as error:
        refusal = (error.field, error.problem, error.fix)
        assert all(refusal)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The periods that expansions look at."""
    periods: list[int] = []
    walls_in = Expansion._walls_in

    def recorded(self: Expansion, period: int) -> Iterator[dt.datetime]:
        periods.append(period)
        return walls_in(self, period)

    monkeypatch.setattr(Expansion, "_walls_in", recorded)
    return periods


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=HOURLY;INTERVAL=168;BYDAY=TU",
        "FREQ=HOURLY;INTERVAL=2;BYHOUR=2",
        "FREQ=HOURLY;INTERVAL=21;BYYEARDAY=366;BYDAY=TU;BYHOUR=3",
        "FREQ=HOURLY;INTERVAL=9999;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;BYHOUR=10",
        "FREQ=YEARLY;INTERVAL=400;BYMONTH=2;BYMONTHDAY=29",
    ],
)
def test_a_search_without_result_looks_at_a_bounded_number_of_periods(text: str, looked_at: list[int]) -> None:
    """Rules that fire, but not from this start, are given up after 50,000 periods at most."""
    rule, monday = parse_rule(text), wall("2001-01-01T09:00")
    looked_at.clear()
    assert next(Expansion(rule, monday).walls(monday), None) is None
    assert len(looked_at) <= 50_000


@pytest.mark.parametrize("text", ["FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "FREQ=HOURLY;BYMINUTE=0;BYSETPOS=2"])
def test_a_rule_that_never_fires_is_refused_after_a_bounded_search(text: str, looked_at: list[int]) -> None:
    with pytest.raises(RecurrenceError, match="never fires"):
        parse_rule(text)
    assert len(looked_at) <= 50_000


def test_an_hourly_series_since_1900_is_searched_from_today(looked_at: list[int]) -> None:
    """The search begins two days before the date it must come after, not a million hours."""
    rule, zone = parse_rule("FREQ=HOURLY"), "Europe/Berlin"
    it = Series(wall("1900-01-01T09:00").replace(tzinfo=ZoneInfo(zone)), zone, rule)
    now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    looked_at.clear()
    assert next_due(it, seq=1, due=now, closed_at=now) == now + dt.timedelta(hours=1)
    assert len(looked_at) < 100


def test_the_calendar_from_which_rules_are_checked_begins_a_cycle() -> None:
    assert _CYCLE_START.year % 400 == 0
