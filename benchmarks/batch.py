"""One delivery of ten due reminders at email-delivery: from its arrival to ten mails at the mail server, and told."""

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.measure import Row, Target, spread
from benchmarks.stage import DUE, YEAR, Stage
from tests.support.smtp import SmtpServer
from todo.contracts import events, names
from todo.contracts.events import ReminderDue
from todo.messaging.unit import outgoing

BATCH: Final = 10
WARM_UP: Final = 3
BATCHES: Final = 25
ROUND_TRIP: Final = 0.02  # seconds
AGAIN: Final = 0.05


async def run(stage: Stage) -> Sequence[Row]:
    assert stage.smtp is not None
    at_once = await _batches(stage, stage.smtp, 0.0)
    far_away = await _batches(stage, stage.smtp, ROUND_TRIP)
    return [
        Row("10 reminders in one batch, SMTP with 20 ms a round trip", "ms", spread(far_away, 50, 95), _FAR_AWAY),
        Row("10 reminders in one batch, SMTP without delay", "ms", spread(at_once, 50, 95), (Target("p95", 10, "ms"),)),
    ]


_FAR_AWAY: Final = (Target("p95", 200, "ms", guide=True), Target("p95", 200, "ms"))


async def _batches(stage: Stage, smtp: SmtpServer, delay: float) -> list[float]:
    """Seconds from the POST of a delivery, as a sidecar makes it, to its answer; every mail is at the server then."""
    smtp.delay = delay
    taken = []
    for number in range(WARM_UP + stage.sized(BATCHES)):
        body = await _delivery(stage)
        before = len(smtp.received)
        began = time.perf_counter()
        await _deliver(stage, body)
        taken.append(time.perf_counter() - began)
        assert len(smtp.received) == before + BATCH, f"batch {number}: {len(smtp.received) - before} mails"
        await asyncio.sleep(0.05)  # what backend and the schedule do with the outcomes is not part of the next batch
    return taken[WARM_UP:]


async def _delivery(stage: Stage) -> bytes:
    """A bulk delivery of ten reminders whose tasks exist."""
    due = dt.datetime.now(dt.UTC) + YEAR
    tasks = await asyncio.gather(*(stage.create("Water the plants", due) for _ in range(BATCH)))
    entries = [
        {"entryId": str(number), "event": msgspec.Raw(_due(ReminderDue(task_id, DUE, due, 1))), "metadata": {}}
        for number, task_id in enumerate(tasks)
    ]
    return msgspec.json.encode({"id": "batch", "topic": names.TASK_REMINDERS, "entries": entries})


def _due(reminder: ReminderDue) -> bytes:
    now = dt.datetime.now(dt.UTC)
    app, topic = names.NOTIFICATION.app_id, names.TASK_REMINDERS
    return outgoing(app, topic, events.REMINDER_DUE, str(reminder.task_id), reminder, now=now).envelope


async def _deliver(stage: Stage, body: bytes) -> None:
    app_id = names.EMAIL_DELIVERY.app_id
    headers = {"dapr-api-token": stage.system.data.app_token(app_id), "content-type": "application/json"}
    url = f"{stage.system.addresses[app_id]}/events/{names.TASK_REMINDERS}"
    while True:
        async with stage.http.post(url, data=body, headers=headers) as answer:
            if answer.status == 200:
                return
            assert answer.status == 503, await answer.read()  # put off: a sidecar brings it again
        await asyncio.sleep(AGAIN)
