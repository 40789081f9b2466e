from typing import Final

MALFORMED: Final = (ValueError, RecursionError)
"""What decoding bytes that somebody else wrote may raise: not JSON, of another shape, nested without end."""


class DaprletError(Exception):
    """Root of what daprlet raises on purpose."""


class SetupError(DaprletError):
    """The run cannot start: a flag, a file or a folder is wrong. The message says which and what would be right."""


class StorageError(DaprletError):
    """A write could not be made durable (disk full, I/O error). Nothing of it was stored."""


class Rejected(DaprletError):  # noqa: N818 - an answer of the store, not a failure of it
    """A write was refused by its own precondition; the rest of its group is not touched."""


class AppUnreachable(DaprletError):  # noqa: N818 - a state of the app, not a failure of ours
    """The app's port refused the connection: the request was certainly not seen."""
