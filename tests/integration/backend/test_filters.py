"""Filters and search as PostgreSQL sees them: the same tasks as a naive reading finds, and by an index."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.backend.scenario import NOON, MovableClock, first_user
from tests.integration.backend.service import Api
from tests.support.emptying import empty
from tests.support.filters import ZONES, Judge, Known, dated, nodes, tasks, terms, texts
from todo.backend.api.requests import write_cursor
from todo.backend.app import SCHEMA
from todo.backend.store import tasks as store
from todo.backend.store.filters import Wanted
from todo.backend.store.orders import ORDERS, Sort
from todo.backend.store.search import INDEX
from todo.backend.store.tasks import Change, Page
from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.filters import Node, parse, write
from todo.domain.filters.tree import Term, Text
from todo.domain.recurrence import Mode, Policy
from todo.domain.series import Repetition, start_series
from todo.domain.task import Task
from todo.messaging.database import open_database
from todo.messaging.postgres import Row
from todo.messaging.unit import Database

TOLD = Change("t", "", "t", b"")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def furnished(shared_url: str, loop: asyncio.Runner) -> Iterator[Database]:
    """A database for many examples, each of which empties it of tasks."""

    async def start() -> Database:
        await empty(shared_url, SCHEMA)
        database = await open_database(shared_url, SCHEMA, MovableClock())
        await first_user(database)
        await database.pool.execute(
            "INSERT INTO users (email, name, zone, created_at) VALUES ('b@example.test', 'Bob', 'UTC', $1)", NOON
        )
        return database

    database = loop.run(start())
    yield database
    loop.run(database.pool.close())


async def furnish(database: Database, known: Sequence[Known]) -> None:
    """Make these the only tasks."""
    async with database.pool.acquire() as connection:
        for table in ("tasks", "series", "task_history", "outbox"):
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - of these
        for one in known:
            task = one.task
            if one.repeats:
                series = start_series(uuid4(), 1, Repetition("FREQ=DAILY", Mode.DUE, Policy.SKIP), Due("UTC", at=NOON))
                await store.insert_series(connection, series)
                task = replace(task, series_id=series.id, seq=1)
            await store.insert(connection, task, TOLD, NOON)


async def listed(database: Database, page: Page) -> list[Row]:
    """Every page of it, one after the other."""
    rows: list[Row] = []
    while found := await store.page(database.pool, page):
        rows += found
        page = replace(page, after=ORDERS[page.sort].place_of(found[-1]))
    return rows


def wanted(node: Node, zone: str = "UTC", user_id: int = 1) -> Wanted:
    return Wanted(node, user_id, zone, NOON)


@pytest.mark.parametrize("leaves", [terms, dated, texts], ids=["any", "days", "texts"])
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(), known=st.lists(tasks(), max_size=8), zone=st.sampled_from(ZONES), sort=st.sampled_from(Sort),
    size=st.integers(1, 9),
)  # fmt: skip
def test_the_database_finds_what_a_naive_reading_finds(  # noqa: PLR0913 - what varies
    furnished: Database, loop: asyncio.Runner, leaves: st.SearchStrategy[Term], data: st.DataObject,
    known: list[Known], zone: str, sort: Sort, size: int,
) -> None:  # fmt: skip
    """Any filter finds the tasks that it means, each once, on pages of any size and in any order."""
    node = data.draw(nodes(leaves))
    every = {one.task.id: one for one in known}

    async def run() -> list[Row]:
        await furnish(furnished, list(every.values()))
        return await listed(furnished, Page(1, None, wanted=wanted(node, zone), sort=sort, limit=size))

    found = [row["id"] for row in loop.run(run())]
    assert len(found) == len(set(found))
    assert set(found) == {one.task.id for one in every.values() if Judge(zone).wants(node, one)}, write(node)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes(terms), tasks(), tasks(2))
def test_a_filter_finds_nothing_of_anothers(
    furnished: Database, loop: asyncio.Runner, node: Node, mine: Known, theirs: Known
) -> None:
    """Whatever a filter says, it is about the tasks of one user."""

    async def run() -> list[Row]:
        await furnish(furnished, [mine, theirs])
        return await listed(furnished, Page(1, None, wanted=wanted(node)))

    assert {row["user_id"] for row in loop.run(run())} <= {1}


async def test_text_is_looked_for_so_often_only(database: Database) -> None:
    """However many words stand side by side are one look, and many among other conditions are refused."""
    many = " | ".join(f"({letter} !1)" for letter in "abcdefghijk")
    with pytest.raises(RuleError, match="more than 10 times"):
        await store.page(database.pool, Page(1, wanted=wanted(parse(many))))
    for text in (many.replace("(k !1)", "!1"), "-a " * 160, " | ".join("abcdefghijklmnop" * 7)):
        assert await store.page(database.pool, Page(1, wanted=wanted(parse(text)))) == []


async def test_lists_subtasks_and_starts_are_asked_for(api: Api) -> None:
    """`@List` goes by name whatever its case; a list that is gone holds nothing any more."""
    work = (await api.post("/lists", {"name": "Work"})).body
    plan = await api.task(title="plan", list_id=work["id"], start_date="2026-02-01", zone="UTC")
    await api.task(title="part", parent_id=plan["id"])
    await api.task(title="other")

    async def found(text: str) -> set[str]:
        return {one["title"] for one in (await api.get("/tasks", filter=text)).body["tasks"]}

    assert await found("@work") == {"plan", "part"}  # a subtask is in the list of its task
    assert await found("-no list") == {"plan", "part"}
    assert await found("subtask") == {"part"}
    assert await found("start before: 2026-02-02") == {"plan"}
    in_order = (await api.get("/tasks", sort="position", limit="2")).body
    rest = (await api.get("/tasks", sort="position", limit="2", cursor=in_order["next_cursor"])).body
    assert [one["title"] for one in in_order["tasks"] + rest["tasks"]] == ["plan", "part", "other"]
    assert (await api.call("DELETE", f"/lists/{work['id']}", if_match="*")).status == 204
    assert await found("@work") == set()
    assert await found("no list") == {"plan", "part", "other"}


class TestSearch:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("milk", True),
            ("MIL", True),
            ("ilk", False),
            ("äpf", True),
            ("ÄPFEL", True),
            ("apfel", False),
            ("shop", True),
            ("example.com/shop", True),
            ("and", False),
            ("butter", True),
            ('"butter bread"', False),
            ('"bread butter"', True),
            ('"bread but"', False),
            ('"milk"', False),
            ("100", True),
            ("100%", True),
            ("don't", True),
            ('"don"', True),
            ("🎉", True),
            ("→", True),
            ("quotes", True),
            ("' | :*", False),
            ("\\", False),
            ("%", True),
            ("_", False),
        ],
    )
    async def test_what_is_found(self, database: Database, text: str, found: bool) -> None:
        """Beginnings of words in title and notes, whatever their case; between quotation marks whole words in a row."""
        user = await first_user(database)
        title, notes = "Milkshake „Äpfel“ 🎉", "bread/butter at https://example.com/shop → 100 % don't (quotes)"
        task = Task(id=uuid4(), user_id=user.id, title=title, notes=notes, created_at=NOON, updated_at=NOON)
        await store.insert(database.pool, task, TOLD, NOON)
        node = Text(text.strip('"'), phrase=text.startswith('"'))
        assert bool(await store.page(database.pool, Page(user.id, wanted=wanted(node)))) is found

    @pytest.mark.parametrize("owners", [1, 1000])
    @pytest.mark.parametrize("sort", Sort)
    async def test_it_takes_the_index(self, database: Database, owners: int, sort: Sort) -> None:
        """A rare word among 50,000 tasks, of one user or of many, is found by the index, in any order."""
        await _fill(database, owners)
        plan = await _plan(database, Page(2, wanted=wanted(parse("rare000"), user_id=2), sort=sort))
        assert INDEX in plan, plan
        rows = await store.page(database.pool, Page(2, wanted=wanted(parse("rare000"), user_id=2), sort=sort))
        assert {row["user_id"] for row in rows} == {2}

    async def test_one_word_or_another_takes_it_too(self, database: Database) -> None:
        """Alternatives, and a word among other conditions, are looked up by word."""
        await _fill(database, 1)
        for text in ("rare000 | rare009", "rare000 -rare & !1", "rare000 (overdue | #home)"):
            plan = await _plan(database, Page(2, wanted=wanted(parse(text), user_id=2)))
            assert INDEX in plan, plan

    async def test_what_is_due_is_found_by_the_index_of_due_dates(self, database: Database) -> None:
        """Today, among 50,000 tasks of one user, is a stretch of an index."""
        await _fill(database, 1)
        plan = await _plan(database, Page(2, wanted=wanted(parse("today"), user_id=2), sort=Sort.DUE))
        assert "tasks_due" in plan, plan
        assert "due_sort >=" in plan.partition("Index Cond")[2].partition("\n")[0], plan


async def _fill(database: Database, owners: int) -> None:
    """50,000 tasks; `rare` and a number is a word of fifty of them."""
    pool = database.pool
    await pool.execute("INSERT INTO users (email, name, zone, created_at)"
                       " SELECT n || '@example.test', '', 'UTC', $1 FROM generate_series(0, 1001) n", NOON)  # fmt: skip
    await pool.execute(
        """
        INSERT INTO tasks (id, user_id, version, title, notes, status, deleted, zone, due_at, due_sort, priority,
                           labels, reminders, instances, touched, withdrawn, created_at, updated_at)
        SELECT gen_random_uuid(), 2 + n / 2 % $1, 1,
               'task ' || n || ' rare' || lpad((n % 1000)::text, 3, '0'), 'as usual', 'open', false,
               'UTC', at, at, 1 + n % 4, '{}', '{}', '[]', true, false, at, at
        FROM generate_series(1, 50000) n, LATERAL (SELECT $2::timestamptz + (n - 25000) * interval '1 hour' AS at) AS x
        """,
        owners, NOON,
    )  # fmt: skip
    await pool.execute("ANALYZE tasks")


async def _plan(database: Database, page: Page) -> str:
    class Explaining:
        async def fetch(self, statement: str, *arguments: object) -> Any:  # noqa: ANN401 - rows
            return await database.pool.fetch(f"EXPLAIN {statement}", *arguments)

    return "\n".join(row[0] for row in await store.page(Explaining(), page))


def _cursor(*values: object) -> str:
    return write_cursor((*values, uuid4()))


class TestListing:
    async def test_a_filter_and_words_are_both_asked_for(self, api: Api) -> None:
        """`filter` and `q` narrow each other, and only open tasks are listed unless the filter says otherwise."""
        for title, priority in (("Milk", 1), ("Milk and bread", 2), ("Bread", 1)):
            await api.task(title=title, priority=priority)
        done = await api.task(title="Milk, drunk", priority=1)
        await api.post(f"/tasks/{done['id']}/complete")
        assert await _titles(api, filter="!1") == ["Bread", "Milk"]
        assert await _titles(api, filter="!1", q="milk") == ["Milk"]
        assert await _titles(api, q="bread mil") == ["Milk and bread"]
        assert await _titles(api, filter="milk & is:done") == ["Milk, drunk"]
        assert await _titles(api, filter="milk & is:done", status="open") == []
        assert await _titles(api, filter="closed: today | bread", sort="title") == [
            "Bread", "Milk and bread", "Milk, drunk",
        ]  # fmt: skip

    async def test_days_are_those_of_the_user(self, api: Api) -> None:
        """A day begins at midnight in the user's zone, and a whole-day task is due on its date in any."""
        berlin = api.of(1)
        label = f"l{uuid4().hex[:8]}"
        for at in ("2031-07-01T21:59:00Z", "2031-07-01T22:00:00Z", "2031-07-02T21:59:00Z", "2031-07-02T22:00:00Z"):
            await berlin.task(title=at[5:16], due_at=at, labels=[label])
        await berlin.task(title="day", due_date="2031-07-02", zone="Asia/Tokyo", labels=[label])
        on = await _titles(berlin, filter=f"#{label} due: 2031-07-02", sort="due")
        assert sorted(on) == ["07-01T22:00", "07-02T21:59", "day"]
        assert await _titles(berlin, filter=f"#{label} due before: 2031-07-02") == ["07-01T21:59"]
        assert await _titles(berlin, filter=f"#{label} due after: 2031-07-02") == ["07-02T22:00"]

    @pytest.mark.parametrize("sort", ["created", "due", "priority", "title"])
    async def test_pages_of_any_order_hold_every_task_once(self, api: Api, sort: str) -> None:
        """The cursor leads through all tasks, equals included; one of another order is refused."""
        for number in range(7):
            await api.task(title=f"Task {number % 3}", priority=1 + number % 2, due_date="2031-05-06")
        seen: list[str] = []
        query = {"sort": sort, "limit": "2"}
        while True:
            page = (await api.get("/tasks", **query)).body
            seen += [task["id"] for task in page["tasks"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert len(seen) == len(set(seen)) == 7
        other = {"created": "priority", "due": "priority", "priority": "due", "title": "created"}[sort]
        assert (await api.get("/tasks", sort=other, cursor=query["cursor"])).fields == ["cursor"]

    async def test_a_long_title_fits_into_a_cursor(self, api: Api) -> None:
        """Titles of any characters can be gone on after."""
        for number in range(3):
            await api.task(title="🎉" * 499 + str(number))
        page = (await api.get("/tasks", sort="title", limit="1")).body
        rest = await api.get("/tasks", sort="title", cursor=page["next_cursor"])
        assert (rest.status, len(rest.body["tasks"])) == (200, 2)

    @pytest.mark.parametrize(
        ("query", "field", "problem"),
        [
            ({"filter": "a & !9"}, "filter", "at character 5: !9 is no priority"),
            ({"filter": "#a\x00"}, "filter", "U+0000"),
            ({"filter": "x" * 501}, "filter", "at most 500"),
            ({"sort": "size"}, "sort", "Input should be"),
            ({"sort": "position", "cursor": _cursor("a-")}, "cursor", "not one of ours"),
            ({"sort": "title", "cursor": _cursor("a\x00")}, "cursor", "not one of ours"),
            ({"sort": "title", "cursor": _cursor("a" * 65)}, "cursor", "not one of ours"),
            ({"sort": "priority", "cursor": _cursor(999_999, NOON)}, "cursor", "not one of ours"),
        ],
    )  # fmt: skip
    async def test_what_cannot_be_asked_is_told(
        self, api: Api, query: dict[str, str], field: str, problem: str
    ) -> None:
        """A filter, order or cursor that is none is refused with its field and what is wrong."""
        answer = await api.get("/tasks", **query)
        assert (answer.status, answer.fields) == (422, [field])
        assert problem in answer.body["errors"][0]["problem"]


class TestChecking:
    async def test_a_filter_that_can_be_read_is_ok(self, api: Api) -> None:
        """Nothing is wrong with it, and nothing is completed unless a place is given."""
        answer = await api.post("/filters/check", {"filter": "#home & (overdue | due before: +7d) & !1"})
        assert answer.body == {"ok": True, "problems": [], "completions": []}

    async def test_what_is_wrong_has_its_place(self, api: Api) -> None:
        """Offsets are UTF-16 code units."""
        answer = await api.post("/filters/check", {"filter": "🎉 !9"})
        (problem,) = answer.body["problems"]
        assert (answer.body["ok"], problem["start"], problem["end"]) == (False, 3, 5)
        assert problem["problem"] == "!9 is no priority"

    async def test_labels_are_completed_by_the_callers_own(self, api: Api) -> None:
        """The most used first, whatever their case; nobody else's."""
        for labels in (["Home"], ["Home", "house work"], ["other"]):
            await api.task(labels=labels)
        await api.of(1).task(labels=["hopefully secret"])
        answer = await api.post("/filters/check", {"filter": "a #ho", "at": 5})
        assert [(one["insert"], one["kind"], one["start"], one["end"]) for one in answer.body["completions"]] == [
            ("#Home", "label", 2, 5),
            ('#"house work"', "label", 2, 5),
        ]
        assert (await api.post("/filters/check", {"filter": "@ho", "at": 3})).body["completions"] == []

    async def test_words_are_completed(self, api: Api) -> None:
        """Whatever the language has is offered where it fits."""
        answer = await api.post("/filters/check", {"filter": "due before: f", "at": 13})
        assert [one["insert"] for one in answer.body["completions"]] == ["friday"]

    async def test_a_text_beyond_reason_is_refused(self, api: Api) -> None:
        """What is a little too long is checked, and the rest is not even read."""
        long = await api.post("/filters/check", {"filter": "x" * 600, "at": 600})
        assert (long.status, long.body["ok"]) == (200, False)
        assert (await api.post("/filters/check", {"filter": "x" * 10_001})).fields == ["filter"]


async def _titles(api: Api, **query: str) -> list[str]:
    answer = await api.get("/tasks", **query)
    assert answer.status == 200, answer
    return [task["title"] for task in answer.body["tasks"]]
