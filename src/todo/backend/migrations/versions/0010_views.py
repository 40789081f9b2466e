"""Views: filters that somebody saved under a name."""

from alembic import op

from todo.messaging.migrations import execute

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE views (
        id uuid PRIMARY KEY,
        user_id bigint NOT NULL REFERENCES users,
        name text NOT NULL,
        filter text NOT NULL,
        sort text NOT NULL,
        position text NOT NULL,
        version bigint NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        deleted boolean NOT NULL,
        tx xid8 NOT NULL DEFAULT pg_current_xact_id()
    )
    """,
    "CREATE INDEX views_tx ON views (tx)",
    "CREATE UNIQUE INDEX views_name ON views (user_id, lower(name)) WHERE NOT deleted",
)


def upgrade() -> None:
    execute(op, TABLES)


def downgrade() -> None:
    execute(op, ("DROP TABLE views",))
