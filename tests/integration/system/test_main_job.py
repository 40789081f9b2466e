"""The main job: a task, its reminder, one mail; and no mail where the task has moved on."""

import datetime as dt
import re

import pytest

from tests.integration.system.world import Person, World, all_of, eventually, from_now
from todo.contracts import names

# The schedule has seen the newest version, and what was to be at that instant is neither to come nor on its way.
_LET_GO = """
SELECT FROM backend.tasks JOIN notification.tasks AS seen ON seen.task_id = id AND seen.version = tasks.version
WHERE id::text = $1 AND tasks.version > 1 AND NOT EXISTS (
    SELECT FROM notification.reminders
    WHERE task_id = id AND fire_at = $2 AND state IN ('waiting', 'dispatched')
)
"""


async def test_the_guides_own_body_makes_a_task_that_all_services_hear_of(world: World) -> None:
    answer = await world.ask("POST", "/tasks", json={"title": "Test task 1", "user_id": 1})
    assert answer.status == 201
    task = answer.body
    assert (task["title"], task["user_id"], task["status"], task["version"]) == ("Test task 1", 1, "open", 1)
    assert answer.headers["location"] == f"/tasks/{task['id']}"
    seen = "SELECT version FROM notification.tasks WHERE task_id::text = $1"
    assert await eventually(lambda: world.rows(seen, task["id"])) == [{"version": 1}]


async def test_a_due_reminder_becomes_exactly_one_mail_that_says_what_where_and_to_whom(world: World) -> None:
    person = await world.person()
    task = await person.remind(1, "Pay rent <today> & smile")
    mail = await person.one_mail()
    assert mail["Subject"] == "Reminder: Pay rent <today> & smile"
    assert [to["Address"] for to in mail["To"]] == [person.email]
    assert mail["From"]["Address"] == "todo@example.org"
    assert dt.datetime.fromisoformat(mail["Date"]) >= dt.datetime.fromisoformat(task["due_at"]).replace(microsecond=0)
    (link,) = re.findall(r"https?://\S+", mail["Text"])
    assert link in mail["HTML"]
    assert (await world.ask("GET", link)).body["title"] == task["title"]
    assert "Pay rent &lt;today&gt; &amp; smile" in mail["HTML"]
    await person.reached(task, "delivered")
    (attempt,) = await person.attempts(task)
    assert (attempt["outcome"], attempt["recipient"]) == ("delivered", person.email)
    assert attempt["message_id"] == f"<{mail['MessageID']}>"
    await world.through()
    assert await person.mail_count() == 1


@pytest.mark.parametrize("change", ["complete", "delete", "move", "clear"])
async def test_no_mail_for_what_changed_before_it_was_due(world: World, change: str) -> None:
    person = await world.person()
    task = await person.remind(2)
    await _change(person, task, change)
    assert await eventually(lambda: world.rows(_LET_GO, task["id"], dt.datetime.fromisoformat(task["due_at"])))
    await world.through(task["due_at"])
    assert await person.mail_count() == 0


async def _change(person: Person, task: dict[str, object], change: str) -> None:
    match change:
        case "complete":
            await person.do(task, "complete")
        case "delete":
            await person.delete(task)
        case "move":
            await person.edit(task, due_at=from_now(86400).isoformat())
        case "clear":
            await person.edit(task, reminders=[])


async def test_a_task_completed_after_its_reminder_was_dispatched_is_not_mailed(world: World) -> None:
    person = await world.person()
    await world.system.stop(names.EMAIL_DELIVERY.app_id)
    task = await person.remind(0)
    await person.reached(task, "dispatched")
    await person.do(task, "complete")
    await world.system.start(names.EMAIL_DELIVERY.app_id)
    (attempt,) = await person.attempts(task)
    assert (attempt["outcome"], attempt["reason"]) == ("suppressed", "the task was completed")
    await person.reached(task, "suppressed")
    assert await person.mail_count() == 0


async def test_a_snoozed_reminder_mails_at_the_new_instant_and_only_then(world: World) -> None:
    person = await world.person()
    task = await person.remind(4)
    until = from_now(5)
    await person.do(task, "snooze", {"until": until.isoformat(), "reminder": "PT0S"})
    mail = await person.one_mail()
    assert dt.datetime.fromisoformat(mail["Created"]) >= until
    history = (await person.task(task))["reminder_history"]
    assert [one["state"] for one in history][:1] == ["dismissed"]
    await world.through()
    assert await person.mail_count() == 1


async def test_a_mail_goes_to_the_address_of_the_moment_it_is_sent(world: World) -> None:
    person = await world.person("before")
    task = await person.remind(2)
    moved = f"after-{person.email}"
    await world.api("PATCH", f"/users/{person.id}", {"email": moved})
    await person.reached(task, "delivered")
    assert len(await world.mails(moved)) == 1
    assert await person.mail_count() == 0


async def test_each_of_several_reminders_of_a_task_is_a_mail(world: World) -> None:
    person = await world.person()
    due = from_now(61)
    task = await person.add(
        "Twice", due_at=due.isoformat(), reminders=["-PT1M", (due - dt.timedelta(minutes=1, seconds=-1)).isoformat()]
    )
    await eventually(lambda: _both(person))
    assert {one["state"] for one in (await person.task(task))["reminder_history"]} <= {"delivered", "due"}


async def _both(person: Person) -> bool:
    return await person.mail_count() == 2


async def test_a_reminder_that_was_past_when_it_was_set_is_skipped_and_says_so(world: World) -> None:
    person = await world.person()
    task = await person.remind(-3600)
    (attempt,) = await person.attempts(task)
    assert (attempt["outcome"], attempt["attempt"]) == ("skipped", 0)
    assert await person.mail_count() == 0


async def test_many_people_get_their_own_mails(world: World) -> None:
    people = await all_of(*(world.person() for _ in range(5)))
    await all_of(*(person.remind(0, f"For {person.id}") for person in people))
    mails = await all_of(*(person.one_mail() for person in people))
    assert [mail["Subject"] for mail in mails] == [f"Reminder: For {person.id}" for person in people]
