"""Phrases as patterns: words, [what may be left out], (one | another), {slots} and {slots:given as}.

A language is rows of patterns with what they mean, and tables of words. Matching tries every row and keeps the longest;
a slot is read once per place, lists are bounded, and so is the text: no input takes long.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from todo.domain.language.pieces import PUNCTUATION, Piece

Bound = tuple[tuple[str, Any], ...]  # slots and what they were read as
Terminal = Callable[["Parse", int], Iterator[tuple[int, Any]]]  # from a place on: where it may end, and what it says

MAX_ITEMS: Final = 31  # of a list, such as every day of a month
_SYNTAX: Final = re.compile(r"\{[a-z_:]+\}|[][()|]|[^][()|{}\s]+")


class Shy(Enum):
    """How a phrase that could be of the title as well must stand to be understood."""

    NO = auto()
    EDGE = auto()  # at the beginning or the end, or beside something else that is understood
    END = auto()  # at the end, or before something else that is understood
    AFTER = auto()  # right after something else that is understood


@dataclass(frozen=True, slots=True)
class Context:
    """What words are relative to: now, in the zone they are meant in."""

    now: dt.datetime
    zone: ZoneInfo

    @property
    def today(self) -> dt.date:
        return self.now.date()


Meaning = Callable[..., Any]  # of a Context and the slots; None: the words mean nothing


class Node(Protocol):
    def ends(self, parse: "Parse", at: int) -> Iterator[tuple[int, Bound]]: ...


@dataclass(frozen=True, slots=True)
class Row:
    """A pattern and its meaning; `given` are slots that it always has."""

    pattern: Node
    meaning: Meaning
    shy: Shy
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Language:
    """`rows` and `words` are slots by name; `before` are words after which a date is no due date."""

    code: str
    rows: Mapping[str, Sequence[Row]]
    words: Mapping[str, Mapping[str, Any]]
    ands: frozenset[str]
    before: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: up to which piece, and what it means."""

    end: int
    value: Any
    shy: Shy = Shy.NO


@dataclass(slots=True)
class Parse:
    """One line being read in one language."""

    pieces: Sequence[Piece]
    language: Language
    context: Context
    terminals: Mapping[str, Terminal]
    _known: dict[tuple[str, int], list[Found]] = field(default_factory=dict)

    def key(self, at: int) -> str:
        return self.pieces[at].key if at < len(self.pieces) else ""

    def slot(self, name: str, at: int) -> list[Found]:
        """Every way to read this slot from here, the longest first."""
        known = self._known.get((name, at))
        if known is None:
            ways: dict[int, Found] = {}
            for found in self._ways(name, at):
                ways.setdefault(found.end, found)
            known = sorted(ways.values(), key=lambda found: -found.end)
            self._known[name, at] = known
        return known

    def _ways(self, name: str, at: int) -> Iterator[Found]:
        words = self.language.words.get(name)
        if words is not None:
            if self.key(at) in words:
                yield Found(at + 1, words[self.key(at)])
        elif name in self.terminals:
            yield from (Found(end, value) for end, value in self.terminals[name](self, at))
        else:
            for row in self.language.rows[name]:
                yield from self._row(row, at)

    def _row(self, row: Row, at: int) -> Iterator[Found]:
        for end, bound in row.pattern.ends(self, at):
            value = row.meaning(self.context, **dict(bound), **row.given)
            if value is not None:
                yield Found(end, value, row.shy)

    def phrase(self, name: str, at: int) -> Found | None:
        """The longest reading of this slot made of whole words; what hangs on the last word belongs to it."""
        if at and self.pieces[at - 1].word == self.pieces[at].word:
            return None
        for found in self.slot(name, at):
            end = found.end
            while end < len(self.pieces) and self.pieces[end].word == self.pieces[end - 1].word:
                if self.pieces[end].key not in PUNCTUATION:
                    break
                end += 1
            else:
                return Found(end, found.value, found.shy)
        return None


def row(pattern: str, meaning: Meaning, shy: Shy = Shy.NO, **given: Any) -> Row:  # noqa: ANN401 - what its slots say
    """A row of a language's table."""
    return Row(_compiled(pattern), meaning, shy, given)


@dataclass(frozen=True, slots=True)
class _Literal:
    key: str

    def ends(self, parse: Parse, at: int) -> Iterator[tuple[int, Bound]]:
        if parse.key(at) == self.key:
            yield at + 1, ()


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    given_as: str

    def ends(self, parse: Parse, at: int) -> Iterator[tuple[int, Bound]]:
        for found in parse.slot(self.name, at):
            yield found.end, ((self.given_as, found.value),)


@dataclass(frozen=True, slots=True)
class _Choice:
    nodes: tuple[Node, ...]

    def ends(self, parse: Parse, at: int) -> Iterator[tuple[int, Bound]]:
        for node in self.nodes:
            yield from node.ends(parse, at)


@dataclass(frozen=True, slots=True)
class _Sequence:
    nodes: tuple[Node, ...]

    def ends(self, parse: Parse, at: int) -> Iterator[tuple[int, Bound]]:
        if not self.nodes:
            yield at, ()
            return
        rest = _Sequence(self.nodes[1:])
        for middle, first in self.nodes[0].ends(parse, at):
            for end, more in rest.ends(parse, middle):
                yield end, first + more


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Node:
    tokens = _SYNTAX.findall(pattern)
    node, rest = _choice(tokens)
    if rest:
        raise AssertionError(f"{pattern!r} is no pattern")
    return node


def _choice(tokens: list[str]) -> tuple[Node, list[str]]:
    first, rest = _sequence(tokens)
    ways = [first]
    while rest and rest[0] == "|":
        another, rest = _sequence(rest[1:])
        ways.append(another)
    return (_Choice(tuple(ways)) if len(ways) > 1 else first), rest


def _sequence(tokens: list[str]) -> tuple[Node, list[str]]:
    nodes: list[Node] = []
    while tokens and tokens[0] not in "|])":
        opening, tokens = tokens[0], tokens[1:]
        if opening in "[(":
            node, tokens = _choice(tokens)
            tokens = tokens[1:]
            nodes.append(_Choice((node, _Sequence(()))) if opening == "[" else node)
        else:
            nodes.append(_slot(opening) if opening[0] == "{" else _Literal(opening))
    return _Sequence(tuple(nodes)), tokens


def _slot(token: str) -> _Slot:
    name, _, given_as = token[1:-1].partition(":")
    return _Slot(name, given_as or name)
