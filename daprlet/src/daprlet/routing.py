"""Routing rules of subscriptions: the part of CEL that events need.

`event.type == "x"`, `event.data.kind != 'y'`, `event.data.priority in ["a", "b"]`, joined with `&&`, `||`, `!` and
parentheses; numbers, `true`, `false` and `null` are literals. Anything else is refused when the rule is read.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Match = Callable[[Any], bool]
_Value = Callable[[Any], Any]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>==|!=|&&|\|\||[!()\[\],.]))"
)
_LITERALS: Final = {"true": True, "false": False, "null": None}
_ESCAPE: Final = re.compile(r"\\(.)")


class RuleError(ValueError):
    """A rule outside the supported part of CEL."""


class UndecidableError(Exception):
    """A rule asks for a field that the event does not have: an error in CEL, not "no match"."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def compile_rule(text: str) -> Match:
    """A function that tells whether an envelope matches; raises `RuleError`.

    The function raises `UndecidableError` unless the parts that can be judged already decide.
    """
    return _Parser(text).rule()


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None or match.lastgroup is None:
            raise RuleError(f"cannot read {stripped[at:]!r}")
        tokens.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return tokens


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def rule(self) -> Match:
        match = self._any()
        if self._at < len(self._tokens):
            raise RuleError(f"unexpected {self._tokens[self._at].text!r}")
        return match

    def _any(self) -> Match:
        sides = [self._all()]
        while self._accept("||"):
            sides.append(self._all())
        return sides[0] if len(sides) == 1 else lambda event: _decide(sides, event, decisive=True)

    def _all(self) -> Match:
        sides = [self._one()]
        while self._accept("&&"):
            sides.append(self._one())
        return sides[0] if len(sides) == 1 else lambda event: _decide(sides, event, decisive=False)

    def _one(self) -> Match:
        if self._accept("!"):
            inner = self._one()
            return lambda event: not inner(event)
        if self._accept("("):
            inner = self._any()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Match:
        left = self._value()
        if self._accept("=="):
            right = self._value()
            return lambda event: _equal(left(event), right(event))
        if self._accept("!="):
            right = self._value()
            return lambda event: not _equal(left(event), right(event))
        if self._accept("in"):
            choices = self._list()
            return lambda event: any(_equal(left(event), choice(event)) for choice in choices)
        return lambda event: left(event) is True

    def _list(self) -> list[_Value]:
        self._expect("[")
        values = [self._value()]
        while self._accept(","):
            values.append(self._value())
        self._expect("]")
        return values

    def _value(self) -> _Value:
        token = self._next()
        if token.kind == "string":
            text = _ESCAPE.sub(r"\1", token.text[1:-1])
            return lambda _: text
        if token.kind == "number":
            number = float(token.text)
            return lambda _: number
        if token.text in _LITERALS:
            literal = _LITERALS[token.text]
            return lambda _: literal
        if token.text == "event":
            return self._field()
        raise RuleError(f"{token.text!r} is not supported: fields begin with `event.`, and functions are not known")

    def _field(self) -> _Value:
        path = []
        while self._accept("."):
            path.append(self._next().text)
        if not path:
            raise RuleError("`event` needs a field, such as event.type")

        def read(event: Any) -> Any:  # noqa: ANN401 - JSON
            for name in path:
                if not isinstance(event, dict) or name not in event:
                    raise UndecidableError(f"the event has no {'.'.join(path)}")
                event = event[name]
            return event

        return read

    def _next(self) -> _Token:
        if self._at >= len(self._tokens):
            raise RuleError("the rule ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, text: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at].kind in ("sign", "name")
        if found and self._tokens[self._at].text == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise RuleError(f"{text!r} is missing")


def _equal(left: object, right: object) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return left == right


def _decide(sides: Sequence[Match], event: object, *, decisive: bool) -> bool:
    """`||` (True decides) and `&&` (False decides): a side that decides beats one that cannot be judged."""
    undecidable: UndecidableError | None = None
    for side in sides:
        try:
            if side(event) is decisive:
                return decisive
        except UndecidableError as error:
            undecidable = error
    if undecidable is not None:
        raise undecidable
    return not decisive
