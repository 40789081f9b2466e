"""One trace from the request to the mail, and how long the way takes."""

import datetime as dt
import secrets
import sys

import pytest

from tests.integration.system.world import Json, Person, World, all_of, eventually

REMINDERS = 30


async def test_one_trace_runs_from_the_request_to_what_became_of_the_mail(world: World) -> None:
    person, trace = await world.person(), secrets.token_hex(16)
    due_at = dt.datetime.now(dt.UTC).isoformat()
    body = {"title": "Traced", "user_id": person.id, "due_at": due_at, "reminders": ["PT0S"]}
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    task = (await world.ask("POST", "/tasks", json=body, headers=headers)).body
    await person.reached(task, "delivered")
    await person.attempts(task)
    told = [(step["where"], _trace(step["trace"])) for step in (await person.why(task))["timeline"] if "trace" in step]
    assert told == [("backend", trace), ("email-delivery", trace)]
    crossed = {(event["type"], _trace(event["traceparent"])) for _, event in world.wire() if _about(event, task)}
    assert crossed == {
        ("todo.task.created.v1", trace),
        ("todo.reminder.due.v1", trace),
        ("todo.reminder.delivered.v1", trace),
    }


async def test_a_trace_runs_on_into_the_next_occurrence(world: World) -> None:
    person = await world.person()
    first = await person.add(due_at="2031-01-01T00:00:00Z", recurrence={"rule": "FREQ=DAILY"})
    await person.do(first, "complete")
    second = await _next(person)
    (completed,) = [step for step in await person.steps(first, "backend") if "completed" in step["what"]]
    (created,) = await person.steps(second, "backend")
    assert _trace(created["trace"]) == _trace(completed["trace"])


async def _next(person: Person) -> Json:
    (task,) = await eventually(person.tasks)
    return task


async def test_latencies_of_thirty_reminders_due_now(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what they were, with a hostile broker; asserts only that each mail came."""
    people = await all_of(*(world.person() for _ in range(REMINDERS)))
    tasks = await all_of(*(person.remind(0) for person in people))
    mails = await all_of(*(person.one_mail() for person in people))
    pairs = zip(tasks, mails, strict=True)
    mailed = [(_instant(mail["Created"]) - _instant(task["created_at"])).total_seconds() for task, mail in pairs]
    seen = await world.rows(
        "SELECT extract(epoch FROM n.seen_at - h.at)::float8 AS seconds FROM notification.tasks AS n"
        " JOIN backend.task_history AS h USING (task_id, version) WHERE n.task_id::text = ANY($1)",
        [task["id"] for task in tasks],
    )
    with capsys.disabled():
        sys.stdout.write(
            f"\n  create -> mail: {_quantiles(mailed)}; commit -> consumer effect:"
            f" {_quantiles([row['seconds'] for row in seen])} ({REMINDERS} reminders due now, chaos on)\n"
        )


def _quantiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return ", ".join(f"p{q} {ordered[int(len(ordered) * q / 100)] * 1000:.0f} ms" for q in (50, 95))


def _trace(traceparent: str) -> str:
    return traceparent.split("-")[1]


def _about(event: Json, task: Json) -> bool:
    return bool(event.get("subject") == task["id"])


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
