"""Which words of a line are tokens, and which are of the title.

Read from left to right, the longest phrase first. Of two phrases that say the same kind of thing (two dates, say) the
later one counts, and the other stays in the title.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from todo.domain.language.meanings import REACH, Ending
from todo.domain.language.patterns import Found, Parse, Shy
from todo.domain.language.pieces import PUNCTUATION, Word
from todo.domain.reminder import MAX_REMINDERS
from todo.domain.task import MAX_LABEL, MAX_LABELS, PRIORITIES

MAX_TEXT: Final = 500  # characters
MAX_LIST: Final = 100


class Kind(StrEnum):
    DATE = "date"
    TIME = "time"
    RECURRENCE = "recurrence"
    REMINDER = "reminder"
    LABEL = "label"
    LIST = "list"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of the text that was understood; `end` is exclusive, both count code points."""

    start: int
    end: int
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words from `first` up to `last` (exclusive) that may be a token. `slot` is what they were read as."""

    first: int
    last: int
    slot: str
    kind: Kind
    value: Any
    shy: Shy = Shy.NO

    @property
    def says(self) -> frozenset[str]:
        """What at most one phrase may say."""
        if isinstance(self.value, Ending):
            ends = self.value.until is not None or self.value.count is not None
            return frozenset({"end" if ends else "each" if self.value.each else "completion"})
        return _SAYS[self.slot]


_SLOTS: Final = (  # of readings of the same length the first counts
    ("remind", Kind.REMINDER),
    ("repeat", Kind.RECURRENCE),
    ("ending", Kind.RECURRENCE),
    ("start", Kind.DATE),
    ("moment", Kind.TIME),
    ("said_day", Kind.DATE),
    ("day", Kind.DATE),
    ("said_time", Kind.TIME),
)
_OF_RECURRENCE: Final = frozenset({"ending", "start"})  # they say nothing without one
_SAYS: Final = {
    "remind": frozenset[str](),
    "label": frozenset[str](),
    "repeat": frozenset({"recurrence"}),
    "start": frozenset({"date"}),
    "said_day": frozenset({"date"}),
    "day": frozenset({"date"}),
    "said_time": frozenset({"time"}),
    "moment": frozenset({"date", "time"}),
    "list": frozenset({"list"}),
    "priority": frozenset({"priority"}),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The phrases that count, in order, and those that say what a later one says, each with that one."""

    phrases: list[Phrase]
    earlier: list[tuple[Phrase, Phrase]]

    def all(self, slot: str) -> list[Any]:
        """What the phrases of this slot say."""
        return [one.value for one in self.phrases if one.slot == slot]

    def one(self, *slots: str) -> Any:  # noqa: ANN401 - what that slot says
        return next((one.value for one in self.phrases if one.slot in slots), None)


def choose(parse: Parse, words: Sequence[Word]) -> Chosen:
    """Ends and starts of a recurrence are looked for only beside one."""
    chosen = _chosen(list(_scan(parse, words, frozenset())), len(words))
    if chosen.one("repeat"):
        return chosen
    return _chosen(list(_scan(parse, words, _OF_RECURRENCE)), len(words))


def unclear(parse: Parse, words: Sequence[Word], chosen: Chosen) -> Iterator[tuple[range, Any]]:
    """Words of the title that stand like a date or a time and may be two, such as 5/3, with both."""
    taken = {number for one in chosen.phrases for number in range(one.first, one.last)}
    next_to = {one.first for one in chosen.phrases} | {len(words)}
    for at, piece in enumerate(parse.pieces):
        found = parse.phrase("unclear", at)
        last = parse.pieces[found.end - 1].word + 1 if found else 0
        if found is not None and last in next_to and piece.word not in taken:
            yield range(piece.word, last), found.value


def _scan(parse: Parse, words: Sequence[Word], without: frozenset[str]) -> Iterator[Phrase]:
    first = {piece.word: at for at, piece in reversed(list(enumerate(parse.pieces)))}
    number = after = 0  # after: the word up to which the last phrase goes
    while number < len(words):
        phrase = _symbol(words[number], number) or _longest(parse, first[number], number, without)
        if phrase is None:
            number += 1
            continue
        number = phrase.last
        if phrase.shy is Shy.AFTER and (after == 0 or after != phrase.first):
            number = phrase.first + 1
        elif not _is_of_title(parse, phrase, first[phrase.first], after):
            after = phrase.last
            yield phrase


def _longest(parse: Parse, at: int, number: int, without: frozenset[str]) -> Phrase | None:
    best: tuple[int, Phrase] | None = None
    for slot, kind in _SLOTS:
        found = None if slot in without else parse.phrase(slot, at)
        if found is not None and (best is None or found.end > best[0]):
            best = found.end, _phrase(parse, found, number, slot, kind)
    return best and best[1]


def _phrase(parse: Parse, found: Found, number: int, slot: str, kind: Kind) -> Phrase:
    last = parse.pieces[found.end - 1].word + 1
    return Phrase(number, last, slot, kind, found.value, found.shy)


def _is_of_title(parse: Parse, phrase: Phrase, at: int, after: int) -> bool:
    """Up to Friday, the 9am meeting, and years out of reach: a date or time that is no due date."""
    if "date" not in phrase.says and "time" not in phrase.says:
        return False
    if isinstance(phrase.value, dt.date) and phrase.value.year not in REACH:
        return True
    return at > 0 and after != phrase.first and parse.key(at - 1) in parse.language.before


def _symbol(word: Word, number: int) -> Phrase | None:
    """A #label, a @List or a !1."""
    if word.kept:
        return None
    text = word.shown.rstrip("".join(PUNCTUATION))
    if text[:1] == "!" and text[1:] in map(str, PRIORITIES):
        return Phrase(number, number + 1, "priority", Kind.PRIORITY, int(text[1:]))
    name = text[1:]
    if len(name) > 1 and not name[0].isalnum() and not name[-1].isalnum():
        name = name[1:-1]  # in quotation marks
    name = " ".join(name.split())
    if not name or not (name[0].isalnum() or name[0] == "_") or not any(one.isalpha() for one in name):
        return None
    if text[0] == "#" and len(name) <= MAX_LABEL:
        return Phrase(number, number + 1, "label", Kind.LABEL, name)
    if text[0] == "@" and len(name) <= MAX_LIST:
        return Phrase(number, number + 1, "list", Kind.LIST, name)
    return None


def _chosen(found: list[Phrase], words: int) -> Chosen:
    ends = {one.last for one in found}
    said: dict[str, Phrase] = {}
    earlier: list[tuple[Phrase, Phrase]] = []
    next_is_token = words  # where what follows begins
    chosen: list[Phrase] = []
    for one in reversed(found):
        stands = one.last == next_is_token or (one.shy is Shy.EDGE and (one.first == 0 or one.first in ends))
        if one.shy in {Shy.EDGE, Shy.END} and not stands:
            continue
        later = next((said[what] for what in sorted(one.says) if what in said), None)
        if later is not None:
            earlier.append((one, later))
            continue
        chosen.append(one)
        said |= dict.fromkeys(one.says, one)
        next_is_token = one.first
    return Chosen(_bounded(chosen[::-1]), earlier[::-1])


def _bounded(chosen: list[Phrase]) -> list[Phrase]:
    """No more labels and reminders than a task may have."""
    labels: set[str] = set()
    reminders = 0
    kept = []
    for one in chosen:
        if one.slot == "label":
            labels.add(one.value)
        if one.slot == "remind":
            reminders += len(one.value)
        if len(labels) <= MAX_LABELS and reminders <= MAX_REMINDERS:
            kept.append(one)
    return kept
