"""What a person can do to views. Each command is one transaction, and all of one user's come one after the other."""

from collections.abc import Mapping
from dataclasses import replace
from types import EllipsisType
from typing import Any
from uuid import UUID, uuid4

from todo.backend.commands import ConflictError, NotFoundError, StaleError
from todo.backend.store import saved_views as store
from todo.domain import views as rules
from todo.domain.errors import RuleError
from todo.domain.views import View
from todo.messaging.unit import Transaction


async def add(unit: Transaction, user_id: int, name: str, filter_: str, sort: str) -> View:
    """Save a view, after the others. Raises `ConflictError`."""
    await store.lock_all(unit.connection, user_id)
    others = await store.of_user(unit.connection, user_id)
    if len(others) >= rules.MAX_VIEWS:
        raise ConflictError(f"there are {rules.MAX_VIEWS} views, as many as there can be: delete one first")
    _check_name(name, others)
    view = View(
        id=uuid4(),
        user_id=user_id,
        name=name,
        filter=filter_,
        sort=sort,
        position=rules.between(others[-1].position if others else "", None),
        created_at=unit.now,
        updated_at=unit.now,
    )
    unit.tells = True
    await store.insert(unit.connection, view)
    return view


async def change(  # noqa: PLR0913 - what is changed, from which version, and where it goes
    unit: Transaction,
    user_id: int,
    view_id: UUID,
    expected: int | None,
    changes: Mapping[str, Any],
    after: UUID | EllipsisType | None = ...,
) -> View:
    """Change fields, and put the view after another one (None: first). Raises `ConflictError` and `RuleError`."""
    view, others = await _find(unit, user_id, view_id, expected)
    changed = replace(view, **changes)
    _check_name(changed.name, others)
    if after is not ...:
        changed = replace(changed, position=await _position(unit, others, after))
    return view if changed == view else await _store(unit, changed)


async def remove(unit: Transaction, user_id: int, view_id: UUID, expected: int | None) -> None:
    """Delete a view; a tombstone stays, for those who are told of changes."""
    view, _ = await _find(unit, user_id, view_id, expected)
    await _store(unit, replace(view, deleted=True))


async def _find(unit: Transaction, user_id: int, view_id: UUID, expected: int | None) -> tuple[View, list[View]]:
    """A user's view and their others, locked, after a check of the version that the caller saw."""
    await store.lock_all(unit.connection, user_id)
    views = await store.of_user(unit.connection, user_id)
    view = next((one for one in views if one.id == view_id), None)
    if view is None:
        raise NotFoundError("there is no such view")
    if expected is not None and view.version != expected:
        raise StaleError(view.version)
    return view, [one for one in views if one is not view]


def _check_name(name: str, others: list[View]) -> None:
    """Names are what people call views by."""
    if any(one.name.lower() == name.lower() for one in others):
        raise ConflictError("there is a view of this name: choose another one")


async def _position(unit: Transaction, others: list[View], after: UUID | None) -> str:
    """A place after one of the others."""
    index = next((number for number, one in enumerate(others, 1) if one.id == after), 0)
    if after is not None and not index:
        raise RuleError("after", "there is no such other view", "give the id of one, or null for the first place")
    positions = [one.position for one in others]
    place = rules.between(positions[index - 1] if index else "", positions[index] if index < len(others) else None)
    if len(place) <= rules.LONGEST_POSITION:
        return place
    return await _spread(unit, others, index)


async def _spread(unit: Transaction, others: list[View], gap: int) -> str:
    """Where the same two places were divided again and again: number all anew, with a gap."""
    place = free = ""
    for number, one in enumerate(others):
        if number == gap:
            place = free = rules.between(place, None)
        place = rules.between(place, None)
        await _store(unit, replace(one, position=place))
    return free or rules.between(place, None)


async def _store(unit: Transaction, view: View) -> View:
    later = max(view.updated_at, unit.now)
    changed = replace(view, version=view.version + 1, updated_at=later)
    unit.tells = True
    await store.update(unit.connection, changed)
    return changed
