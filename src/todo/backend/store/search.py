"""Full-text search: which words a task has, and the index that knows.

A word is found by its beginning, whatever its case. Words are what stands between spaces and punctuation; PostgreSQL's
own parser would take `and/or` for a file and `x.y` for a host, and find neither half. Each word is indexed with its
owner before it, `u42xmilk`: a search reads nothing but the words of one user, and needs no second condition.
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
    between = rf"[]{marks}[\\\s-]+"  # these, and those that mean something between brackets
    owner = f"' u' || {table}user_id::text || 'x'"
    words = f"regexp_replace(lower(' ' || {table}title || ' ' || {table}notes), '{between}', {owner}, 'g')"
    return f"to_tsvector('simple', {words})"


def words_of(text: str) -> list[str]:
    """The words of a text; none if it has no letter and no digit."""
    words = text.translate(_SPACES).split()
    return words if any(character.isalnum() for word in words for character in word) else []


def query(user_id: int, words: Sequence[str], *, whole: bool) -> str:
    """The `tsquery` of words of this user in a row; unless `whole` more may follow on the last."""
    return " <-> ".join(f"'u{user_id}x{word}'" for word in words) + ("" if whole else ":*")
