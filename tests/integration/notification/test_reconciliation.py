"""What the bus lost is fetched from backend, by invocation through a sidecar."""

from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from tests.integration.notification.scenario import HOUR, NOON, Scenario, firing, newer, outcome_of, task
from tests.integration.notification.sidecar import Sidecar, client_of, running_sidecar
from todo.contracts import invocation, names
from todo.contracts.events import Outcome, TaskSnapshot
from todo.contracts.invocation import (
    Deliveries,
    DeliveriesQuery,
    Snapshots,
    SnapshotsQuery,
    TaskVersion,
    TaskVersions,
    TaskVersionsQuery,
)
from todo.dapr.subscriber import UnavailableError
from todo.notification import reconciliation
from todo.notification.schedule import State


class Backend:
    """Answers as backend does, from memory."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.epoch = 1
        self.tasks: dict[str, TaskSnapshot] = {}
        self.asked: list[int] = []
        sidecar.methods[invocation.TASK_VERSIONS] = self._versions
        sidecar.methods[invocation.TASK_SNAPSHOTS] = self._snapshots

    def has(self, *snapshots: TaskSnapshot) -> None:
        self.tasks |= {str(snapshot.task_id): snapshot for snapshot in snapshots}

    def _versions(self, body: bytes) -> bytes:
        query = msgspec.json.decode(body, type=TaskVersionsQuery)
        after = str(query.after or "")
        found = sorted((one for key, one in self.tasks.items() if key > after), key=lambda one: one.task_id)
        page = tuple(TaskVersion(one.task_id, one.version) for one in found[: query.limit])
        return msgspec.json.encode(TaskVersions(self.epoch, page))

    def _snapshots(self, body: bytes) -> bytes:
        query = msgspec.json.decode(body, type=SnapshotsQuery)
        self.asked.append(len(query.task_ids))
        return msgspec.json.encode(
            Snapshots(tuple(self.tasks[str(one)] for one in query.task_ids if str(one) in self.tasks))
        )


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running_sidecar() as sidecar:
        yield sidecar


@pytest.fixture
def backend(sidecar: Sidecar) -> Backend:
    return Backend(sidecar)


async def reconcile(scenario: Scenario, sidecar: Sidecar) -> int:
    async with client_of(sidecar) as dapr:
        return await reconciliation.reconcile_tasks(scenario.database, partial(dapr.invoke, names.BACKEND.app_id))


async def test_what_is_missing_or_older_here_is_fetched_and_nothing_else(
    scenario: Scenario, sidecar: Sidecar, backend: Backend
) -> None:
    known, older, missing = (task(firing(NOON + HOUR)) for _ in range(3))
    await scenario.arrive(known, older)
    backend.has(known, newer(older, firing(NOON + 2 * HOUR)), missing)

    assert await reconcile(scenario, sidecar) == 2

    assert backend.asked == [2]
    waiting = {(row.task_id, row.fire_at) for row in await scenario.rows() if row.state is State.WAITING}
    assert waiting == {
        (known.task_id, NOON + HOUR),
        (older.task_id, NOON + 2 * HOUR),
        (missing.task_id, NOON + HOUR),
    }
    assert await reconcile(scenario, sidecar) == 0


async def test_pages_and_chunks_cover_everything(
    scenario: Scenario, sidecar: Sidecar, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 7)
    monkeypatch.setattr(reconciliation, "CHUNK", 3)
    backend.has(*(task(firing(NOON + HOUR)) for _ in range(21)))

    assert await reconcile(scenario, sidecar) == 21

    assert max(backend.asked) == 3
    assert len(await scenario.rows()) == 21


async def test_a_tombstone_that_did_not_arrive_withdraws(
    scenario: Scenario, sidecar: Sidecar, backend: Backend
) -> None:
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(snapshot)
    backend.has(newer(snapshot, deleted=True))

    await reconcile(scenario, sidecar)

    assert (await scenario.row(snapshot)).state is State.WITHDRAWN


async def test_absence_never_deletes(scenario: Scenario, sidecar: Sidecar, backend: Backend) -> None:
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(snapshot)

    assert await reconcile(scenario, sidecar) == 0

    assert backend.asked == []
    assert (await scenario.row(snapshot)).state is State.WAITING


async def test_an_older_version_in_the_same_epoch_is_counted_and_not_applied(
    scenario: Scenario, sidecar: Sidecar, backend: Backend
) -> None:
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(newer(snapshot, firing(NOON + 2 * HOUR)))
    backend.has(snapshot)
    before = REGISTRY.get_sample_value("todo_task_version_regressions_total") or 0

    assert await reconcile(scenario, sidecar) == 0

    assert (await scenario.row(snapshot)).fire_at == NOON + 2 * HOUR
    assert REGISTRY.get_sample_value("todo_task_version_regressions_total") == before + 1


async def test_what_arrives_between_the_page_and_the_look_is_no_loss(scenario: Scenario, backend: Backend) -> None:
    """backend answers; the task is edited, and its event arrives before the versions are compared."""
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(snapshot)
    backend.has(snapshot)

    async def overtaken(_: str, body: bytes) -> bytes:
        page = backend._versions(body)
        backend.has(edited := newer(snapshot))
        await scenario.arrive(edited)
        return page

    before = REGISTRY.get_sample_value("todo_task_version_regressions_total") or 0

    assert await reconciliation.reconcile_tasks(scenario.database, overtaken) == 0

    assert REGISTRY.get_sample_value("todo_task_version_regressions_total") == before


async def test_a_restored_backend_is_followed_by_its_epoch(
    scenario: Scenario, sidecar: Sidecar, backend: Backend
) -> None:
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(newer(snapshot))
    backend.epoch = 2
    backend.has(replace(snapshot, epoch=2))

    assert await reconcile(scenario, sidecar) == 1

    assert (await scenario.row(snapshot)).state is State.WAITING


async def test_what_a_restored_backend_lost_is_let_go_and_in_one_epoch_absence_deletes_nothing(
    scenario: Scenario, sidecar: Sidecar, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an earlier epoch and not there: it was made after the backup. Page by page, behind the last one too."""
    monkeypatch.setattr(reconciliation, "PAGE", 2)
    made = sorted((task(firing(NOON + HOUR)) for _ in range(6)), key=lambda one: one.task_id)
    await scenario.arrive(*made)
    kept = made[1::2]
    backend.has(*kept)
    await reconcile(scenario, sidecar)
    assert {row.state for row in await scenario.rows()} == {State.WAITING}

    backend.epoch = 2
    backend.has(*(replace(one, epoch=2) for one in kept[:2]))  # and what is made only now is of the new epoch
    backend.tasks.pop(str(kept[2].task_id))
    young = task(firing(NOON + HOUR), epoch=2)
    await scenario.arrive(young)
    await reconcile(scenario, sidecar)

    waiting = {row.task_id for row in await scenario.rows() if row.state is State.WAITING}
    assert waiting == {kept[0].task_id, kept[1].task_id, young.task_id}
    await scenario.arrive(*(newer(one, firing(NOON + HOUR)) for one in made))  # what was still on the broker
    assert {row.task_id for row in await scenario.rows() if row.state is State.WAITING} == waiting
    anew = replace(made[0], epoch=2, version=1)  # an occurrence has its id from series and number
    await scenario.arrive(anew)
    assert (await scenario.row(anew)).state is State.WAITING


async def test_a_schedule_in_a_new_place_asks_for_every_outcome_once(
    scenario: Scenario, sidecar: Sidecar, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 2)
    snapshot = task(firing(NOON + HOUR))
    await scenario.arrive(snapshot)
    backend.has(snapshot)
    row = await scenario.row(snapshot)
    history = [
        replace(outcome_of(row, Outcome.DEFERRED, NOON), attempt=1),
        replace(outcome_of(row, Outcome.DELIVERED, NOON), attempt=2),
        replace(outcome_of(row, Outcome.SUPPRESSED, NOON), fire_at=NOON + 2 * HOUR, attempt=1),
    ]
    asked: list[DeliveriesQuery] = []

    def deliveries(body: bytes) -> bytes:
        asked.append(msgspec.json.decode(body, type=DeliveriesQuery))
        return msgspec.json.encode(Deliveries(tuple(history[:2] if asked[-1].after is None else history[2:])))

    sidecar.methods[invocation.DELIVERIES] = deliveries
    for _ in range(2):
        await catch_up(scenario, sidecar)
    assert [(one.after and one.after.attempt) for one in asked] == [None, 2]
    rows = {row.fire_at: (row.state, row.attempt) for row in await scenario.rows()}
    assert rows == {NOON + HOUR: (State.DELIVERED, 2), NOON + 2 * HOUR: (State.SUPPRESSED, 1)}

    await scenario.database.pool.execute("UPDATE origin SET cluster = ''")
    await catch_up(scenario, sidecar)
    assert len(asked) == 4


async def test_a_backend_in_a_new_epoch_is_told_every_end_that_it_has_not_heard_of(
    scenario: Scenario, sidecar: Sidecar, backend: Backend
) -> None:
    sidecar.methods[invocation.DELIVERIES] = lambda _: msgspec.json.encode(Deliveries(()))
    snapshot = task(firing(NOON))
    await scenario.arrive(snapshot)
    await scenario.tick()
    await scenario.settle(await scenario.row(snapshot), Outcome.DELIVERED)
    await catch_up(scenario, sidecar)
    scenario.pass_time(HOUR)
    await scenario.reconcile()
    assert (await scenario.row(snapshot)).told

    await catch_up(scenario, sidecar)
    assert (await scenario.row(snapshot)).told
    backend.epoch = 2
    await catch_up(scenario, sidecar)
    assert not (await scenario.row(snapshot)).told


async def catch_up(scenario: Scenario, sidecar: Sidecar) -> None:
    async with client_of(sidecar) as dapr:
        await reconciliation.catch_up(scenario.database, partial(dapr.invoke, names.BACKEND.app_id))


async def test_a_snapshot_that_cannot_be_applied_does_not_hold_up_the_rest(
    scenario: Scenario, sidecar: Sidecar, backend: Backend
) -> None:
    poison = task(firing(NOON + HOUR), user_id=2**70)
    healthy = task(firing(NOON + HOUR))
    backend.has(poison, healthy)

    assert await reconcile(scenario, sidecar) == 1

    assert [row.task_id for row in await scenario.rows()] == [healthy.task_id]


async def test_with_backend_away_the_job_is_put_off(scenario: Scenario, sidecar: Sidecar) -> None:
    with pytest.raises(UnavailableError, match="backend"):
        await reconcile(scenario, sidecar)


async def test_an_answer_that_is_no_answer_puts_the_job_off(scenario: Scenario, sidecar: Sidecar) -> None:
    sidecar.methods[invocation.TASK_VERSIONS] = lambda _: b"<html>"

    with pytest.raises(UnavailableError, match="backend"):
        await reconcile(scenario, sidecar)


async def test_pages_that_do_not_advance_end_the_job(
    scenario: Scenario, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "PAGE", 1)
    snapshot = task()
    await scenario.arrive(snapshot)
    page = msgspec.json.encode(TaskVersions(1, (TaskVersion(snapshot.task_id, 1),)))
    sidecar.methods[invocation.TASK_VERSIONS] = lambda _: page

    with pytest.raises(UnavailableError, match="advance"):
        await reconcile(scenario, sidecar)
