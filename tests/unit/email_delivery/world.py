"""Stand-ins for what email-delivery talks to besides the mail server: the state store, backend, and time."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import msgspec

from todo.contracts import names
from todo.contracts.envelope import Event, decode
from todo.contracts.events import REMINDER_DUE, ReminderDue, ReminderKey, ReminderOutcome
from todo.contracts.invocation import RESOLVE_REMINDERS, ResolvedReminder, ResolvedReminders, ResolveReminders
from todo.dapr.client import StateItem
from todo.dapr.errors import CallRefusedError, DaprError, SidecarAwayError
from todo.email_delivery.claims import Entry
from todo.messaging.unit import DirectUnit, outgoing

NOW = dt.datetime(2026, 6, 5, 12, 0, tzinfo=dt.UTC)


class Time:
    """Wall time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


@dataclass
class MemoryState:
    """A state store with ETags, first-write and expiry. A lost race is told as `lost_status` would be.

    Several keys are saved one by one: those that lose do not undo the others. `away` names the operations (save, get)
    that fail; `deaf` those that happen, but whose answer is lost.
    """

    clock: Time
    lost_status: int = 409
    entries: dict[str, tuple[bytes, str, dt.datetime]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    writes: int = 0

    async def get_state(self, store: str, keys: Sequence[str]) -> dict[str, StateItem]:
        await self._begin("get", store)
        live = {key: self._live(key) for key in keys}
        return {key: StateItem(msgspec.Raw(entry[0]), entry[1]) for key, entry in live.items() if entry}

    async def save_state(self, store: str, entries: Sequence[Mapping[str, Any]]) -> None:
        await self._begin("save", store)
        lost = [entry["key"] for entry in entries if not self._save(entry)]
        self._end("save")
        if lost:
            raise self._lost(f"ERR_STATE_SAVE {lost}")

    def held(self) -> list[Entry]:
        """What is stored now, decoded."""
        live = [entry for key in list(self.entries) if (entry := self._live(key))]
        return [msgspec.json.decode(value, type=Entry) for value, _, _ in live]

    def _save(self, entry: Mapping[str, Any]) -> bool:
        assert "||" not in entry["key"]
        assert entry["options"]["concurrency"] == "first-write"
        live = self._live(entry["key"])
        if (live[1] if live else None) != entry.get("etag"):
            return False
        self.writes += 1
        expires = self.clock() + dt.timedelta(seconds=int(entry["metadata"]["ttlInSeconds"]))
        self.entries[entry["key"]] = (msgspec.json.encode(entry["value"]), str(self.writes), expires)
        return True

    def _live(self, key: str) -> tuple[bytes, str, dt.datetime] | None:
        entry = self.entries.get(key)
        return entry if entry and entry[2] > self.clock() else None

    async def _begin(self, operation: str, store: str) -> None:
        assert store == names.STATE_STORE
        self.calls.append(operation)
        await asyncio.sleep(0)
        if operation in self.away:
            raise SidecarAwayError("500 the store is away")

    def _end(self, operation: str) -> None:
        if operation in self.deaf:
            raise SidecarAwayError("TimeoutError the answer was lost")

    def _lost(self, what: str) -> DaprError:
        if self.lost_status == 409:
            return CallRefusedError(409, what, "possible etag mismatch")
        return SidecarAwayError(f"500 {what} no item was updated")


@dataclass
class BackendApp:
    """backend's answers: everything is wanted, by Ann, unless `changes` says otherwise for a task."""

    changes: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[int] = field(default_factory=list)  # how many reminders each call asked for

    async def invoke(self, app_id: str, method: str, data: bytes) -> bytes:
        assert (app_id, method) == (names.BACKEND.app_id, RESOLVE_REMINDERS)
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        question = msgspec.json.decode(data, type=ResolveReminders)
        self.asked.append(len(question.reminders))
        return msgspec.json.encode(ResolvedReminders(tuple(self._answer(key) for key in question.reminders)))

    def _answer(self, key: ReminderKey) -> ResolvedReminder:
        usual: dict[str, Any] = {
            "recipient": "ann@example.org",
            "recipient_name": "Ann",
            "title": "Water the plants",
            "due_at": key.fire_at + dt.timedelta(hours=1),
            "zone": "Europe/Rome",
            "url": f"https://todo.example.org/tasks/{key.task_id}",
        }
        return ResolvedReminder(key, **{**usual, **self.changes.get(key.task_id, {})})


def due(task_id: UUID | None = None, *, attempt: int = 1, reminder: str = "-PT1H") -> ReminderDue:
    return ReminderDue(task_id or uuid4(), reminder, NOW, attempt)


def event(data: ReminderDue) -> Event:
    """As it arrives: written by notification-service and read back."""
    sent = outgoing(names.NOTIFICATION.app_id, names.TASK_REMINDERS, REMINDER_DUE, str(data.task_id), data, now=NOW)
    decoded = decode(sent.envelope, names.TASK_REMINDERS)
    assert isinstance(decoded, Event)
    return decoded


def outcomes(unit: DirectUnit) -> list[ReminderOutcome]:
    """What was told, read as its consumers read it."""
    events = [decode(sent.envelope, sent.topic) for sent in unit.emitted]
    assert all(sent.topic == names.REMINDER_DELIVERIES for sent in unit.emitted)
    assert all(isinstance(one, Event) and one.type == f"todo.reminder.{one.data.outcome}.v1" for one in events)
    return [one.data for one in events if isinstance(one, Event)]
