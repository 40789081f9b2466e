"""A view: a filter that somebody saved under a name, at its place among their others."""

import datetime as dt
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from todo.domain.errors import RuleError

MAX_VIEWS: Final = 100  # of one user
MAX_NAME: Final = 100
LONGEST_POSITION: Final = 50
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One version of a view. `position` sorts bytewise among those of its user."""

    id: UUID
    user_id: int
    name: str
    filter: str
    sort: str
    position: str
    created_at: dt.datetime
    updated_at: dt.datetime
    version: int = 1
    deleted: bool = False


def check_name(name: str) -> str:
    """A name is one line of text with something in it. Raises `RuleError`."""
    clean = " ".join(name.split())
    if not clean:
        raise RuleError("name", "it is empty", "give the view a name")
    if len(clean) > MAX_NAME:
        raise RuleError("name", f"it has {len(clean):,} characters", f"use at most {MAX_NAME}")
    if not clean.isprintable():
        raise RuleError("name", "it contains characters that nobody can see", "remove them")
    return clean


def between(low: str, high: str | None) -> str:
    """A position between two; from "" (before all) and to None (after all). It never ends in the first digit."""
    if high is None:
        return _after(low)
    first, last = _DIGITS.index(low[0]) if low else 0, _DIGITS.index(high[0])
    if first == last:
        return high[0] + between(low[1:], high[1:])
    if last - first > 1:
        return _DIGITS[(first + last) // 2]
    return high[0] if len(high) > 1 else _DIGITS[first] + _after(low[1:], halfway=True)


def _after(low: str, *, halfway: bool = False) -> str:
    """The next digit, so that what is often added to grows slowly, or `halfway` to the last."""
    digit = _DIGITS.index(low[0]) if low else 0
    if digit == len(_DIGITS) - 1:
        return low[0] + _after(low[1:], halfway=halfway)
    return _DIGITS[(digit + len(_DIGITS)) // 2 if halfway else digit + 1]
