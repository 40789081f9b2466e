"""`todo demo`: a system of its own does its main job before your eyes, and is judged at the end."""

import asyncio
import dataclasses
import datetime as dt
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from todo.contracts import names, schedule
from todo.contracts.schedule import KnownTasks, TasksQuery
from todo.dapr.client import Dapr
from todo.dapr.client import connect as connect_sidecar
from todo.dapr.errors import DaprError
from todo.operations import client, ports, verify
from todo.operations.client import Api, Mail, Mailbox, Step, Task
from todo.operations.find import Place
from todo.operations.logs import LogSink
from todo.operations.system import HANDED_OUT, System, UpOptions, running_system

PATIENCE: Final = 15.0  # seconds for each step; each takes a second or two
POLL: Final = 0.05
FAILURES: Final = (client.UnreachableError, client.RefusedError, client.NoAnswerError, DaprError)
COMPLAINTS: Final = ('"level":"warning"', '"level":"error"', '"reason":')
USER: Final = 1

T = TypeVar("T")
Say = Callable[[str], None]


class Moment(msgspec.Struct, frozen=True):
    """One step of a reminder's way. `detail` holds the ids that belong to it."""

    at: dt.datetime
    what: str
    detail: str = ""


class Timeline(msgspec.Struct, frozen=True):
    title: str
    task_id: str
    moments: tuple[Moment, ...]


class Story(msgspec.Struct, frozen=True):
    """What happened. `missing` names the steps that did not come in time, `troubles` what services complained of."""

    complete: bool
    missing: tuple[str, ...]
    seconds: float
    timelines: tuple[Timeline, ...]
    report: verify.Report | None
    troubles: tuple[str, ...] = ()

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


class _Troubles(LogSink):
    """Keeps the last complaints of the services, for a demonstration that fails."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=10)

    def line(self, name: str, text: str) -> None:
        if any(mark in text for mark in COMPLAINTS):
            self.lines.append(f"{name}: {text}")


class MissingError(Exception):
    """A step did not come, or not in time; the message says which."""


def demo_options() -> UpOptions:
    """A system for nobody else: free ports, a temporary folder, its own database and mailbox."""
    options = UpOptions(temporary=True, free_ports=True, log_format="json")
    environ = {name: value for name, value in options.environ.items() if name not in HANDED_OUT}
    return dataclasses.replace(options, environ=environ)


async def demonstrate(say: Say, options: UpOptions | None = None) -> Story:
    """Run the demonstration to its end; what `running_system` raises when there is no system is passed on."""
    began = time.monotonic()
    say("starting a system of its own: free ports, a temporary folder ...")
    troubles = _Troubles()
    async with running_system(options or demo_options(), troubles) as system, client.session() as http:
        say(f"it runs after {time.monotonic() - began:.1f} s: API {system.backend_url}, mailbox {system.mailbox_url}")
        place = place_of(system)
        async with connect_sidecar(place.sidecar, place.token) as dapr:
            scene = _Scene(say, Api(http, place.api), Mailbox(http, place.mailbox or ""), dapr)
            missing, report = await _play(scene, place)
    seconds = round(time.monotonic() - began, 2)
    said = tuple(troubles.lines) if missing else ()
    return Story(not missing, missing, seconds, tuple(scene.timelines), report, said)


def place_of(system: System) -> Place:
    """Where a running system's parts are."""
    sidecar = f"http://{ports.LOOPBACK}:{system.ports[ports.sidecar(names.BACKEND.app_id)]}"
    return Place(system.backend_url, sidecar, system.data.api_token, system.mailbox_url)


async def _play(scene: "_Scene", place: Place) -> tuple[tuple[str, ...], verify.Report | None]:
    try:
        await scene.play()
        scene.say("asking every service whether they agree ...")
        report = await _answered("the agreement of all services", verify.verify(place, wait=PATIENCE))
    except MissingError as missing:
        return (str(missing),), None
    return () if report.agree else ("the agreement of all services: see the findings",), report


class _Scene:
    """The acts, in their order; each waits for what it has caused."""

    def __init__(self, say: Say, api: Api, mailbox: Mailbox, dapr: Dapr) -> None:
        self.say = say
        self.timelines: list[Timeline] = []
        self._api = api
        self._mailbox = mailbox
        self._dapr = dapr

    async def play(self) -> None:
        await self._add({"title": "Test task 1", "user_id": USER})
        soon = {"due_at": _soon(), "reminders": ["PT0S"], "user_id": USER}
        reminded = await self._add({"title": "Water the plants"} | soon)
        recurring = await self._add({"title": "Take the medicine", "recurrence": {"rule": "FREQ=DAILY"}} | soon)
        for task in (reminded, recurring):
            await self._see_mail(task)
        await self._see_successor(recurring)

    async def _add(self, draft: Mapping[str, Any]) -> Task:
        task = (await _answered(f"POST /tasks of {draft['title']!r}", self._api.add_task(draft))).value
        self.say(f"POST /tasks: {task.title!r} is {task.id}")
        return task

    async def _see_mail(self, task: Task) -> None:
        """Wait for its mail, and for the outcome to be known everywhere; keep the timeline."""
        mail = await _until(f"the mail of {task.title!r}", lambda: self._mail_of(task))
        steps = await _until(f"the outcome of {task.title!r}", lambda: self._closed(task))
        timeline = Timeline(task.title, str(task.id), await self._moments(task, steps, mail))
        self.timelines.append(timeline)
        self.say(f"mail {mail.Subject!r} is in the mailbox, and everybody knows")

    async def _see_successor(self, task: Task) -> None:
        done = (await _answered(f"the completion of {task.title!r}", self._api.complete(USER, task.id))).value
        self.say(f"completed {done.title!r}, occurrence 1 of its series")
        following = await _until(f"the next occurrence of {task.title!r}", lambda: self._successor(task))
        moments = [
            Moment(done.closed_at or done.updated_at, "completed", f"task {done.id}"),
            Moment(following.created_at, "its next occurrence is there", f"task {following.id}"),
        ]
        await _until(f"the reminder of the next {task.title!r}", lambda: self._scheduled(following))
        moments.append(Moment(await self._seen_at(following), "its reminder is scheduled", str(following.due_at)))
        self.timelines.append(Timeline(f"{task.title}, again", str(following.id), tuple(moments)))
        self.say(f"its next occurrence is due {following.due_at:%Y-%m-%d %H:%M:%S} UTC, its reminder is scheduled")

    async def _mail_of(self, task: Task) -> Mail | None:
        mails = (await self._mailbox.mails(limit=50)).value.messages
        return next((mail for mail in mails if task.title in mail.Subject), None)

    async def _closed(self, task: Task) -> tuple[Step, ...] | None:
        """The whole timeline, once both the delivery history and the schedule say delivered."""
        steps = (await self._api.why(USER, task.id)).value.timeline
        told = {step.where for step in steps if step.what.startswith("delivered")}
        return steps if {"email-delivery", "schedule"} <= told else None

    async def _moments(self, task: Task, steps: tuple[Step, ...], mail: Mail) -> tuple[Moment, ...]:
        sent = _step(steps, "schedule", "dispatched")
        delivered = _step(steps, "email-delivery", "delivered")
        closed = _step(steps, "schedule", "delivered")
        moments = [
            Moment(task.created_at, "committed with its event", f"version {task.version}"),
            Moment(await self._seen_at(task), "its reminder is scheduled", f"due {task.due_at:%H:%M:%S.%f}"[:-3]),
            Moment(sent.at, "dispatched", f"attempt {sent.attempt}"),
            Moment(mail.Created or delivered.at, "taken by the mail server", f"Message-ID {mail.MessageID}"),
            Moment(delivered.at, "accepted, said the mail server", f"to {delivered.recipient}"),
            Moment(closed.at, "outcome recorded", "delivered"),
        ]
        return tuple(sorted(moments, key=lambda moment: moment.at))

    async def _seen_at(self, task: Task) -> dt.datetime:
        return await _until(f"{task.title!r} in the schedule", lambda: self._known(task))

    async def _known(self, task: Task) -> dt.datetime | None:
        asked = msgspec.json.encode(TasksQuery())
        answer = await self._dapr.invoke(names.NOTIFICATION.app_id, schedule.TASKS, asked)
        known = msgspec.json.decode(answer, type=KnownTasks).tasks
        return next((one.seen_at for one in known if one.task_id == task.id), None)

    async def _successor(self, task: Task) -> Task | None:
        series = task.recurrence.series_id if task.recurrence else None
        found = [one async for one in self._api.all_tasks(USER)]
        return next((one for one in found if one.recurrence and one.recurrence.series_id == series), None)

    async def _scheduled(self, task: Task) -> bool:
        steps = (await self._api.why(USER, task.id)).value.timeline
        return any(step.where == "schedule" and step.what.startswith("waiting") for step in steps)


async def _answered(what: str, answer: Awaitable[T]) -> T:
    """Raises `MissingError` when there is no answer."""
    try:
        return await answer
    except FAILURES as error:
        raise MissingError(f"{what}: {error}") from error


async def _until(what: str, ask: Callable[[], Awaitable[T | None]]) -> T:
    """Ask until there is an answer; what cannot be asked now may be later. Raises `MissingError`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        reason = ""
        try:
            if found := await ask():
                return found
        except FAILURES as error:
            reason = f": {error}"
        if time.monotonic() > deadline:
            raise MissingError(what + reason)
        await asyncio.sleep(POLL)


def _step(steps: tuple[Step, ...], where: str, what: str) -> Step:
    found = next((step for step in steps if step.where == where and step.what.startswith(what)), None)
    if found is None:
        raise MissingError(f"{what!r} of {where} in the timeline")
    return found


def _soon() -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)).isoformat()
