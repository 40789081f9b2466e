"""Put new tasks into lists and under parents, in the transaction that writes them.

Whoever calls this holds the owner's lock (`people.lock`): nobody else makes or renames a list, or moves a task,
meanwhile. A list's natural key is its name, so that the same file makes it once.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

from todo.backend.porting.checking import Checked, as_label
from todo.backend.porting.entries import Loss
from todo.backend.porting.places import OWN
from todo.backend.store import lists
from todo.backend.store import porting as store
from todo.backend.store.porting import Standing
from todo.domain import position as positions
from todo.domain.errors import RuleError
from todo.domain.task import MAX_SUBTASKS
from todo.domain.tasklist import MAX_LISTS, TaskList, check_color
from todo.messaging.postgres import Executor

_MICROSECOND: Final = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Placed:
    """Tasks as they are stored, and what was lost since the file was looked at."""

    checked: list[Checked]
    losses: list[Loss]


async def place(
    db: Executor, user_id: int, now: dt.datetime, checked: Sequence[Checked], under: Mapping[UUID, UUID]
) -> Placed:
    """Give each task its list and its parent; lists that are missing are made."""
    tops = [one for one in checked if one.task.id not in under]
    known = await _lists(db, user_id, now, [one for one in tops if one.entry.list_name])
    parents = await store.standing(db, user_id, list({under[one.task.id] for one in checked if one.task.id in under}))
    lost: list[Loss] = []
    used: Counter[UUID] = Counter()
    placed: list[Checked] = []
    for one in checked:
        before = len(one.entry.losses)
        if one.task.id in under:
            placed.append(_under(one, parents.get(under[one.task.id]), used))
        else:
            placed.append(_in_list(one, known))
        lost += one.entry.losses[before:]
    return Placed(placed, lost)


def _under(one: Checked, parent: Standing | None, used: Counter[UUID]) -> Checked:
    """A subtask in its parent's list; a task of its own if the parent went away, was moved, or is full by now."""
    if parent is None or parent.deleted or parent.parent_id or parent.subtasks + used[parent.id] >= MAX_SUBTASKS:
        one.entry.lose("parent", "its parent has changed meanwhile, and takes it no more", OWN)
        return one
    used[parent.id] += 1
    return replace(one, task=replace(one.task, parent_id=parent.id, list_id=parent.list_id))


def _in_list(one: Checked, known: Mapping[str, UUID]) -> Checked:
    name = one.entry.list_name
    if not name:
        return one
    found = known.get(name)
    return replace(one, task=replace(one.task, list_id=found)) if found else as_label(one)


async def _lists(db: Executor, user_id: int, now: dt.datetime, wanting: Sequence[Checked]) -> dict[str, UUID]:
    """The list of each name; one that finds no room is not among them."""
    colors = {one.entry.list_name: one.entry.list_color for one in reversed(wanting)}
    known = await store.named_lists(db, user_id, list(colors))
    missing = [name for name in dict.fromkeys(one.entry.list_name for one in wanting) if name not in known]
    for number, name in enumerate(missing):
        known |= await store.named_lists(db, user_id, [name])  # two of the file may be one to the database
        if name not in known and await lists.count(db, user_id) < MAX_LISTS:
            made = _list(user_id, name, colors[name], now + number * _MICROSECOND)
            await lists.insert(db, made)
            known[name] = made.id
    return known


def _list(user_id: int, name: str, color: str, now: dt.datetime) -> TaskList:
    own = uuid4()
    return TaskList(
        id=own,
        user_id=user_id,
        name=name,
        color=_color(color),
        position=positions.at(now, own),
        created_at=now,
        updated_at=now,
    )


def _color(text: str) -> str | None:
    try:
        return check_color(text or None)
    except RuleError:
        return None
