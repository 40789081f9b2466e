"""Asking backend who gets a reminder and whether it is still wanted, as late as can be."""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from todo.contracts import names
from todo.contracts.clock import Clock
from todo.contracts.events import ReminderKey
from todo.contracts.invocation import RESOLVE_REMINDERS, ResolvedReminder, ResolvedReminders, ResolveReminders
from todo.dapr.errors import DaprError
from todo.dapr.subscriber import UnavailableError
from todo.email_delivery.coalesce import Coalescer
from todo.email_delivery.lease import Stopwatch

FRESH: Final = dt.timedelta(seconds=2)  # what was answered is believed for so long before a mail is begun


class Invoker(Protocol):
    """Calls another app through the sidecars; raises `DaprError`."""

    async def invoke(self, app_id: str, method: str, data: bytes) -> bytes: ...


class Resolution(msgspec.Struct, frozen=True):
    """An answer of backend, and how old it is (counted from before it was asked for)."""

    reminder: ResolvedReminder
    since: Stopwatch


class Backend:
    """backend's answers. Every method raises `UnavailableError` when there is none, whatever the cause."""

    def __init__(self, dapr: Invoker, clock: Clock) -> None:
        self._dapr = dapr
        self._clock = clock
        self._again = Coalescer(self.resolve)

    async def resolve(self, keys: Sequence[ReminderKey]) -> list[Resolution]:
        """One call for all of them, in their order."""
        since = Stopwatch(self._clock)
        answers = {answer.key: answer for answer in await self._ask(keys)}
        if missing := [key for key in keys if key not in answers]:
            raise UnavailableError(f"backend did not answer for {len(missing)} of {len(keys)} reminders")
        return [Resolution(answers[key], since) for key in keys]

    async def renew(self, resolution: Resolution) -> Resolution:
        """The same answer while it is fresh, else a new one; those that ask at the same time share a call."""
        if resolution.since.age() < FRESH:
            return resolution
        return await self._again(resolution.reminder.key)

    async def _ask(self, keys: Sequence[ReminderKey]) -> tuple[ResolvedReminder, ...]:
        question = msgspec.json.encode(ResolveReminders(tuple(dict.fromkeys(keys))))
        try:
            answer = await self._dapr.invoke(names.BACKEND.app_id, RESOLVE_REMINDERS, question)
            return msgspec.json.decode(answer, type=ResolvedReminders).reminders
        except (DaprError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnavailableError(f"backend: {error}") from error
