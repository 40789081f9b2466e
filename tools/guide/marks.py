"""What the comment before a fenced block says about it."""

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

Place = Literal["host", "rig"]
PLACES: Final[tuple[Place, ...]] = get_args(Place)

_COMMENT: Final = re.compile(r"^\s*<!-- (?P<kind>run|not run|file|figure)(?:: (?P<rest>.+?))? -->\s*$")
_FLAGS: Final = ("background", "silent")
_NUMBERS: Final = ("exit", "timeout", "within")
_LIMIT: Final = {"host": 30.0, "rig": 60.0}  # seconds that a block may take, unless it says so itself


class MarkError(ValueError):
    """Why a comment before a block cannot be read."""


@dataclass(frozen=True, slots=True)
class Run:
    """Execute the block: again for `within` seconds if need be; `background`: it goes on until the page ends."""

    place: Place
    timeout: float
    within: float = 0
    exit: int = 0
    background: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class NotRun:
    reason: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The block shows a file of this repository, or some lines of it."""

    path: str


@dataclass(frozen=True, slots=True)
class Figure:
    pass


Mark = Run | NotRun | Excerpt | Figure


def mark(line: str) -> Mark | None:
    """Return what a line says of the block behind it; None if it is no such comment. Raises MarkError."""
    found = _COMMENT.match(line)
    if found is None:
        return None
    kind, rest = found["kind"], (found["rest"] or "").strip()
    if kind == "figure":
        return Figure()
    if not rest:
        raise MarkError(f"`{kind}:` says nothing; write <!-- {kind}: ... -->")
    return NotRun(rest) if kind == "not run" else Excerpt(rest) if kind == "file" else _run(rest.split())


def _run(words: list[str]) -> Run:
    place = next((one for one in PLACES if one == words[0]), None)
    if place is None:
        raise MarkError(f"`{words[0]}` is no place to run; there are {', '.join(PLACES)}")
    flags = [word for word in words[1:] if word in _FLAGS]
    numbers = dict(_number(word) for word in words[1:] if word not in _FLAGS)
    return Run(
        place,
        timeout=numbers.get("timeout", max(_LIMIT[place], numbers.get("within", 0) + _LIMIT[place])),
        within=numbers.get("within", 0),
        exit=int(numbers.get("exit", 0)),
        background="background" in flags,
        silent="silent" in flags,
    )


def _number(word: str) -> tuple[str, float]:
    name, equals, value = word.partition("=")
    if name not in _NUMBERS or not equals or not value.isdigit():
        raise MarkError(f"`{word}` is unknown; there are {', '.join(_FLAGS)} and {'=N, '.join(_NUMBERS)}=N")
    return name, float(value)
