"""Pulls values out of a JSON document of any length, one at a time."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from todo.backend.porting.entries import MAX_VALUE, BrokenFileError, Reading

_CHUNK: Final = 256 * 1024
_TOO_EARLY: Final = "the file ends too early"
_DEEPEST: Final = 50
_MOST_SKIPPED: Final = 5_000_000  # values
_AFTER: Final = frozenset(" \t\r\n,:]}")
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class JsonStream:
    """A cursor in a document. Raises `BrokenFileError` where it is no JSON.

    In the body of a loop over `items` or `keys` exactly one value has to be taken: by `value`, by `skip`, or by a loop
    over its own items or keys.
    """

    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        self._file = file
        self._reading = reading
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._ended = False
        self._skipped = 0
        self.line = 1

    def next(self) -> str:
        """The character that comes next, not taken; nothing at the end."""
        while True:
            self._move(_SPACE.match(self._text, self._at).end())  # type: ignore[union-attr]  # it matches nothing too
            if self._at < len(self._text) or not self._fill():
                return self._text[self._at : self._at + 1]

    def items(self) -> Iterator[None]:
        """Once for each item of the array that comes next."""
        self._take("[")
        if self.next() == "]":
            self._take("]")
            return
        while True:
            yield
            if self._take(",]") == "]":
                return

    def keys(self) -> Iterator[str]:
        """Each key of the object that comes next."""
        self._take("{")
        if self.next() == "}":
            self._take("}")
            return
        while True:
            if self.next() != '"':
                raise self.broken("a name in quotes is missing" if self.next() else _TOO_EARLY)
            key: str = self.value()
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    def value(self) -> Any:  # noqa: ANN401 - whatever it is
        """The value that comes next."""
        self.next()
        while True:
            try:
                found, end = _decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise self.broken("it is nested too deeply") from None
            except ValueError as error:
                if len(self._text) - self._at > MAX_VALUE or self._ended:
                    raise self._no_json(error) from None
            else:
                if self._ended or self._text[end : end + 1] in _AFTER:  # else it may be a number that goes on
                    self._move(end)
                    return found
                if len(self._text) - self._at > MAX_VALUE:
                    raise self.broken("what follows a value is no JSON")
            self._fill()

    def skip(self, depth: int = 0) -> None:
        """Pass over the value that comes next, however long it is."""
        opening = self.next()
        self._skipped += 1
        if depth > _DEEPEST:
            raise self.broken("it is nested too deeply")
        if self._skipped > _MOST_SKIPPED:
            raise self.broken(f"more than {_MOST_SKIPPED:,} values in it are of no task")
        if opening == "[":
            for _ in self.items():
                self.skip(depth + 1)
        elif opening == "{":
            for _ in self.keys():
                self.skip(depth + 1)
        else:
            self.value()

    def end(self) -> None:
        """Nothing else comes."""
        if self.next():
            raise self.broken("something follows after the end of the document")

    def broken(self, problem: str) -> BrokenFileError:
        return BrokenFileError(self.line, problem)

    def _take(self, expected: str) -> str:
        found = self.next()
        if not found:
            raise self.broken(_TOO_EARLY)
        if found not in expected:
            raise self.broken(f"{found!r} where {' or '.join(map(repr, expected))} was expected")
        self._move(self._at + 1)
        return found

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _no_json(self, error: ValueError) -> BrokenFileError:
        if not self._text[self._at :].strip():
            return self.broken(_TOO_EARLY)
        if len(self._text) - self._at > MAX_VALUE:
            return self.broken(f"a value has more than {MAX_VALUE:,} characters, or is no JSON")
        return BrokenFileError(self.line + _lines_before(self._text, self._at, error), f"it is no JSON: {_said(error)}")

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        chunk = self._file.read(_CHUNK)
        self._ended = not chunk
        self._reading.read += len(chunk)
        try:
            more = self._decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            raise self.broken("it is not UTF-8") from None
        self._text, self._at = self._text[self._at :] + more, 0
        return not self._ended


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no value")


_decoder: Final = json.JSONDecoder(parse_constant=_constant)


def _lines_before(text: str, at: int, error: ValueError) -> int:
    return text.count("\n", at, error.pos) if isinstance(error, json.JSONDecodeError) else 0


def _said(error: ValueError) -> str:
    return error.msg[:1].lower() + error.msg[1:] if isinstance(error, json.JSONDecodeError) else "a value is too large"
