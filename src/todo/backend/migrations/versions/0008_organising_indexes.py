"""The trash, the subtasks of a task and the manual order are found without reading all tasks of a user."""

from alembic import op

from todo.messaging.migrations import create_indexes, execute

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PLACE = (
    "coalesce(position, lpad(to_hex((extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000000)::bigint), 14, '0')"
    " || right(id::text, 12) || 'V') COLLATE \"C\""
)
INDEXES = {
    "tasks_trash": "tasks (user_id, updated_at DESC, id DESC) WHERE deleted AND NOT withdrawn",
    "tasks_parent": "tasks (parent_id) WHERE parent_id IS NOT NULL",
    "tasks_place": f"tasks (user_id, ({PLACE})) WHERE NOT deleted",
}


def upgrade() -> None:
    create_indexes(op, INDEXES)


def downgrade() -> None:
    execute(op, [f"DROP INDEX {name}" for name in INDEXES])
