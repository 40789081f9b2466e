"""What one publish call may carry, and how a refusal for size is told from an outage."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from todo.dapr.errors import CallRefusedError, DaprError

BYTES: Final = 2 * 1024 * 1024  # of one bulk call; a sidecar takes bodies of 4 MiB
_TOO_LARGE: Final = 413

T = TypeVar("T")


def pieces(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in their order, in calls of bounded size; what is larger alone goes alone."""
    call: list[T] = []
    filled = 0
    for item in items:
        if call and filled + size(item) > BYTES:
            yield call
            call, filled = [], 0
        call.append(item)
        filled += size(item)
    if call:
        yield call


def is_refused_whole(error: DaprError) -> bool:
    """Whether the sidecar refused the body of a call for its size."""
    return isinstance(error, CallRefusedError) and error.status == _TOO_LARGE


def is_too_large(error: DaprError) -> bool:
    """Whether one event, published alone, is at fault. Brokers say it in their own words, inside Dapr's 500."""
    text = str(error).lower()
    return is_refused_whole(error) or "too large" in text or "larger than" in text
