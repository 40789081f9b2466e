"""Full-text search: which words a task has, and the index that knows.

A word is found by its beginning, whatever its case. Words are what stands between spaces and punctuation; PostgreSQL's
own parser would take `and/or` for a file and `x.y` for a host, and find neither half. The owner is a word too, one
that no text has, so that one index serves both conditions without an extension.
"""

from collections.abc import Sequence
from typing import Final

INDEX: Final = "tasks_search"
_PUNCTUATION: Final = (
    "!\"#$%&'()*+,./:;<=>?@^_`{|}~"
    "\u00a0\u00a1\u00a7\u00a9\u00ab\u00ae\u00b0\u00b4\u00b7\u00bb\u00bf\u00d7\u2003\u2009\u200b\u2010\u2011\u2012"
    "\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2022\u2026\u202f\u2039\u203a\u2192\u3000\u3001\u3002\u300c\u300d"
    "\uff01\uff08\uff09\uff0c\uff1a\uff1f"
)
_SPACES: Final = dict.fromkeys(map(ord, _PUNCTUATION + "[]\\-"), " ")


def vector(table: str = "") -> str:
    """The words of a task as an expression, in the words of the index; `table` is an alias and its dot."""
    marks = _PUNCTUATION.replace("'", "''")
    any_mark = rf"[]{marks}[\\-]"  # these, and those that mean something between brackets
    words = f"regexp_replace(lower({table}title || ' ' || {table}notes), '{any_mark}', ' ', 'g')"
    return f"(array_to_tsvector(ARRAY[':' || {table}user_id::text]) || to_tsvector('simple', {words}))"


def words_of(text: str) -> list[str]:
    """The words of a text; none if it has no letter and no digit."""
    words = text.translate(_SPACES).split()
    return words if any(character.isalnum() for word in words for character in word) else []


def query(words: Sequence[str], *, whole: bool) -> str:
    """A `tsquery` of words in a row; unless `whole` more may follow on the last."""
    return " <-> ".join(f"'{word}'" for word in words) + ("" if whole else ":*")


def owner(user_id: int) -> str:
    """The `tsquery` of what is this user's."""
    return f"':{user_id}'"
