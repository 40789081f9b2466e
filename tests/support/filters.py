"""Filters and tasks to try them on, and a second opinion on which of these a filter wants."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from todo.domain.due import Due
from todo.domain.filters.days import Shift, Unit, Weekday, resolve
from todo.domain.filters.tree import (
    And,
    Field,
    Has,
    InList,
    Is,
    Label,
    Node,
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
    all_of,
    any_of,
)
from todo.domain.task import Status, Task

NAMES = ("home", "two words", "Straße", 'quo"te', "back\\slash", "(x)")
WORDS = ("milk", "Milch", "Äpfel", "straße", "milkshake", "no", "due", "7d", "foo-bar", "x/y", "C#", "20%", "🎉", "→")
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati", "UTC")
NOON = dt.datetime(2031, 5, 6, 12, tzinfo=dt.UTC)

days = (
    st.dates(dt.date(2031, 5, 2), dt.date(2031, 5, 10))
    | st.builds(Shift, st.integers(-3, 3), st.sampled_from(Unit))
    | st.builds(Weekday, st.integers(0, 6))
)
words = st.sampled_from(WORDS)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)
texts: st.SearchStrategy[Term] = st.builds(Text, words) | st.builds(Text, phrases, st.just(True))  # noqa: FBT003 - a phrase
relations = st.sampled_from(("=", "<", "<=", ">", ">="))
dated: st.SearchStrategy[Term] = st.one_of(
    st.builds(When, st.sampled_from((Field.DUE, Field.CREATED, Field.CLOSED)), st.sampled_from(Side), days),
    st.just(Undated()),
    st.just(Overdue()),
)
terms: st.SearchStrategy[Term] = st.one_of(
    st.builds(Label, st.sampled_from(NAMES)),
    st.builds(Priority, relations, st.integers(1, 4)),
    dated,
    st.just(Repeats()),
    st.builds(Has, st.sampled_from(Thing)),
    st.builds(Is, st.sampled_from(Status)),
    texts,
)
awaited: st.SearchStrategy[Term] = (
    st.builds(InList, st.sampled_from(NAMES) | st.none())
    | st.just(Subtask())
    | st.builds(When, st.just(Field.START), st.sampled_from(Side), days)
)


def nodes(leaves: st.SearchStrategy[Term]) -> st.SearchStrategy[Node]:
    """Trees as `parse` makes them."""

    def groups(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(inner, min_size=2, max_size=3)
        return some.map(all_of) | some.map(any_of) | st.builds(Not, inner)

    return st.recursive(leaves, groups, max_leaves=6)


instants = st.datetimes(dt.datetime(2031, 5, 2), dt.datetime(2031, 5, 10), timezones=st.just(dt.UTC))  # noqa: DTZ001 - aware by `timezones`
dues = (
    st.none()
    | st.builds(Due, st.sampled_from(ZONES), at=instants)
    | st.builds(Due, st.sampled_from(ZONES), date=st.dates(dt.date(2031, 5, 2), dt.date(2031, 5, 10)))
)
separators = st.sampled_from((" ", " ", ", ", "/", ".", " \u2013 ", "\n", "_", "'"))


@st.composite
def written(draw: st.DrawFn) -> str:
    """Text of these words, in upper and lower case, with this and that between them."""
    some = draw(st.lists(words, max_size=5))
    return "".join(draw(st.sampled_from((word, word.upper()))) + draw(separators) for word in some).strip()


@dataclass(frozen=True)
class Known:
    """A task, and whether it repeats."""

    task: Task
    repeats: bool


@st.composite
def tasks(draw: st.DrawFn, user_id: int = 1) -> Known:
    status = draw(st.sampled_from((Status.OPEN, Status.OPEN, Status.DONE, Status.SKIPPED)))
    created = draw(instants)
    task = Task(
        id=draw(st.uuids()),
        user_id=user_id,
        title=draw(written()) or "untitled",
        notes=draw(st.just("") | written()),
        status=status,
        due=draw(dues),
        priority=draw(st.integers(1, 4)),
        labels=tuple(draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))),
        reminders=draw(st.sampled_from(((), ("PT0S",)))),
        created_at=created,
        updated_at=created,
        closed_at=None if status is Status.OPEN else draw(instants),
        closed_version=None if status is Status.OPEN else 1,
    )
    return Known(task, draw(st.booleans()))


@dataclass(frozen=True)
class Judge:
    """What a filter means, said as naively as can be."""

    zone: str
    now: dt.datetime = NOON

    def wants(self, node: Node, known: Known) -> bool:
        match node:
            case And(parts):
                return all(self.wants(part, known) for part in parts)
            case Or(parts):
                return any(self.wants(part, known) for part in parts)
            case Not(part):
                return not self.wants(part, known)
            case _:
                return self._term(node, known)

    def _term(self, node: Term, known: Known) -> bool:  # noqa: PLR0911 - a table
        task = known.task
        match node:
            case Label(name):
                return name in task.labels
            case Priority(relation, level):
                difference = task.priority - level
                return {"=": difference == 0, "<": difference < 0, "<=": difference <= 0,
                        ">": difference > 0, ">=": difference >= 0}[relation]  # fmt: skip
            case When():
                return self._when(node, task)
            case Undated():
                return task.due is None
            case Overdue():
                return task.status is Status.OPEN and task.due is not None and self._is_past(task.due)
            case Repeats():
                return known.repeats
            case Has(thing):
                return bool(getattr(task, thing))
            case Is(status):
                return task.status is status
            case Text(text, phrase):
                return contains(f"{task.title} {task.notes}", text, phrase=phrase)
            case _:
                raise AssertionError(node)

    def _when(self, node: When, task: Task) -> bool:
        zone = ZoneInfo(self.zone)
        today = self.now.astimezone(zone).date()
        wanted = resolve(node.day, today, back=node.field in {Field.CREATED, Field.CLOSED})
        due = task.due.value if task.due else None
        values = {Field.DUE: due, Field.CREATED: task.created_at, Field.CLOSED: task.closed_at}
        value: dt.date | None = values[node.field]
        if value is None:
            return False
        day = value.astimezone(zone).date() if isinstance(value, dt.datetime) else value
        return {Side.ON: day == wanted, Side.BEFORE: day < wanted, Side.AFTER: day > wanted}[node.side]

    def _is_past(self, due: Due) -> bool:
        if due.at is not None:
            return due.at < self.now
        return due.date is not None and due.date < self.now.astimezone(ZoneInfo(self.zone)).date()


def contains(text: str, wanted: str, *, phrase: bool) -> bool:
    """Whether the wanted words are in a row there, the last one perhaps longer unless it is a phrase."""
    looked_for = _words(wanted)
    if not any(character.isalnum() for character in wanted):
        return wanted.lower() in text.lower()
    there = _words(text)
    return any(_begins(there[start:], looked_for, phrase=phrase) for start in range(len(there)))


def _begins(there: Sequence[str], wanted: Sequence[str], *, phrase: bool) -> bool:
    if len(there) < len(wanted) or list(there[: len(wanted) - 1]) != list(wanted[:-1]):
        return False
    last = there[len(wanted) - 1]
    return last == wanted[-1] if phrase else last.startswith(wanted[-1])


def _words(text: str) -> list[str]:
    """🎉 is one, as is everything that is neither space nor punctuation."""
    return [word for word in re.split(r"[\s/.,_'#%\u2013→\-]+", text.lower()) if word]
