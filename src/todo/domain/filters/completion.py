"""What could be written at a place of a filter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from todo.domain.filters.days import NAMED, WEEKDAYS
from todo.domain.filters.faults import MAX_LENGTH, index_of, units
from todo.domain.filters.parsing import FIELDS, SIDES
from todo.domain.filters.tokens import Kind, Token, tokenize
from todo.domain.filters.writing import name_of
from todo.domain.task import PRIORITIES

MOST: Final = 20
_DAYS: Final = (*list(NAMED)[:3], *WEEKDAYS, "+7d", "+2w", "+1m", "-7d")
_WORDS: Final = (
    "today", "tomorrow", "overdue", "due: ", "due before: ", "due after: ", "no date", "no label", "no list", "repeats",
    "subtask", "has:notes", "has:reminders", "has:labels", "is:open", "is:done", "is:skipped", "start before: ",
    "created after: ", "closed after: ",
)  # fmt: skip
_STARTS: Final = ("#", "@", "!1", "today", "overdue", "due before: ", "no date")
_AFTER: Final = ("& ", "| ", *_STARTS)
_PRIORITIES: Final = (*(f"!{level}" for level in PRIORITIES), "!<=2")
_MARKS: Final = {"label": "#", "list": "@"}
_ENDS: Final = frozenset({Kind.CLOSE, Kind.LABEL, Kind.LIST, Kind.PRIORITY, Kind.PHRASE, Kind.WORD})


@dataclass(frozen=True, slots=True)
class Completion:
    """`insert` takes the place of what is from `start` to `end` (UTF-16 code units). `kind` says what it is."""

    insert: str
    label: str
    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What stands at the cursor: its kind, as far as it was written, and what it would take the place of."""

    kind: str
    prefix: str
    start: int
    end: int
    options: Sequence[str] = ()


def begun(text: str, at: int) -> Begun:
    """What is being written at an offset in code units. `label` and `list` are completed by names that exist."""
    whole = text[:MAX_LENGTH]
    cursor = index_of(whole, at)
    tokens = tokenize(whole).found
    here = next((token for token in tokens if token.start < cursor <= token.end), None)
    start, end = (here.start, here.end) if here else (cursor, cursor)
    before = next((token for token in reversed(tokens) if token.end <= start), None)
    kind, prefix, options = _kind(whole[start:cursor], here, before)
    if kind == "day":
        start = cursor - len(prefix)
    return Begun(kind, prefix, units(whole, start), units(whole, end), options)


def completions(place: Begun, names: Iterable[str] = ()) -> list[Completion]:
    """What fits there, best first; `names` are labels or lists of the user that begin so, if one was begun."""
    if place.kind in _MARKS:
        fitting = [_MARKS[place.kind] + name_of(name) for name in names]
    else:
        wanted = place.prefix.casefold()
        fitting = [one for one in place.options if one.casefold().startswith(wanted) and one != place.prefix]
    return [Completion(one, one.strip(), place.kind, place.start, place.end) for one in fitting[:MOST]]


def _kind(written: str, here: Token | None, before: Token | None) -> tuple[str, str, Sequence[str]]:
    """Kind, prefix and options; `before` is the token before the one that the cursor is in."""
    kind = here.kind if here else Kind.WORD
    if kind in {Kind.LABEL, Kind.LIST}:
        return "label" if kind is Kind.LABEL else "list", written[1:].removeprefix('"').removesuffix('"'), ()
    if kind is Kind.PRIORITY:
        return "priority", written, _PRIORITIES
    if kind is not Kind.WORD:
        return "text", written, ()
    return _word(written, before)


def _word(written: str, before: Token | None) -> tuple[str, str, Sequence[str]]:
    previous = before.text.casefold() if before and before.kind is Kind.WORD else ""
    head, colon, rest = written.casefold().partition(":")
    if colon and (head in FIELDS or (head in SIDES and previous in FIELDS)):
        return "day", rest, _DAYS
    if previous.endswith(":") and previous[:-1] in {*FIELDS, *SIDES}:
        return "day", written, _DAYS
    if previous in FIELDS:
        return "keyword", written, [f"{side}: " for side in SIDES]
    if written:
        return "keyword", written, _WORDS
    return "keyword", "", _AFTER if before and before.kind in _ENDS else _STARTS
