"""The nearest right word for a wrong one."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: the nearest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    by_case = [name for name in names if name.lower() == word.lower()]
    if by_case or close:
        return f"did you mean {(by_case or close)[0]!r}?"
    return f"known are: {', '.join(names)}" if names else "there are none"
