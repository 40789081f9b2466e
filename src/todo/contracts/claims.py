"""What `todo why` asks email-delivery: what the state store holds about a reminder mail. POST with JSON, app token."""

import datetime as dt
import enum
from typing import Final

import msgspec

from todo.contracts.events import ReminderKey

INSPECT_CLAIMS: Final = "internal/claims"
MOST_CLAIMS: Final = 1_000  # keys in one query


class ClaimState(enum.StrEnum):
    ABSENT = "absent"  # nobody is sending it, and nobody has for as long as outcomes are kept
    CLAIMED = "claimed"  # being sent, or its sender died less than a lease ago
    DELIVERED = "delivered"
    FAILED = "failed"
    DEFERRED = "deferred"  # put off at this attempt: the next one may have it


class ClaimsQuery(msgspec.Struct, frozen=True):
    """At most `MOST_CLAIMS`; the answer keeps their order."""

    keys: tuple[ReminderKey, ...]


class ClaimView(msgspec.Struct, frozen=True):
    """What is known about one reminder mail; `at`, `reason` and `message_id` belong to an outcome."""

    key: ReminderKey
    state: ClaimState
    attempt: int | None = None
    claimed_at: dt.datetime | None = None
    at: dt.datetime | None = None
    reason: str = ""
    message_id: str | None = None


class ClaimViews(msgspec.Struct, frozen=True):
    claims: tuple[ClaimView, ...]
