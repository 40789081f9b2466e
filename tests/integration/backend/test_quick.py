"""Words as tasks and rules, over the API."""

import datetime as dt
from typing import Any

import pytest

from tests.integration.backend.callers import Guarded
from tests.integration.backend.service import Api
from todo.backend.auth.scopes import Scope

RENT = "\U0001f3e0 pay rent every last day of month 9am #home !1 remind 1h @Flat"


async def test_a_line_is_read_and_nothing_is_saved(api: Api) -> None:
    flat = (await api.post("/lists", {"name": "Flat"})).body
    before = (await api.get("/tasks")).body
    read = (await api.post("/quick-add", {"text": RENT, "zone": "Europe/Berlin"})).body
    assert read["title"] == "\U0001f3e0 pay rent"
    draft = read["draft"]
    assert draft.pop("due_at")[10:16] == "T09:00"
    assert draft == {
        "title": "\U0001f3e0 pay rent",
        "zone": "Europe/Berlin",
        "recurrence": {"rule": "FREQ=MONTHLY;BYMONTHDAY=-1", "mode": "due", "policy": "skip"},
        "reminders": ["-PT1H"],
        "labels": ["home"],
        "priority": 1,
        "list_id": flat["id"],
    }
    assert read["reading"].startswith("last day of every month, 09:00 Europe/Berlin; next ")
    assert read["reading"].endswith("; mail 1 h before")
    assert len(read["occurrences"]) == 5
    (firing,) = read["reminders"]
    due = dt.datetime.fromisoformat(read["occurrences"][0])
    assert (firing["reminder"], dt.datetime.fromisoformat(firing["fire_at"])) == ("-PT1H", due - dt.timedelta(hours=1))
    assert (await api.get("/tasks")).body == before


async def test_a_list_that_is_not_there_stays_in_the_title(api: Api) -> None:
    """A word that nobody can use is not lost, and that it was not used is said."""
    read = (await api.post("/quick-add", {"text": "call Ada @Nowhere !2"})).body
    assert (read["title"], read["draft"].get("list_id")) == ("call Ada @Nowhere", None)
    assert "there is no such list" in read["remarks"][0]


async def test_a_line_is_read_as_of_when_it_was_written(api: Api) -> None:
    """Somebody without a connection wrote "tomorrow" on the last day of the year."""
    body = {"text": "rest tomorrow", "zone": "UTC", "at": "2029-12-31T22:00:00+00:00"}
    assert (await api.post("/quick-add", body)).body["draft"]["due_date"] == "2030-01-01"
    answer = await api.post("/quick-add", body | {"at": "2029-12-31T22:00:00"})
    assert (answer.status, answer.fields) == (422, ["at"])


async def test_tokens_count_utf16_code_units(api: Api) -> None:
    await api.post("/lists", {"name": "flat"})
    read = (await api.post("/quick-add", {"text": RENT})).body
    units = RENT.encode("utf-16-le")
    assert [one["kind"] for one in read["tokens"]] == [*("recurrence", "time", "label", "priority", "reminder", "list")]
    for token in read["tokens"]:
        assert units[2 * token["start"] : 2 * token["end"]].decode("utf-16-le") == token["text"]


@pytest.mark.parametrize(
    "text", ["buy milk", "buy milk tomorrow", "buy milk 1 dec 9am remind 1h, 10m", "run every! 3 days #sport !2", RENT]
)
async def test_a_draft_is_what_makes_the_task(api: Api, text: str) -> None:
    read = (await api.post("/quick-add", {"text": text})).body
    draft: dict[str, Any] = read["draft"]
    task = await api.task(**draft)
    assert (task["title"], task["reminders"]) == (read["title"], draft.get("reminders", []))
    if "recurrence" in draft:
        assert task["recurrence"]["rule"] == draft["recurrence"]["rule"]
        following = (await api.get(f"/tasks/{task['id']}/occurrences", limit="4")).body
        assert following["occurrences"] == read["occurrences"][1:]


async def test_the_zone_is_the_users_and_the_language_is_chosen(api: Api) -> None:
    read = (await api.post("/quick-add", {"text": "Miete jeden Montag 18 Uhr", "language": "de"})).body
    assert (read["title"], read["draft"]["zone"]) == ("Miete", "UTC")
    assert read["reading"].startswith("jeden Montag, 18:00 UTC; die nächsten: Mo ")


async def test_a_line_without_a_title_is_read_all_the_same(api: Api) -> None:
    read = (await api.post("/quick-add", {"text": "tomorrow"})).body
    assert (read["title"], read["remarks"]) == ("", ["there is no title yet"])
    assert (await api.post("/quick-add", {"text": ""})).body["tokens"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "x" * 501}, "text"),
        ({"text": 7}, "text"),
        ({}, "text"),
        ({"text": "x", "zone": "Mars/Olympus"}, "zone"),
        ({"text": "x", "language": "fr"}, "language"),
        ({"text": "x", "now": "2020-01-01"}, "now"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = await api.post("/quick-add", body)
    assert (answer.status, answer.fields) == (422, [field])
    assert answer.body["errors"][0]["fix"]


class TestSentences:
    async def test_a_sentence_is_a_rule_said_back(self, api: Api) -> None:
        body = {"text": "every mon & thu, until 2031-12-31", "due_date": "2031-05-06", "zone": "Europe/Berlin"}
        read = (await api.post("/sentences", body)).body
        assert read == {
            "rule": "FREQ=WEEKLY;UNTIL=20311231;BYDAY=MO,TH",
            "mode": "due",
            "policy": "skip",
            "sentence": "every Monday and Thursday, until 31 December 2031",
            "occurrences": ["2031-05-08", "2031-05-12", "2031-05-15", "2031-05-19", "2031-05-22"],
            "remarks": [],
        }
        again = await api.post("/sentences", body | {"text": read["sentence"]})
        assert again.body == read

    async def test_mode_and_policy_are_of_the_sentence(self, api: Api) -> None:
        text = "alle 3 Tage, ab Erledigung gezählt, mit versäumten Terminen"
        read = (await api.post("/sentences", {"text": text, "language": "de"})).body
        assert (read["rule"], read["mode"], read["policy"]) == ("FREQ=DAILY;INTERVAL=3", "completion", "each")
        assert read["sentence"] == text

    async def test_an_hourly_one_begins_in_the_next_hour(self, api: Api) -> None:
        read = (await api.post("/sentences", {"text": "every 6 hours"})).body
        assert len(read["occurrences"]) == 5

    async def test_dates_that_the_clocks_touch_are_remarked_on(self, api: Api) -> None:
        due = {"due_at": "2031-03-28T02:30:00+01:00", "zone": "Europe/Berlin"}
        read = (await api.post("/sentences", {"text": "every day"} | due)).body
        assert read["remarks"] == [
            "02:30 does not exist on Sun 30 Mar 2031 in Europe/Berlin, the clocks go forward: it will be 03:30"
        ]
        preview = (await api.post("/occurrences/preview", {"recurrence": {"rule": "FREQ=DAILY"}} | due)).body
        assert (preview["sentence"], preview["remarks"]) == ("every day", read["remarks"])
        assert preview["occurrences"] == read["occurrences"]

    async def test_what_is_not_understood_is_named(self, api: Api) -> None:
        answer = await api.post("/sentences", {"text": "every monday at 9am"})
        assert (answer.status, answer.fields) == (422, ["text"])
        assert "'at 9 am' is not understood" in answer.body["errors"][0]["problem"]

    async def test_a_rule_without_a_date_from_there_on_is_refused(self, api: Api) -> None:
        answer = await api.post("/sentences", {"text": "every day until 2020-01-01"})
        assert (answer.status, answer.fields) == (422, ["text"])
        twice = await api.post("/sentences", {"text": "every day until 2030-01-01, 3 times"})
        assert (twice.status, twice.fields) == (422, ["text"])


async def test_a_series_tells_its_sentence_in_the_language_asked_for(api: Api) -> None:
    task = await api.task(due_date="2031-05-06", recurrence={"rule": "FREQ=WEEKLY;BYDAY=TU"})
    path = f"/tasks/{task['id']}/occurrences"
    assert (await api.get(path)).body["sentence"] == "every Tuesday"
    assert (await api.get(path, language="de")).body["sentence"] == "jeden Dienstag"
    plain = await api.task()
    assert (await api.get(f"/tasks/{plain['id']}/occurrences")).body["sentence"] is None


async def test_reading_needs_a_token_that_may_read(guarded: Guarded) -> None:
    for scopes, status in (((Scope.READ,), 200), ((Scope.WRITE,), 403)):
        async with guarded.calling(scopes) as api:
            for path, text in (("/quick-add", "x"), ("/sentences", "every day")):
                assert (await api.post(path, {"text": text})).status == status
