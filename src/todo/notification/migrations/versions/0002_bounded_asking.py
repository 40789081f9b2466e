"""Ask backend about an end with growing pauses; remember which attempt possibly sent a mail first."""

from alembic import op

from todo.messaging.migrations import execute

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute(
        op,
        (
            "ALTER TABLE reminders ADD COLUMN asked_at timestamptz",
            "ALTER TABLE reminders ADD COLUMN possibly_sent_by int NOT NULL DEFAULT 0",
        ),
    )


def downgrade() -> None:
    execute(op, ("ALTER TABLE reminders DROP COLUMN possibly_sent_by", "ALTER TABLE reminders DROP COLUMN asked_at"))
