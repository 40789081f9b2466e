"""Lists, subtasks, start dates, a manual order, and what restoring and undoing need to know."""

from alembic import op

from todo.messaging.migrations import execute

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = (
    "start_at timestamptz",
    "start_date date",
    "list_id uuid",
    "parent_id uuid",
    "position text",
    "deleted_with uuid",
)
TABLES = (
    """
    CREATE TABLE lists (
        id uuid PRIMARY KEY,
        user_id bigint NOT NULL REFERENCES users,
        version bigint NOT NULL,
        name text NOT NULL,
        color text,
        position text NOT NULL COLLATE "C",
        deleted boolean NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        tx xid8 NOT NULL DEFAULT pg_current_xact_id()
    )
    """,
    "CREATE INDEX lists_tx ON lists (tx)",
    "CREATE UNIQUE INDEX lists_name ON lists (user_id, lower(name)) WHERE NOT deleted",
    """
    CREATE TABLE undo_steps (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id bigint NOT NULL REFERENCES users,
        at timestamptz NOT NULL,
        what text NOT NULL,
        title text NOT NULL,
        things int NOT NULL,
        takes_back boolean NOT NULL,
        undone boolean NOT NULL
    )
    """,
    """
    CREATE TABLE undo_items (
        step_id bigint NOT NULL REFERENCES undo_steps ON DELETE CASCADE,
        thing_id uuid NOT NULL,
        kind text NOT NULL,
        version bigint NOT NULL,
        from_version bigint NOT NULL,
        deleted boolean NOT NULL,
        before jsonb NOT NULL,
        PRIMARY KEY (step_id, thing_id)
    )
    """,
    "CREATE INDEX undo_items_thing ON undo_items (thing_id)",
    "CREATE INDEX undo_steps_latest ON undo_steps (user_id, id DESC)",
    "CREATE INDEX undo_steps_age ON undo_steps (at)",
)


def upgrade() -> None:
    execute(op, [f"ALTER TABLE tasks ADD COLUMN {column}" for column in COLUMNS])
    execute(op, TABLES)


def downgrade() -> None:
    execute(op, ("DROP TABLE undo_items, undo_steps, lists",))
    execute(op, [f"ALTER TABLE tasks DROP COLUMN {column.split()[0]}" for column in COLUMNS])
