"""What changed, in an order in which no reader can miss anything.

Rows that tell of changes name the transaction that wrote them (`tx`), which the database fills in. Transactions end in
any order, so a reader stops at the edge: the oldest one that is still under way anywhere on the server. Below it
everything has ended, and is read in the order of (tx, source, id); a row that is committed late is above the edge of
whoever read before.

A kind of things is followed once it has an entry in `KINDS`; its rows get their `tx` in each statement that writes
them, and whoever writes them says so (`unit.tells`), or readers learn of it some seconds later.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from todo.backend.store import lists, saved_views, tasks
from todo.messaging.postgres import Executor, Row

FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that tell of changes: what they are read from, and the expressions that a reader needs of them."""

    rows: str
    tx: str
    id: str  # of the thing that changed
    owner: str


Alive = Callable[[Executor, int, UUID | None, int], Awaitable[Sequence[Row]]]
Named = Callable[[Executor, int, Sequence[UUID]], Awaitable[Sequence[Row]]]


@dataclass(frozen=True, slots=True)
class Kind:
    """Things that are followed. Rows of `alive` and `named` have id, version and deleted among their columns."""

    sources: tuple[Source, ...]
    alive: Alive  # a page of a user's, after an id
    named: Named  # those of a user's with these ids, deleted ones too


KINDS: Final = {
    "task": Kind(
        (
            # No join: whatever the planner expects, a stretch is read from its index, and owners are looked up.
            Source("task_history h", "h.tx", "h.task_id", "(SELECT user_id FROM tasks WHERE id = h.task_id)"),
            # A task is shown with the rule of its series.
            Source("series s JOIN tasks t ON t.series_id = s.id", "s.tx", "t.id", "s.user_id"),
        ),
        tasks.alive,
        tasks.named,
    ),
    "list": Kind((Source("lists l", "l.tx", "l.id", "l.user_id"),), lists.alive, lists.by_ids),
    "view": Kind((Source("views v", "v.tx", "v.id", "v.user_id"),), saved_views.alive, saved_views.by_ids),
}
SOURCES: Final = tuple((name, source) for name, kind in KINDS.items() for source in kind.sources)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the order of changes: everything up to it was read."""

    tx: int
    source: int
    id: UUID

    @classmethod
    def before(cls, tx: int) -> "Place":
        """What transactions below `tx` wrote was read, and nothing else."""
        return cls(tx, 0, FIRST)


@dataclass(frozen=True, slots=True)
class Change:
    """That something changed, and when."""

    kind: str
    id: UUID
    place: Place


@dataclass(frozen=True, slots=True)
class News:
    """Who has changes in a stretch of transactions, and whether later ones wait for an older transaction to end."""

    edge: int
    users: frozenset[int]
    held: bool


def _branch(number: int, source: Source) -> str:
    """Each source is read from its index. $1 user, $2 and $3 from which to which transaction, $4 rows, then ids."""
    after = f"${number + 5}"
    return (
        f"(SELECT {number} AS source, {source.tx} AS tx, {source.id} AS id, {source.owner} = $1 AS mine"
        f" FROM {source.rows} WHERE {source.tx} >= $2 AND {source.tx} < $3"
        f" AND ({source.tx}, {source.id}) > ($2, {after}) ORDER BY {source.tx}, {source.id} LIMIT $4)"
    )


# What is the user's, and the last row whosever it is: up to there it was looked at.
_READ: Final = f"""
WITH scanned AS (
    {" UNION ALL ".join(_branch(number, source) for number, (_, source) in enumerate(SOURCES))}
    ORDER BY tx, source, id LIMIT $4
), numbered AS (
    SELECT *, row_number() OVER (ORDER BY tx, source, id) AS number, count(*) OVER () AS rows FROM scanned
)
SELECT source, tx, id, mine, rows FROM numbered WHERE mine OR number = rows ORDER BY number
"""
_EDGE: Final = "pg_snapshot_xmin(pg_current_snapshot())"
_OWNERS: Final = " UNION ".join(
    f"SELECT {source.owner} FROM {source.rows} WHERE {source.tx} >= $1 AND {source.tx} < {_EDGE}"
    for _, source in SOURCES
)
_HELD: Final = " OR ".join(
    f"EXISTS (SELECT FROM {source.rows} WHERE {source.tx} >= {_EDGE}"
    f" AND {source.tx} < pg_snapshot_xmax(pg_current_snapshot()))"  # beyond it are rows that came from another cluster
    for _, source in SOURCES
)
_NEWS: Final = f"SELECT {_EDGE} AS edge, ARRAY({_OWNERS}) AS users, {_HELD} AS held"


async def edge(db: Executor) -> int:
    """The oldest transaction that is under way: what earlier ones did is there for good."""
    return await db.fetchval(f"SELECT {_EDGE}")  # type: ignore[no-any-return]


async def read(db: Executor, user_id: int, after: Place, until: int, *, scan: int) -> tuple[list[Change], Place]:
    """A user's changes after a place, below the edge `until`, in their order, and up to where that was looked at.

    That is less than everything when there are `scan` rows or more, whosever they are: read on from there.
    """
    beyond = [
        FIRST if number > after.source else after.id if number == after.source else _LAST
        for number in range(len(SOURCES))
    ]
    rows: list[Row] = await db.fetch(_READ, user_id, after.tx, until, scan, *beyond)
    changes = [Change(SOURCES[row["source"]][0], row["id"], _place(row)) for row in rows if row["mine"]]
    is_all = not rows or rows[-1]["rows"] < scan
    return changes, Place.before(until) if is_all else _place(rows[-1])


async def news(db: Executor, since: int) -> News:
    """Who has changes from transaction `since` up to the edge."""
    row = await db.fetchrow(_NEWS, since)
    return News(row["edge"], frozenset(row["users"]), row["held"])


def _place(row: Row) -> Place:
    return Place(row["tx"], row["source"], row["id"])
