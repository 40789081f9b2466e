"""Versions of tasks are read in the order of transactions."""

from alembic import op

from todo.messaging.migrations import create_index, execute

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(op, "task_history_tx", "task_history (tx, task_id)")


def downgrade() -> None:
    execute(op, ("DROP INDEX task_history_tx",))
