"""How people sign in with a browser: their passwords' hashes, and the sessions that follow."""

from alembic import op

from todo.messaging.migrations import execute

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE password_logins (
        user_id bigint PRIMARY KEY REFERENCES users,
        hash text NOT NULL,
        scopes text[] NOT NULL,
        changed_at timestamptz NOT NULL
    )
    """,
    # issuer and subject: who the identity provider said it was; null for a password
    """
    CREATE TABLE sessions (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        sha256 bytea NOT NULL UNIQUE,
        user_id bigint NOT NULL REFERENCES users,
        issuer text,
        subject text,
        user_agent text NOT NULL,
        created_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        FOREIGN KEY (issuer, subject) REFERENCES identities ON DELETE CASCADE
    )
    """,
    "CREATE INDEX sessions_user ON sessions (user_id)",
    "CREATE INDEX sessions_identity ON sessions (issuer, subject)",
)


def upgrade() -> None:
    execute(op, TABLES)


def downgrade() -> None:
    execute(op, ("DROP TABLE sessions, password_logins",))
