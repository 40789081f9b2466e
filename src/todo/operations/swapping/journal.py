"""What a swap leaves for the run after it, in case it is killed: what was in place, and how things were before."""

import msgspec

from todo.operations.swapping.figures import Figures
from todo.operations.swapping.target import SwapTarget


class Entry(msgspec.Struct, frozen=True):
    """A swap under way. The component in place tells whether its switch was made."""

    to: str
    origin: str
    content: str  # the component before, as its file had it
    before: Figures | None


async def read(target: SwapTarget) -> Entry | None:
    """The swap that did not end, if there is one; what cannot be read is of a version that is gone."""
    content = await target.remembered()
    try:
        return None if content is None else msgspec.json.decode(content, type=Entry)
    except msgspec.DecodeError:
        return None


async def write(target: SwapTarget, entry: Entry) -> None:
    await target.remember(msgspec.json.encode(entry))


async def forget(target: SwapTarget) -> None:
    await target.remember(None)
