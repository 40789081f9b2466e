"""Filters as conditions. Values are arguments, never text of the statement."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from todo.backend.store import search
from todo.domain.due import to_instant, zone_info
from todo.domain.errors import RuleError
from todo.domain.filters import Node
from todo.domain.filters.days import resolve
from todo.domain.filters.tree import (
    And,
    Field,
    Has,
    InList,
    Is,
    Label,
    Not,
    Or,
    Overdue,
    Priority,
    Repeats,
    Side,
    Subtask,
    Term,
    Text,
    Thing,
    Undated,
    When,
)
from todo.messaging.postgres import Executor

Argument = Callable[[object], str]  # takes a value, returns its placeholder

MOST_LOOKS: Final = 10

_HAS: Final = {
    Thing.NOTES: "t.notes <> ''",
    Thing.REMINDERS: "t.reminders <> '{}'",
    Thing.LABELS: "t.labels <> '{}'",
}
_LABELS: Final = """
SELECT label AS name FROM tasks, unnest(labels) AS label
WHERE user_id = $1 AND NOT deleted AND starts_with(lower(label), lower($2))
GROUP BY label ORDER BY count(*) DESC, label LIMIT $3
"""
_IN_NO_LIST: Final = "NOT EXISTS (SELECT FROM lists WHERE id = t.list_id AND NOT deleted)"
_LISTS: Final = """
SELECT name FROM lists WHERE user_id = $1 AND NOT deleted AND starts_with(lower(name), lower($2))
ORDER BY position, id LIMIT $3
"""
_DAY: Final = dt.timedelta(days=1)
_ZONES_APART: Final = dt.timedelta(days=2)  # `due_sort` has whole days in the zones of their tasks


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter, and for whom and when it is read: its days are days in `zone`."""

    node: Node
    user_id: int
    zone: str
    now: dt.datetime


def condition(wanted: Wanted, argument: Argument) -> str:
    """What tasks `t`, joined with their living series `s`, must fulfil. Raises `RuleError`."""
    return _Statement(wanted, argument).condition(wanted.node)


async def names(db: Executor, user_id: int, kind: str, prefix: str, limit: int) -> list[str]:
    """A user's labels or lists whose names begin so, the most used first."""
    statement = _LABELS if kind == "label" else _LISTS
    return [row["name"] for row in await db.fetch(statement, user_id, prefix, limit)]


class _Statement:
    def __init__(self, wanted: Wanted, argument: Argument) -> None:
        self._argument = argument
        self._zone = wanted.zone
        self._now = wanted.now
        self._user_id = wanted.user_id
        self._looks = 0
        self._today = wanted.now.astimezone(zone_info(wanted.zone)).date()

    def condition(self, node: Node) -> str:
        if (query := self._query(node)) is not None:
            return self._look(query)
        match node:
            case And(parts):
                return self._combined(parts, "AND", "&") if parts else "true"
            case Or(parts):
                return self._combined(parts, "OR", "|")
            case Not(part):
                return f"({self.condition(part)}) IS NOT TRUE"  # what compares with nothing is not true either
            case _:
                return self._term(node)

    def _combined(self, parts: Sequence[Node], word: str, sign: str) -> str:
        """Parts that are text alone are looked up together, and so are those that are the opposite of text."""
        opposite = {"&": " | ", "|": " & "}[sign]
        queries = [query for part in parts if (query := self._query(part)) is not None]
        unwanted = [query for part in parts if isinstance(part, Not) and (query := self._query(part.part)) is not None]
        found = [self._look(f" {sign} ".join(queries))] if queries else []
        found += [f"({self._look(opposite.join(unwanted))}) IS NOT TRUE"] if unwanted else []
        found += [self.condition(part) for part in parts if not self._is_text(part)]
        return f"({f' {word} '.join(found)})"

    def _is_text(self, node: Node) -> bool:
        return self._query(node.part if isinstance(node, Not) else node) is not None

    def _look(self, query: str) -> str:
        """Without the index each look reads the task's words anew, so there are few."""
        self._looks += 1
        if self._looks > MOST_LOOKS:
            fix = "write text side by side, not among other conditions"
            raise RuleError("filter", f"it looks for text more than {MOST_LOOKS} times", fix)
        return f"{search.vector('t.')} @@ to_tsquery('simple', lower({self._argument(query)}))"

    def _term(self, node: Term) -> str:
        match node:
            case Label(name):
                return f"{self._argument(name)} = ANY(t.labels)"
            case InList(name):
                return self._in_list(name)
            case Priority(relation, level):
                return f"t.priority {relation} {self._argument(level)}"
            case When() | Overdue():
                return self._when(node) if isinstance(node, When) else self._overdue()
            case Text(text):
                return self._anywhere(text)
            case _:
                return self._state(node)

    def _state(self, node: Undated | Repeats | Subtask | Has | Is) -> str:
        match node:
            case Has(thing):
                return _HAS[thing]
            case Is(status):
                return f"t.status = {self._argument(status)}"
            case Undated():
                return "(t.due_at IS NULL AND t.due_date IS NULL)"
            case Repeats():
                return "s.id IS NOT NULL"
            case Subtask():
                return "t.parent_id IS NOT NULL"

    def _in_list(self, name: str | None) -> str:
        if name is None:
            return _IN_NO_LIST
        owner, named = self._argument(self._user_id), self._argument(name)
        there = f"user_id = {owner} AND lower(name) = lower({named}) AND NOT deleted"
        return f"t.list_id IN (SELECT id FROM lists WHERE {there})"

    def _when(self, node: When) -> str:
        day = resolve(node.day, self._today, back=node.field.looks_back)
        begin, end = (to_instant(dt.datetime.combine(one, dt.time.min), self._zone) for one in (day, day + _DAY))
        since, until = {Side.ON: (begin, end), Side.BEFORE: (None, begin), Side.AFTER: (end, None)}[node.side]
        name = node.field.value
        at = self._between(f"t.{name}_at", since, until)
        if node.field not in {Field.DUE, Field.START}:
            return at
        relation = {Side.ON: "=", Side.BEFORE: "<", Side.AFTER: ">"}[node.side]
        either = f"({at} OR t.{name}_date {relation} {self._argument(day)})"
        return f"({either} AND {self._near(since, until)})" if node.field is Field.DUE else either

    def _overdue(self) -> str:
        now, today = self._argument(self._now), self._argument(self._today)
        near = self._near(None, self._now)
        return f"(t.status = 'open' AND (t.due_at < {now} OR t.due_date < {today}) AND {near})"

    def _between(self, column: str, since: dt.datetime | None, until: dt.datetime | None) -> str:
        bounds = [f"{column} >= {self._argument(since)}"] if since else []
        bounds += [f"{column} < {self._argument(until)}"] if until else []
        return f"({' AND '.join(bounds)})"

    def _near(self, since: dt.datetime | None, until: dt.datetime | None) -> str:
        """What follows of a due between these, and an index knows."""
        wide = since and since - _ZONES_APART, until and until + _ZONES_APART
        return self._between("t.due_sort", *wide)

    def _anywhere(self, text: str) -> str:
        """For what has no word that an index could know."""
        pattern = self._argument(_like(text))
        return f"(t.title ILIKE {pattern} OR t.notes ILIKE {pattern})"

    def _query(self, node: Node) -> str | None:
        """A `tsquery` for what is text alone, None for others: for one that only excludes all of the index is read."""
        match node:
            case Text(text, phrase):
                words = search.words_of(text)
                return f"({search.query(self._user_id, words, whole=phrase)})" if words else None
            case And(parts) | Or(parts):
                queries = [query for part in parts if (query := self._query(part)) is not None]
                sign = " & " if isinstance(node, And) else " | "
                return f"({sign.join(queries)})" if queries and len(queries) == len(parts) else None
            case _:
                return None


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
