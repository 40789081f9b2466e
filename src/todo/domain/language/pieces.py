"""A line of text as words, and words as the pieces that phrases are made of: `9am,` is 9, am and a comma."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

ESCAPE: Final = "\\"
PUNCTUATION: Final = frozenset(",;:.!?)")  # what may hang on the last word of a phrase
_QUOTES: Final = {'"': '"', "\u201c": '\u201d"', "\u201e": '\u201c\u201d"', "\u00ab": "\u00bb", "\u00bb": "\u00ab"}
_NAMED: Final = "#@"  # what a quoted name may follow, as in @"At home"
_WORD: Final = re.compile(r"\S+")
_PIECE: Final = re.compile(
    r"""[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?![0-9])             # 2026-01-31
    | [0-9]{1,2}\.[0-9]{1,2}\.(?:[0-9]{4}|[0-9]{2})?(?![0-9])  # 31.1. and 31.1.2026
    | [0-9]{1,4}/[0-9]{1,2}(?:/[0-9]{1,4})?(?![0-9/])       # 5/23 and 2026/1/31
    | [0-9]{2}:[0-9]{2}:[0-9]{2}(?![0-9:])                  # 22:59:59
    | [0-9]{1,2}[:.][0-9]{2}(?![0-9:.]*[0-9])               # 9:30 and 9.30
    | [ap]\.m\.?                                            # a.m.
    | [0-9]+
    | [^\W\d_]+(?:['\u2019-][^\W\d_]+)*                     # tomorrow's is not tomorrow
    | .""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Word:
    """What stands between spaces, or in quotation marks. One that is `kept` is of the title, whatever it says."""

    start: int
    end: int
    shown: str  # in the title
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    key: str  # in lower case; nothing for a word that no phrase may contain
    word: int


def words_of(text: str) -> list[Word]:
    """The words of a line; nothing but the space between them is left out."""
    spans = [match.span() for match in _WORD.finditer(text)]
    return list(_words(text, spans))


def pieces_of(words: Sequence[Word]) -> list[Piece]:
    return [Piece(key, number) for number, word in enumerate(words) for key in _keys(word)]


def _words(text: str, spans: list[tuple[int, int]]) -> Iterator[Word]:
    number = 0
    while number < len(spans):
        start, end = spans[number]
        word = text[start:end]
        named = word[0] in _NAMED
        last = _closing(text, spans, number, word[1:2] if named else word[0])
        if last is None:
            escaped = word[0] == ESCAPE and len(word) > 1
            yield Word(start, end, word[1:] if escaped else word, escaped)
            number += 1
        elif named:
            end = spans[last][1]
            yield Word(start, end, text[start:end])
            number = last + 1
        else:
            yield from (Word(*span, text[slice(*span)], kept=True) for span in spans[number : last + 1])
            number = last + 1


def _closing(text: str, spans: list[tuple[int, int]], number: int, opening: str) -> int | None:
    """The word that closes a quotation which this word opens."""
    if opening not in _QUOTES or not opening:
        return None
    start = text.index(opening, spans[number][0]) + 1
    for last, (begin, end) in enumerate(spans[number:], number):
        inside = text[max(begin, start) : end].rstrip("".join(PUNCTUATION))
        if inside and inside[-1] in _QUOTES[opening]:
            return last
    return None


def _keys(word: Word) -> list[str]:
    if word.kept or word.shown[0] in "#@" or (word.shown[0] == "!" and word.shown[1:2].isdigit()):
        return [""]
    normal = unicodedata.normalize("NFC", word.shown).casefold()
    found = [match[0] for match in _PIECE.finditer(normal)]
    return [key.replace(".", "") if key.startswith(("a.m", "p.m")) else key for key in found]
