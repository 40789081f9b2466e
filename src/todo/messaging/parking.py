"""Parking: what cannot be processed leaves the batch with its bytes, its error and its attempts, and blocks nobody."""

import datetime as dt
import hashlib
from typing import Final

from todo.contracts import names
from todo.contracts.envelope import Event, Unreadable
from todo.contracts.events import EVENT_PARKED, PARKED_LIMIT, EventParked
from todo.messaging.unit import Outgoing, outgoing

ERROR_LIMIT: Final = 2_000  # characters of an error kept


def letter(app_id: str, event: Event | Unreadable, error: str, attempts: int, now: dt.datetime) -> EventParked:
    """Describe an event that is given up; beyond `PARKED_LIMIT` only the head of its bytes is kept, and it says so."""
    return EventParked(
        app=app_id,
        topic=event.topic,
        event_id=_text(event.id),
        event_type=_text(event.type),
        subject=_text(event.subject),
        body=event.original[:PARKED_LIMIT],
        size=len(event.original),
        sha256=hashlib.sha256(event.original).hexdigest(),
        error=_text(error)[:ERROR_LIMIT],
        attempts=attempts,
        parked_at=now,
        replay=event.replay,
    )


def announcement(app_id: str, parked: EventParked, cause: str = "") -> Outgoing:
    """The event that hands a letter to backend, which keeps and shows it."""
    return outgoing(
        app_id, names.DEAD_LETTERS, EVENT_PARKED, parked.event_id, parked, now=parked.parked_at, cause=cause
    )


def _text(value: str) -> str:
    """PostgreSQL stores no U+0000 in text; ids of strangers may be of any length."""
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:ERROR_LIMIT]
