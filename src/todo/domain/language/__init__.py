"""What people write about time, as one grammar over the words of each language.

`pieces` cuts a line into words, `patterns` matches rows of phrases, `english` and `german` hold the rows, `terminals`
and `meanings` say what they mean. No clock: now is an argument.
"""

from collections.abc import Sequence
from typing import Final

from todo.domain.language.english import ENGLISH
from todo.domain.language.german import GERMAN
from todo.domain.language.patterns import Context, Language, Parse
from todo.domain.language.pieces import Word, pieces_of, words_of
from todo.domain.language.terminals import TERMINALS

LANGUAGES: Final = {"en": ENGLISH, "de": GERMAN}


def parse(words: Sequence[Word], language: str, context: Context) -> Parse:
    """A line, to be read in a language."""
    return Parse(pieces_of(words), LANGUAGES[language], context, TERMINALS)


__all__ = ["LANGUAGES", "Context", "Language", "Parse", "parse", "words_of"]
