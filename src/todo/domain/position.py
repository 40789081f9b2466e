"""A manual order as texts that sort bytewise (fractional indexing): between any two there is room for another.

A position is a fraction between 0 and 1 in digits of base 62, and never ends in 0. What was never moved is where it was
made: its position follows from the instant and its id, so that making a thing reads no neighbour. Moving to the top
counts down in the same way, so that neither end ever grows longer.
"""

import datetime as dt
from typing import Final
from uuid import UUID

from todo.domain.errors import RuleError

MAX_POSITION: Final = 500  # characters: nearly 3,000 things moved one after another into one gap
DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE: Final = len(DIGITS)
_1970: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_LAST: Final = 16**14 - 1  # microseconds: in the year 4253


def at(made: dt.datetime, own: UUID) -> str:
    """Behind everything made earlier. SQL has the same for rows without a position (`store/orders.py`)."""
    return f"{(made - _1970) // _MICROSECOND:014x}{_of(own)}"


def top(now: dt.datetime, own: UUID) -> str:
    """Before everything made at any time, and everything moved to the top earlier."""
    return f"00{_LAST - (now - _1970) // _MICROSECOND:014x}{_of(own)}"


def between(before: str | None, after: str | None) -> str:
    """A position between two, None being the ends. Raises `RuleError` where nothing fits any more."""
    if before is not None and after is not None and before >= after:
        raise AssertionError("a gap has a lower and an upper end")
    found = _middle(before or "", after)
    if len(found) > MAX_POSITION:
        raise RuleError("after", "too many things were moved to this place", "move what is around it to the top first")
    return found


def _of(own: UUID) -> str:
    return f"{own.node:012x}V"


def _middle(low: str, high: str | None) -> str:
    """The shortest fraction near the middle of two: what they share, then a digit between, or one digit more."""
    shared = 0
    if high is not None:
        while shared < len(high) and (low[shared] if shared < len(low) else DIGITS[0]) == high[shared]:
            shared += 1
    prefix = high[:shared] if high else ""
    low, high = low[shared:], high[shared:] if high is not None else None
    first = DIGITS.index(low[0]) if low else 0
    last = DIGITS.index(high[0]) if high is not None else _BASE
    if last - first > 1:
        return prefix + DIGITS[(first + last) // 2]
    if high is not None and len(high) > 1:
        return prefix + high[0]
    return prefix + DIGITS[first] + _middle(low[1:], None)
