"""The pause of a relay: a row that stops publishing while it is in force, and goes out of force by itself.

Whoever changes the broker holds it and renews it while it lives; a holder that dies or freezes is forgotten after
`LEASE`. The relay reads it before every publish call, and tells with `quiet_at` that nothing of its own is in flight.
An event leaves the outbox only by the session that leads, and only that session writes `quiet_at`, between two calls:
so from then on, until the pause ends, whatever left the outbox is with the broker and nothing follows it.

One clock judges the row, the database's: holder and relays run on different machines.
"""

from typing import Final

from todo.contracts.pause import Pause
from todo.messaging import outbox
from todo.messaging.postgres import Executor, Row

LEASE: Final = 15  # seconds that one renewal lasts

CREATE: Final = (
    """
    CREATE TABLE relay_pause (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        until timestamptz NOT NULL,
        holder text NOT NULL,
        reason text NOT NULL,
        quiet_at timestamptz
    )
    """,
)

IN_FORCE: Final = "SELECT EXISTS (SELECT FROM relay_pause WHERE until > clock_timestamp())"

# For the session that leads, while it publishes nothing
FALL_QUIET: Final = """
UPDATE relay_pause SET quiet_at = clock_timestamp() WHERE quiet_at IS NULL AND until > clock_timestamp()
"""

_NOW_HELD: Final = """
SELECT until, holder, reason, quiet_at IS NOT NULL AS quiet FROM relay_pause WHERE until > clock_timestamp()
"""

# $1 holder, $2 reason, $3 seconds; no row: another holder's is in force
_BEGIN: Final = """
INSERT INTO relay_pause AS held (until, holder, reason)
VALUES (clock_timestamp() + make_interval(secs => $3), $1, $2)
ON CONFLICT (one) DO UPDATE
SET until = excluded.until, holder = excluded.holder, reason = excluded.reason, quiet_at = NULL
WHERE held.holder = excluded.holder OR held.until <= clock_timestamp()
RETURNING until
"""

# $1 holder, $2 seconds; no row: it went out of force meanwhile
_RENEW: Final = """
UPDATE relay_pause SET until = clock_timestamp() + make_interval(secs => $2)
WHERE holder = $1 AND until > clock_timestamp()
RETURNING quiet_at IS NOT NULL
"""

_END: Final = "DELETE FROM relay_pause WHERE holder = $1"


class HeldError(Exception):
    """Another holder's pause is in force; the message says whose, and until when."""


class LostError(Exception):
    """The pause went out of force before it was renewed: the relay may have published since."""


async def in_force(db: Executor) -> Pause | None:
    """The pause that holds now, if one does."""
    row: Row | None = await db.fetchrow(_NOW_HELD)
    return None if row is None else Pause(row["until"], row["holder"], row["reason"], row["quiet"])


async def begin(db: Executor, schema: str, holder: str, reason: str, *, lease: float = LEASE) -> None:
    """Pause the relay of a schema, which is not quiet yet. Raises `HeldError`. The holder's own pause begins anew."""
    if await db.fetchval(_BEGIN, holder, reason, lease) is None:
        held = await in_force(db)
        raise HeldError(f"the relay of {schema} is already {held.text if held else 'paused by another'}")
    await _wake(db, schema)


async def renew(db: Executor, holder: str, *, lease: float = LEASE) -> bool:
    """Prolong the holder's pause; whether the relay is quiet. Raises `LostError`."""
    quiet: bool | None = await db.fetchval(_RENEW, holder, lease)
    if quiet is None:
        raise LostError("the pause of a relay ran out before it was renewed")
    return quiet


async def end(db: Executor, schema: str, holder: str) -> None:
    """Let the relay go on, unless another holder has paused it meanwhile."""
    await db.execute(_END, holder)
    await _wake(db, schema)


async def _wake(db: Executor, schema: str) -> None:
    await db.execute("SELECT pg_notify($1, '')", outbox.CHANNEL_PREFIX + schema)
