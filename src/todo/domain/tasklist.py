"""A list of tasks: a name, a colour, a place among its owner's lists."""

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from todo.domain.errors import RuleError
from todo.domain.task import check_text

MAX_LISTS: Final = 200
MAX_NAME: Final = 100
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskList:
    """One version of a list. Tasks of a deleted one stay, and belong to no list."""

    id: UUID
    user_id: int
    name: str
    position: str
    created_at: dt.datetime
    updated_at: dt.datetime
    version: int = 1
    color: str | None = None
    deleted: bool = False


def check_name(name: str) -> str:
    """A name is one line of text with something in it. Raises `RuleError`."""
    clean = " ".join(name.split())
    if not 0 < len(clean) <= MAX_NAME:
        raise RuleError("name", f"it has {len(clean):,} characters", f"use 1 to {MAX_NAME}")
    check_text("name", clean)
    return clean


def check_color(color: str | None) -> str | None:
    """Raises `RuleError`."""
    if color is not None and _COLOR.fullmatch(color) is None:
        raise RuleError("color", f"{color[:20]!r} is no colour", "write it like #1f6feb, or give null")
    return color.lower() if color else None


def edit(before: TaskList, now: dt.datetime, **changes: object) -> TaskList:
    """A new version; the same list when nothing differs."""
    after = replace(before, **changes)  # type: ignore[arg-type]  # callers name the fields
    if after == before:
        return before
    return replace(after, version=before.version + 1, updated_at=max(now, before.updated_at))
