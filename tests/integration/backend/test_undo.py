"""Every change can be taken back, and that again, unless something came between."""

import asyncio
import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.backend.scenario import DAY, NOON, WEEKLY, MovableClock, Scenario
from tests.integration.backend.service import Answer, Api
from todo.backend import commands, handlers, organising, undoing
from todo.backend.commands import ConflictError, Context, NotFoundError
from todo.backend.store import people, steps
from todo.backend.undoing import Undone
from todo.contracts import events
from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.series import Repetition
from todo.domain.task import Status, Task

SOON = {"due_at": "2031-05-06T12:00:00Z"}
REPEATING = SOON | {"recurrence": {"rule": "FREQ=WEEKLY"}}
NOWHERE = "0190b4f1-0000-7000-8000-000000000000"
HOUR = dt.timedelta(hours=1)


async def undo(api: Api, step: str | None = None, **headers: str) -> Answer:
    return await api.post("/undo", {} if step is None else {"id": step}, **headers)


async def shown(api: Api, task: dict[str, Any]) -> dict[str, Any]:
    """A task without what every change changes."""
    body = (await api.get(f"/tasks/{task['id']}")).body
    return {name: value for name, value in body.items() if name not in {"version", "updated_at", "reminder_history"}}


async def steps_of(api: Api) -> list[str]:
    return [one["what"] for one in (await api.get("/undo")).body["steps"]]


class TestTheApi:
    async def test_every_change_says_how_to_take_it_back(self, api: Api) -> None:
        await api.task()
        made = await api.post("/tasks", {"title": "x", "user_id": api.user_id, "reminders": ["PT0S"]} | REPEATING)
        path = f"/tasks/{made.body['id']}"
        answers = [
            made,
            await api.call("PATCH", path, {"title": "y"}, if_match="*"),
            await api.post(f"{path}/snooze", {"until": "2031-05-07T12:00:00Z"}),
            await api.post(f"{path}/move", {"after": None}),
            await api.post(f"{path}/complete"),
            await api.post(f"{path}/reopen"),
            await api.call("DELETE", path, query={"scope": "series"}),
            await api.post(f"{path}/restore"),
            await api.post("/lists", {"name": "Work"}),
        ]
        where = answers[-1].headers["location"]
        answers += [
            await api.call("PATCH", where, {"name": "Home"}, if_match="*"),
            await api.call("DELETE", where, if_match="*"),
        ]
        assert len({answer.headers["undo"] for answer in answers}) == len(answers)
        assert await steps_of(api) == [
            "delete list", "edit list", "create list", "restore", "delete", "reopen", "complete", "move", "snooze",
            "edit", "create",
        ]  # fmt: skip

    async def test_what_changes_nothing_is_no_step(self, api: Api) -> None:
        task = await api.task()
        for answer in (
            await api.call("PATCH", f"/tasks/{task['id']}", {"title": task["title"]}, if_match="*"),
            await api.post(f"/tasks/{task['id']}/reopen"),
            await api.post(f"/tasks/{task['id']}/restore"),
        ):
            assert (answer.status, "undo" in answer.headers) == (200, False)
        assert await steps_of(api) == ["create"]

    async def test_the_last_steps_are_taken_back_one_by_one(self, api: Api) -> None:
        task = await api.task(title="a")
        for title in "bc":
            await api.call("PATCH", f"/tasks/{task['id']}", {"title": title}, if_match="*")
        last = await api.task(title="last")
        assert [(await undo(api)).body["title"] for _ in range(3)] == ["last", "c", "b"]
        assert (await shown(api, task))["title"] == "a"
        assert (await api.get(f"/tasks/{last['id']}")).status == 404
        assert await steps_of(api) == ["edit", "edit", "create", "create"]
        assert (await undo(api)).body["what"] == "create"
        assert (await api.get(f"/tasks/{task['id']}")).status == 404
        nothing = await undo(api)
        assert (nothing.status, nothing.body["detail"]) == (409, "there is nothing to take back")

    async def test_an_undo_is_taken_back_by_its_own_id(self, api: Api) -> None:
        task = await api.task(title="a")
        await api.call("PATCH", f"/tasks/{task['id']}", {"title": "b"}, if_match="*")
        undone = await undo(api)
        assert (await shown(api, task))["title"] == "a"
        assert undone.body["changed"] == [{"kind": "task", "id": task["id"], "version": 3, "deleted": False}]
        redone = await undo(api, undone.headers["undo"])
        assert (await shown(api, task))["title"] == "b"
        await undo(api)
        assert (await shown(api, task))["title"] == "a"
        again = await undo(api, redone.headers["undo"])
        assert (again.status, again.body["detail"]) == (409, "it was taken back already")

    async def test_making_a_task_is_taken_back_by_the_tasks_id(self, api: Api) -> None:
        made = await api.post("/tasks", {"title": "x", "user_id": api.user_id} | REPEATING)
        assert made.headers["undo"] == made.body["id"]
        undone = await undo(api, made.headers["undo"])
        assert (undone.status, undone.body["what"]) == (200, "create")
        assert (await undo(api, made.headers["undo"])).status == 409
        redone = await undo(api, undone.headers["undo"])
        assert redone.status == 200
        back = await shown(api, made.body)
        assert (back["recurrence"]["rule"], back["recurrence"]["ended"]) == ("FREQ=WEEKLY", False)
        await undo(api)
        assert (await api.get(f"/tasks/{made.body['id']}")).status == 404

    async def test_what_was_changed_since_is_not_taken_back(self, api: Api) -> None:
        made = await api.post("/tasks", {"title": "a", "user_id": api.user_id})
        path = f"/tasks/{made.body['id']}"
        first = await api.call("PATCH", path, {"title": "b"}, if_match="*")
        await api.call("PATCH", path, {"priority": 1}, if_match="*")
        for step in (made.headers["undo"], first.headers["undo"]):
            answer = await undo(api, step)
            assert (answer.status, answer.body["detail"]) == (409, "'b' was changed since: nothing is taken back")
        assert (await shown(api, made.body))["title"] == "b"

    async def test_a_step_that_is_nowhere_or_somebody_elses_is_not_found(self, api: Api) -> None:
        foreign = await api.of(1).post("/tasks", {"title": "x", "user_id": 1})
        edited = await api.of(1).call("PATCH", f"/tasks/{foreign.body['id']}", {"title": "y"}, if_match="*")
        for step in (NOWHERE, "0", "9" * 30, "x", "-1", "", "²", foreign.body["id"], edited.headers["undo"]):
            assert (await undo(api, step)).status == 404, step
        assert edited.headers["undo"] not in [one["id"] for one in (await api.get("/undo")).body["steps"]]

    async def test_under_a_key_an_undo_happens_once(self, api: Api) -> None:
        for title in "ab":
            await api.task(title=title)
        key = uuid4().hex
        first = await undo(api, idempotency_key=key)
        again = await undo(api, idempotency_key=key)
        assert (first.body, first.headers["undo"]) == (again.body, again.headers["undo"])
        assert [one["title"] for one in (await api.get("/tasks")).body["tasks"]] == ["a"]

    async def test_a_repeated_answer_says_the_same_id(self, api: Api) -> None:
        task, key = await api.task(), uuid4().hex
        answers = [await api.post(f"/tasks/{task['id']}/complete", idempotency_key=key) for _ in range(2)]
        assert answers[0].headers["undo"] == answers[1].headers["undo"]

    async def test_of_two_undos_of_one_step_at_once_one_happens(self, api: Api) -> None:
        task = await api.task()
        step = (await api.post(f"/tasks/{task['id']}/complete")).headers["undo"]
        answers = await asyncio.gather(*(undo(api, step) for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]

    async def test_lists_are_taken_back_too(self, api: Api) -> None:
        made = await api.post("/lists", {"name": "Work", "color": "#112233"})
        where = made.headers["location"]
        await api.call("PATCH", where, {"name": "Home", "color": None}, if_match="*")
        await undo(api)
        await api.call("DELETE", where, if_match="*")
        await undo(api)
        (back,) = (await api.get("/lists")).body["lists"]
        assert (back["name"], back["color"], back["version"], back["position"]) == (
            "Work", "#112233", 5, made.body["position"],
        )  # fmt: skip
        gone = await api.call("DELETE", where, if_match="*")
        await api.post("/lists", {"name": "work"})
        assert (await undo(api, gone.headers["undo"])).body["detail"] == "a list with this name exists"

    async def test_without_a_body_the_last_step_is_meant(self, api: Api) -> None:
        await api.task()
        assert (await api.post("/undo")).status == 200
        wrong = await api.post("/undo", {"step": "1"})
        assert (wrong.status, wrong.fields) == (422, ["step"])


class Person:
    """Somebody who changes tasks below the API and keeps the ids of the steps."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.user_id = scenario.user.id

    async def does(self, what: str, task: Task, **fields: Any) -> str | None:  # noqa: ANN401 - of a command
        async with self.scenario.database.transaction() as unit:
            context = self.scenario.context
            act = getattr(self, f"_{what}")
            await act(unit, context, task, **fields)
            return await undoing.keep(unit, context, self.user_id, what)

    async def undo(self, step: str | None = None) -> Undone:
        async with self.scenario.database.transaction() as unit:
            return await undoing.undo(unit, self.scenario.context, self.user_id, step)

    async def _edit(self, unit: Any, context: Context, task: Task, repetition: Any = ..., **fields: Any) -> None:  # noqa: ANN401 - of a command
        placed = bool(fields.keys() & {"list_id", "parent_id"})
        await commands.edit(
            unit, context, self.user_id, task.id, expected=None, changes=fields, repetition=repetition, places_it=placed
        )

    async def _complete(self, unit: Any, context: Context, task: Task) -> None:  # noqa: ANN401 - of a command
        await commands.complete(unit, context, self.user_id, task.id, None)

    async def _reopen(self, unit: Any, context: Context, task: Task) -> None:  # noqa: ANN401 - of a command
        await commands.reopen(unit, context, self.user_id, task.id, None)

    async def _snooze(self, unit: Any, context: Context, task: Task, hours: int, instead_of: str | None) -> None:  # noqa: ANN401 - of a command
        until = context.now + hours * HOUR
        await commands.snooze(unit, context, self.user_id, task.id, until=until, instead_of=instead_of)

    async def _delete(self, unit: Any, context: Context, task: Task, *, whole_series: bool | None = None) -> None:  # noqa: ANN401 - of a command
        await commands.delete(unit, context, self.user_id, task.id, expected=None, whole_series=whole_series)

    async def _restore(self, unit: Any, context: Context, task: Task) -> None:  # noqa: ANN401 - of a command
        await organising.restore(unit, context, self.user_id, task.id, None)

    async def _move(self, unit: Any, context: Context, task: Task, after: Task | None = None) -> None:  # noqa: ANN401 - of a command
        place = after.id if after else None
        await organising.move(unit, context, self.user_id, task.id, expected=None, after=place, changes={})


@pytest.fixture
async def person(scenario: Scenario) -> Person:
    return Person(scenario)


def shape(task: Task) -> dict[str, object]:
    """What a person sees of a task, and what its reminders will do."""
    names = (
        "title",
        "due",
        "start",
        "status",
        "deleted",
        "labels",
        "reminders",
        "list_id",
        "parent_id",
        "place",
        "seq",
    )
    return {name: getattr(task, name) for name in names} | {"wanted": task.wanted}


class TestTasks:
    @pytest.mark.parametrize(
        ("what", "fields"),
        [
            ("edit", {"title": "other", "labels": ("a",), "due": None, "start": None, "reminders": ()}),
            ("edit", {"due": Due("UTC", at=NOON + 3 * DAY)}),
            ("edit", {"repetition": Repetition("FREQ=DAILY")}),
            ("edit", {"repetition": None}),
            ("complete", {}),
            ("snooze", {"hours": 30, "instead_of": "PT0S"}),
            ("delete", {"whole_series": True}),
            ("delete", {"whole_series": False}),
            ("move", {}),
        ],
    )
    @pytest.mark.parametrize("repetition", [WEEKLY, None], ids=["repeating", "plain"])
    async def test_a_change_there_and_back_and_there_again(  # noqa: PLR0913 - fixtures and parameters
        self,
        scenario: Scenario,
        person: Person,
        clock: MovableClock,
        repetition: Repetition | None,
        what: str,
        fields: dict[str, Any],
    ) -> None:
        """Each way is a version and an event, and the series goes on as it did."""
        await scenario.create(None)
        clock.advance(seconds=1)
        task = await scenario.create(repetition)
        series = await scenario.series(task) if repetition else None
        step = await person.does(what, task, **fields)
        if step is None:
            assert (what, fields, repetition) == ("edit", {"repetition": None}, None)
            return
        changed = await scenario.task(task.id)
        undone = await person.undo(step)
        back = await scenario.task(task.id)
        assert shape(back) == shape(task)
        assert back.version == changed.version + 1
        assert (await scenario.told())[-1].data.version == back.version
        if series:
            now = await scenario.series(back)
            assert (now.rule, now.deleted, now.ended_seq, now.first_seq) == (series.rule, False, None, 1)
        else:
            assert back.series_id is None
        await person.undo(undone.undo)
        assert shape(await scenario.task(task.id)) == shape(changed)

    async def test_a_firing_that_passed_between_is_skipped_and_one_that_was_decided_stays(
        self, scenario: Scenario, person: Person, clock: MovableClock
    ) -> None:
        task = await scenario.create(None, reminders=("-PT12H", "PT0S"))
        step = await person.does("delete", task)
        clock.advance(hours=13)
        await person.undo(step)
        back = await scenario.task(task.id)
        assert [(one.reminder, one.past) for one in back.wanted] == [("-PT12H", True), ("PT0S", False)]
        edit = await person.does("edit", task, title="other")
        clock.advance(hours=24)
        await person.undo(edit)
        assert (await scenario.task(task.id)).wanted == back.wanted

    async def test_a_dismissed_firing_comes_back_unless_its_time_passed(
        self, scenario: Scenario, person: Person, clock: MovableClock
    ) -> None:
        task = await scenario.create(None)
        for hours, past in ((1, False), (40, True)):
            step = await person.does("snooze", task, hours=30, instead_of="PT0S")
            clock.advance(hours=hours)
            await person.undo(step)
            (wanted,) = (await scenario.task(task.id)).wanted
            assert (wanted.reminder, wanted.past) == ("PT0S", past)

    async def test_completing_an_occurrence_is_taken_back_with_its_successor(
        self, scenario: Scenario, person: Person
    ) -> None:
        task = await scenario.create()
        step = await person.does("complete", task)
        await scenario.follow()
        undone = await person.undo(step)
        assert await scenario.occurrences(task) == [(1, "open", False), (2, "open", True)]
        assert (await scenario.told())[-1].type == events.TASK_REOPENED
        await person.undo(undone.undo)
        await scenario.follow()
        assert await scenario.occurrences(task) == [(1, "done", False), (2, "open", False)]

    async def test_deleting_an_occurrence_is_taken_back_with_its_successor(
        self, scenario: Scenario, person: Person
    ) -> None:
        task = await scenario.create()
        step = await person.does("delete", task, whole_series=False)
        await scenario.follow()
        undone = await person.undo(step)
        assert await scenario.occurrences(task) == [(1, "open", False), (2, "open", True)]
        await person.undo(undone.undo)
        await scenario.follow()
        assert await scenario.occurrences(task) == [(1, "skipped", True), (2, "open", False)]

    async def test_a_date_under_a_rule_that_was_taken_back_is_declined_and_the_old_rule_dates_again(
        self, scenario: Scenario, person: Person
    ) -> None:
        task = await scenario.create()
        step = await person.does("edit", task, repetition=Repetition("FREQ=DAILY"))
        await person.undo(step)
        await scenario.complete(task)
        await scenario.follow()
        made = await scenario.occurrence(task, 2)
        assert made is not None
        assert made.due == Due("UTC", at=NOON + 8 * DAY)
        assert (await scenario.series(task)).generation == 3

    async def test_a_series_that_was_changed_at_another_occurrence_is_not_taken_back(
        self, scenario: Scenario, person: Person
    ) -> None:
        task = await scenario.create()
        await scenario.complete(task)
        await scenario.follow()
        other = await scenario.occurrence(task, 2)
        assert other is not None
        step = await person.does("edit", other, repetition=Repetition("FREQ=DAILY"))
        await scenario.edit(await scenario.task(task.id), Repetition("FREQ=MONTHLY"))
        with pytest.raises(ConflictError, match="series"):
            await person.undo(step)

    async def test_a_parent_goes_and_comes_back_with_its_subtasks(self, scenario: Scenario, person: Person) -> None:
        parent = await scenario.create(None)
        children = [await scenario.create(None, parent_id=parent.id) for _ in range(3)]
        undone = await person.undo(await person.does("delete", parent))
        assert {(await scenario.task(one.id)).deleted for one in (parent, *children)} == {False}
        assert len(undone.items) == 4
        await person.undo(undone.undo)
        assert {(await scenario.task(one.id)).deleted for one in (parent, *children)} == {True}

    async def test_making_a_task_that_has_subtasks_by_now_is_not_taken_back(
        self, scenario: Scenario, person: Person
    ) -> None:
        parent = await scenario.create(None)
        await scenario.create(None, parent_id=parent.id)
        with pytest.raises(ConflictError, match="changed since"):
            await person.undo(str(parent.id))

    async def test_a_restored_task_with_subtasks_by_now_does_not_go_back(
        self, scenario: Scenario, person: Person
    ) -> None:
        task = await scenario.create(None)
        await person.does("delete", task)
        step = await person.does("restore", task)
        await scenario.create(None, parent_id=task.id)
        with pytest.raises(ConflictError, match="has subtasks by now"):
            await person.undo(step)

    async def test_a_subtask_does_not_come_back_without_its_parent(self, scenario: Scenario, person: Person) -> None:
        parent = await scenario.create(None)
        child = await scenario.create(None, parent_id=parent.id)
        step = await person.does("delete", child)
        await person.does("delete", parent)
        with pytest.raises(ConflictError, match="parent_id: there is no such task"):
            await person.undo(step)
        assert (await scenario.task(child.id)).deleted

    async def test_a_task_goes_back_into_its_list_with_its_subtasks_new_ones_too(
        self, scenario: Scenario, person: Person
    ) -> None:
        async with scenario.database.transaction() as unit:
            work = await organising.add_list(unit, scenario.context, person.user_id, "Work", None)
        parent = await scenario.create(None)
        child = await scenario.create(None, parent_id=parent.id)
        step = await person.does("edit", parent, list_id=work.id)
        later = await scenario.create(None, parent_id=parent.id)
        assert later.list_id == work.id
        await person.undo(step)
        assert {(await scenario.task(one.id)).list_id for one in (parent, child, later)} == {None}

    async def test_into_a_list_that_is_gone_nothing_goes_back(self, scenario: Scenario, person: Person) -> None:
        async with scenario.database.transaction() as unit:
            work = await organising.add_list(unit, scenario.context, person.user_id, "Work", None)
        task = await scenario.create(None, list_id=work.id)
        step = await person.does("edit", task, list_id=None)
        async with scenario.database.transaction() as unit:
            await organising.delete_list(unit, scenario.context, person.user_id, work.id, None)
        with pytest.raises(ConflictError, match="there is no such list"):
            await person.undo(step)

    async def test_what_the_release_before_changed_since_is_not_taken_back(
        self, scenario: Scenario, person: Person
    ) -> None:
        task = await scenario.create(None)
        step = await person.does("edit", task, title="other")
        await scenario.complete(task)  # as old code does it: nothing is kept
        with pytest.raises(ConflictError, match="changed since"):
            await person.undo(step)

    async def test_what_events_made_is_no_step_of_a_person(self, scenario: Scenario, person: Person) -> None:
        task = await scenario.create()
        await scenario.complete(task)
        await scenario.follow()
        made = await scenario.occurrence(task, 2)
        assert made is not None
        with pytest.raises(NotFoundError):
            await person.undo(str(made.id))
        assert await steps.latest(scenario.database.pool, 1, NOON - DAY, 10) == []
        await person.undo(await person.does("edit", made, title="mine"))
        assert [row["what"] for row in await steps.latest(scenario.database.pool, 1, NOON - DAY, 10)] == ["edit"]


class TestKeeping:
    async def test_the_last_hundred_steps_of_a_week_are_kept(
        self, scenario: Scenario, person: Person, clock: MovableClock
    ) -> None:
        task = await scenario.create(None)
        first = await person.does("edit", task, title="first")
        clock.advance(days=8)
        for number in range(steps.KEPT + 5):
            last = await person.does("edit", task, title=f"number {number}")
        await handlers.reconcile_series(scenario.database, 1, clock)
        count = "SELECT count(*) FROM undo_steps"
        assert await scenario.database.pool.fetchval(count) == steps.KEPT
        with pytest.raises(NotFoundError, match="too long ago"):
            await person.undo(first)
        await person.undo(last)
        clock.advance(days=8)
        with pytest.raises(ConflictError, match="nothing"):
            await person.undo()
        await handlers.reconcile_series(scenario.database, 1, clock)
        assert await scenario.database.pool.fetchval(count) == 0

    async def test_one_persons_steps_do_not_push_out_anothers(self, scenario: Scenario, person: Person) -> None:
        async with scenario.database.transaction() as unit:
            other = await people.add(unit.connection, "bob@example.test", "Bob", "UTC", unit.now)
        assert other is not None
        task = await scenario.create(None)
        step = await person.does("edit", task, title="mine")
        await scenario.database.pool.execute(
            "INSERT INTO undo_steps (user_id, at, what, title, things, takes_back, undone)"
            " SELECT $1, $2, 'edit', '', 0, false, false FROM generate_series(1, 150)",
            other.id, NOON,
        )  # fmt: skip
        await steps.forget_old(scenario.database.pool, NOON)
        assert await scenario.database.pool.fetchval("SELECT count(*) FROM undo_steps") == steps.KEPT + 1
        await person.undo(step)


CHANGES = st.sampled_from(
    [
        ("edit", {"title": "other"}),
        ("edit", {"due": Due("UTC", at=NOON + 3 * DAY), "labels": ("x",)}),
        ("edit", {"due": None, "reminders": ()}),
        ("edit", {"start": Due("UTC", at=NOON)}),
        ("complete", {}),
        ("reopen", {}),
        ("snooze", {"hours": 5, "instead_of": None}),
        ("delete", {}),
        ("restore", {}),
        ("move", {}),
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGES, min_size=1, max_size=8))
async def test_whatever_was_done_undoing_all_of_it_ends_where_it_began(
    scenario: Scenario, person: Person, changes: list[tuple[str, dict[str, Any]]]
) -> None:
    """And after every undo the task is as it was before that change."""
    task = await scenario.create(None)
    seen = [task]
    for what, fields in changes:
        try:
            step = await person.does(what, task, **fields)
        except (RuleError, NotFoundError):
            continue
        if step:
            seen.append(await scenario.task(task.id))
    while len(seen) > 1:
        seen.pop()
        await person.undo()
        now = await scenario.task(task.id)
        assert shape(now) == shape(seen[-1])
    assert (await scenario.task(task.id)).status is Status.OPEN
