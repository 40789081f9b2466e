"""A filter cut into tokens. Every text can be: what is wrong becomes a fault, and a token where one is meant."""

import enum
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from todo.domain.filters.faults import Fault, units
from todo.domain.task import MAX_LABEL


class Kind(enum.Enum):
    OPEN = "("
    CLOSE = ")"
    AND = "&"
    OR = "|"
    NOT = "-"
    LABEL = "#"
    LIST = "@"
    PRIORITY = "!"
    PHRASE = '"'
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is what it says, without its mark; `start` and `end` are indices of characters."""

    kind: Kind
    text: str
    start: int
    end: int


OPERATORS: Final = {
    "and": Kind.AND, "und": Kind.AND, "or": Kind.OR, "oder": Kind.OR, "not": Kind.NOT, "nicht": Kind.NOT,
}  # fmt: skip
_TOKEN: Final = re.compile(
    r'(?P<space>\s+)|(?P<single>[()]|&&?|\|\|?|-(?!\s|$))|(?P<mark>[#@]?)"(?P<quoted>(?:[^"\\]|\\.|\\$)*)(?P<closed>"?)'
    r'|(?P<word>[^\s()&|"]+)',
    re.DOTALL,
)
_KINDS: Final = {kind.value: kind for kind in Kind}
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(slots=True)
class Tokens:
    """The tokens of a text and what is wrong with them."""

    text: str
    found: list[Token] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def blame(self, start: int, end: int, problem: str, fix: str) -> None:
        self.faults.append(Fault(units(self.text, start), units(self.text, end), problem, fix))


def tokenize(text: str) -> Tokens:
    tokens = Tokens(text)
    _check_characters(tokens)
    for match in _TOKEN.finditer(text):
        if match["single"]:
            tokens.found.append(Token(_KINDS[match["single"][0]], match["single"], match.start(), match.end()))
        elif match["word"]:
            _word(tokens, match["word"], match.start())
        elif not match["space"]:
            _quoted(tokens, match)
    return tokens


def _check_characters(tokens: Tokens) -> None:
    """What PostgreSQL cannot hold, and what nobody can see."""
    for index, character in enumerate(tokens.text):
        if unicodedata.category(character) in {"Cc", "Cs"} and not character.isspace():
            problem = f"U+{ord(character):04X} is a control character or half of one"
            tokens.blame(index, index + 1, problem, "remove it")
            return


def _word(tokens: Tokens, word: str, start: int) -> None:
    end = start + len(word)
    kind = OPERATORS.get(word.casefold()) or (_KINDS[word[0]] if word[0] in "#@!" else Kind.WORD)
    if word == "-":
        tokens.blame(start, end, "- stands alone", 'put it right before what is to be left out (-#home), or write "-"')
        return
    text = word[1:] if kind in {Kind.LABEL, Kind.LIST, Kind.PRIORITY} else word
    if kind in {Kind.LABEL, Kind.LIST}:
        _check_name(tokens, kind, text, (start, end))
    tokens.found.append(Token(kind, text, start, end))


def _quoted(tokens: Tokens, match: re.Match[str]) -> None:
    kind = _KINDS[match["mark"] or '"']
    text = _ESCAPED.sub(r"\1", match["quoted"])
    if kind is not Kind.PHRASE:
        text = " ".join(text.split())
        _check_name(tokens, kind, text, match.span())
    elif not text.strip():
        tokens.blame(*match.span(), "there is nothing between the quotation marks", "write the words to look for")
    if not match["closed"]:
        opens = match.start("quoted") - 1
        tokens.blame(opens, opens + 1, "the quotation mark is never closed", 'add " at the end')
    tokens.found.append(Token(kind, text, match.start(), match.end()))


def _check_name(tokens: Tokens, kind: Kind, name: str, span: tuple[int, int]) -> None:
    what = "label" if kind is Kind.LABEL else "list"
    if not name:
        fix = f'write the {what} right after it, as in {kind.value}home or {kind.value}"two words"'
        tokens.blame(*span, f"{kind.value} names no {what}", fix)
    elif kind is Kind.LABEL and len(name) > MAX_LABEL:
        tokens.blame(*span, f"no label has {len(name)} characters", f"use 1 to {MAX_LABEL}")
