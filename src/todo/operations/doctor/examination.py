"""One examination: look, look again when something moves, judge.

What can be asked in parallel is; each question has a deadline, and one that fails hides no other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from todo.operations.doctor import (
    broker,
    clocks,
    components,
    database,
    events,
    injection,
    mail,
    reminders,
    secrets,
    services,
)
from todo.operations.doctor.findings import Code, Finding, Report, unexplained
from todo.operations.doctor.seen import Moment, Seen

WATCH: Final = 6.0  # seconds between two looks: what is refused is tried again after five
CHECKS: Final = (
    services.check,
    components.check,
    secrets.check,
    broker.check,
    events.check,
    reminders.check,
    database.check,
    clocks.check,
    mail.check,
    injection.check,
)

OF_TWO_LOOKS: Final = {Code.CONSUMER_LAG, Code.DELIVERIES_REFUSED, Code.TWO_SYSTEMS}

T = TypeVar("T")


class CannotLookError(Exception):
    """There is nothing to look at; one line: what is not there, and what to do."""


class Patient(Protocol):
    """A system that can be looked at."""

    async def look(self) -> Seen:
        """Everything that is looked at once. Raises `CannotLookError`."""
        ...

    async def moment(self, seen: Seen) -> Moment:
        """What moves, now; what cannot be told is noted as not looked at."""
        ...


async def examine(patient: Patient, *, watch: float = WATCH) -> Report:
    """Look and judge. What is found, or moves, is looked at again `watch` seconds later: only what lasts is told."""
    seen = await _look(patient, None)
    findings = judge(seen)
    if watch and (findings or events.is_suspicious(seen) or reminders.extra_relays(seen)):
        at_first = {_key(one) for one in everything(seen)}
        await asyncio.sleep(watch)
        seen = await _look(patient, seen.now)
        # First what lasts: a cause that is new must not hide an effect that is not.
        findings = unexplained([one for one in everything(seen) if one.code in OF_TWO_LOOKS or _key(one) in at_first])
    return Report(seen.where, tuple(findings), seen.looked_at, seen.not_looked_at)


def judge(seen: Seen) -> list[Finding]:
    """Every finding that no other one explains."""
    return unexplained(everything(seen))


def everything(seen: Seen) -> list[Finding]:
    """Every finding, consequences of others included."""
    return [one for check in CHECKS for one in check(seen)]


async def _look(patient: Patient, before: Moment | None) -> Seen:
    seen = await patient.look()
    seen.before, seen.now = before, await patient.moment(seen)
    return seen


def _key(one: Finding) -> tuple[Code, str]:
    return one.code, one.subject


async def attempt(
    seen: Seen,
    theme: str,
    ask: Callable[[], Awaitable[T]],
    *,
    may_fail: tuple[type[Exception], ...],
    told: Callable[[T], str],
) -> T | None:
    """Ask, and note what was looked at, or why it could not be."""
    try:
        answer = await ask()
    except may_fail as error:
        seen.not_looked_at[theme] = str(error) or type(error).__name__
        return None
    seen.looked_at[theme] = told(answer)
    return answer


def now() -> float:
    """The time that moments are compared by."""
    return time.monotonic()
