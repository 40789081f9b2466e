"""iCalendar's content lines (RFC 5545, 3.1): folding, parameters, escaping; RFC 6868 in parameters."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from todo.backend.porting.entries import Reading

WIDTH: Final = 75  # octets of a line that is written
LONGEST: Final = 256 * 1024  # octets of a line that is kept: of an embedded picture the beginning is enough
_READ: Final = 64 * 1024
_ONE: Final = r'(?:"[^"]*"|[^";:,]*)'
_MANY: Final = rf"{_ONE}(?:,{_ONE})*"
_LINE: Final = re.compile(rf"([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+={_MANY})*):(.*)", re.DOTALL)
_PARAMETER: Final = re.compile(rf";([A-Za-z0-9-]+)=({_MANY})")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ITEM: Final = re.compile(r"(?:[^,\\]|\\.)+|(?<=,)(?=,)", re.DOTALL)
_KIND_OF_OCTET, _GOES_ON = 0b1100_0000, 0b1000_0000  # of UTF-8: a character's later octets
_BEGINS: Final = "BEGIN:"
_CARET: Final = {"^n": "\n", "^'": '"', "^^": "^"}


@dataclass(frozen=True, slots=True)
class ContentLine:
    """One property. `value` is as it was written, escapes included; `cut` if it was longer than is kept."""

    number: int
    name: str
    value: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False

    @property
    def text(self) -> str:
        return unescaped(self.value)

    @property
    def opens(self) -> str:
        """The component that begins with it, if one does."""
        return self.value.strip().upper() if f"{self.name}:" == _BEGINS else ""

    @property
    def items(self) -> list[str]:
        """The texts of a list."""
        return [unescaped(item) for item in _ITEM.findall(self.value) if item]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no property."""

    number: int
    problem: str


def read_lines(file: BinaryIO, reading: Reading) -> Iterator[ContentLine | BadLine]:
    """Every property of a file, unfolded; lines without anything in them are passed over."""
    for number, octets, cut in _unfolded(file, reading):
        try:
            text = octets.decode("utf-8-sig" if number == 1 else "utf-8", "ignore" if cut else "strict")
        except UnicodeDecodeError:
            yield BadLine(number, "it is not UTF-8")
            continue
        if text.strip():
            yield parse_line(text, number, cut=cut)


def parse_line(text: str, number: int = 1, *, cut: bool = False) -> ContentLine | BadLine:
    found = _LINE.fullmatch(text)
    if found is None:
        return BadLine(number, "it is not NAME:VALUE")
    parameters = {name.upper(): _plain(value) for name, value in _PARAMETER.findall(found[2])}
    return ContentLine(number, found[1].upper(), found[3], parameters, cut)


def line(name: str, value: str, **parameters: str) -> bytes:
    """One property, folded, with its end. An underscore in a parameter's name is written as a hyphen."""
    said = "".join(f";{key.replace('_', '-')}={_quoted(text)}" for key, text in parameters.items())
    return folded(f"{name}{said}:{value}")


def begin(component: str) -> bytes:
    return folded(f"{_BEGINS}{component}")


def end(component: str) -> bytes:
    return folded(f"END:{component}")


def folded(text: str) -> bytes:
    """A line in pieces of 75 octets, never in the middle of a character."""
    octets, pieces, start = text.encode(), list[bytes](), 0
    while len(octets) - start > (width := WIDTH - bool(pieces)):
        while octets[start + width] & _KIND_OF_OCTET == _GOES_ON:
            width -= 1
        pieces.append(octets[start : start + width])
        start += width
    return b"\r\n ".join([*pieces, octets[start:]]) + b"\r\n"


def escaped(text: str) -> str:
    """A TEXT value."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"([\\;,])", r"\\\1", plain).replace("\n", r"\n")


def unescaped(value: str) -> str:
    """The text that `escaped` was given."""
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)


def listed(items: Iterable[str]) -> str:
    """A list of TEXT values."""
    return ",".join(map(escaped, items))


def _unfolded(file: BinaryIO, reading: Reading) -> Iterator[tuple[int, bytes, bool]]:
    """(number of the first physical line, octets, whether some were left out)."""
    start, pieces, left = 1, [b""], LONGEST
    for number, octets in _physical(file, reading):
        goes_on = number > 1 and octets[:1] in {b" ", b"\t"}
        if number > 1 and not goes_on:
            yield start, b"".join(pieces), left < 0
            start, pieces, left = number, [], LONGEST
        piece = octets[1:] if goes_on else octets
        if left > 0:
            pieces.append(piece[:left])
        left -= len(piece)
    yield start, b"".join(pieces), left < 0


def _physical(file: BinaryIO, reading: Reading) -> Iterator[tuple[int, bytes]]:
    """Lines without their ends; of a longer one than is kept, its beginning."""
    number = 0
    while octets := file.readline(LONGEST + _READ):
        number += 1
        reading.read += len(octets)
        yield number, octets.rstrip(b"\r\n")
        while not octets.endswith(b"\n") and (octets := file.readline(_READ)):
            reading.read += len(octets)


def _plain(value: str) -> str:
    unquoted = re.sub(r'"([^"]*)"', r"\1", value)
    return re.sub(r"\^[n'^]", lambda found: _CARET[found[0]], unquoted)


def _quoted(text: str) -> str:
    safe = text.replace("^", "^^").replace("\n", "^n").replace('"', "^'")
    return f'"{safe}"' if re.search(r"[;:,]", safe) else safe
