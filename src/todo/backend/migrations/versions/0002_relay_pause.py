"""The relay can be paused while its broker is changed."""

from alembic import op

from todo.messaging import pause
from todo.messaging.migrations import execute

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute(op, pause.CREATE)


def downgrade() -> None:
    execute(op, ("DROP TABLE relay_pause",))
