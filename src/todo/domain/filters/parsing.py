"""Recursive descent over the tokens of a filter: or, then and (or nothing between), then not, then terms."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from todo.domain.filters.days import NAMED, Day, read_day
from todo.domain.filters.faults import MAX_LENGTH, Fault, FilterError, units
from todo.domain.filters.tokens import Kind, Token, tokenize
from todo.domain.filters.tree import (
    EVERYTHING,
    Field,
    Has,
    InList,
    Is,
    Label,
    Node,
    Not,
    Overdue,
    Priority,
    Repeats,
    Side,
    Subtask,
    Text,
    Thing,
    Undated,
    When,
    all_of,
    any_of,
)
from todo.domain.task import PRIORITIES, Status

MAX_DEPTH: Final = 20  # of parentheses and negations
DAY_FORMS: Final = "write today, tomorrow, friday, +7d, -2w, +1m or 2026-12-24"
_PRIORITY: Final = re.compile(r"(<=|>=|<|>|=?)([0-9])")
SIDES: Final = {"before": Side.BEFORE, "after": Side.AFTER}
FIELDS: Final = {field.value: field for field in Field}
_WITHOUT: Final[dict[str, Node]] = {
    "date": Undated(),
    "due": Undated(),
    "list": InList(None),
    "label": Not(Has(Thing.LABELS)),
    "labels": Not(Has(Thing.LABELS)),
}
_WORDS: Final[dict[str, Node]] = {
    "overdue": Overdue(),
    "\u00fcberf\u00e4llig": Overdue(),
    "repeats": Repeats(),
    "subtask": Subtask(),
    **{word: When(Field.DUE, Side.ON, day) for word, day in NAMED.items()},
}
CHOICES: Final[dict[str, dict[str, Node]]] = {
    "has": {thing.value: Has(thing) for thing in Thing},
    "is": {status.value: Is(status) for status in Status},
}


def parse(text: str) -> Node:
    """Read a filter; nothing but space wants everything. Raises `FilterError`."""
    if len(text) > MAX_LENGTH:
        place = units(text, MAX_LENGTH), units(text, len(text))
        raise FilterError([Fault(*place, f"a filter has at most {MAX_LENGTH} characters", "leave something out")])
    parser = _Parser(text)
    node = parser.parse()
    if parser.faults:
        raise FilterError(sorted(parser.faults, key=lambda fault: fault.start))
    return node


class _StructureError(Exception):
    """Nothing after this place can be told apart; the fault is recorded."""


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._next = 0
        self._depth = 0
        self.faults = self._tokens.faults

    def parse(self) -> Node:
        """Recorded faults stand for what they are about; the tree is worth something only without any."""
        try:
            return self._whole() if self._tokens.found else EVERYTHING
        except _StructureError:
            return EVERYTHING

    def _whole(self) -> Node:
        node = self._either()
        rest = self._peek()
        if rest is not None:
            raise self._stop(rest, "this parenthesis was never opened", "remove it, or add ( before")
        return node

    def _either(self) -> Node:
        parts = [self._every()]
        while self._taken(Kind.OR):
            parts.append(self._every())
        return any_of(parts)

    def _every(self) -> Node:
        parts = [self._negation()]
        while (token := self._peek()) is not None and token.kind not in {Kind.OR, Kind.CLOSE}:
            self._taken(Kind.AND)
            parts.append(self._negation())
        return all_of(parts)

    def _negation(self) -> Node:
        negating = self._taken(Kind.NOT)
        return self._within(negating, lambda: Not(self._negation())) if negating else self._term()

    def _term(self) -> Node:
        token = self._take()
        match token.kind:
            case Kind.OPEN:
                return self._within(token, lambda: self._group(token))
            case Kind.LABEL:
                return Label(token.text)
            case Kind.LIST:
                return InList(token.text)
            case Kind.PRIORITY:
                return self._priority(token)
            case Kind.PHRASE:
                return Text(token.text, phrase=True)
            case Kind.WORD:
                return self._word(token)
            case _:
                raise self._stop(token, f"something is missing before {token.text}", "write a term there, or remove it")

    def _group(self, opening: Token) -> Node:
        node = self._either()
        if self._taken(Kind.CLOSE) is None:
            raise self._stop(opening, "this parenthesis is never closed", "add ) where it ends")
        return node

    def _priority(self, token: Token) -> Node:
        found = _PRIORITY.fullmatch(token.text)
        if found is None or int(found[2]) not in PRIORITIES:
            fix = "write !1 to !4, or !<=2 for 1 and 2; to leave something out write - before it"
            return self._blame(token, f"!{token.text} is no priority", fix)
        return Priority(found[1] or "=", int(found[2]))

    def _word(self, token: Token) -> Node:
        word = token.text.casefold()
        head, colon, _ = word.partition(":")
        if head in FIELDS:
            if colon:
                return self._when(FIELDS[head], Side.ON, token)
            side = self._side()
            return self._when(FIELDS[head], *side) if side else Text(token.text)
        if colon and head in CHOICES:
            return self._choice(token, head)
        if word == "no" and (missing := self._following(_WITHOUT)) is not None:
            return missing
        return _WORDS.get(word) or Text(token.text)

    def _side(self) -> tuple[Side, Token] | None:
        """`before` or `after` with its token, if one of them comes."""
        token = self._peek()
        if token is None or token.kind is not Kind.WORD:
            return None
        side = SIDES.get(token.text.casefold().partition(":")[0])
        return (side, self._take()) if side else None

    def _when(self, field: Field, side: Side, token: Token) -> Node:
        value = self._value(token)
        day: Day | None = read_day(value.text)
        if day is None:
            problem = f"{value.text} is no day" if value is not token else f"a day is missing after {token.text}"
            return self._blame(value, problem, DAY_FORMS)
        return When(field, side, day)

    def _choice(self, token: Token, head: str) -> Node:
        value = self._value(token)
        chosen = CHOICES[head].get(value.text.casefold())
        if chosen is None:
            return self._blame(value, f"{head}: is followed by something else", _one_of(head, CHOICES[head]))
        return chosen

    def _value(self, token: Token) -> Token:
        """What follows a colon, in the same word or the next; the token itself if nothing does."""
        head, _, rest = token.text.partition(":")
        if rest:
            return Token(Kind.WORD, rest, token.start + len(head) + 1, token.end)
        value = self._peek()
        if value is not None and value.kind is Kind.NOT and value.text == "-":  # -7d
            after = self._tokens.found[self._next + 1 : self._next + 2]
            if after and after[0].kind is Kind.WORD:
                self._next += 2
                return Token(Kind.WORD, f"-{after[0].text}", value.start, after[0].end)
        return self._take() if value is not None and value.kind is Kind.WORD else token

    def _following(self, meanings: dict[str, Node]) -> Node | None:
        token = self._peek()
        meaning = meanings.get(token.text.casefold()) if token is not None and token.kind is Kind.WORD else None
        if meaning is not None:
            self._take()
        return meaning

    def _within(self, token: Token, read: Callable[[], Node]) -> Node:
        if self._depth == MAX_DEPTH:
            raise self._stop(token, f"this is nested more than {MAX_DEPTH} deep", "write it with fewer parentheses")
        self._depth += 1
        node = read()
        self._depth -= 1
        return node

    def _peek(self) -> Token | None:
        return self._tokens.found[self._next] if self._next < len(self._tokens.found) else None

    def _take(self) -> Token:
        token = self._peek()
        if token is None:
            end = len(self._tokens.text)
            here = Token(Kind.WORD, "", end, end)
            raise self._stop(here, "something is missing at the end", "write what follows, or remove what wants it")
        self._next += 1
        return token

    def _taken(self, kind: Kind) -> Token | None:
        token = self._peek()
        return self._take() if token is not None and token.kind is kind else None

    def _blame(self, token: Token, problem: str, fix: str) -> Node:
        """Record what is wrong and go on."""
        self._tokens.blame(token.start, token.end, problem, fix)
        return EVERYTHING

    def _stop(self, token: Token, problem: str, fix: str) -> _StructureError:
        self._blame(token, problem, fix)
        return _StructureError()


def _one_of(head: str, choices: Iterable[str]) -> str:
    return "write " + " or ".join(f"{head}:{choice}" for choice in choices)
