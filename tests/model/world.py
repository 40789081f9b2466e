"""A world in one process: the real handlers and stores of all four services on real PostgreSQL, an in-process bus,
state store and mail server, and a clock that only moves when told.

Every call between two effects is a point at which the process that makes it can be killed, or frozen while its replicas
go on for longer than any lease.
"""

import asyncio
import datetime as dt
import random
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final, cast

import msgspec

from todo.backend import handlers as backend_handlers
from todo.backend import internal
from todo.backend.commands import Context
from todo.backend.store import tasks
from todo.contracts import invocation, names
from todo.contracts.envelope import new_trace
from todo.contracts.events import EventParked, Outcome
from todo.dapr.client import Dapr, Message, StateItem
from todo.dapr.errors import SidecarAwayError
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery.backend import Backend
from todo.email_delivery.claims import Claims
from todo.email_delivery.handlers import ReminderMails
from todo.email_delivery.letter import Letters
from todo.email_delivery.mailer import LeaseTooOldError, Mailer, Verdict
from todo.email_delivery.mime import Mailbox
from todo.email_delivery.smtp import Mail
from todo.messaging.consumer import Consumer, Handler
from todo.messaging.direct import direct_unit
from todo.messaging.postgres import Pool, Row
from todo.messaging.relay import Relay
from todo.messaging.unit import Database, Transaction, Unit
from todo.notification import handlers as notification_handlers
from todo.notification import polling
from todo.notification.reconciliation import reconcile_tasks
from todo.recurring import handlers as recurring_handlers

START: Final = dt.datetime(2026, 3, 27, 9, tzinfo=dt.UTC)  # two days before clocks change in Europe
EPOCH: Final = 1
LONG: Final = dt.timedelta(seconds=200)  # a freeze that outlives lease (90 s) and re-dispatch (120 s)
_MESSAGE_ID: Final = re.compile(rb"^Message-ID:\s*(<[^>]+>)", re.MULTILINE | re.IGNORECASE)


class Fault(StrEnum):
    CRASH = "crash"
    FREEZE = "freeze"
    RACE = "race"  # a replica is given the same work at the same time


@dataclass(frozen=True)
class Plan:
    """What happens at the `at`-th point of an operation."""

    fault: Fault
    at: int


class Mood(StrEnum):
    """What the mail server does with the next mails."""

    ACCEPT = "accept"
    DEFER = "defer"
    REFUSE = "refuse"
    LOSE = "lose"  # accept, and close the connection before saying so


class Process:
    """One incarnation of a service. Once dead it does nothing more: whatever it awaits never comes."""

    def __init__(self, world: "World", app: str, plan: Plan | None = None) -> None:
        self.world = world
        self.app = app
        self.plan = plan
        self.points = 0
        self.died = asyncio.Event()
        self.twin: Callable[[], Awaitable[Any]] | None = None  # the same work, done by a replica
        self.handed_over: list[str] = []  # Message-IDs this incarnation got accepted

    async def point(self, *, locked: bool = False) -> None:
        """Between two effects. A freeze that holds row locks ends like a crash: the server ends the transaction."""
        if self.died.is_set():
            await asyncio.Event().wait()
        self.points += 1
        if self.plan is None or self.points != self.plan.at:
            return
        if self.plan.fault is Fault.RACE:
            if self.twin is not None and not locked:
                await self.twin()
            return
        self.world.count_send_window(self)
        if self.plan.fault is Fault.CRASH or locked:
            self.died.set()
            await asyncio.Event().wait()
        await self.world.meanwhile()

    async def run(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Do the work unless this process dies first. Whether it got done; unavailability is not done."""
        task = asyncio.ensure_future(work)
        death = asyncio.ensure_future(self.died.wait())
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
        for one in (task, death):
            one.cancel()
        results = await asyncio.gather(task, death, return_exceptions=True)
        if not done:
            return False
        if isinstance(results[0], UnavailableError):
            return False
        if isinstance(results[0], BaseException):
            raise results[0]
        return True


class SimDatabase(Database):
    """A service's database as one process sees it."""

    def __init__(self, pool: Pool, process: Process) -> None:
        super().__init__(pool, process.world.clock)
        self._process = process

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        await self._process.point()
        async with super().transaction() as unit:
            yield unit
            await self._process.point(locked=True)
        await self._process.point()


class SimDapr:
    """The sidecar as one process sees it: bus, state and invocation, without a network."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def publish_all(self, _: str, topic: str, messages: Sequence[Message]) -> dict[str, str]:
        await self._process.point()
        for message in messages:
            self._world.publish(topic, message.envelope)
        await self._process.point()
        return {}

    async def publish(self, pubsub: str, topic: str, message: Message) -> None:
        await self.publish_all(pubsub, topic, [message])

    async def get_state(self, _: str, keys: Sequence[str]) -> dict[str, StateItem]:
        await self._process.point()
        return {key: item for key in keys if (item := self._world.state.read(key))}

    async def save_state(self, _: str, entries: Sequence[Mapping[str, Any]]) -> None:
        await self._process.point()
        lost = [entry for entry in entries if not self._world.state.write(entry)]
        await self._process.point()
        if lost:
            raise SidecarAwayError("500 ERR_STATE_SAVE no item was updated")

    async def invoke(self, app_id: str, method: str, data: bytes) -> bytes:
        await self._process.point()
        answer = await self._world.ask(app_id, method, data)
        await self._process.point()
        return answer


class SimState:
    """A state store with ETags, first-write and TTL on the world's clock."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[bytes, str, dt.datetime]] = {}
        self._etags = 0

    def read(self, key: str) -> StateItem | None:
        entry = self._entries.get(key)
        if entry is None or entry[2] <= self._clock():
            return None
        return StateItem(msgspec.Raw(entry[0]), entry[1])

    def write(self, entry: Mapping[str, Any]) -> bool:
        """Whether it was written: first-write loses against an entry whose ETag it does not know."""
        there = self.read(entry["key"])
        if there is not None and there.etag != entry.get("etag"):
            return False
        if there is None and entry.get("etag"):
            return False
        self._etags += 1
        lives = dt.timedelta(seconds=int(entry["metadata"]["ttlInSeconds"]))
        self._entries[entry["key"]] = (msgspec.json.encode(entry["value"]), str(self._etags), self._clock() + lives)
        return True

    def holds_outcome(self, message_id: str) -> bool:
        """Whether some entry says that this mail was accepted."""
        needle = f'"message_id":"{message_id}"'.encode()
        return any(needle in value for value, _, until in self._entries.values() if until > self._clock())


class SimMailer(Mailer):
    """A mail server that does what the world's mood says."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[None]:
        yield

    async def send(self, mail: Mail, *, may_start: Callable[[], bool]) -> Verdict:
        world = self._process.world
        await self._process.point()
        if not may_start():
            raise LeaseTooOldError
        if world.mood is Mood.REFUSE:
            world.refused.add(world.message_id(mail))
        if world.mood in {Mood.DEFER, Mood.REFUSE}:
            return Verdict(Outcome.DEFERRED if world.mood is Mood.DEFER else Outcome.FAILED, "the server said so")
        message_id = world.accept(mail)
        self._process.handed_over.append(message_id)
        if world.mood is Mood.LOSE:
            world.repeats_allowed[message_id] += 1
            world.lost[message_id] += 1
            return Verdict(Outcome.DEFERRED, "connection lost", possibly_sent=True)
        await self._process.point()
        return Verdict(Outcome.DELIVERED)


class NeverCautious:
    """Sightings are proved elsewhere; here every start is a clean one."""

    async def is_cautious(self) -> bool:
        return False

    async def begin(self, event_id: str) -> int:
        raise AssertionError(event_id)

    async def take_back(self, event_id: str) -> None:
        raise AssertionError(event_id)

    async def finish(self, event_id: str) -> None:
        raise AssertionError(event_id)


@dataclass
class Sent:
    """A mail the mail server has accepted."""

    message_id: str
    at: dt.datetime


@dataclass
class World:
    """Everything there is. `pools` are connections to the schemas of backend and notification-service."""

    pools: dict[str, Pool]
    now: dt.datetime = START
    latest: dt.datetime = START  # the furthest the clock has ever been
    mood: Mood = Mood.ACCEPT
    pending: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    history: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    sent: list[Sent] = field(default_factory=list)
    repeats_allowed: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)  # Message-IDs refused for good
    lost: Counter[str] = field(default_factory=Counter)  # accepted without a word, per Message-ID
    parked: list[EventParked] = field(default_factory=list)
    letters: Letters = field(init=False)
    state: SimState = field(init=False)

    def __post_init__(self) -> None:
        self.letters = Letters(Mailbox.of("todo", "todo@example.test"), self.clock)
        self.state = SimState(self.clock)

    def clock(self) -> dt.datetime:
        return self.now

    def advance(self, by: dt.timedelta) -> None:
        self.now += by
        self.latest = max(self.latest, self.now)

    def context(self) -> Context:
        return Context(EPOCH, self.now, new_trace())

    def publish(self, topic: str, envelope: bytes) -> None:
        for app in names.APPS:
            if topic in app.topics:
                self.pending[app.app_id, topic].append(envelope)

    @staticmethod
    def message_id(mail: Mail) -> str:
        found = _MESSAGE_ID.search(mail.content)
        assert found is not None
        return found[1].decode()

    def accept(self, mail: Mail) -> str:
        message_id = self.message_id(mail)
        self.sent.append(Sent(message_id, self.latest))
        return message_id

    def count_send_window(self, process: Process) -> None:
        """A fault of a sender: what it got accepted and has not recorded may be mailed once more each."""
        for message_id in process.handed_over:
            if not self.state.holds_outcome(message_id):
                self.repeats_allowed[message_id] += 1

    async def ask(self, app_id: str, method: str, data: bytes) -> bytes:
        assert app_id == names.BACKEND.app_id
        pool = self.pools[app_id]
        match method:
            case invocation.RESOLVE_REMINDERS:
                asked = msgspec.json.decode(data, type=invocation.ResolveReminders)
                found = await internal.resolve_reminders(pool, asked.reminders, "http://todo.test")
                return msgspec.json.encode(invocation.ResolvedReminders(tuple(found)))
            case invocation.TASK_VERSIONS:
                query = msgspec.json.decode(data, type=invocation.TaskVersionsQuery)
                versions = await tasks.versions(pool, query.after, query.limit)
                return msgspec.json.encode(invocation.TaskVersions(EPOCH, tuple(versions)))
            case invocation.TASK_SNAPSHOTS:
                wanted = msgspec.json.decode(data, type=invocation.SnapshotsQuery)
                snapshots = await internal.read_snapshots(pool, wanted.task_ids, EPOCH)
                return msgspec.json.encode(invocation.Snapshots(tuple(snapshots)))
        raise AssertionError(method)

    def database(self, process: Process) -> SimDatabase:
        return SimDatabase(self.pools[process.app], process)

    async def command(self, plan: Plan | None, act: Callable[[Transaction, Context], Awaitable[Any]]) -> bool:
        """Run a command of the public API; whether its caller got an answer."""
        process = Process(self, names.BACKEND.app_id, plan)

        async def request() -> None:
            async with self.database(process).transaction() as unit:
                await act(unit, self.context())

        return await process.run(request())

    async def relay(self, app_id: str, plan: Plan | None = None) -> bool:
        """Let a relay empty its outbox."""
        process = Process(self, app_id, plan)
        relay = Relay(
            _no_connection, cast("Dapr", SimDapr(process)), names.PUBSUB, app_id, park=_no_park, clock=self.clock
        )

        async def drain() -> None:
            async with self.pools[app_id].acquire() as connection:
                await relay.drain(_Faulty(connection, process))  # type: ignore[arg-type]

        return await process.run(drain())

    async def deliver(self, app_id: str, topic: str, events: Sequence[bytes], plan: Plan | None = None) -> bool:
        """Deliver a batch; what was not acknowledged stays."""
        process = Process(self, app_id, plan)
        process.twin = partial(self.deliver, app_id, topic, events)
        done = await process.run(self._consumer(process).deliver(topic, events))
        if done:
            pending = self.pending[app_id, topic]
            for event in events:
                if event in pending:
                    pending.remove(event)
                    self.history[app_id, topic].append(event)
        return done

    async def job(self, name: str, plan: Plan | None = None) -> bool:
        """Let a job look once."""
        app_id = names.BACKEND.app_id if name == names.RECONCILE_SERIES else names.NOTIFICATION.app_id
        process = Process(self, app_id, plan)
        database = self.database(process)
        looks: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            names.CHECK_DUE_TASKS: partial(notification_handlers.dispatch_due, database),
            names.RECONCILE_REMINDERS: partial(
                polling.reconcile_reminders, database, partial(SimDapr(process).invoke, names.BACKEND.app_id)
            ),
            names.RECONCILE_TASKS: partial(
                reconcile_tasks, database, partial(SimDapr(process).invoke, names.BACKEND.app_id)
            ),
            names.RECONCILE_SERIES: partial(backend_handlers.reconcile_series, database, EPOCH, self.clock),
        }
        return await process.run(looks[name]())

    async def meanwhile(self) -> None:
        """What replicas do while one of them is frozen for longer than any lease."""
        self.advance(LONG)
        await self.round()

    async def round(self, shuffle: random.Random | None = None, plan: Plan | None = None) -> None:
        """Everything once: jobs, relays, deliveries; with `shuffle` in any order, and some of the past again.

        `plan` strikes each delivery that gets as far.
        """
        for name in (names.CHECK_DUE_TASKS, names.RECONCILE_REMINDERS):
            await self.job(name)
        for app_id in self.pools:
            await self.relay(app_id)
        for (app_id, topic), events in list(self.pending.items()):
            batch = list(events)
            if shuffle:
                batch += [one for one in self.history[app_id, topic] if not shuffle.randrange(4)]
                shuffle.shuffle(batch)
            if batch:
                await self.deliver(app_id, topic, batch, plan)

    async def settle(self) -> None:
        """Without faults, until nothing is left to do now. Fails if there is no end to it."""
        self.mood = Mood.ACCEPT
        for _ in range(300):
            for name in (names.RECONCILE_TASKS, names.RECONCILE_SERIES):
                await self.job(name)
            await self.round()
            if not any(self.pending.values()) and not await self._outbox():
                next_at = await self._next_look()
                if next_at is None:
                    return
                self.advance(max(next_at - self.now, dt.timedelta(seconds=1)))
        raise AssertionError(f"the world does not settle: {self.pending}")

    async def _outbox(self) -> int:
        return sum([await pool.fetchval("SELECT count(*) FROM outbox") for pool in self.pools.values()])

    async def _next_look(self) -> dt.datetime | None:
        """When a reminder whose time has come, or a series without successor, is looked at again."""
        at: dt.datetime | None = await self.pools[names.NOTIFICATION.app_id].fetchval(
            "SELECT min(next_at) FROM reminders WHERE state = 'dispatched' OR (state = 'waiting' AND fire_at <= $1)",
            self.latest,
        )
        orphans = await tasks.orphans(self.pools[names.BACKEND.app_id], self.now + dt.timedelta(days=1), None, 10)
        untold = await self.pools[names.NOTIFICATION.app_id].fetchval(
            "SELECT count(*) FROM reminders WHERE NOT told AND next_at IS NULL AND state <> 'withdrawn'"
        )
        return at or (self.now + dt.timedelta(minutes=3) if orphans or untold else None)

    def _consumer(self, process: Process) -> Consumer[Any]:
        dapr = cast("Dapr", SimDapr(process))
        match process.app:
            case names.BACKEND.app_id:
                return self._database_consumer(
                    process,
                    backend_handlers.HANDLED | {names.TASK_OCCURRENCES: backend_handlers.occurrences(lambda: EPOCH)},
                )
            case names.NOTIFICATION.app_id:
                return self._database_consumer(
                    process,
                    {
                        names.TASK_EVENTS: notification_handlers.task_event,
                        names.REMINDER_DELIVERIES: notification_handlers.delivery_outcome,
                    },
                )
            case names.EMAIL_DELIVERY.app_id:
                mails = ReminderMails(
                    Backend(dapr, self.clock),
                    Claims(dapr, names.STATE_STORE, self.clock),
                    SimMailer(process),
                    self.letters,
                    self.clock,
                )
                return self._direct_consumer(process, dapr, {names.TASK_REMINDERS: mails.reminder_due})
            case _:
                return self._direct_consumer(process, dapr, {names.TASK_EVENTS: recurring_handlers.task_event})

    def _database_consumer(self, process: Process, handlers: dict[str, Handler[Transaction]]) -> Consumer[Any]:
        return Consumer(
            process.app,
            handlers,
            scope=self.database(process).transaction,
            park=self._park,
            sightings=NeverCautious(),
            clock=self.clock,
        )

    def _direct_consumer(self, process: Process, dapr: Dapr, handlers: dict[str, Handler[Any]]) -> Consumer[Any]:
        return Consumer(
            process.app,
            handlers,
            scope=lambda: direct_unit(dapr, names.PUBSUB),
            park=self._park,
            sightings=NeverCautious(),
            clock=self.clock,
        )

    async def _park(self, letters: Sequence[EventParked], _: Unit) -> None:
        self.parked.extend(letters)


class _Faulty:
    """The relay's connection, with points around each statement."""

    def __init__(self, connection: Any, process: Process) -> None:  # noqa: ANN401
        self._connection = connection
        self._process = process

    async def fetch(self, *arguments: Any) -> Any:  # noqa: ANN401
        await self._process.point()
        return await self._connection.fetch(*arguments)

    async def fetchrow(self, *arguments: Any) -> Any:  # noqa: ANN401
        return await self._connection.fetchrow(*arguments)  # it only looks

    async def fetchval(self, *arguments: Any) -> Any:  # noqa: ANN401
        await self._process.point()
        return await self._connection.fetchval(*arguments)

    async def execute(self, *arguments: Any) -> Any:  # noqa: ANN401
        await self._process.point()
        answer = await self._connection.execute(*arguments)
        await self._process.point()
        return answer


async def _no_connection() -> Any:  # noqa: ANN401
    raise AssertionError("the world's relays are given a connection")


async def _no_park(row: Row, error: str) -> None:
    raise AssertionError((row, error))
