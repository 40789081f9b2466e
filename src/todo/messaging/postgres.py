"""Names for asyncpg's types, which are generic for the type checker only."""

from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

Row: TypeAlias = asyncpg.Record
Executor: TypeAlias = Any  # a pool or a connection: both have fetch, fetchrow, fetchval, execute and executemany
