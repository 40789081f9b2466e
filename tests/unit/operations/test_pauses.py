"""What a swap says and does when it fails while relays are paused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from todo.messaging import pause
from todo.operations.swapping.pauses import Pauses
from todo.operations.swapping.target import SCHEMAS, SwapError


class Databases:
    """Both databases; `in_force` is whether the row of a pause is."""

    def __init__(self) -> None:
        self.in_force = True
        self.ended = 0

    @asynccontextmanager
    async def database(self, schema: str) -> AsyncIterator["Databases"]:
        assert schema in SCHEMAS
        yield self

    async def fetchval(self, sql: str, *_: Any) -> bool | None:  # noqa: ANN401 - a statement's parameters
        return True if sql == pause._BEGIN or self.in_force else None

    async def execute(self, sql: str, *_: Any) -> None:  # noqa: ANN401 - the same
        self.ended += sql == pause._END


async def failing(databases: Databases, *, in_force: bool) -> None:
    async with Pauses(databases, "swap", "to another broker").held():  # type: ignore[arg-type]
        databases.in_force = in_force
        raise SwapError("the broker does not answer")


async def test_a_pause_that_ran_out_is_named_before_what_else_failed() -> None:
    """A process that was stopped finds its connections dead as well, and the relays have published meanwhile."""
    databases = Databases()
    with pytest.raises(SwapError, match=r"ran out .*\(the broker does not answer\)"):
        await failing(databases, in_force=False)
    assert databases.ended == len(SCHEMAS)


async def test_a_failure_while_relays_are_paused_is_told_as_it_is() -> None:
    databases = Databases()
    with pytest.raises(SwapError, match=r"^the broker does not answer$"):
        await failing(databases, in_force=True)
    assert databases.ended == len(SCHEMAS)
