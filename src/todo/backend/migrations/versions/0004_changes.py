"""Rows that tell of changes name the transaction that wrote them, whichever release's code does.

Rows from before have none: they are part of what there is, and of no change to come.
"""

from alembic import op

from todo.messaging.migrations import execute

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("task_history", "series")


def upgrade() -> None:
    for table in TABLES:
        execute(
            op,
            (
                f"ALTER TABLE {table} ADD COLUMN tx xid8",
                f"ALTER TABLE {table} ALTER COLUMN tx SET DEFAULT pg_current_xact_id()",
            ),
        )


def downgrade() -> None:
    execute(op, [f"ALTER TABLE {table} DROP COLUMN tx" for table in TABLES])
