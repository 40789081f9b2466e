import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from todo.domain.recurrence import (
    MAX_RULE_LENGTH,
    Due,
    Mode,
    Policy,
    RecurrenceError,
    Series,
    first_due,
    next_due,
    occurrences,
    parse_rule,
)

BERLIN, NEW_YORK, LORD_HOWE, SAMOA = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"


def at(text: str, zone: str = BERLIN) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def series(rule: str, start: str, zone: str = BERLIN, mode: Mode = Mode.DUE, policy: Policy = Policy.SKIP) -> Series:
    """A start with a time has a T in it; without, the series is date-only."""
    return Series(at(start, zone) if "T" in start else day(start), zone, parse_rule(rule), mode, policy)


def shown(dates: list[Due], zone: str) -> list[str]:
    """Local wall times with their offsets, or dates."""
    local = [each.astimezone(ZoneInfo(zone)) if isinstance(each, dt.datetime) else each for each in dates]
    return [each.isoformat(timespec="minutes") if isinstance(each, dt.datetime) else each.isoformat() for each in local]


def preview(it: Series, limit: int, after: Due | None = None) -> list[str]:
    return shown(occurrences(it, after=after, limit=limit), it.zone)


def following(it: Series, due: Due, closed_at: dt.datetime, seq: int = 1, scheduled: Due | None = None) -> str | None:
    found = next_due(it, seq=seq, due=due, closed_at=closed_at, scheduled=scheduled)
    return None if found is None else shown([found], it.zone)[0]


RFC_EXAMPLES = [  # RFC 5545, 3.8.5.3: 9:00 in New York; years that repeat are left out of the dates
    ("FREQ=DAILY;COUNT=10", "19970902", "0902 0903 0904 0905 0906 0907 0908 0909 0910 0911 end"),
    ("FREQ=DAILY;INTERVAL=2", "19970902", "0902 0904 0906 0908 0910 0912 0914"),
    ("FREQ=DAILY;INTERVAL=10;COUNT=5", "19970902", "0902 0912 0922 1002 1012 end"),
    ("FREQ=WEEKLY;COUNT=10", "19970902", "0902 0909 0916 0923 0930 1007 1014 1021 1028 1104 end"),
    ("FREQ=WEEKLY;INTERVAL=2;WKST=SU", "19970902", "0902 0916 0930 1014 1028 1111 1125 1209 1223 19980106"),
    (
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        "19970902",
        "0902 0904 0909 0911 0916 0918 0923 0925 0930 1002 end",
    ),
    ("FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", "19970902", "0902 0904 0909 0911 0916 0918 0923 0925 0930 1002 end"),
    (
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        "19970901",
        (
            "0901 0903 0905 0915 0917 0919 0929 1001 1003 1013 1015 1017 1027 1029 1031 "
            "1110 1112 1114 1124 1126 1128 1208 1210 1212 1222 end"
        ),
    ),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", "19970902", "0902 0904 0916 0918 0930 1002 1014 1016 end"),
    ("FREQ=MONTHLY;COUNT=10;BYDAY=1FR", "19970905", "0905 1003 1107 1205 19980102 0206 0306 0403 0501 0605 end"),
    ("FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR", "19970905", "0905 1003 1107 1205 end"),
    (
        "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        "19970907",
        "0907 0928 1102 1130 19980104 0125 0301 0329 0503 0531 end",
    ),
    ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "19970922", "0922 1020 1117 1222 19980119 0216 end"),
    ("FREQ=MONTHLY;BYMONTHDAY=-3", "19970928", "0928 1029 1128 1229 19980129 0226"),
    ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15", "19970902", "0902 0915 1002 1015 1102 1115 1202 1215 19980102 0115 end"),
    ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", "19970930", "0930 1001 1031 1101 1130 1201 1231 19980101 0131 0201 end"),
    (
        "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        "19970910",
        "0910 0911 0912 0913 0914 0915 19990310 0311 0312 0313 end",
    ),
    ("FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", "19970902", "0902 0909 0916 0923 0930 1104 1111 1118 1125 19980106"),
    (
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        "19970610",
        "0610 0710 19980610 0710 19990610 0710 20000610 0710 20010610 0710 end",
    ),
    (
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        "19970310",
        "0310 19990110 0210 0310 20010110 0210 0310 20030110 0210 0310 end",
    ),
    (
        "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        "19970101",
        "0101 0410 0719 20000101 0409 0718 20030101 0410 0719 20060101 end",
    ),
    ("FREQ=YEARLY;BYDAY=20MO", "19970519", "0519 19980518 19990517"),
    ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "19970512", "0512 19980511 19990517"),
    ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH", "19970313", "0313 0320 0327 19980305 0312 0319 0326"),
    ("FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8", "19970605", "0605 0612 0619 0626 0703 0710 0717 0724 0731 0807"),
    ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "19970902", "19980213 0313 1113 19990813 20001013"),
    ("FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", "19970913", "0913 1011 1108 1213 19980110 0207 0307"),
    ("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", "19961105", "1105 20001107 20041102"),
    ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "19970904", "0904 1007 1106 end"),
    ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", "19970929", "0929 1030 1127 1230 19980129 0226 0330"),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "19970805", "0805 0810 0819 0824 end"),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "19970805", "0805 0817 0819 0831 end"),
    ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "20070115", "0115 0130 0215 0315 0330 end"),
]


@pytest.mark.parametrize(("rule", "start", "expected"), RFC_EXAMPLES, ids=[rule for rule, _, _ in RFC_EXAMPLES])
def test_rfc_5545_examples(rule: str, start: str, expected: str) -> None:
    """The examples of the RFC give the dates the RFC lists, and end where it says so."""
    it = series(rule, f"{start}T090000", NEW_YORK)
    dates, ends = expected.removesuffix(" end").split(), expected.endswith(" end")
    found = occurrences(it, after=None, limit=len(dates) + ends)
    year = start[:4]
    listed = []
    for each in dates:
        year = each[:4] if len(each) == 8 else year
        listed.append(at(f"{year}{each[-4:]}T090000", NEW_YORK).astimezone(dt.UTC))
    assert found == listed


def test_hourly_example_of_the_rfc() -> None:
    """Every 3 hours until 17:00 is three times, the last included."""
    it = series("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T190000Z", "1997-09-02T09:00", NEW_YORK)
    assert [each[11:16] for each in preview(it, 9)] == ["09:00", "12:00", "15:00"]


def test_times_of_day_multiply_and_positions_choose_among_them() -> None:
    it = series("FREQ=DAILY;BYHOUR=9,18;BYMINUTE=0,30;BYSETPOS=-1,1", "2026-01-01T09:00")
    assert [each[:16] for each in preview(it, 3)] == ["2026-01-01T09:00", "2026-01-01T18:30", "2026-01-02T09:00"]


class TestRulesThatAreOftenReadWrongly:
    def test_plain_and_numbered_weekdays_add_up(self) -> None:
        it = series("FREQ=MONTHLY;BYDAY=MO,1FR", "2026-01-01")
        assert preview(it, 5) == ["2026-01-02", "2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"]

    def test_positions_count_in_the_whole_first_week(self) -> None:
        """A series that starts on Wednesday does not make Wednesday the first of Monday, Wednesday, Friday."""
        it = series("FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1", "2026-01-07")
        assert preview(it, 2) == ["2026-01-12", "2026-01-19"]

    def test_a_week_number_takes_its_weekday_from_the_start(self) -> None:
        assert preview(series("FREQ=YEARLY;BYWEEKNO=20", "1997-05-12"), 2) == ["1997-05-12", "1998-05-11"]

    @pytest.mark.parametrize(("wkst", "expected"), [("MO", "2027-01-10"), ("SU", "2027-01-03")])
    def test_week_numbers_follow_the_start_of_the_week(self, wkst: str, expected: str) -> None:
        it = series(f"FREQ=YEARLY;BYWEEKNO=1;BYDAY=SU;WKST={wkst}", "2026-01-01")
        assert preview(it, 2) == ["2026-01-04", expected]

    def test_days_of_the_last_week_belong_to_its_year(self) -> None:
        """Saturday 2 January 2027 is in the last week of 2026."""
        it = series("FREQ=YEARLY;BYWEEKNO=-1,-2", "2027-01-02")
        assert preview(it, 5) == ["2027-01-02", "2027-12-25", "2028-01-01", "2028-12-23", "2028-12-30"]

    def test_a_start_that_does_not_fit_the_rule_is_no_occurrence(self) -> None:
        assert preview(series("FREQ=WEEKLY;BYDAY=MO", "2026-01-07"), 1) == ["2026-01-12"]

    def test_hours_are_ignored_for_whole_days(self) -> None:
        assert preview(series("FREQ=DAILY;BYHOUR=9,18", "2026-01-01"), 2) == ["2026-01-01", "2026-01-02"]


class TestMonthEnds:
    def test_the_31st_skips_short_months_and_does_not_drift(self) -> None:
        it = series("FREQ=MONTHLY", "2026-01-31")
        assert preview(it, 4) == ["2026-01-31", "2026-03-31", "2026-05-31", "2026-07-31"]

    def test_minus_one_is_the_last_day_of_every_month(self) -> None:
        it = series("FREQ=MONTHLY;BYMONTHDAY=-1", "2028-01-31")
        assert preview(it, 4) == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]

    def test_29_february_comes_in_leap_years(self) -> None:
        it = series("FREQ=YEARLY", "2096-02-29")
        assert preview(it, 3) == ["2096-02-29", "2104-02-29", "2108-02-29"]

    def test_the_last_working_day_of_the_month(self) -> None:
        it = series("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2026-01-01")
        assert preview(it, 3) == ["2026-01-30", "2026-02-27", "2026-03-31"]


class TestDaylightSaving:
    def test_wall_time_stays_through_both_changes(self) -> None:
        it = series("FREQ=DAILY", "2026-03-28T09:00")
        assert preview(it, 2) == ["2026-03-28T09:00+01:00", "2026-03-29T09:00+02:00"]
        autumn = preview(it, 2, after=at("2026-10-24T08:00"))
        assert autumn == ["2026-10-24T09:00+02:00", "2026-10-25T09:00+01:00"]

    @pytest.mark.parametrize(
        ("zone", "start", "expected"),
        [
            (BERLIN, "2026-03-28T02:30", ["03-28T02:30+01:00", "03-29T03:30+02:00", "03-30T02:30+02:00"]),
            (NEW_YORK, "2026-03-07T02:30", ["03-07T02:30-05:00", "03-08T03:30-04:00", "03-09T02:30-04:00"]),
            (LORD_HOWE, "2026-10-03T02:15", ["10-03T02:15+10:30", "10-04T02:45+11:00", "10-05T02:15+11:00"]),
        ],
    )
    def test_a_time_in_the_gap_moves_forward_by_the_gap_once(self, zone: str, start: str, expected: list[str]) -> None:
        """The next occurrence is back at its wall time."""
        assert [each[5:] for each in preview(series("FREQ=DAILY", start, zone), 3)] == expected

    @pytest.mark.parametrize(
        ("zone", "start", "expected"),
        [
            (BERLIN, "2026-10-24T02:30", ["10-24T02:30+02:00", "10-25T02:30+02:00", "10-26T02:30+01:00"]),
            (NEW_YORK, "2026-10-31T01:30", ["10-31T01:30-04:00", "11-01T01:30-04:00", "11-02T01:30-05:00"]),
            (LORD_HOWE, "2026-04-04T01:45", ["04-04T01:45+11:00", "04-05T01:45+11:00", "04-06T01:45+10:30"]),
        ],
    )
    def test_a_time_that_comes_twice_means_the_first(self, zone: str, start: str, expected: list[str]) -> None:
        assert [each[5:] for each in preview(series("FREQ=DAILY", start, zone), 3)] == expected

    def test_the_second_of_two_equal_times_is_after_the_occurrence(self) -> None:
        """Closing at the second 2:30 of a night does not bring the first one back."""
        it = series("FREQ=DAILY", "2026-10-24T02:30")
        second = at("2026-10-25T02:30").replace(fold=1)
        assert following(it, at("2026-10-25T02:30"), second) == "2026-10-26T02:30+01:00"

    def test_a_moved_time_is_found_from_between_the_two(self) -> None:
        """At 3:15 the occurrence of 2:30, moved to 3:30, is still to come."""
        it = series("FREQ=DAILY", "2026-03-01T02:30")
        assert preview(it, 1, after=at("2026-03-29T03:15")) == ["2026-03-29T03:30+02:00"]

    def test_a_moved_time_keeps_its_place_in_the_order(self) -> None:
        """2:30 becomes 3:30, after 3:00 and together with the 3:30 that is there anyway."""
        it = series("FREQ=HOURLY;BYMINUTE=0,30", "2026-03-29T01:30")
        assert [each[11:16] for each in preview(it, 5)] == ["01:30", "03:00", "03:30", "04:00", "04:30"]

    def test_count_counts_times_that_coincide_in_a_gap(self) -> None:
        it = series("FREQ=HOURLY;COUNT=4", "2026-03-29T01:00")
        assert [each[11:16] for each in preview(it, 9)] == ["01:00", "03:00", "04:00"]

    def test_a_day_that_a_zone_leaves_out_falls_on_the_next(self) -> None:
        """Samoa had no 30 December 2011."""
        it = series("FREQ=DAILY", "2011-12-29T09:00", SAMOA)
        assert [each[:16] for each in preview(it, 3)] == ["2011-12-29T09:00", "2011-12-31T09:00", "2012-01-01T09:00"]

    def test_a_start_given_in_another_offset_is_read_in_the_zone(self) -> None:
        it = Series(dt.datetime(2026, 1, 1, 8, tzinfo=dt.UTC), BERLIN, parse_rule("FREQ=MONTHLY;BYMONTH=7"))
        assert preview(it, 1) == ["2026-07-01T09:00+02:00"]


class TestUntil:
    @pytest.mark.parametrize(
        ("until", "expected"),
        [("20260103T080000Z", 3), ("20260103T075959Z", 2), ("20260103", 3), ("20260102", 2)],
    )
    def test_until_is_inclusive_and_a_date_lasts_to_its_end_in_the_zone(self, until: str, expected: int) -> None:
        it = series(f"FREQ=DAILY;UNTIL={until}", "2026-01-01T09:00")
        assert len(occurrences(it, after=None, limit=9)) == expected

    @pytest.mark.parametrize("until", ["20260103", "20260103T000000Z"])
    def test_whole_days_include_the_date_of_until(self, until: str) -> None:
        it = series(f"FREQ=DAILY;UNTIL={until}", "2026-01-01", NEW_YORK)
        assert preview(it, 9) == ["2026-01-01", "2026-01-02", "2026-01-03"]

    def test_a_date_moved_by_a_gap_past_until_is_left_out(self) -> None:
        it = series("FREQ=DAILY;UNTIL=20260329T010000Z", "2026-03-28T02:30")
        assert preview(it, 9) == ["2026-03-28T02:30+01:00"]


class TestNextDueFromDueDates:
    WEEKLY = "FREQ=WEEKLY;BYDAY=MO"

    def test_late_closing_skips_to_the_next_future_date(self) -> None:
        it = series(self.WEEKLY, "2026-01-05T09:00")
        assert following(it, at("2026-01-05T09:00"), at("2026-01-21T12:00")) == "2026-01-26T09:00+01:00"

    def test_late_closing_with_each_gives_the_next_date_even_if_it_passed(self) -> None:
        it = series(self.WEEKLY, "2026-01-05T09:00", policy=Policy.EACH)
        assert following(it, at("2026-01-05T09:00"), at("2026-01-21T12:00")) == "2026-01-12T09:00+01:00"

    @pytest.mark.parametrize("policy", Policy)
    def test_early_closing_gives_the_date_after_due(self, policy: Policy) -> None:
        it = series(self.WEEKLY, "2026-01-05T09:00", policy=policy)
        assert following(it, at("2026-01-05T09:00"), at("2026-01-01T12:00")) == "2026-01-12T09:00+01:00"

    def test_closing_at_the_very_moment_of_a_date_goes_past_it(self) -> None:
        it = series(self.WEEKLY, "2026-01-05T09:00")
        assert following(it, at("2026-01-05T09:00"), at("2026-01-12T09:00")) == "2026-01-19T09:00+01:00"

    @pytest.mark.parametrize("policy", Policy)
    def test_a_due_date_moved_by_the_user_makes_no_drift(self, policy: Policy) -> None:
        it = series(self.WEEKLY, "2026-01-05T09:00", policy=policy)
        assert following(it, at("2026-01-07T17:45"), at("2026-01-07T18:00")) == "2026-01-12T09:00+01:00"

    def test_an_occurrence_pulled_forward_is_not_dated_twice(self) -> None:
        """Monday's was moved to Friday before and closed there: the next is the Monday after."""
        it = series(self.WEEKLY, "2026-01-05T09:00")
        friday, monday = at("2026-01-09T09:00"), at("2026-01-12T09:00")
        assert following(it, friday, friday, seq=2, scheduled=monday) == "2026-01-19T09:00+01:00"

    @pytest.mark.parametrize(
        ("closed_at", "expected"),
        [
            ("2026-01-05T23:59", "2026-01-06"),
            ("2026-01-07T00:00", "2026-01-08"),
            ("2026-01-01T12:00", "2026-01-06"),
        ],
    )
    def test_whole_days_look_at_the_local_day_of_closing(self, closed_at: str, expected: str) -> None:
        it = series("FREQ=DAILY", "2026-01-01", NEW_YORK)
        assert following(it, day("2026-01-05"), at(closed_at, NEW_YORK).astimezone(dt.UTC)) == expected

    def test_a_due_date_whose_time_was_taken_away_lasts_to_its_end(self) -> None:
        it = series("FREQ=DAILY", "2026-01-05T09:00", policy=Policy.EACH)
        assert following(it, day("2026-01-05"), at("2026-01-05T08:00")) == "2026-01-06T09:00+01:00"

    def test_a_due_date_that_was_given_a_time_counts_as_its_local_day(self) -> None:
        it = series("FREQ=DAILY", "2026-01-05", NEW_YORK, policy=Policy.EACH)
        late = dt.datetime(2026, 1, 7, 3, tzinfo=dt.UTC)  # still the 6th in New York
        assert following(it, late, late) == "2026-01-07"

    def test_until_ends_the_series(self) -> None:
        it = series("FREQ=DAILY;UNTIL=20260106", "2026-01-05")
        assert following(it, day("2026-01-05"), at("2026-01-05T12:00")) == "2026-01-06"
        assert following(it, day("2026-01-06"), at("2026-01-06T12:00"), seq=2) is None


class TestNextDueFromCompletion:
    @pytest.mark.parametrize("closed", ["2026-03-04T08:00", "2026-03-04T23:30"])
    def test_the_interval_runs_from_the_local_day_of_completion_at_the_series_wall_time(self, closed: str) -> None:
        it = series("FREQ=DAILY;INTERVAL=3", "2026-01-01T09:00", mode=Mode.COMPLETION)
        assert following(it, at("2026-03-01T09:00"), at(closed)) == "2026-03-07T09:00+01:00"

    def test_early_completion_brings_the_next_one_forward(self) -> None:
        it = series("FREQ=DAILY;INTERVAL=3", "2026-01-01T09:00", mode=Mode.COMPLETION)
        assert following(it, at("2026-03-10T09:00"), at("2026-03-04T08:00")) == "2026-03-07T09:00+01:00"

    def test_the_gap_of_dst_moves_only_the_occurrence_in_it(self) -> None:
        it = series("FREQ=DAILY", "2026-01-01T02:30", mode=Mode.COMPLETION)
        assert following(it, at("2026-03-28T02:30"), at("2026-03-28T03:00")) == "2026-03-29T03:30+02:00"
        assert following(it, at("2026-03-29T03:30"), at("2026-03-29T04:00")) == "2026-03-30T02:30+02:00"

    def test_whole_days_run_from_the_local_day(self) -> None:
        it = series("FREQ=WEEKLY;INTERVAL=2", "2026-01-01", NEW_YORK, mode=Mode.COMPLETION)
        evening = dt.datetime(2026, 1, 7, 3, tzinfo=dt.UTC)  # Tuesday the 6th in New York
        assert following(it, day("2026-01-01"), evening) == "2026-01-20"

    def test_hours_run_from_the_minute_of_completion(self) -> None:
        it = series("FREQ=HOURLY;INTERVAL=6", "2026-01-01T09:00", mode=Mode.COMPLETION)
        assert following(it, at("2026-01-01T09:00"), at("2026-01-01T14:20:35")) == "2026-01-01T20:20+01:00"

    def test_weekdays_of_the_rule_are_kept(self) -> None:
        it = series("FREQ=WEEKLY;BYDAY=MO,TH", "2026-01-05", mode=Mode.COMPLETION)
        assert following(it, day("2026-01-05"), at("2026-01-07T12:00")) == "2026-01-08"

    @pytest.mark.parametrize(
        ("rule", "closed_at", "expected"),
        [
            ("FREQ=MONTHLY", "2026-01-31T12:00", "2026-02-28"),
            ("FREQ=MONTHLY", "2028-01-30T12:00", "2028-02-29"),
            ("FREQ=YEARLY", "2028-02-29T12:00", "2029-02-28"),
            ("FREQ=MONTHLY;BYMONTHDAY=31", "2026-01-31T12:00", "2026-03-31"),
        ],
    )
    def test_a_month_after_its_last_day_is_the_last_day_of_the_next(
        self, rule: str, closed_at: str, expected: str
    ) -> None:
        it = series(rule, "2026-01-01", mode=Mode.COMPLETION)
        assert following(it, day("2026-01-31"), at(closed_at)) == expected

    def test_until_ends_the_series(self) -> None:
        it = series("FREQ=DAILY;INTERVAL=3;UNTIL=20260110", "2026-01-01", mode=Mode.COMPLETION)
        assert following(it, day("2026-01-01"), at("2026-01-07T12:00")) == "2026-01-10"
        assert following(it, day("2026-01-01"), at("2026-01-08T12:00")) is None

    def test_the_preview_closes_each_occurrence_on_its_day(self) -> None:
        it = series("FREQ=MONTHLY;COUNT=4", "2026-01-31", mode=Mode.COMPLETION)
        assert preview(it, 9) == ["2026-01-31", "2026-02-28", "2026-03-28", "2026-04-28"]
        assert preview(it, 2, after=day("2026-05-15")) == ["2026-06-15", "2026-07-15"]


class TestCount:
    @pytest.mark.parametrize("mode", Mode)
    @pytest.mark.parametrize("policy", Policy)
    def test_count_never_restarts(self, mode: Mode, policy: Policy) -> None:
        """Closing occurrence after occurrence, each on its day, ends after exactly COUNT of them."""
        it = series("FREQ=DAILY;COUNT=5", "2026-01-01T09:00", mode=mode, policy=policy)
        due: Due | None = first_due(it)
        seq = 0
        while due is not None:
            seq += 1
            assert isinstance(due, dt.datetime)
            due = next_due(it, seq=seq, due=due, closed_at=due + dt.timedelta(hours=1))
        assert seq == 5

    def test_dates_skipped_by_a_late_closing_are_used_up(self) -> None:
        it = series("FREQ=DAILY;COUNT=5", "2026-01-01")
        assert following(it, day("2026-01-01"), at("2026-01-04T12:00")) == "2026-01-05"
        assert following(it, day("2026-01-01"), at("2026-01-05T12:00")) is None

    @pytest.mark.parametrize("mode", Mode)
    def test_a_due_date_moved_to_the_past_gives_no_extra_occurrence(self, mode: Mode) -> None:
        it = series("FREQ=DAILY;COUNT=5", "2026-01-01", mode=mode, policy=Policy.EACH)
        assert following(it, day("2025-12-01"), at("2025-12-01T12:00"), seq=5) is None

    def test_completion_counts_by_number_not_by_date(self) -> None:
        it = series("FREQ=DAILY;COUNT=5", "2026-01-01", mode=Mode.COMPLETION)
        assert following(it, day("2026-01-01"), at("2027-01-01T12:00"), seq=4) == "2027-01-02"


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("RRULE:freq=weekly;byday=fr,mo,MO", "FREQ=WEEKLY;BYDAY=MO,FR"),
            ("INTERVAL=01;FREQ=DAILY;WKST=MO", "FREQ=DAILY"),
            ("FREQ=MONTHLY;BYDAY=+1MO,-1FR;INTERVAL=2", "FREQ=MONTHLY;INTERVAL=2;BYDAY=-1FR,1MO"),
            ("FREQ=WEEKLY;WKST=SU;COUNT=007", "FREQ=WEEKLY;COUNT=7;WKST=SU"),
            (" FREQ=YEARLY;UNTIL=20301231T000000Z;BYMONTH=12,1 ", "FREQ=YEARLY;UNTIL=20301231T000000Z;BYMONTH=1,12"),
        ],
    )
    def test_one_rule_has_one_text(self, text: str, canonical: str) -> None:
        assert parse_rule(text).text == canonical
        assert parse_rule(canonical) == parse_rule(text)

    @pytest.mark.parametrize(
        ("text", "field", "problem"),
        [
            ("Every Monday", "rule", "is not NAME=VALUE"),
            ("", "rule", "is not NAME=VALUE"),
            ("FREQ=DAILY;", "rule", "is not NAME=VALUE"),
            ("FREQ=DAILY\nEXDATE:20260101", "FREQ", "is no frequency"),
            ("BYDAY=MO", "FREQ", "is missing"),
            ("FREQ=SECONDLY", "FREQ", "too frequent"),
            ("FREQ=MINUTELY;INTERVAL=90", "FREQ", "too frequent"),
            ("FREQ=FORTNIGHTLY", "FREQ", "is no frequency"),
            ("FREQ=DAILY;FREQ=WEEKLY", "FREQ", "twice"),
            ("FREQ=DAILY;RSCALE=CHINESE", "rule", "no part of an RRULE"),
            ("FREQ=DAILY;BYEASTER=0", "rule", "no part of an RRULE"),
            ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS", "nothing to choose from"),
            ("FREQ=DAILY;COUNT=3;UNTIL=20260101", "UNTIL", "together with COUNT"),
            ("FREQ=DAILY;COUNT=0", "COUNT", "out of range"),
            ("FREQ=DAILY;COUNT=10001", "COUNT", "out of range"),
            ("FREQ=DAILY;COUNT=+3", "COUNT", "out of range"),
            ("FREQ=DAILY;COUNT=٣", "COUNT", "out of range"),
            ("FREQ=DAILY;INTERVAL=0", "INTERVAL", "out of range"),
            ("FREQ=DAILY;INTERVAL=-1", "INTERVAL", "out of range"),
            ("FREQ=DAILY;INTERVAL=99999999999999999999", "INTERVAL", "out of range"),
            ("FREQ=YEARLY;BYMONTH=13", "BYMONTH", "out of range"),
            ("FREQ=YEARLY;BYMONTH=-1", "BYMONTH", "out of range"),
            ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY", "out of range"),
            ("FREQ=MONTHLY;BYMONTHDAY=1,,2", "BYMONTHDAY", "out of range"),
            ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY", "out of range"),
            ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY", "does not go with"),
            ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO", "does not go with"),
            ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY", "does not go with"),
            ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY", "does not go with FREQ=WEEKLY"),
            ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO", "BYDAY", "does not go with BYWEEKNO"),
            ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY", "is no weekday"),
            ("FREQ=MONTHLY;BYDAY=54MO", "BYDAY", "is no weekday"),
            ("FREQ=MONTHLY;BYDAY=MONDAY", "BYDAY", "is no weekday"),
            ("FREQ=WEEKLY;WKST=XX", "WKST", "is no weekday"),
            ("FREQ=DAILY;BYHOUR=24", "BYHOUR", "out of range"),
            ("FREQ=DAILY;BYSECOND=60", "BYSECOND", "out of range"),
            ("FREQ=HOURLY;BYMINUTE=0,10,20,30,40,50", "BYMINUTE", "too frequent"),
            ("FREQ=DAILY;BYMINUTE=0,30;BYSECOND=0,20,40", "BYMINUTE", "too frequent"),
            ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL", "neither a date nor"),
            ("FREQ=DAILY;UNTIL=20260101T090000", "UNTIL", "neither a date nor"),
            ("FREQ=DAILY;UNTIL=20260230", "UNTIL", "not in the calendar"),
            ("FREQ=DAILY;UNTIL=20260101T250000Z", "UNTIL", "not in the calendar"),
            ("FREQ=DAILY;UNTIL=99991231", "UNTIL", "in the year 9999"),
            ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "rule", "never fires"),
            ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "rule", "never fires"),
            ("FREQ=HOURLY;BYMONTH=4;BYMONTHDAY=31", "rule", "never fires"),
            ("FREQ=MONTHLY;BYDAY=6MO", "rule", "never fires"),
            ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", "rule", "never fires"),
            ("FREQ=YEARLY;BYWEEKNO=30;BYMONTH=1", "rule", "never fires"),
            ("FREQ=MONTHLY;BYMONTHDAY=" + ",".join(["1"] * 367), "BYMONTHDAY", "has 367 values"),
            ("FREQ=MONTHLY;BYMONTHDAY=" + "1" * MAX_RULE_LENGTH, "rule", "is longer than"),
        ],
    )
    def test_what_is_no_usable_rule_is_refused_with_field_problem_and_fix(
        self, text: str, field: str, problem: str
    ) -> None:
        with pytest.raises(RecurrenceError) as caught:
            parse_rule(text)
        assert caught.value.field == field
        assert problem in caught.value.problem
        assert caught.value.fix
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        "text",
        [
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
            "FREQ=YEARLY;BYYEARDAY=366;BYDAY=SU",
            "FREQ=YEARLY;BYWEEKNO=53;BYDAY=SU;BYMONTH=1",
            "FREQ=MONTHLY;BYDAY=-5MO",
        ],
    )
    def test_what_fires_once_in_many_years_is_a_rule(self, text: str) -> None:
        assert occurrences(series(text, "2026-01-01T09:00"), after=None, limit=2)


class TestSeries:
    @pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe", "x" * 5000, "a\0b"])
    def test_an_unknown_zone_is_refused(self, zone: str) -> None:
        with pytest.raises(RecurrenceError, match=r"zone: .* is no time zone"):
            Series(day("2026-01-01"), zone, parse_rule("FREQ=DAILY"))

    def test_a_start_without_offset_is_refused(self) -> None:
        naive = dt.datetime(2026, 1, 1, 9)  # noqa: DTZ001 - what must be refused
        with pytest.raises(RecurrenceError, match="start: has no UTC offset"):
            Series(naive, BERLIN, parse_rule("FREQ=DAILY"))

    @pytest.mark.parametrize("start", [dt.date.min, dt.date.max, dt.datetime.max.replace(tzinfo=dt.UTC)])
    def test_a_start_outside_the_calendar_is_refused(self, start: Due) -> None:
        with pytest.raises(RecurrenceError, match="start: is in the year"):
            Series(start, BERLIN, parse_rule("FREQ=DAILY"))

    def test_hours_need_a_start_with_a_time(self) -> None:
        with pytest.raises(RecurrenceError, match="start: is a date, but the rule is hourly"):
            series("FREQ=HOURLY", "2026-01-01")

    def test_the_first_date_is_given_or_its_absence_explained(self) -> None:
        assert first_due(series("FREQ=WEEKLY;BYDAY=MO", "2026-01-07")) == day("2026-01-12")
        with pytest.raises(RecurrenceError, match="UNTIL: is before the start"):
            first_due(series("FREQ=DAILY;UNTIL=20251231", "2026-01-01"))
        with pytest.raises(RecurrenceError, match="rule: has no date from this start on"):
            first_due(series("FREQ=YEARLY;INTERVAL=2;BYYEARDAY=366", "2025-01-01"))

    @pytest.mark.parametrize("limit", [0, -1, 1001])
    def test_previews_are_bounded(self, limit: int) -> None:
        with pytest.raises(RecurrenceError, match="limit: is"):
            occurrences(series("FREQ=DAILY", "2026-01-01"), after=None, limit=limit)

    def test_occurrences_are_numbered_from_one(self) -> None:
        with pytest.raises(RecurrenceError, match="seq: is 0"):
            following(series("FREQ=DAILY", "2026-01-01"), day("2026-01-01"), at("2026-01-01T12:00"), seq=0)

    def test_the_end_of_the_calendar_ends_a_series(self) -> None:
        it = series("FREQ=WEEKLY", "9998-12-24T09:00")
        assert preview(it, 9) == ["9998-12-24T09:00+01:00", "9998-12-31T09:00+01:00"]
