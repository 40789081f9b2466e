"""What a restored database has to make up for: where it is from, backend's epoch as it knows it, its restores."""

from alembic import op

from todo.messaging.migrations import execute

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE origin (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        cluster text NOT NULL,
        backend_epoch bigint NOT NULL
    )
    """,
    "CREATE TABLE restores (restored_at timestamptz PRIMARY KEY, taken_at timestamptz NOT NULL)",
)


def upgrade() -> None:
    execute(op, TABLES)


def downgrade() -> None:
    execute(op, ("DROP TABLE origin, restores",))
