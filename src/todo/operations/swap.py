"""`todo swap`, put together: the system that runs on a data folder, moved to another broker."""

from pathlib import Path

from todo.operations.swapping.host import HostTarget
from todo.operations.swapping.steps import Report, Wish, swap
from todo.operations.swapping.target import SwapError

__all__ = ["Report", "SwapError", "Wish", "swap_host"]


async def swap_host(data: Path, wish: Wish) -> Report:
    """Move the system that runs here. Raises `SwapError`: then it is, or went back, where it was."""
    return await swap(HostTarget(data), wish)
