"""What the broker refuses for its size leaves the outbox as a letter with the head of its bytes, and says so."""

import datetime as dt
from typing import Final

import structlog
from msgspec.structs import replace

from todo.contracts import envelope
from todo.contracts.envelope import Event, Unreadable
from todo.contracts.events import EventParked
from todo.messaging import parking
from todo.messaging.postgres import Row
from todo.messaging.unit import Database, Outgoing

log = structlog.get_logger()

HEAD: Final = 64 * 1024  # bytes


class OversizedRows:
    """Parks outbox rows of one app: the relay deletes a row after it was parked, so a crash may park it twice."""

    def __init__(self, app_id: str, database: Database) -> None:
        self._app_id = app_id
        self._database = database

    async def park(self, row: Row, reason: str) -> None:
        """Put the row's letter into the outbox. A letter that is refused itself is shortened until nothing is left."""
        successor = letter_for(self._app_id, row["topic"], bytes(row["envelope"]), reason, self._database.clock())
        if successor is None:
            log.error("a letter without its bytes is too large for the broker, dropped", outbox_id=row["id"])
            return
        log.error("event too large for the broker, parked", outbox_id=row["id"], topic=row["topic"], reason=reason)
        async with self._database.transaction() as unit:
            unit.emit(successor)


def letter_for(app_id: str, topic: str, original: bytes, reason: str, now: dt.datetime) -> Outgoing | None:
    """The letter that takes the place of an event: its head, its size and its hash."""
    decoded = envelope.decode(original, topic)
    if isinstance(decoded, Event) and isinstance(decoded.data, EventParked):
        return _shorter(decoded.data)
    if not isinstance(decoded, Event | Unreadable):
        decoded = Unreadable(decoded.id, "", topic, "", 0, original, reason)
    letter = parking.letter(app_id, decoded, reason, 1, now)
    return parking.announcement(app_id, replace(letter, body=original[:HEAD]))


def shortened(letter: Outgoing) -> Outgoing | None:
    """A letter with less of its event; None when nothing is left to leave out, or when it is no letter."""
    decoded = envelope.decode(letter.envelope, letter.topic)
    return _shorter(decoded.data) if isinstance(decoded, Event) and isinstance(decoded.data, EventParked) else None


def _shorter(letter: EventParked) -> Outgoing | None:
    if not letter.body:
        return None
    half = len(letter.body) // 2
    return parking.announcement(letter.app, replace(letter, body=letter.body[: min(half, HEAD)]))
