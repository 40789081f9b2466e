"""The claim on a reminder mail: one first-write state entry per reminder instance, and a lease on it.

Whether a claim is ours is told by reading the token back, never by a status code: a lost first-write answers 409 or 500
depending on the store, several keys in one call are not one claim, and an answer may be lost on its way.
"""

import asyncio
import contextlib
import datetime as dt
import hashlib
import itertools
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from todo.contracts.claims import ClaimState, ClaimView
from todo.contracts.clock import Clock
from todo.contracts.events import Outcome, ReminderDue, ReminderKey
from todo.dapr.client import StateItem, ttl
from todo.dapr.errors import DaprError
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery import metrics
from todo.email_delivery.coalesce import Coalescer
from todo.email_delivery.lease import LEASE, Stopwatch

log = structlog.get_logger()

KEPT: Final = dt.timedelta(days=30)
LONGEST_KEY: Final = 200
_PAUSES: Final = (0.1, 0.2, 0.5, 1.0)  # seconds between tries to record; the last one repeats
_FIRST_WRITE: Final = {"concurrency": "first-write", "consistency": "strong"}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.-]")


class StateStore(Protocol):
    """State with ETags, as a sidecar offers it; every method raises `DaprError` when the answer is unknown or no."""

    async def get_state(self, store: str, keys: Sequence[str]) -> dict[str, StateItem]: ...

    async def save_state(self, store: str, entries: Sequence[Mapping[str, Any]]) -> None: ...


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the state store holds: who sends it, and later what became of it."""

    token: str
    attempt: int
    claimed_at: dt.datetime
    outcome: Outcome | None = None
    at: dt.datetime | None = None
    reason: str = ""
    possibly_sent: bool = False
    message_id: str | None = None
    recipient: str | None = None

    def settles(self, attempt: int) -> bool:
        """Whether there is nothing to send for an attempt: a mail that was put off is left to a later one."""
        return self.outcome is not None and (self.outcome is not Outcome.DEFERRED or attempt <= self.attempt)


class Claim(msgspec.Struct, frozen=True):
    """Ours, as long as `lease` is young; `lease` runs from before the claim was asked for."""

    key: str
    entry: Entry
    etag: str
    lease: Stopwatch


class Settled(msgspec.Struct, frozen=True):
    """Accepted or refused for good before, or put off at this attempt or a later one."""

    entry: Entry


class Held(msgspec.Struct, frozen=True):
    """Another sender has it, alive or not; if it dies, the next dispatch comes after its lease."""


class _Request(msgspec.Struct, frozen=True):
    key: str
    entry: Entry
    lease: Stopwatch
    etag: str | None = None  # of the entry it takes over


class _Record(msgspec.Struct, frozen=True):
    claim: Claim
    entry: Entry


def state_key(key: ReminderKey) -> str:
    """The entry's key: different for different instances, readable, free of everything a URL or a store minds."""
    reminder = _UNSAFE.sub(lambda match: f"_{ord(match[0]):x}_", key.reminder)
    fire_at = key.fire_at.astimezone(dt.UTC)
    readable = f"reminder:{key.task_id}:{fire_at:%Y%m%dT%H%M%S.%f}Z:{reminder}"
    if len(readable) <= LONGEST_KEY:
        return readable
    return f"reminder:{key.task_id}:{hashlib.sha256(readable.encode()).hexdigest()}"


class Claims:
    """The claims of this process. Concurrent requests share calls to the store."""

    def __init__(self, state: StateStore, store: str, clock: Clock) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._tokens = (f"{process}-{number}" for process in [secrets.token_hex(8)] for number in itertools.count(1))
        self._take: Coalescer[_Request, Claim | Settled | Held] = Coalescer(self._take_all)
        self._write: Coalescer[_Record, bool | None] = Coalescer(self._write_all)
        self._find: Coalescer[ReminderKey, Entry | None] = Coalescer(self._find_all)

    async def claim(self, due: ReminderDue) -> Claim | Settled | Held:
        """Ask for a reminder instance. Raises `UnavailableError` when the store cannot tell whose it is."""
        entry = Entry(next(self._tokens), due.attempt, self._clock())
        return await self._take(_Request(state_key(due.key), entry, Stopwatch(self._clock)))

    async def record(self, claim: Claim, settled: Entry) -> bool:
        """Keep an outcome in the claim's place for `KEPT`; tries until the lease ends. Whether it is kept."""
        is_kept = await self._write(_Record(claim, settled))
        for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
            if is_kept is not None or claim.lease.age() >= LEASE:
                break
            await asyncio.sleep(pause)
            is_kept = await self._write(_Record(claim, settled))
        if not is_kept:
            metrics.unrecorded.inc()
            log.error("outcome not recorded", claim=claim.key, outcome=settled.outcome, lost=is_kept is False)
        return bool(is_kept)

    async def find(self, key: ReminderKey) -> Entry | None:
        """What is kept about a reminder instance, whoever keeps it. Raises `UnavailableError`."""
        return await self._find(key)

    async def inspect(self, keys: Sequence[ReminderKey]) -> list[ClaimView]:
        """What the store holds for each key. Raises `UnavailableError`."""
        return [_view(key, entry) for key, entry in zip(keys, await self._find_all(keys), strict=True)]

    async def _take_all(self, requests: Sequence[_Request]) -> list[Claim | Settled | Held | Exception]:
        items = await self._put(requests)
        again = [over for one in requests if (over := _takeover(one, items.get(one.key)))]
        if again:
            items |= await self._put(again)
        return [_judge(one, items.get(one.key)) for one in requests]

    async def _put(self, requests: Sequence[_Request]) -> dict[str, StateItem]:
        """Try to write every request's entry; what the store holds then tells whose it is, whatever was answered."""
        with contextlib.suppress(DaprError):
            await self._state.save_state(self._store, [_item(one.key, one.entry, LEASE, one.etag) for one in requests])
        return await self._read([one.key for one in requests])

    async def _find_all(self, keys: Sequence[ReminderKey]) -> list[Entry | None]:
        items = await self._read([state_key(key) for key in keys])
        return [_entry(items.get(state_key(key))) for key in keys]

    async def _write_all(self, records: Sequence[_Record]) -> list[bool | None]:
        """Whether each is kept; None where the store cannot tell or has not done it yet."""
        try:
            items = [_item(one.claim.key, one.entry, KEPT, one.claim.etag) for one in records]
            await self._state.save_state(self._store, items)
        except DaprError:
            return await self._kept(records)
        return [True] * len(records)

    async def _kept(self, records: Sequence[_Record]) -> list[bool | None]:
        try:
            items = await self._read([one.claim.key for one in records])
        except UnavailableError:
            return [None] * len(records)
        return [_is_kept(one, _entry(items.get(one.claim.key))) for one in records]

    async def _read(self, keys: Sequence[str]) -> dict[str, StateItem]:
        try:
            return await self._state.get_state(self._store, list(dict.fromkeys(keys)))
        except DaprError as error:
            raise UnavailableError(f"claims: {error}") from error


def _item(key: str, entry: Entry, lives: dt.timedelta, etag: str | None = None) -> dict[str, Any]:
    written = {"key": key, "value": entry, "metadata": ttl(lives), "options": _FIRST_WRITE}
    return written if etag is None else {**written, "etag": etag}


def _takeover(request: _Request, item: StateItem | None) -> _Request | None:
    """The request as one for the place of an earlier attempt's entry, which was put off."""
    entry = _entry(item)
    if item is None or entry is None or entry.outcome is None or entry.settles(request.entry.attempt):
        return None
    return msgspec.structs.replace(request, etag=item.etag)


def _judge(request: _Request, item: StateItem | None) -> Claim | Settled | Held | Exception:
    if item is None:
        return UnavailableError(f"claims: the store did not keep {request.key}")
    entry = _entry(item)
    if entry is None:
        log.error("claim unreadable, left alone", claim=request.key)
        return Held()
    if entry.settles(request.entry.attempt):
        return Settled(entry)
    if entry.outcome is not None:
        return UnavailableError(f"claims: the store did not let {request.key} be taken over")
    return Claim(request.key, entry, item.etag, request.lease) if entry.token == request.entry.token else Held()


def _is_kept(record: _Record, found: Entry | None) -> bool | None:
    if found is None or found.token != record.entry.token:
        return False
    return True if found.outcome is not None else None


def _entry(item: StateItem | None) -> Entry | None:
    if item is None:
        return None
    try:
        return msgspec.json.decode(item.value, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _view(key: ReminderKey, entry: Entry | None) -> ClaimView:
    if entry is None:
        return ClaimView(key, ClaimState.ABSENT)
    state = ClaimState(entry.outcome) if entry.outcome else ClaimState.CLAIMED
    return ClaimView(key, state, entry.attempt, entry.claimed_at, entry.at, entry.reason, entry.message_id)
