"""What is wrong with a filter, and where. Offsets are UTF-16 code units, as browsers count them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from todo.domain.errors import RuleError

MAX_LENGTH: Final = 500  # characters
_TWO_UNITS: Final = 0x10000  # from here on a character takes two code units


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong from `start` to `end`, and what would be right."""

    start: int
    end: int
    problem: str
    fix: str


class FilterError(RuleError):
    """A filter that cannot be read; `faults` in the order of the text."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__("filter", f"at character {first.start + 1}: {first.problem}", first.fix)
        self.faults = tuple(faults)


def units(text: str, index: int) -> int:
    """The offset in code units of a character's index."""
    return index + sum(character >= chr(_TWO_UNITS) for character in text[:index])


def index_of(text: str, offset: int) -> int:
    """The index of the character that begins at an offset, or that it falls into; the text's end at most."""
    seen = 0
    for index, character in enumerate(text):
        seen += 2 if character >= chr(_TWO_UNITS) else 1
        if seen > offset:
            return index
    return len(text)
