"""What a swap leaves for the run after it, in case it is killed: what was in place, and how things were before."""

from pathlib import Path

import msgspec

from todo.operations.datafolder import write_secret
from todo.operations.swapping.figures import Figures


class Entry(msgspec.Struct, frozen=True):
    """A swap under way. The component in place tells whether its switch was made."""

    to: str
    origin: str
    content: str  # the component before, as its file had it
    before: Figures | None


def read(place: Path) -> Entry | None:
    """The swap that did not end, if there is one; what cannot be read is of a version that is gone."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=Entry)
    except (OSError, msgspec.DecodeError):
        return None


def write(place: Path, entry: Entry) -> None:
    write_secret(place, msgspec.json.encode(entry))


def forget(place: Path) -> None:
    place.unlink(missing_ok=True)
