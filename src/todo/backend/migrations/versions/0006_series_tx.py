"""Changes of series are read in the order of transactions."""

from alembic import op

from todo.messaging.migrations import create_index, execute

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(op, "series_tx", "series (tx)")


def downgrade() -> None:
    execute(op, ("DROP INDEX series_tx",))
