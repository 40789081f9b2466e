"""First tables of notification-service."""

from alembic import op

from todo.messaging import outbox, sightings
from todo.messaging.migrations import execute

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE tasks (
        task_id uuid PRIMARY KEY,
        epoch bigint NOT NULL,
        version bigint NOT NULL,
        deleted boolean NOT NULL,
        user_id bigint NOT NULL,
        seen_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE reminders (
        task_id uuid NOT NULL,
        reminder text NOT NULL,
        fire_at timestamptz NOT NULL,
        state text NOT NULL CHECK (
            state IN ('waiting', 'dispatched', 'withdrawn', 'delivered', 'suppressed', 'failed', 'skipped')
        ),
        wanted boolean NOT NULL,
        renewed boolean NOT NULL,
        attempt int NOT NULL,
        deferrals int NOT NULL,
        repeats int NOT NULL,
        possibly_sent int NOT NULL,
        next_at timestamptz,
        first_dispatched_at timestamptz,
        dispatched_at timestamptz,
        outbox_id bigint,
        reason text NOT NULL,
        message_id text,
        told boolean NOT NULL,
        traceparent text NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (task_id, reminder, fire_at),
        CHECK ((state IN ('waiting', 'dispatched')) = (next_at IS NOT NULL))
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000)
    """,
    "CREATE INDEX reminders_waiting ON reminders (next_at) WHERE state = 'waiting'",
    "CREATE INDEX reminders_dispatched ON reminders (next_at) WHERE state = 'dispatched'",
    """
    CREATE INDEX reminders_untold ON reminders (updated_at)
    WHERE NOT told AND state IN ('delivered', 'suppressed', 'failed', 'skipped')
    """,
)


def upgrade() -> None:
    execute(op, outbox.CREATE)
    execute(op, sightings.CREATE)
    execute(op, TABLES)


def downgrade() -> None:
    execute(
        op,
        (
            "DROP TABLE reminders",
            "DROP TABLE tasks",
            "DROP TABLE running",
            "DROP TABLE sightings",
            "DROP TABLE outbox",
        ),
    )
