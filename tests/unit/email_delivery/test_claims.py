"""Who may send: one claim per reminder instance, told by reading back."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.children import until
from tests.unit.email_delivery.world import NOW, MemoryState, Time, due
from todo.contracts import names
from todo.contracts.claims import ClaimState
from todo.contracts.events import Outcome, ReminderKey
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery import claims as claims_module
from todo.email_delivery.claims import KEPT, Claim, Claims, Entry, Held, Settled, state_key
from todo.email_delivery.lease import LEASE

TASK = UUID(int=7)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(params=[409, 500])
def state(clock: Time, request: pytest.FixtureRequest) -> MemoryState:
    return MemoryState(clock, request.param)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "_PAUSES", (0.001,))


def process(state: MemoryState) -> Claims:
    return Claims(state, names.STATE_STORE, state.clock)


async def claimed(claims: Claims, task: UUID = TASK) -> Claim:
    claim = await claims.claim(due(task))
    assert isinstance(claim, Claim)
    return claim


def delivered(claim: Claim) -> Entry:
    return msgspec.structs.replace(claim.entry, outcome=Outcome.DELIVERED, at=NOW, message_id="<m@example.org>")


def deferred(claim: Claim) -> Entry:
    return msgspec.structs.replace(claim.entry, outcome=Outcome.DEFERRED, at=NOW)


async def test_of_two_that_claim_at_once_one_wins(state: MemoryState) -> None:
    """Two replicas ask for the same instance at the same time."""
    answers = await asyncio.gather(*(process(state).claim(due(TASK)) for _ in range(2)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Claim", "Held"]


async def test_of_two_in_one_process_one_wins(state: MemoryState) -> None:
    """The same instance twice in one batch is claimed once, though both share one call."""
    claims = process(state)
    answers = await asyncio.gather(*(claims.claim(due(TASK)) for _ in range(2)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Claim", "Held"]
    assert state.calls == ["save", "get"]


async def test_a_lost_key_does_not_lose_the_others(state: MemoryState) -> None:
    """Of three keys in one call one was taken: the call fails, and two claims are won."""
    await claimed(process(state), UUID(int=1))
    claims = process(state)
    answers = await asyncio.gather(*(claims.claim(due(UUID(int=number))) for number in range(3)))
    assert [type(answer) for answer in answers] == [Claim, Held, Claim]


async def test_a_claim_whose_answer_was_lost_is_still_ours(state: MemoryState) -> None:
    """The store did it, its answer never came: reading back tells."""
    state.deaf.add("save")
    await claimed(process(state))


async def test_a_claim_that_cannot_be_read_back_is_nobodys(state: MemoryState) -> None:
    """Then nothing is known, and the batch is kept."""
    state.away.add("get")
    with pytest.raises(UnavailableError):
        await process(state).claim(due(TASK))


async def test_a_store_that_takes_nothing_is_away(state: MemoryState) -> None:
    """A claim that was not kept is not ours."""
    state.away.add("save")
    with pytest.raises(UnavailableError):
        await process(state).claim(due(TASK))


async def test_a_claim_ends_with_its_lease(state: MemoryState) -> None:
    """Whoever died holding it blocks the instance for a lease and no longer."""
    await claimed(process(state))
    state.clock.passes(LEASE.total_seconds() - 1)
    assert isinstance(await process(state).claim(due(TASK)), Held)
    state.clock.passes(1)
    await claimed(process(state))


async def test_a_mail_that_was_put_off_is_settled_for_its_attempt_and_free_for_the_next(state: MemoryState) -> None:
    claims = process(state)
    claim = await claimed(claims)
    assert await claims.record(claim, deferred(claim))
    assert isinstance(await process(state).claim(due(TASK)), Settled)
    answers = await asyncio.gather(*(process(state).claim(due(TASK, attempt=2)) for _ in range(3)))
    assert sorted(type(answer).__name__ for answer in answers) == ["Claim", "Held", "Held"]
    [view] = await claims.inspect([due(TASK).key])
    assert (view.state, view.attempt) == (ClaimState.CLAIMED, 2)


async def test_a_late_record_does_not_free_anothers_claim(state: MemoryState) -> None:
    """The ETag says that the entry is not ours any more."""
    late, claims = process(state), process(state)
    old = await claimed(late)
    state.clock.passes(LEASE.total_seconds())
    await claimed(claims)
    assert not await late.record(old, deferred(old))
    assert isinstance(await process(state).claim(due(TASK, attempt=2)), Held)


async def test_a_store_that_does_not_let_a_claim_be_taken_over_cannot_tell(state: MemoryState) -> None:
    """It went read-only: nobody has it, and nobody is said to."""
    claims = process(state)
    claim = await claimed(claims)
    await claims.record(claim, deferred(claim))
    state.away.add("save")
    with pytest.raises(UnavailableError):
        await process(state).claim(due(TASK, attempt=2))


async def test_an_outcome_is_kept_for_a_month(state: MemoryState) -> None:
    """Whoever claims it later is told the outcome, attempt by attempt."""
    claims = process(state)
    claim = await claimed(claims)
    assert await claims.record(claim, delivered(claim))
    state.clock.passes(KEPT.total_seconds() - 1)
    answer = await process(state).claim(due(TASK, attempt=5))
    assert isinstance(answer, Settled)
    assert (answer.entry.outcome, answer.entry.message_id) == (Outcome.DELIVERED, "<m@example.org>")


async def test_a_record_whose_answer_was_lost_is_kept(state: MemoryState) -> None:
    claims = process(state)
    claim = await claimed(claims)
    state.deaf.add("save")
    assert await claims.record(claim, delivered(claim))


async def test_recording_goes_on_while_the_store_is_away(state: MemoryState) -> None:
    """An outage shorter than the lease loses no outcome."""
    claims = process(state)
    claim = await claimed(claims)
    state.away |= {"save", "get"}
    recording = asyncio.create_task(claims.record(claim, delivered(claim)))
    await until(lambda: len(state.calls) >= 10)
    state.away.clear()
    assert await recording
    assert isinstance(await process(state).claim(due(TASK)), Settled)


async def test_a_claim_still_without_its_outcome_is_recorded_again(state: MemoryState) -> None:
    """The store can be read but not written: seeing our own claim is not seeing the outcome."""
    claims = process(state)
    claim = await claimed(claims)
    state.away.add("save")
    recording = asyncio.create_task(claims.record(claim, delivered(claim)))
    await until(lambda: state.calls.count("save") >= 3)
    state.away.clear()
    assert await recording
    assert [entry.outcome for entry in state.held()] == [Outcome.DELIVERED]


async def test_anothers_outcome_is_not_taken_for_ours(state: MemoryState) -> None:
    """Somebody else claimed and settled it after our lease: ours was not kept, and theirs stays."""
    late, other = process(state), process(state)
    claim = await claimed(late)
    state.clock.passes(LEASE.total_seconds())
    theirs = await claimed(other)
    await other.record(theirs, delivered(theirs))
    assert not await late.record(claim, delivered(claim))
    assert [entry.token for entry in state.held()] == [theirs.entry.token]


async def test_recording_ends_with_the_lease(state: MemoryState) -> None:
    """After the lease the entry may be another's: it is left alone."""
    claims = process(state)
    claim = await claimed(claims)
    state.away |= {"save", "get"}
    state.clock.passes(LEASE.total_seconds())
    assert not await claims.record(claim, delivered(claim))


async def test_an_outcome_does_not_overwrite_anothers_claim(state: MemoryState) -> None:
    """The ETag is lost to a later claim: the outcome is not kept, and nothing is retried."""
    late = process(state)
    claim = await claimed(late)
    state.clock.passes(LEASE.total_seconds())
    await claimed(process(state))
    assert not await late.record(claim, delivered(claim))
    assert [entry.outcome for entry in state.held()] == [None]


async def test_an_entry_nobody_can_read_is_left_alone(state: MemoryState) -> None:
    """A newer version's entry is somebody's."""
    key = state_key(due(TASK).key)
    state.entries[key] = (b'{"strange": 1}', "1", NOW + dt.timedelta(days=1))
    assert isinstance(await process(state).claim(due(TASK)), Held)


async def test_what_is_held_can_be_asked(state: MemoryState) -> None:
    """Absent, claimed, delivered: each key gets its answer, in order."""
    claims = process(state)
    first = await claimed(claims, UUID(int=1))
    await claims.record(first, delivered(first))
    await claimed(claims, UUID(int=2))
    views = await claims.inspect([due(UUID(int=number)).key for number in (0, 1, 2)])
    assert [view.state for view in views] == [ClaimState.ABSENT, ClaimState.DELIVERED, ClaimState.CLAIMED]
    assert (views[1].attempt, views[1].message_id) == (1, "<m@example.org>")


keys = st.builds(
    ReminderKey,
    st.sampled_from([UUID(int=1), UUID(int=2)]),
    st.text(max_size=300)
    | st.sampled_from(["-PT1H", "2026-06-05T12:00:00+02:00", "a||b", "a/b", "a_b", "a_7c_b", "a|b"]),
    st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2040, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
)


@given(st.lists(keys, min_size=2, max_size=2))
def test_keys_are_safe_and_tell_instances_apart(pair: Sequence[ReminderKey]) -> None:
    """No separator of Dapr, nothing that a URL would change, bounded, and different for different instances."""
    first, second = (state_key(key) for key in pair)
    assert (first == second) == (pair[0] == pair[1])
    assert len(first) <= 200
    assert all(character.isascii() and (character.isalnum() or character in ":._-") for character in first)


def test_the_same_instant_in_another_zone_is_the_same_key() -> None:
    rome = dt.timezone(dt.timedelta(hours=2))
    assert state_key(due(TASK).key) == state_key(ReminderKey(TASK, "-PT1H", NOW.astimezone(rome)))
