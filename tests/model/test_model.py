"""The model: whatever people do, whenever processes die, freeze, repeat and reorder, the invariants hold in the end.

Hypothesis drives the real handlers and stores. A failure prints the steps that lead to it; they are the replay.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace

from tests.model.world import Fault, Mood, Plan, World
from todo.backend import commands
from todo.backend.app import MIGRATIONS as BACKEND_MIGRATIONS
from todo.backend.commands import ConflictError, Context, Draft, NotFoundError, StaleError
from todo.backend.store import people, tasks
from todo.backend.store.people import User
from todo.contracts import names
from todo.contracts.events import ReminderKey, ReminderOutcome
from todo.dapr.client import StateItem
from todo.domain.due import Due
from todo.domain.errors import RuleError
from todo.domain.recurrence import Mode, Policy
from todo.domain.series import Repetition
from todo.domain.task import Task
from todo.email_delivery import claims
from todo.messaging import unit as unit_of_work
from todo.messaging.database import open_database
from todo.messaging.migrations import migrate
from todo.messaging.unit import Transaction
from todo.notification import schedule
from todo.notification import store as notification_store
from todo.notification.app import MIGRATIONS as NOTIFICATION_MIGRATIONS
from todo.operations.postgres import PostgresServer

T = TypeVar("T")

ZONE: Final = "Europe/Berlin"
USER: Final = User(1, "ada@example.test", "Ada", ZONE)
SCHEMAS: Final = {names.BACKEND.app_id: "backend", names.NOTIFICATION.app_id: "notification"}
QUEUES: Final = [(app.app_id, topic) for app in names.APPS for topic in app.topics if topic != names.DEAD_LETTERS]
JOBS: Final = [names.CHECK_DUE_TASKS, names.RECONCILE_REMINDERS, names.RECONCILE_TASKS, names.RECONCILE_SERIES]

faults = st.none() | st.builds(Plan, st.sampled_from(Fault), st.integers(1, 14))
picks = st.integers(0, 5)
minutes = st.sampled_from([-90, -1, 0, 2, 30, 90, 1440, 2900])
repetitions = st.none() | st.builds(
    Repetition,
    st.sampled_from(["FREQ=DAILY", "FREQ=DAILY;COUNT=2", "FREQ=WEEKLY;BYDAY=MO,FR", "FREQ=MONTHLY;BYMONTHDAY=-1"]),
    st.sampled_from(Mode),
    st.sampled_from(Policy),
)
reminders = st.just(("PT0S",)) | st.lists(
    st.sampled_from(["PT0S", "-PT1H", "-PT10M", "-P1D"]), unique=True, max_size=3
).map(tuple)


class Model(RuleBasedStateMachine):
    """Steps are what people, brokers and machines do; the invariants are judged at the end of each run."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    pools: ClassVar[dict[str, Any]]
    ids: ClassVar[random.Random] = random.Random(0)  # noqa: S311 - the same steps, the same ids: failures replay

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.pools)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    @initialize()
    def begin(self) -> None:
        """Some tasks are there already, so that every run has something to do."""
        self.ids.seed(0)
        self.run(self._empty())
        daily = Repetition("FREQ=DAILY")
        for due, reminders, repetition in (
            (0, ("PT0S",), None),
            (2, ("PT0S", "-PT1H"), daily),
            (30, ("-PT10M",), None),
        ):
            self._create(due, reminders, repetition, None)

    @rule(due=minutes, reminders=reminders, repetition=repetitions, fault=faults)
    def create(self, due: int, reminders: tuple[str, ...], repetition: Repetition | None, fault: Plan | None) -> None:
        self._create(due, reminders, repetition, fault)

    def _create(self, due: int, reminders: tuple[str, ...], repetition: Repetition | None, fault: Plan | None) -> None:
        fields = {"due": self._due(due), "reminders": reminders}

        async def act(unit: Transaction, context: Context) -> None:
            await commands.create(unit.connection, context, USER, Draft("Water the plants", fields, repetition))

        self._command(act, fault)

    @rule(pick=picks, due=minutes, fault=faults)
    def move(self, pick: int, due: int, fault: Plan | None) -> None:
        self._edit(pick, fault, changes={"due": self._due(due)})

    @rule(pick=picks, title=st.sampled_from(["a", "b"]), fault=faults)
    def rename(self, pick: int, title: str, fault: Plan | None) -> None:
        self._edit(pick, fault, changes={"title": title})

    @rule(pick=picks, wanted=reminders, fault=faults)
    def remind(self, pick: int, wanted: tuple[str, ...], fault: Plan | None) -> None:
        self._edit(pick, fault, changes={"reminders": wanted})

    @rule(pick=picks, repetition=repetitions, fault=faults)
    def repeat(self, pick: int, repetition: Repetition | None, fault: Plan | None) -> None:
        self._edit(pick, fault, changes={}, repetition=repetition)

    @rule(pick=picks, fault=faults)
    def complete(self, pick: int, fault: Plan | None) -> None:
        self._on_task(pick, fault, lambda unit, context, id_: commands.complete(unit, context, USER.id, id_, None))

    @rule(pick=picks, fault=faults)
    def reopen(self, pick: int, fault: Plan | None) -> None:
        self._on_task(pick, fault, lambda unit, context, id_: commands.reopen(unit, context, USER.id, id_, None))

    @rule(pick=picks, after=st.sampled_from([1, 45, 600]), fault=faults)
    def snooze(self, pick: int, after: int, fault: Plan | None) -> None:
        until = self.world.now + dt.timedelta(minutes=after)
        self._on_task(
            pick,
            fault,
            lambda unit, context, id_: commands.snooze(unit, context, USER.id, id_, until=until, instead_of="PT0S"),
        )

    @rule(pick=picks, whole=st.booleans(), fault=faults)
    def delete(self, pick: int, whole: bool, fault: Plan | None) -> None:
        self._on_task(
            pick,
            fault,
            lambda unit, context, id_: commands.delete(unit, context, USER.id, id_, expected=None, whole_series=whole),
        )

    @rule(seconds=st.sampled_from([1, 61, 125, 3700, 90_000]))
    def wait(self, seconds: int) -> None:
        self.world.advance(dt.timedelta(seconds=seconds))

    @rule(minutes=st.sampled_from([1, 3, 31]), seed=st.integers(0, 99), fault=faults)
    def time_passes(self, minutes: int, seed: int, fault: Plan | None) -> None:
        """A while in which things go on."""
        self.world.advance(dt.timedelta(minutes=minutes))
        self.run(self.world.round(random.Random(seed), fault))  # noqa: S311

    @rule(seconds=st.sampled_from([5, 3600]))
    def clock_goes_back(self, seconds: int) -> None:
        self.world.advance(-dt.timedelta(seconds=seconds))

    @rule(app_id=st.sampled_from(list(SCHEMAS)), fault=faults)
    def relay(self, app_id: str, fault: Plan | None) -> None:
        self.run(self.world.relay(app_id, fault))

    @rule(queue=st.sampled_from(QUEUES), seed=st.integers(0, 9), size=st.integers(1, 6), fault=faults)
    def deliver(self, queue: tuple[str, str], seed: int, size: int, fault: Plan | None) -> None:
        """Some of what is pending, in any order; the rest is late."""
        pending = self.world.pending[queue]
        if pending:
            batch = random.Random(seed).sample(pending, min(size, len(pending)))  # noqa: S311
            self.run(self.world.deliver(*queue, batch, fault))

    @rule(queue=st.sampled_from(QUEUES), seed=st.integers(0, 9), size=st.integers(1, 6))
    def deliver_again(self, queue: tuple[str, str], seed: int, size: int) -> None:
        history = self.world.history[queue]
        if history:
            self.run(self.world.deliver(*queue, random.Random(seed).sample(history, min(size, len(history)))))  # noqa: S311

    @rule(name=st.sampled_from(JOBS), fault=faults)
    def look(self, name: str, fault: Plan | None) -> None:
        self.run(self.world.job(name, fault))

    @rule(seed=st.integers(0, 99), fault=faults)
    def go_on(self, seed: int, fault: Plan | None) -> None:
        """Everything once: so that runs get somewhere."""
        self.run(self.world.round(random.Random(seed), fault))  # noqa: S311

    @rule(mood=st.sampled_from(Mood))
    def mail_server_turns(self, mood: Mood) -> None:
        self.world.mood = mood

    @rule()
    def broker_loses_everything(self) -> None:
        """Reconciliation makes the bus expendable."""
        self.world.pending.clear()

    def teardown(self) -> None:
        self.run(self._judge())
        for task in asyncio.all_tasks(self.loop):  # what dead processes were waiting for
            task.cancel()

    async def _judge(self) -> None:
        await self.world.settle()
        await self._check()
        before = await self._state()
        mails = len(self.world.sent)
        await self._replay_everything()
        after = await self._state()
        for statement, rows in before.items():
            assert after[statement] == rows, f"the whole history again changed {statement}"
        assert len(self.world.sent) == mails, "the whole history again sent mail"

    async def _replay_everything(self) -> None:
        """Every event again, a year later, backwards and then forwards."""
        self.world.advance(dt.timedelta(days=366))
        for queue, history in list(self.world.history.items()):
            for events in (history[::-1], list(history)):
                if events:
                    await self.world.deliver(*queue, events)
        for _ in range(20):
            for app_id in SCHEMAS:
                await self.world.relay(app_id)
            for queue, pending in list(self.world.pending.items()):
                if pending:
                    await self.world.deliver(*queue, list(pending))

    async def _check(self) -> None:
        assert not self.world.parked, f"parked: {self.world.parked}"
        rows = await self.pools["backend"].fetch("SELECT id FROM tasks")
        found = await tasks.by_ids(self.pools["backend"], [row["id"] for row in rows])
        held = {row.key: row for row in await notification_store.of_tasks(
            self.pools["notification-service"], [task.id for task in found]
        )}  # fmt: skip
        self._check_reminders(found, held)
        self._check_mails(found, held)
        await self._check_series(found)

    def _check_reminders(self, found: list[Task], held: dict[Any, schedule.Reminder]) -> None:
        """I3: what is wanted and due has ended; what is not wanted does not wait."""
        wanted = {(task.id, one.reminder, one.fire_at): one for task in found for one in task.wanted}
        for key, instance in wanted.items():
            row = held.get(key)
            assert row is not None, f"never scheduled: {key}"
            if instance.past:
                assert row.next_at is None, f"was past when set, and waits: {row}"
            elif instance.fire_at <= self.world.now:
                assert row.state in {"delivered", "failed", "skipped"}, f"due and not ended: {row}"
            else:
                assert row.state in {"waiting", "delivered", "failed", "skipped"}, f"not waiting: {row}"
        for key, row in held.items():
            if key not in wanted:
                assert row.next_at is None, f"not wanted, and waits: {row}"

    def _check_mails(self, found: list[Task], held: dict[Any, schedule.Reminder]) -> None:
        """I4 and I8: one mail per instance but for the send window, never early, and told as delivered."""
        keys = {self.world.letters.message_id(ReminderKey(*key)): key for key in held}
        counts = Counter(sent.message_id for sent in self.world.sent)
        for message_id, count in counts.items():
            allowed = 1 + self.world.repeats_allowed[message_id]
            assert count <= allowed, f"{count} mails, {allowed} allowed: {held[keys[message_id]]}"
        for sent in self.world.sent:
            assert sent.at >= keys[sent.message_id][2], f"early: {sent}"
        for message_id, key in keys.items():
            if held[key].state == "failed":
                legitimate = message_id in self.world.refused or self.world.lost[message_id] > 1
                assert legitimate or "24 hours" in held[key].reason, f"failed without a cause: {held[key]}"
            if held[key].state == "delivered":
                assert counts[message_id], f"delivered, but no mail: {held[key]}"
        assert len({task.id for task in found}) == len(found)

    async def _check_series(self, found: list[Task]) -> None:
        """I7: every closed occurrence of a living series has its successor; the database allows no second."""
        series = await tasks.series_of(self.pools["backend"], [one.series_id for one in found if one.series_id])
        there = {(task.series_id, task.seq) for task in found if not task.withdrawn}
        for task in found:
            if task.closed_version and task.series_id and series[task.series_id].is_alive:
                assert (task.series_id, (task.seq or 0) + 1) in there, f"no successor: {task}"

    async def _state(self) -> dict[str, list[Any]]:
        """Everything that effects have written, without the instants at which they were looked at."""
        statements = {
            "backend": (
                "SELECT id, version, status, deleted, due_at, closed_version, seq FROM tasks ORDER BY id",
                "SELECT id, generation, deleted, ended_seq FROM series ORDER BY id",
                "SELECT task_id, reminder, fire_at, attempt, outcome FROM deliveries ORDER BY 1, 2, 3, 4",
                "SELECT app, topic, event_id FROM dead_letters ORDER BY 1, 2, 3",
            ),
            "notification-service": (
                "SELECT task_id, version FROM tasks ORDER BY task_id",
                "SELECT task_id, reminder, fire_at, state, attempt, next_at FROM reminders ORDER BY 1, 2, 3",
            ),
        }
        return {
            statement: [tuple(row) for row in await self.pools[app_id].fetch(statement)]
            for app_id, texts in statements.items()
            for statement in texts
        }

    def _due(self, in_minutes: int) -> Due:
        return Due(ZONE, at=self.world.now.replace(microsecond=0) + dt.timedelta(minutes=in_minutes))

    def _edit(self, pick: int, fault: Plan | None, changes: dict[str, Any], repetition: Any = ...) -> None:  # noqa: ANN401
        self._on_task(
            pick,
            fault,
            lambda unit, context, id_: commands.edit(
                unit, context, USER.id, id_, expected=None, changes=changes, repetition=repetition
            ),
        )

    def _on_task(
        self, pick: int, fault: Plan | None, act: Callable[[Transaction, Context, UUID], Coroutine[Any, Any, Any]]
    ) -> None:
        rows = self.run(self.pools["backend"].fetch("SELECT id FROM tasks ORDER BY created_at, id"))
        if rows:
            task_id = rows[pick % len(rows)]["id"]
            self._command(lambda unit, context: act(unit, context, task_id), fault)

    def _command(self, act: Callable[[Transaction, Context], Coroutine[Any, Any, Any]], fault: Plan | None) -> None:
        with contextlib.suppress(RuleError, NotFoundError, StaleError, ConflictError):
            self.run(self.world.command(fault, act))

    async def _empty(self) -> None:
        await self.pools["backend"].execute(
            "TRUNCATE users, task_history, declined_occurrences, deliveries, dead_letters, outbox, relay_pause"
            " RESTART IDENTITY CASCADE"  # whatever is a user's goes with them
        )
        await self.pools["notification-service"].execute(
            "TRUNCATE tasks, reminders, outbox, relay_pause RESTART IDENTITY"
        )
        await people.ensure_first(self.pools["backend"], USER.email, USER.name, USER.zone, self.world.now)


@pytest.fixture(scope="module")
def model(pg_server: PostgresServer) -> Any:  # noqa: ANN401 - a generator of the machine's class
    """The machine, with databases of its own."""
    loop = asyncio.new_event_loop()
    monkeypatch = pytest.MonkeyPatch()
    for module in (commands, unit_of_work):
        monkeypatch.setattr(module, "uuid4", lambda: UUID(int=Model.ids.getrandbits(128), version=4))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def create() -> None:
        connection = await asyncpg.connect(pg_server.dsn_of("postgres"))
        await connection.execute("CREATE DATABASE model")
        await connection.close()

    async def open_pools() -> dict[str, Any]:
        url = pg_server.dsn_of("model")
        return {
            app_id: (await open_database(url, schema, lambda: dt.datetime.now(dt.UTC))).pool
            for app_id, schema in SCHEMAS.items()
        }

    loop.run_until_complete(create())
    migrate(pg_server.dsn_of("model"), "backend", BACKEND_MIGRATIONS)
    migrate(pg_server.dsn_of("model"), "notification", NOTIFICATION_MIGRATIONS)
    Model.loop, Model.pools = loop, loop.run_until_complete(open_pools())
    yield Model
    for pool in Model.pools.values():
        loop.run_until_complete(pool.close())
    loop.close()
    structlog.reset_defaults()
    monkeypatch.undo()


RUN: Final = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(600)
def test_invariants_hold_whatever_happens(model: type[Model]) -> None:
    """I1 to I9 of the design hold after quiescence, and the whole history again changes nothing."""
    run_state_machine_as_test(model, settings=RUN)


RACES: Final = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def apply_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old version of a task, applied late."""
    careless = notification_store._KNOW_TASKS.partition("WHERE (known.epoch")[0] + "RETURNING task_id"
    monkeypatch.setattr(notification_store, "_KNOW_TASKS", careless)


def believe_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease taken without reading back whose it is."""

    def judge(request: claims._Request, item: StateItem | None) -> claims.Claim | claims.Settled:
        entry = claims._entry(item)
        if entry is not None and entry.outcome is not None:
            return claims.Settled(entry)
        return claims.Claim(request.key, request.entry, item.etag if item else "", request.lease)

    monkeypatch.setattr(claims, "_judge", judge)


def believe_any_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome of an earlier attempt, taken for the present one's."""
    careful = schedule.settled

    def settled(row: schedule.Reminder, outcome: ReminderOutcome, now: dt.datetime) -> schedule.Reminder:
        return careful(row, replace(outcome, attempt=row.attempt), now)

    monkeypatch.setattr(schedule, "settled", settled)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("plant", "symptom"),
    [
        (apply_whatever_comes, "waits|not waiting|changed|never scheduled|not ended"),
        (believe_the_claim, "mails, . allowed"),
        (believe_any_attempt, "failed without a cause|not ended|changed"),
    ],
)
def test_planted_races_are_found(
    model: type[Model], monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], symptom: str
) -> None:
    """The model can fail: each known race, planted, breaks an invariant."""
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=symptom):
        run_state_machine_as_test(seed(2026)(model), settings=RACES)
