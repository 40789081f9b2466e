"""Quick add: one line of text as a task. What is not understood stays in the title, word for word.

Pure: no I/O, no clock; now and zone are arguments. What can be written is in `docs/quick-add.md`.
"""

from todo.domain.quick_add.reading import Reading, read
from todo.domain.quick_add.tokens import MAX_TEXT, Kind, Token

__all__ = ["MAX_TEXT", "Kind", "Reading", "Token", "read"]
